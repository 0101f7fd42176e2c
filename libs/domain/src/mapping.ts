import { completeImage, validateImage } from './image-content.ts';
import { formatReference, isDigest, tryParseReference } from './image-reference.ts';
import { IMAGE_GROUP, ImageStreamMapping } from './image-stream.ts';
import { type Image, MANAGED_ANNOTATION } from './image.ts';
import { badRequest, type FieldError, invalid, invalidValue, malformed, required, type Status } from './status.ts';
import { pathSegmentProblems } from './stream-names.ts';
import { validateLength } from './stream-validation.ts';

/*
 * An ImageStreamMapping says: this tag of this stream now means this image. It is what a registry posts after a push.
 */

/** A mapping that can be acted on. */
export interface Mapping {
  namespace: string;
  stream: string;
  tag: string;
  image: Image & { metadata: { name: string }; dockerImageReference: string };
}

export type CheckedMapping = { kind: 'accepted'; mapping: Mapping } | { kind: 'refused'; status: Status };

/** The version under which documentation and tools before API groups write this kind. */
const LEGACY_VERSION = 'v1';

/** Reads a posted mapping, and checks it as {@link checkMapping} does. */
export function readMapping(object: unknown, by: { namespace: string; internalRegistryHost: string }): CheckedMapping {
  const parsed = ImageStreamMapping.safeParse(object);
  return parsed.success ? checkMapping(parsed.data, by) : refused(malformed('ImageStreamMapping', parsed.error));
}

/**
 * What a mapping says, complete, or why it is refused. Without a pull spec, the image is meant to be in the stream's repository of the internal registry. Under the
 * legacy version the image's name may be missing: it is the digest in the pull spec. Signatures are not taken.
 */
export function checkMapping(
  { metadata, tag = '', apiVersion, image: given }: ImageStreamMapping,
  by: { namespace: string; internalRegistryHost: string },
): CheckedMapping {
  if (metadata.namespace && metadata.namespace !== by.namespace)
    return refused(badRequest('the namespace of the provided object does not match the namespace sent on the request'));

  const stream = metadata.name ?? '';
  const image: Image = { ...(given ?? { metadata: {} }), signatures: undefined };
  if (!image.metadata.name && apiVersion === LEGACY_VERSION)
    image.metadata = { ...image.metadata, name: tryParseReference(image.dockerImageReference ?? '')?.id || undefined };
  if (!image.dockerImageReference && by.internalRegistryHost)
    image.dockerImageReference = inRepository(`${by.internalRegistryHost}/${by.namespace}/${stream}`, image.metadata.name ?? '');

  const errors: FieldError[] = [];
  if (!stream) errors.push(required('metadata.name', 'name or generateName is required'));
  else errors.push(...pathSegmentProblems(stream).map((problem) => invalidValue('metadata.name', stream, problem)));
  if (!tag) errors.push(required('tag'));
  else if (tag.includes('\0')) errors.push(invalidValue('tag', tag, 'may not contain a NUL character'));
  errors.push(...validateLength(tag, 'tag'), ...validateImage(image, 'image'));
  errors.push(...validateLength(image.metadata.name ?? '', 'image.metadata.name'));
  if (errors.length) return refused(invalid(IMAGE_GROUP, 'ImageStreamMapping', stream, errors));
  return { kind: 'accepted', mapping: { namespace: by.namespace, stream, tag, image: completeImage(image) as Mapping['image'] } };
}

/**
 * The pull spec that goes into the history. An image of the internal registry that was there before and is tagged into another stream is
 * pulled through that stream, so that access is decided there.
 */
export function mappedPullSpec(image: Mapping['image'], by: { existed: boolean; repository: string }): string {
  const managed = image.metadata.annotations?.[MANAGED_ANNOTATION] === 'true';
  return (by.existed && managed && inRepository(by.repository, image.metadata.name)) || image.dockerImageReference;
}

/** An image's pull spec in a repository, or undefined where the repository is none. */
function inRepository(repository: string, image: string): string | undefined {
  const reference = repository ? tryParseReference(repository) : undefined;
  if (!reference) return undefined;
  // A name that is no digest can only stand where a tag stands.
  return formatReference(isDigest(image) ? { ...reference, tag: '', id: image } : { ...reference, tag: image, id: '' });
}

const refused = (status: Status): CheckedMapping => ({ kind: 'refused', status });
