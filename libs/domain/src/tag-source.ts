import { DEFAULT_TAG, formatReference, tryParseReference } from './image-reference.ts';
import type { ImageStream, TagEvent, TagReference } from './image-stream.ts';
import type { ObjectReference } from './object-meta.ts';
import { tagInStream } from './pull-spec.ts';
import { conflict, notFound } from './status.ts';
import { needsImport } from './stream-spec.ts';

/*
 * Where a spec tag comes from, and what that puts into its history when the tag is written: a copy of another tag's newest
 * item, a copy of one image of a history, or just an external pull spec.
 */

/** Chains of aliases longer than this are not followed. */
export const FOLLOW_DEPTH_MAX = 16;

export type TagSource =
  /** No source, or an image that the next import fetches: nothing to do now. */
  | { kind: 'none' }
  /** An external pull spec that is never imported: it is the tag's value at once. */
  | { kind: 'external'; pullSpec: string }
  | { kind: 'tag'; namespace: string; stream: string; tag: string }
  /** `id` may be the beginning of a digest. */
  | { kind: 'image'; namespace: string; stream: string; id: string }
  | { kind: 'malformed'; reason: string };

/** Reads the source of a spec tag of this stream. */
export function sourceOf({ metadata }: Pick<ImageStream, 'metadata'>, tag: TagReference): TagSource {
  const { from } = tag;
  if (!from) return { kind: 'none' };
  const { kind, name = '' } = from;
  const namespace = from.namespace || (metadata.namespace ?? '');
  // What a registry holds is in no namespace.
  if (kind === 'DockerImage' && name && namespace === (metadata.namespace ?? ''))
    return tag.reference ? { kind: 'external', pullSpec: name } : { kind: 'none' };
  const parts = name.split(kind === 'ImageStreamTag' ? ':' : '@');
  const [first = '', second] = parts;
  const stream = second === undefined ? (metadata.name ?? '') : first;
  if (parts.length <= 2 && kind === 'ImageStreamTag') return { kind: 'tag', namespace, stream, tag: (second ?? first) || DEFAULT_TAG };
  if (parts.length <= 2 && kind === 'ImageStreamImage') return { kind: 'image', namespace, stream, id: second ?? first };
  return { kind: 'malformed', reason: 'must be of the form <tag>, <repo>:<tag>, <id>, or <repo>@<id>' };
}

/** A stream of another namespace that the requesting user must be allowed to pull from, and the tags that need it. */
export interface SourceReview {
  namespace: string;
  stream: string;
  tags: string[];
}

/** One review for each stream of another namespace that a tag of these names is taken from. */
export function reviewsNeeded(stream: ImageStream, changedTags: readonly string[]): SourceReview[] {
  const changed = new Set(changedTags);
  const reviews = new Map<string, SourceReview>();
  for (const tag of stream.spec.tags ?? []) {
    if (!changed.has(tag.name) || !tag.from?.namespace || tag.from.namespace === stream.metadata.namespace) continue;
    const source = sourceOf(stream, tag);
    if (source.kind !== 'tag' && source.kind !== 'image') continue;
    const key = `${source.namespace}/${source.stream}`;
    const review = reviews.get(key) ?? { namespace: source.namespace, stream: source.stream, tags: [] };
    review.tags.push(tag.name);
    reviews.set(key, review);
  }
  return [...reviews.values()];
}

export type PickedImage = { kind: 'found'; event: TagEvent } | { kind: 'unknown' | 'ambiguous'; message: string };

const STREAM_IMAGE = { group: 'image.openshift.io', resource: 'imagestreamimage' };

/** The image that an id or the beginning of one means, among the history items that match it; the first given item counts. */
export function pickImage(id: string, matches: readonly TagEvent[]): PickedImage {
  const [first] = matches;
  if (!first) return { kind: 'unknown', message: notFound(STREAM_IMAGE, id).message ?? '' };
  const images = [...new Set(matches.map((event) => event.image))].sort();
  if (images.length === 1) return { kind: 'found', event: first };
  const why = `multiple images match the prefix ${JSON.stringify(id)}: ${images.join(', ')}`;
  return { kind: 'ambiguous', message: conflict(STREAM_IMAGE, id, why).message ?? '' };
}

/**
 * The item that a copy puts into a tag of `to`. A pull spec in the internal registry at the stream it is copied from is
 * rewritten to `to`, so that who may pull is decided there; a `reference` tag keeps it.
 */
export function copiedEvent(
  event: TagEvent,
  by: {
    generation: number;
    reference?: boolean;
    internalRegistry?: string;
    from: { namespace: string; name: string };
    to: { namespace: string; name: string };
    /** RFC 3339; for a copied image the time of copying, for a copied tag absent: it keeps the time of its source. */
    created?: string;
  },
): TagEvent {
  const copy = { ...event, generation: by.generation, created: by.created ?? event.created };
  if (by.reference || !by.internalRegistry) return copy;
  const at = tryParseReference(event.dockerImageReference);
  if (at?.registry !== by.internalRegistry || at.namespace !== by.from.namespace || at.name !== by.from.name) return copy;
  return { ...copy, dockerImageReference: formatReference({ ...at, namespace: by.to.namespace, name: by.to.name }) };
}

/**
 * The newest item of a tag from which another tag of the same stream is copied: as in the reference it takes the generation of the copy.
 * Undefined where it stays as it is, which is also so for a tag whose import is to come or has failed: the new generation would call
 * the import off.
 */
export function copiedFrom(stream: Pick<ImageStream, 'spec' | 'status'>, tag: string, generation: number): TagEvent | undefined {
  const list = stream.status.tags?.find((candidate) => candidate.tag === tag);
  const top = list?.items?.[0];
  const spec = stream.spec.tags?.find((candidate) => candidate.name === tag);
  if (!top || top.generation === generation || list.conditions?.length || (spec && needsImport(spec, list))) return undefined;
  return { ...top, generation };
}

/**
 * Names of the tags of this stream that follow `tag`, nearest first: those whose source is the tag itself, then those that
 * follow them, down to `depth` levels. Each occurs once, and never `tag`, however aliases point at each other.
 */
export function followers(stream: Pick<ImageStream, 'metadata' | 'spec'>, tag: string, depth: number = FOLLOW_DEPTH_MAX): string[] {
  const following = new Map<string, string[]>();
  for (const { name, from } of stream.spec.tags ?? []) {
    const target = from && followedTag(stream, from);
    if (target === undefined) continue;
    const names = following.get(target);
    if (names) names.push(name);
    else following.set(target, [name]);
  }
  const found = new Set<string>([tag]);
  let level = following.size ? [tag] : [];
  for (let i = 0; i < depth && level.length; i++) {
    level = level.flatMap((target) => following.get(target) ?? []).filter((name) => !found.has(name) && found.add(name));
  }
  found.delete(tag);
  return [...found];
}

function followedTag(stream: Pick<ImageStream, 'metadata'>, from: ObjectReference): string | undefined {
  return from.kind === 'ImageStreamTag' ? tagInStream(stream, from) : undefined;
}
