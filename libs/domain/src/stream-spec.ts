import type { ImageStream, ImageStreamSpec, ImageStreamStatus, NamedTagEventList, TagEvent, TagReference } from './image-stream.ts';
import type { ObjectReference } from './object-meta.ts';
import { sameControl, storedControl } from './tag-control.ts';

/*
 * What a server makes of a stream that a client sends: defaults, the order of tags, and generations. `metadata.generation`
 * counts changes of the spec; each spec tag carries the generation at which its source last changed, and each history item
 * the one at which it was written, so that "spec tag newer than history" means "still to be imported".
 */

export interface StreamDefaults {
  /** What to import of a multi-platform image where a tag does not say. */
  importMode?: 'Legacy' | 'PreserveOriginal';
}

/** The stream in the form in which it is stored and answered: tags sorted by name, the last of one name, defaults filled in. */
export function defaultStream(stream: ImageStream, defaults: StreamDefaults = {}): ImageStream {
  const { tags, ...status } = stream.status;
  const lists = tags && byName(tags, (list) => list.tag);
  return { ...stream, spec: defaultSpec(stream.spec, defaults), status: lists?.length ? { ...status, tags: lists } : status };
}

/** {@link defaultStream} for a spec alone. */
export function defaultSpec(spec: ImageStreamSpec, defaults: StreamDefaults = {}): ImageStreamSpec {
  const tags = byName(spec.tags ?? [], (tag) => tag.name).map((tag) => defaultTag(tag, defaults));
  return {
    lookupPolicy: { local: spec.lookupPolicy.local },
    ...(spec.dockerImageRepository ? { dockerImageRepository: spec.dockerImageRepository } : {}),
    ...(tags.length ? { tags } : {}),
  };
}

/** One spec tag with its defaults; `annotations` and `generation` are always there, what is false or empty is left out. */
export function defaultTag(tag: TagReference, { importMode = 'Legacy' }: StreamDefaults = {}): TagReference {
  const control = storedControl(tag.control);
  return {
    name: tag.name,
    annotations: tag.annotations && Object.keys(tag.annotations).length ? tag.annotations : null,
    ...(tag.from ? { from: withoutEmpty(tag.from) } : {}),
    ...(tag.reference ? { reference: true } : {}),
    generation: tag.generation ?? null,
    importPolicy: {
      ...(tag.importPolicy?.insecure ? { insecure: true } : {}),
      ...(tag.importPolicy?.scheduled ? { scheduled: true } : {}),
      importMode: tag.importPolicy?.importMode || importMode,
    },
    referencePolicy: { type: tag.referencePolicy?.type || 'Source' },
    ...(control ? { control } : {}),
  };
}

export interface NextSpec {
  /** In stored form, every tag with its generation. */
  spec: ImageStreamSpec;
  /** The stream's generation from now on. */
  generation: number;
  /** The generation was raised. */
  changed: boolean;
  /** Names of the tags whose source is new or another, and is to be resolved now. */
  changedTags: string[];
  /** Names of the tags that carry the new generation: the changed ones and those whose re-import was asked for. */
  stampedTags: string[];
}

/**
 * The spec that a write leads to. `old` is undefined on create, where generations that the client sent are dropped. On update
 * a client can set a tag's generation only to 0, which asks for a new import; any other is replaced by the stored one.
 */
export function nextSpec(
  old: { spec: ImageStreamSpec; generation: number } | undefined,
  submitted: ImageStreamSpec,
  { namespace, defaults }: { namespace: string; defaults?: StreamDefaults },
): NextSpec {
  const spec = defaultSpec(submitted, defaults);
  const tags = spec.tags ?? [];
  const oldTags = new Map((old?.spec.tags ?? []).map((tag) => [tag.name, tag]));
  for (const tag of tags) {
    const before = oldTags.get(tag.name);
    if (before && tag.generation !== 0) tag.generation = before.generation ?? null;
  }

  const changed = !old || old.generation === 0 || !sameSpec(old.spec, spec);
  const generation = (old?.generation ?? 0) + (changed ? 1 : 0);
  const changedTags: string[] = [];
  const stampedTags: string[] = [];
  for (const tag of tags) {
    const before = oldTags.get(tag.name);
    const resolve = !before || sourceChanged(before, tag, namespace);
    if (resolve) changedTags.push(tag.name);
    if (!resolve && tag.generation) continue;
    tag.generation = generation;
    stampedTags.push(tag.name);
  }
  return { spec, generation, changed, changedTags, stampedTags };
}

/**
 * The status that a write of the status subresource leads to: the newest item of each tag gets a generation where it has
 * none. The spec stays as stored, so the stream's generation does too.
 */
