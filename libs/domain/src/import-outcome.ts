import { CHECKED_ANNOTATION } from './import-plan.ts';
import type { ImageManifest } from './image.ts';
import type { ImageStream, ImageStreamSpec, NamedTagEventList, TagEvent, TagEventCondition, TagReference } from './image-stream.ts';
import { bringsTheSame } from './platform.ts';

/*
 * What a finished import does to a stream. It is decided for all tags at once, in memory; whoever stores it lets the stream's spec have its
 * generations, puts the events on the tags and sets the conditions.
 */

/** What was found for one tag, or why nothing was. */
export interface Imported {
  tag: string;
  /** Pull spec for which it was looked. */
  from: string;
  /**
   * Of the spec tag that it was done for: it takes effect only while that is what the spec says. null: somebody asked for it, or the
   * repository was imported as a whole, and it takes effect anyway.
   */
  generation: number | null;
  importPolicy: TagReference['importPolicy'];
  referencePolicy: TagReference['referencePolicy'];
  /** What a failure does to a tag that is not in the spec: make it, as for an image that was asked for by itself, or leave it. */
  makesTag: boolean;
  /** The tag's control lets what was found wait: the image is put aside, and a spec that asked for no other source stays as it is. */
  waits?: boolean;
  result:
    | { kind: 'found'; image: string; pullSpec: string; manifests?: readonly ImageManifest[] }
    | { kind: 'failed'; reason: string; message: string };
}

/** Why an import of a tag has no effect. */
export type Ignored = 'tag-gone' | 'source-changed' | 'newer-spec';

export interface Outcome {
  /** The spec that the stream is to have. Tags of generation 0 are to get the next one. */
  spec: ImageStreamSpec;
  /** What is put on tags, in order. `counterpart`: another digest of what the tag has already, which moves nothing. */
  events: { tag: string; event: TagEvent; counterpart: boolean }[];
  /** Conditions of tags: those that fail have one, those that were found none. */
  conditions: { tag: string; condition: TagEventCondition | null }[];
  /** Failures that are news; see {@link isNews}. */
  failures: Failure[];
  ignored: { tag: string; reason: Ignored }[];
  /** Of the stream; undefined where nothing is to be written at all. */
  annotations: Record<string, string> | undefined;
}

/** That a tag cannot be imported, to be told to whoever follows it. */
export interface Failure {
  tag: string;
  /** Pull spec for which it was looked. */
  from: string;
  condition: TagEventCondition;
  /** What it failed by before. */
  previous: TagEventCondition | undefined;
  /** What the tag goes on pointing at; empty where it has no image. */
  image: string;
}

export interface OutcomeOptions {
  /** RFC 3339 in whole seconds. */
  now: string;
  /** Manifests of the index that is on top of a tag, by its digest, as far as they are known. */
  manifestsOf: (image: string) => readonly ImageManifest[];
}

/** `stream` is undefined where the import makes it. Its status needs no more than the newest item of each tag. */
export function decideImport(
  stream: ImageStream | undefined,
  imported: readonly Imported[],
  { now, manifestsOf }: OutcomeOptions,
): Outcome {
  const specTags = new Map((stream?.spec.tags ?? []).map((tag) => [tag.name, tag]));
  const lists = new Map((stream?.status.tags ?? []).map((list) => [list.tag, list]));
  const generation = (stream?.metadata.generation ?? 0) + 1;
  const outcome: Outcome = {
    spec: stream?.spec ?? { lookupPolicy: { local: false } },
    events: [],
    conditions: [],
    failures: [],
    ignored: [],
    annotations: undefined,
  };
  for (const one of imported) {
    const ignored = whyIgnored(one, specTags.get(one.tag), lists.get(one.tag));
    if (ignored) {
      outcome.ignored.push({ tag: one.tag, reason: ignored });
      continue;
    }
    const { tag, result } = one;
    const specTag = specTags.get(tag);
    const list = lists.get(tag);
    // In the background it is the spec that says how a tag is imported: it may have changed since.
    const importPolicy = one.generation === null ? one.importPolicy : (specTag?.importPolicy ?? one.importPolicy);
    const made = { ...one, importPolicy };
    if (result.kind === 'failed') {
      const condition = failed(result, { generation, now });
      if (!hasCondition(list, condition)) {
        outcome.conditions.push({ tag, condition });
        const previous = list?.conditions?.find(isFailure);
        if (isNews(previous, condition, specTag))
          outcome.failures.push({ tag, from: one.from, condition, previous, image: list?.items?.[0]?.image ?? '' });
        lists.set(tag, { tag, items: list?.items ?? null, conditions: [condition] });
        if (specTag) specTags.set(tag, { ...specTag, generation: 0 });
      }
      if (!specTag && one.makesTag) specTags.set(tag, specTagFor(undefined, made));
      continue;
    }
    const top = newestOf(list);
    const counterpart = isCounterpart(top, result, manifestsOf);
    const isSame = counterpart || (top?.image === result.image && top.dockerImageReference === result.pullSpec);
    const changed = !isSame || specTag?.generation == null || specTag.generation > (top?.generation ?? 0);
    // A spec that is newer than the tag's image means that an import is to come: it has come where its image waits.
    const stamped = changed && !(one.waits && specTag?.generation != null && isFrom(specTag, one.from));
    if (changed || counterpart) {
      // Where the spec stays as it is, so does the stream's generation.
      const at = stamped ? generation : ((changed ? specTag?.generation : top?.generation) ?? generation);
      const event = { created: now, dockerImageReference: result.pullSpec, image: result.image, generation: at };
      outcome.events.push({ tag, event, counterpart });
      lists.set(tag, { tag, items: [event] });
    }
    if (list?.conditions?.length) outcome.conditions.push({ tag, condition: null });
    const next = stamped ? specTagFor(specTag, made) : (specTag as TagReference);
    specTags.set(tag, { ...next, importPolicy });
  }
  outcome.spec = { ...outcome.spec, tags: [...specTags.values()] };
  const before = stream?.metadata.annotations;
  const written = outcome.events.length > 0 || outcome.conditions.length > 0 || specChanged(stream, specTags);
  if (written || !before?.[CHECKED_ANNOTATION]) outcome.annotations = { ...before, [CHECKED_ANNOTATION]: now };
  return outcome;
}

