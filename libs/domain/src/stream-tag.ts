import { IMAGE_GROUP, type ImageStream, type ImageStreamSpec, type ImageStreamTag, type TagReference } from './image-stream.ts';
import { validateLabels } from './labels.ts';
import type { ObjectMeta } from './object-meta.ts';
import { defaultTag, type StreamDefaults } from './stream-spec.ts';
import { formatStreamTag, pathSegmentProblems, splitStreamTag, type StreamTagName } from './stream-names.ts';
import { type Admission, validateTag } from './stream-validation.ts';
import { keepControls, withSentControl } from './tag-control.ts';
import { StatusError, alreadyExists, badRequest, conflict, type FieldError, invalid, invalidValue, notFound, required } from './status.ts';

/*
 * What a write of an ImageStreamTag means for the stream: an ImageStreamTag is no object of its own but one tag of the
 * stream's spec, seen together with the newest image of its history. Every rule here throws {@link StatusError}.
 */

export const STREAM_TAGS = { group: IMAGE_GROUP, resource: 'imagestreamtags' };
const STREAM_TAG = { group: IMAGE_GROUP, resource: 'imagestreamtag' };
const KIND = 'ImageStreamTag';

/** Where the tag of a new ImageStreamTag goes. Lenient, as the reference is: only the colon must be there. */
export function targetOfNewTag(name: string): StreamTagName {
  const { name: stream, tag, ok } = splitStreamTag(name);
  if (ok) return { name: stream, tag };
  const message = `${JSON.stringify(name)} must be of the form <stream_name>:<tag>`;
  // A server error without a reason is what the reference answers, and what clients have learnt to print.
  throw new StatusError({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, code: 500 });
}

/** The submitted object in stored form: its tag carries the tag's name and the defaults. */
export function defaultStreamTag(submitted: ImageStreamTag, tagName: string, defaults?: StreamDefaults): ImageStreamTag {
  const { tag } = submitted;
  return { ...submitted, tag: tag ? withSentControl(defaultTag({ ...tag, name: tagName }, defaults), tag) : null };
}

/** Refuses an ImageStreamTag that cannot be created; `submitted` has its defaults. */
export function checkNewStreamTag(submitted: ImageStreamTag, admission?: Admission): void {
  refuse(submitted, [...newTagMetadataErrors(submitted.metadata), ...tagErrors(submitted, admission)]);
}

/** POST: the stream's spec with the new tag. A tag that has only history does not stand in its way. */
export function withNewTag(stream: Pick<ImageStream, 'spec'> | undefined, submitted: ImageStreamTag): ImageStreamSpec {
  const spec = stream?.spec ?? { lookupPolicy: { local: false } };
  const { name } = targetOf(submitted);
  if (spec.tags?.some((tag) => tag.name === name)) throw new StatusError(alreadyExists(STREAM_TAG, submitted.metadata.name ?? ''));
  return submitted.tag ? { ...spec, tags: [...(spec.tags ?? []), submitted.tag] } : spec;
}

/**
 * PUT: the stream's spec with the tag as submitted. Without a resourceVersion the write happens no matter what; with one, the
 * stream must be there and unchanged. `created`: the spec tag was not there before, whatever the history says. `patched`: the object was read,
 * changed and sent back by a PATCH, so that what it does not say is not wanted.
 */
