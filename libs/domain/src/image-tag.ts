import { IMAGE_GROUP, type ImageStream, type ImageStreamSpec, type ImageTag, NamedTagEventList } from './image-stream.ts';
import { validateLabels } from './labels.ts';
import type { ObjectMeta } from './object-meta.ts';
import { alreadyExists, conflict, type FieldError, invalid, invalidValue, notFound, required, StatusError } from './status.ts';
import { formatStreamTag, splitStreamTag, type StreamTagName } from './stream-names.ts';
import { defaultTag, type StreamDefaults } from './stream-spec.ts';
import { newTagMetadataErrors, withoutTag } from './stream-tag.ts';
import { validateTag } from './stream-validation.ts';
import { keepControls, withSentControl } from './tag-control.ts';

/*
 * What a write of an ImageTag means for the stream. It shows the same tag as an ImageStreamTag does, as the stream has it: `spec` is
 * the spec tag, `status` the whole history, and one may be there without the other. Only `spec` can be written. Every rule here
 * throws {@link StatusError}.
 */

export const IMAGE_TAGS = { group: IMAGE_GROUP, resource: 'imagetags' };
const KIND = 'ImageTag';
const SPEC_ONLY = 'may not update fields other than spec';

/** The submitted object in stored form: its spec has the defaults. */
export function defaultImageTag(submitted: ImageTag, defaults?: StreamDefaults): ImageTag {
  const { spec } = submitted;
  return { ...submitted, spec: spec ? withSentControl(defaultTag(spec, defaults), spec) : null };
}

/** Refuses an ImageTag that cannot be created. Answers it with the name of its tag where it gives none. */
export function checkNewImageTag(submitted: ImageTag): ImageTag {
  const { name = '' } = submitted.metadata;
  const spec = submitted.spec ? { ...submitted.spec, name: submitted.spec.name || splitStreamTag(name).tag } : null;
  const created = { ...submitted, spec };
  const errors = spec ? specErrors(created) : [required('spec', 'spec is a required field during creation')];
  refuse(created, [...newTagMetadataErrors(submitted.metadata), ...errors]);
  return created;
}

/** POST: the stream's spec with the new tag. A tag that has only history does not stand in its way. */
export function withNewImageTag(stream: Pick<ImageStream, 'spec'> | undefined, submitted: ImageTag): ImageStreamSpec {
  const spec = stream?.spec ?? { lookupPolicy: { local: false } };
  const { metadata, spec: tag } = submitted;
  if (tag && spec.tags?.some(({ name }) => name === tag.name)) throw new StatusError(alreadyExists(IMAGE_TAGS, metadata.name ?? ''));
  return tag ? { ...spec, tags: [...(spec.tags ?? []), tag] } : spec;
}

/**
 * PUT: the stream's spec with the tag as submitted, or without it where the submitted spec is null; the history stays. Without a
 * resourceVersion the write happens no matter what. `created`: the spec tag was not there before. `patched`: the object was read, changed
 * and sent back by a PATCH.
 */
export function withPutImageTag(
  stream: ImageStream | undefined,
  name: StreamTagName,
  submitted: ImageTag,
  { patched = false }: { patched?: boolean } = {},
): { spec: ImageStreamSpec; created: boolean } {
  const fullName = formatStreamTag(name.name, name.tag);
  const { resourceVersion } = submitted.metadata;
  if (resourceVersion && !stream) throw new StatusError(notFound(IMAGE_TAGS, fullName));
  if (resourceVersion && resourceVersion !== stream?.metadata.resourceVersion) {
    const why = `another caller has updated the resource version to ${stream?.metadata.resourceVersion}`;
    throw new StatusError(conflict(IMAGE_TAGS, fullName, why));
  }
  if (!stream) {
    const { spec: tag } = checkNewImageTag(submitted);
    return { spec: { lookupPolicy: { local: false }, tags: tag ? [tag] : [] }, created: true };
  }

  const before = stream.spec.tags?.find((tag) => tag.name === name.tag);
  refuse(submitted, updateErrors(stream, name.tag, submitted, patched));
  const { spec } = withoutTag(stream.spec, name.tag);
  const put = submitted.spec ? [submitted.spec] : [];
  const kept = patched ? put : (keepControls(before && [before], put) ?? put);
  return { spec: kept.length ? { ...spec, tags: [...(spec.tags ?? []), ...kept] } : spec, created: !before };
}

function updateErrors(stream: ImageStream, tag: string, submitted: ImageTag, patched: boolean): FieldError[] {
  const { metadata: old, spec, status } = stream;
  const { metadata } = submitted;
  const errors = metadata.uid && metadata.uid !== old.uid ? [invalidValue('metadata.uid', metadata.uid, 'field is immutable')] : [];
  errors.push(...validateLabels(metadata), ...(submitted.spec ? specErrors(submitted) : []));
  const list = status.tags?.find((candidate) => candidate.tag === tag);
  const sameHistory = inForm(submitted.status) === inForm(list);
  const before = spec.tags?.find((candidate) => candidate.name === tag);
  // The reference notes in metadata who wrote which field when an object is patched, so that each PATCH that changes anything changes metadata.
  const noted = patched && !(sameHistory && JSON.stringify(before ?? null) === JSON.stringify(submitted.spec ?? null));
  if (noted || errors.some(({ field }) => field === 'metadata.uid') || comparable(metadata) !== comparable(old))
    errors.push(invalidValue('metadata', '', SPEC_ONLY));
  if (!sameHistory) errors.push(invalidValue('status', '', SPEC_ONLY));
  return errors;
}

function specErrors({ metadata, spec }: ImageTag): FieldError[] {
  if (!spec) return [];
  const { tag, ok } = splitStreamTag(metadata.name ?? '');
  const errors = ok && spec.name === tag ? [] : [invalidValue('spec.name', spec.name, 'must match image tag name')];
  return [...errors, ...validateTag(spec, 'spec')];
}

function refuse(submitted: ImageTag, errors: FieldError[]): void {
  if (errors.length) throw new StatusError(invalid(IMAGE_GROUP, KIND, submitted.metadata.name ?? '', errors));
}

/** What of metadata comes from the client and must stay; the rest is the server's. */
function comparable({ generateName, labels, annotations, ownerReferences, finalizers }: ObjectMeta): string {
  const sorted = (map: Record<string, string> = {}) => Object.entries(map).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([generateName ?? '', sorted(labels), sorted(annotations), ownerReferences ?? [], finalizers ?? []]);
}

/** A history with its keys in one order; no history is another thing than an empty one. */
function inForm(list: NamedTagEventList | null | undefined): string {
  if (!list) return 'none';
  const { tag, items, conditions } = NamedTagEventList.parse(list);
  return JSON.stringify({ tag, items: items ?? [], conditions: conditions ?? [] });
}