/** What whoever asked for an import is told of images that were found and did not move their tags. */
export function heldBack(
  { metadata, status }: Pick<ImageStream, 'metadata'> & Partial<Pick<ImageStream, 'status'>>,
  found: readonly { tag: string; image: string }[],
): string[] {
  return found.flatMap(({ tag, image }) => {
    const list = status?.tags?.find((one) => one.tag === tag);
    const denied = list?.conditions?.find(({ reason, message }) => reason === 'Denied' && message?.includes(image));
    if (denied) return [`${metadata.name}:${tag} does not take ${image}: ${denied.message}`];
    if (!image || list?.control?.newest?.image !== image) return [];
    return [`${image} is stored, and ${metadata.name}:${tag} stays where it is for now: ${list.control.decision.message}`];
  });
}

/** What the tag was given last: it may wait. */
const newestOf = (list: NamedTagEventList | undefined): Pick<TagEvent, 'image' | 'dockerImageReference' | 'generation'> | undefined =>
  list?.control?.newest ?? list?.items?.[0];

const isFrom = ({ from }: TagReference, pullSpec: string): boolean => from?.kind === 'DockerImage' && from.name === pullSpec;

function whyIgnored(
  { generation, from, importPolicy }: Imported,
  specTag: TagReference | undefined,
  list: NamedTagEventList | undefined,
): Ignored | undefined {
  if (generation === null) return undefined;
  if (!specTag) return 'tag-gone';
  if (!isFrom(specTag, from) || specTag.reference) return 'source-changed';
  if ((specTag.importPolicy?.importMode ?? '') !== (importPolicy?.importMode ?? '')) return 'source-changed';
  const current = specTag.generation ?? 0;
  // It was a failure that raised the generation: who tries again need not have heard of it.
  const isFailures = list?.conditions?.some((known) => known.type === 'ImportSuccess' && known.generation === current) ?? false;
  return current > generation && !isFailures ? 'newer-spec' : undefined;
}

/** The spec tag as an import writes it; one that is there keeps its annotations and its reference policy. */
function specTagFor(specTag: TagReference | undefined, { tag, from, importPolicy, referencePolicy }: Imported): TagReference {
  return {
    ...specTag,
    name: tag,
    from: { kind: 'DockerImage', name: from },
    generation: 0,
    importPolicy,
    referencePolicy: specTag?.referencePolicy?.type ? specTag.referencePolicy : referencePolicy,
  };
}

function failed({ reason, message }: { reason: string; message: string }, at: { generation: number; now: string }): TagEventCondition {
  return {
    type: 'ImportSuccess',
    status: 'False',
    lastTransitionTime: at.now,
    reason,
    message: message || 'unknown error prevented import',
    generation: at.generation,
  };
}

const isFailure = ({ type, status }: TagEventCondition): boolean => type === 'ImportSuccess' && status === 'False';

/**
 * Whether a failure is worth an event: the first, one for another reason, or one of another wish. Messages alone may differ with every try, such
 * as by how long a registry wants to be left alone.
 */
function isNews(previous: TagEventCondition | undefined, { reason }: TagEventCondition, specTag: TagReference | undefined): boolean {
  return !previous || previous.reason !== reason || (specTag?.generation ?? 0) > previous.generation;
}

function hasCondition(list: NamedTagEventList | undefined, { type, status, reason, message }: TagEventCondition): boolean {
  return (list?.conditions ?? []).some(
    (known) => known.type === type && known.status === status && known.reason === reason && known.message === message,
  );
}

/** Another digest of the index that the tag has: one that was built anew around the same images, or got attestations. */
function isCounterpart(
  top: Pick<TagEvent, 'image' | 'dockerImageReference'> | undefined,
  { image, pullSpec, manifests = [] }: Extract<Imported['result'], { kind: 'found' }>,
  manifestsOf: OutcomeOptions['manifestsOf'],
): boolean {
  if (!top?.image || top.image === image || !manifests.length) return false;
  return repositoryOf(top.dockerImageReference) === repositoryOf(pullSpec) && bringsTheSame(manifestsOf(top.image), manifests);
}

const repositoryOf = (pullSpec: string): string => pullSpec.split('@', 1)[0] ?? '';

function specChanged(stream: ImageStream | undefined, specTags: ReadonlyMap<string, TagReference>): boolean {
  const before = stream?.spec.tags ?? [];
  return !stream || before.length !== specTags.size || before.some((tag) => JSON.stringify(tag) !== JSON.stringify(specTags.get(tag.name)));
}
