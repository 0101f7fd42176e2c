import { formatReference, tryParseReference } from './image-reference.ts';
import { annotationOf, containersOf, type Fields, isObject, listIn, metadataOf, podTemplateOf, textIn } from './pod-template.ts';
import { distinct, tagKey, type TagName } from './trigger-annotation.ts';

/*
 * Images that are named by a stream alone: `image: app:v1` means tag `v1` of stream `app` in the object's namespace, where the stream says
 * `lookupPolicy.local`, or the object says that every stream counts.
 */
export const RESOLVE_NAMES_ANNOTATION = 'alpha.image.policy.openshift.io/resolve-names';

/** What is known of a tag by which an image may be named. */
export interface NamedTag {
  /** Of the stream. */
  local: boolean;
  /** Repository of the stream; empty where it has none. */
  repository: string;
  /** Digest of the tag's image, and what to pull for it; absent where the tag has none. */
  image?: string;
  pullSpec?: string;
}

/** `undefined` where there is no such stream. */
export type LookUp = (tag: TagName) => NamedTag | undefined;

interface Named {
  tag: TagName;
  everyStream: boolean;
}

/** The tag that an image text may mean; undefined where it can only be a pull spec. */
export function localName(image: string, by: { namespace: string; everyStream: boolean }): Named | undefined {
  const reference = tryParseReference(image);
  if (!reference?.name || reference.id) return undefined;
  if (!by.everyStream && (reference.registry || reference.namespace)) return undefined;
  // Whoever asks for every stream means their last segment.
  return { tag: { namespace: by.namespace, stream: reference.name, tag: reference.tag || 'latest' }, everyStream: by.everyStream };
}

/** The text that takes the place of a local name; undefined where the name means nothing local. */
export function resolvedName({ tag, everyStream }: Named, found: NamedTag | undefined): string | undefined {
  if (!found || !(found.local || everyStream)) return undefined;
  const pulled = found.image && found.pullSpec ? tryParseReference(found.pullSpec) : undefined;
  if (pulled && found.image) return formatReference({ ...pulled, tag: '', id: found.image });
  // A tag that will be there one day must not be looked for anywhere else.
  return found.repository ? `${found.repository}:${tag.tag}` : undefined;
}

const hasAnnotation = (kind: string, object: unknown): boolean =>
  annotationOf(object, RESOLVE_NAMES_ANNOTATION) === '*' || annotationOf(podTemplateOf(kind, object), RESOLVE_NAMES_ANNOTATION) === '*';

const isControlled = (object: unknown): boolean =>
  listIn(metadataOf(object), 'ownerReferences').some((owner) => isObject(owner) && owner['controller'] === true);

/** Kinds that are looked at only when they are made. */
const ONCE = new Set(['Job', 'Build']);

function namesIn(kind: string, object: Fields, old: Fields | undefined) {
  if (isControlled(object) || (old && ONCE.has(kind))) return [];
  const everyStream = hasAnnotation(kind, object);
  const all = !old || (everyStream && !hasAnnotation(kind, old));
  const before = new Map((old ? containersOf(kind, old) : []).map(({ list, name, container }) => [`${list}/${name}`, container['image']]));
  const namespace = textIn(metadataOf(object), 'namespace');
  return containersOf(kind, object).flatMap((at) => {
    const image = textIn(at.container, 'image');
    if (!all && before.get(`${at.list}/${at.name}`) === image) return [];
    const named = localName(image, { namespace, everyStream });
    return named ? [{ ...at, named }] : [];
  });
}

/** The tags that have to be known before an object is written: of containers that are new, or whose image is another. */
export const tagsNamedIn = (kind: string, object: Fields, old?: Fields): TagName[] =>
  distinct(namesIn(kind, object, old).map(({ named }) => named.tag));

/** The object with its local names resolved; the same object where there are none. */
export function withLocalNames<T extends Fields>(kind: string, object: T, old: Fields | undefined, lookUp: LookUp): T {
  const next = structuredClone(object);
  const known = new Map<string, NamedTag | undefined>();
  let changed = false;
  for (const { container, named } of namesIn(kind, next, old)) {
    const key = tagKey(named.tag);
    if (!known.has(key)) known.set(key, lookUp(named.tag));
    const text = resolvedName(named, known.get(key));
    if (text === undefined) continue;
    container['image'] = text;
    changed = true;
  }
  return changed ? next : object;
}