export function withPutTag(
  stream: ImageStream | undefined,
  { namespace, name, patched = false }: { namespace: string; name: StreamTagName; patched?: boolean },
  submitted: ImageStreamTag,
  admission?: Admission,
): { spec: ImageStreamSpec; created: boolean } {
  const fullName = formatStreamTag(name.name, name.tag);
  const { resourceVersion } = submitted.metadata;
  if (resourceVersion && !stream) throw new StatusError(notFound(STREAM_TAGS, fullName));
  if (resourceVersion && resourceVersion !== stream?.metadata.resourceVersion) {
    const why = `another caller has updated the resource version to ${stream?.metadata.resourceVersion}`;
    throw new StatusError(conflict(STREAM_TAGS, fullName, why));
  }
  if (stream) refuse(submitted, [...changedMetadataErrors(stream, submitted), ...tagErrors(withAnnotations(submitted), admission)]);
  else checkNewStreamTag(submitted, admission);

  const spec = stream?.spec ?? { lookupPolicy: { local: false } };
  const before = spec.tags?.find((tag) => tag.name === name.tag);
  const source = submitted.tag ?? before;
  if (!source)
    throw new StatusError(
      badRequest(`imagestreamtag ${name.tag} is not a spec tag in imagestream ${namespace}/${name.name}, cannot be updated`),
    );
  const put: TagReference = { ...source, name: name.tag, annotations: annotationsOf(submitted.metadata) };
  const [tag = put] = patched ? [put] : (keepControls(before && [before], [put]) ?? []);
  return { spec: { ...spec, tags: [...(spec.tags ?? []).filter((other) => other !== before), tag] }, created: !before };
}

/** DELETE: the stream's spec without the tag; `inSpec` tells whether it was there. */
export function withoutTag(spec: ImageStreamSpec, tag: string): { spec: ImageStreamSpec; inSpec: boolean } {
  const tags = (spec.tags ?? []).filter((other) => other.name !== tag);
  return { spec: { ...spec, tags }, inSpec: tags.length !== (spec.tags ?? []).length };
}

/** What is wrong with the metadata of a tag that is created by itself: its name is one segment of a path. */
export function newTagMetadataErrors(metadata: ObjectMeta): FieldError[] {
  const { name = '' } = metadata;
  const errors = name
    ? pathSegmentProblems(name).map((problem) => invalidValue('metadata.name', name, problem))
    : [required('metadata.name', 'name or generateName is required')];
  return [...errors, ...validateLabels(metadata)];
}

function targetOf(submitted: ImageStreamTag): { name: string } {
  return { name: targetOfNewTag(submitted.metadata.name ?? '').tag };
}

function refuse(submitted: ImageStreamTag, errors: FieldError[]): void {
  if (errors.length) throw new StatusError(invalid(IMAGE_GROUP, KIND, submitted.metadata.name ?? '', errors));
}

function tagErrors({ metadata, tag }: ImageStreamTag, admission?: Admission): FieldError[] {
  if (!tag) return [];
  const errors = validateTag(tag, 'tag', admission);
  if (tag.annotations && !sameMap(tag.annotations, metadata.annotations ?? {}))
    errors.push({
      reason: 'FieldValueInvalid',
      field: 'tag.annotations',
      text: 'Invalid value: "<map>": tag annotations must not be provided or must be equal to the object meta annotations',
    });
  return errors;
}

/** On update the annotations of the metadata are the tag's: clients that read and write back need not set both. */
function withAnnotations(submitted: ImageStreamTag): ImageStreamTag {
  return submitted.tag ? { ...submitted, tag: { ...submitted.tag, annotations: annotationsOf(submitted.metadata) } } : submitted;
}

/** Only annotations may differ; what a client left out is taken as it is. Times are the server's and not compared. */
function changedMetadataErrors({ metadata: old }: ImageStream, { metadata }: ImageStreamTag): FieldError[] {
  const errors: FieldError[] = [];
  if (metadata.uid && metadata.uid !== old.uid) errors.push(invalidValue('metadata.uid', metadata.uid, 'field is immutable'));
  errors.push(...validateLabels(metadata));
  const { labels = {}, finalizers = [], ownerReferences = [] } = metadata;
  const labelsDiffer = Object.keys(labels).length > 0 && !sameMap(labels, old.labels ?? {});
  if (errors.some((error) => error.field === 'metadata.uid') || labelsDiffer || finalizers.length || ownerReferences.length)
    errors.push(invalidValue('metadata', '', 'may not update fields other than metadata.annotations'));
  return errors;
}

function annotationsOf({ annotations }: ObjectMeta): Record<string, string> | null {
  return annotations && Object.keys(annotations).length ? annotations : null;
}

function sameMap(a: Record<string, string>, b: Record<string, string>): boolean {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && a[key] === b[key]);
}