export function nextStatus(old: ImageStream, submitted: ImageStreamStatus): ImageStreamStatus {
  const { tags, ...status } = submitted;
  if (!tags?.length) return status;
  const oldLists = new Map((old.status.tags ?? []).map((list) => [list.tag, list]));
  const specTags = new Map((old.spec.tags ?? []).map((tag) => [tag.name, tag]));
  const streamGeneration = old.metadata.generation ?? 0;
  return {
    ...status,
    tags: byName(tags, (list) => list.tag).map((list) => {
      const [top, ...older] = list.items ?? [];
      if (!top || top.generation !== 0) return list;
      const before = oldLists.get(list.tag)?.items?.[0];
      const generation = before && eventChanged(before, top) ? specTags.get(list.tag)?.generation : undefined;
      return { ...list, items: [{ ...top, generation: generation ?? streamGeneration }, ...older] };
    }),
  };
}

type Observed = Pick<NamedTagEventList, 'items' | 'conditions' | 'control'>;

/** The generation up to which a tag's source has been looked at, successfully or not; 0 where it never was. What was found may wait. */
export function observedGeneration(list: Observed | undefined): number {
  const condition = list?.conditions?.find((candidate) => candidate.type === 'ImportSuccess');
  return Math.max(list?.items?.[0]?.generation ?? 0, condition?.generation ?? 0, list?.control?.observedGeneration ?? 0);
}

/** Whether a tag can be imported at all: it names an image in a registry, and not just as a reference. */
export function isImportable(tag: TagReference): boolean {
  return tag.from?.kind === 'DockerImage' && !tag.reference;
}

/** Whether a tag's source is newer than what was last imported, or tried. A tag without a generation never was. */
export function needsImport(tag: TagReference, list: Observed | undefined): boolean {
  return isImportable(tag) && (tag.generation == null || tag.generation > observedGeneration(list));
}

/**
 * Whether the source of a tag is another. The kind alone does not count: that is how the reference does it, and clients that
 * write `spec.tags` back rely on no more than this.
 */
function sourceChanged(old: TagReference, next: TagReference, namespace: string): boolean {
  if (!next.from || (!next.from.kind && !next.from.name)) return false;
  return (
    (old.from?.namespace || namespace) !== (next.from.namespace || namespace) ||
    (old.from?.name ?? '') !== (next.from.name ?? '') ||
    (old.reference ?? false) !== (next.reference ?? false) ||
    (old.importPolicy?.importMode ?? '') !== (next.importPolicy?.importMode ?? '')
  );
}

function eventChanged(old: TagEvent, next: TagEvent): boolean {
  return old.image !== next.image || old.dockerImageReference !== next.dockerImageReference || old.generation > next.generation;
}

/** Sorted by name; of several with one name the last. */
function byName<T>(items: readonly T[], nameOf: (item: T) => string): T[] {
  const named = new Map(items.map((item) => [nameOf(item), item]));
  const names = [...named.keys()].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  return names.map((name) => named.get(name) as T);
}

function withoutEmpty(from: ObjectReference): ObjectReference {
  return Object.fromEntries(Object.entries(from).filter(([, value]) => value)) as ObjectReference;
}

function sameSpec(a: ImageStreamSpec, b: ImageStreamSpec): boolean {
  const [aTags, bTags] = [a.tags ?? [], b.tags ?? []];
  return (
    a.lookupPolicy.local === b.lookupPolicy.local &&
    (a.dockerImageRepository ?? '') === (b.dockerImageRepository ?? '') &&
    aTags.length === bTags.length &&
    aTags.every((tag, i) => sameTag(tag, bTags[i]))
  );
}

/** Of a control an empty part says something. */
const sameTag = ({ control: a, ...tag }: TagReference, { control: b, ...other }: Partial<TagReference> = {}): boolean =>
  same(tag, other) && sameControl(a, b);

/** Equal as JSON, where an absent, null, false or empty value is the same as none: Go's JSON does not tell them apart. */
function same(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (isNone(a) || isNone(b)) return isNone(a) && isNone(b);
  if (typeof a !== 'object' || typeof b !== 'object') return false;
  const [left, right] = [a as Record<string, unknown>, b as Record<string, unknown>];
  const covered = (of: Record<string, unknown>, other: Record<string, unknown>) =>
    Object.keys(of).every((key) => same(of[key], other[key]));
  return covered(left, right) && Object.keys(right).every((key) => key in left || isNone(right[key]));
}

function isNone(value: unknown): boolean {
  return value == null || value === false || value === '' || (typeof value === 'object' && Object.keys(value as object).length === 0);
}
