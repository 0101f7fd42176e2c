import { DEFAULT_TAG, formatReference, tryParseReference } from './image-reference.ts';
import type { ImageStream, TagEvent, TagReference } from './image-stream.ts';
import type { ObjectReference } from './object-meta.ts';
import { formatStreamTag, splitStreamTag } from './stream-names.ts';

/** How a tag becomes something to pull, and how aliases inside a stream are followed to their end. */

export interface PullSpecOptions {
  /** Refuse a tag whose newest source has no image yet, instead of giving its last image. */
  requireLatest?: boolean;
  /** For a tag without anything: name it in the repository that is reachable from outside. */
  external?: boolean;
}

export type ResolvedPullSpec =
  | {
      kind: 'resolved';
      pullSpec: string;
      /** It is an image that was pushed or imported. */
      hasStatus: boolean;
      /** The tag has a newer source whose image is not there yet. */
      hasNewer: boolean;
      /** Nothing was ever put into the tag and no source names it: the pull spec only says where a push would go. */
      isTagEmpty: boolean;
    }
  | { kind: 'unresolved'; reason: 'no-image-yet' | 'no-repository'; message: string };

/** What to pull for a tag (an empty one is `latest`). */
export function resolvePullSpec(stream: ImageStream, tag: string, { requireLatest, external }: PullSpecOptions = {}): ResolvedPullSpec {
  const name = tag || DEFAULT_TAG;
  const spec = specTag(stream, name);
  const top = newestEvent(stream, name);
  const sourceName = spec?.from?.kind === 'DockerImage' && spec.referencePolicy?.type === 'Source' ? (spec.from.name ?? '') : undefined;
  const hasNewer = top !== undefined && (spec?.generation ?? 0) > top.generation;

  if (top && !(hasNewer && requireLatest)) {
    const pullSpec = pullSpecOf(top, { policy: spec?.referencePolicy?.type, repository: stream.status.dockerImageRepository });
    return { kind: 'resolved', pullSpec, hasStatus: true, hasNewer, isTagEmpty: false };
  }
  if (sourceName !== undefined) return { kind: 'resolved', pullSpec: sourceName, hasStatus: false, hasNewer: false, isTagEmpty: false };
  if (top) return { kind: 'unresolved', reason: 'no-image-yet', message: 'the pull spec cannot be determined yet' };

  const repository = (external && stream.status.publicDockerImageRepository) || stream.status.dockerImageRepository;
  if (!repository)
    return { kind: 'unresolved', reason: 'no-repository', message: 'no image repository has been set on the image stream status' };
  return { kind: 'resolved', pullSpec: formatStreamTag(repository, name), hasStatus: false, hasNewer: false, isTagEmpty: true };
}

/** What to pull for the newest image of a tag, whatever is still to be imported; undefined where it has none. */
export function latestPullSpec(stream: ImageStream, tag: string): string | undefined {
  const name = tag || DEFAULT_TAG;
  const top = newestEvent(stream, name);
  if (!top) return undefined;
  return pullSpecOf(top, { policy: specTag(stream, name)?.referencePolicy?.type, repository: stream.status.dockerImageRepository });
}

/**
 * What to pull for one event of a tag. With the reference policy `Local` that is the image in the stream's own repository;
 * where there is no repository or no image, and with any other policy, it is where the image came from.
 */
export function pullSpecOf(event: Pick<TagEvent, 'image' | 'dockerImageReference'>, by: { policy?: string; repository?: string }): string {
  if (by.policy !== 'Local' || !by.repository || !event.image) return event.dockerImageReference;
  const local = tryParseReference(by.repository);
  return local ? formatReference({ ...local, tag: '', id: event.image }) : event.dockerImageReference;
}

export type FollowedTag =
  /** `tag` ends the chain; `multiple`: it is not the tag that was asked for. */
  | { kind: 'found'; finalTag: string; tag: TagReference; multiple: boolean }
  | { kind: 'broken'; reason: 'circular' | 'not-found' | 'other-stream'; message: string; finalTag: string; multiple: boolean };

/** Follows aliases inside a stream to the tag that is none, as `oc import-image` and `oc describe` do. */
export function followTag(stream: ImageStream, tag: string): FollowedTag {
  const seen = new Set<string>();
  let finalTag = tag;
  let multiple = false;
  for (;;) {
    if (seen.has(finalTag)) return { kind: 'broken', reason: 'circular', message: 'reference tag is circular', finalTag, multiple };
    seen.add(finalTag);
    const spec = specTag(stream, finalTag);
    if (!spec) return { kind: 'broken', reason: 'not-found', message: 'reference tag is not found', finalTag, multiple };
    if (spec.from?.kind !== 'ImageStreamTag') return { kind: 'found', finalTag, tag: spec, multiple };
    const next = tagInStream(stream, spec.from);
    if (next === undefined)
      return { kind: 'broken', reason: 'other-stream', message: 'reference tag points to another imagestream', finalTag, multiple };
    finalTag = next;
    multiple = true;
  }
}

/** The tag of this stream that a source of kind ImageStreamTag names, or undefined where it names another stream's. */
export function tagInStream({ metadata }: Pick<ImageStream, 'metadata'>, from: ObjectReference): string | undefined {
  if (from.namespace && from.namespace !== (metadata.namespace ?? '')) return undefined;
  const target = from.name ?? '';
  if (!target.includes(':')) return target;
  const { name, tag } = splitStreamTag(target);
  return name === metadata.name ? tag : undefined;
}

function specTag(stream: ImageStream, tag: string): TagReference | undefined {
  return stream.spec.tags?.find((candidate) => candidate.name === tag);
}

function newestEvent(stream: ImageStream, tag: string): TagEvent | undefined {
  return stream.status.tags?.find((candidate) => candidate.tag === tag)?.items?.[0];
}
