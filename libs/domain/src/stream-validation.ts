import { type ScheduleProblem, validateControl } from './change-control.ts';
import { NAME_LENGTH_MAX, InvalidReference, parseReference } from './image-reference.ts';
import type { ImageStream, ImageStreamStatus, TagReference } from './image-stream.ts';
import type { ObjectMeta } from './object-meta.ts';
import { type FieldError, forbiddenField, invalidValue, required, tooLong } from './status.ts';
import { namespaceProblems, streamNameProblems } from './stream-names.ts';

/*
 * Field errors of a stream, in the order and the words of the reference. They need nothing but the stream; what else can be
 * wrong with a tag's source (no such stream, no access) is found where sources are resolved.
 */

/** Why images may not come from where a pull spec says; undefined where they may. */
export type Admission = (pullSpec: string, insecure: boolean) => string | undefined;
const EVERYTHING: Admission = () => undefined;
const ANY_SCHEDULE: ScheduleProblem = () => undefined;

/** Everything that is wrong with a stream's metadata and spec, as it is about to be stored (with its defaults). */
export function validateStream(
  stream: ImageStream,
  {
    namespace,
    admission = EVERYTHING,
    scheduleProblem = ANY_SCHEDULE,
  }: { namespace: string; admission?: Admission; scheduleProblem?: ScheduleProblem },
): FieldError[] {
  const errors = validateStreamName(stream.metadata, namespace);
  const repository = stream.spec.dockerImageRepository;
  if (repository) errors.push(...validateRepository(repository, admission));
  for (const tag of stream.spec.tags ?? []) {
    const path = `spec.tags[${tag.name}]`;
    errors.push(...validateTag(tag, path, admission));
    if (tag.control) errors.push(...validateControl(tag.control, `${path}.control`, scheduleProblem));
  }
  return errors;
}

/** What is wrong with one spec tag; `path` is where it stands, such as `spec.tags[latest]`, or `tag` of an ImageStreamTag. */
export function validateTag(tag: TagReference, path: string, admission: Admission = EVERYTHING): FieldError[] {
  const errors = validateLength(tag.name, `${path}.name`);
  if (tag.from) {
    const { kind, name = '' } = tag.from;
    if (!name) errors.push(required(`${path}.from.name`));
    switch (kind) {
      case 'DockerImage':
        if (name) errors.push(...validateSource(name, `${path}.from.name`, tag.importPolicy?.insecure === true, admission));
        break;
      case 'ImageStreamImage':
      case 'ImageStreamTag':
        if (tag.importPolicy?.scheduled)
          errors.push(
            invalidValue(
              `${path}.importPolicy.scheduled`,
              true,
              'only tags pointing to Docker repositories may be scheduled for background import',
            ),
          );
        break;
      default:
        errors.push(required(`${path}.from.kind`, "valid values are 'DockerImage', 'ImageStreamImage', 'ImageStreamTag'"));
    }
  }
  const policy = tag.referencePolicy?.type ?? '';
  if (policy !== 'Source' && policy !== 'Local')
    errors.push(invalidValue(`${path}.referencePolicy.type`, policy, 'valid values are "Source", "Local"'));
  const mode = tag.importPolicy?.importMode ?? '';
  if (mode !== '' && mode !== 'Legacy' && mode !== 'PreserveOriginal')
    errors.push(
      invalidValue(`${path}.importPolicy.importMode`, mode, "invalid import mode, valid modes are '', 'Legacy', 'PreserveOriginal'"),
    );
  return errors;
}

/** What is wrong with a status that a client writes: pull specs that the stored status does not have must parse. */
export function validateStatus(status: ImageStreamStatus, old?: ImageStreamStatus): FieldError[] {
  const known = new Set((old?.tags ?? []).flatMap((list) => (list.items ?? []).map((item) => item.dockerImageReference)));
  return (status.tags ?? []).flatMap((list) => [
    ...validateLength(list.tag, `status.tags[${list.tag}].tag`),
    ...(list.items ?? []).flatMap(({ dockerImageReference: pullSpec, image }, i) => {
      const path = `status.tags[${list.tag}].items[${i}]`;
      return [
        ...(known.has(pullSpec) ? [] : validatePullSpec(pullSpec, `${path}.dockerImageReference`)),
        ...validateLength(image, `${path}.image`),
      ];
    }),
  ]);
}

/** Names of tags and images are free, as far as an index can hold them. */
export const validateLength = (name: string, path: string): FieldError[] =>
  name.length > NAME_LENGTH_MAX ? [tooLong(path, NAME_LENGTH_MAX)] : [];

/** The pull spec does not parse, or nothing. */
export function validatePullSpec(pullSpec: string, path: string): FieldError[] {
  try {
    parseReference(pullSpec);
    return [];
  } catch (error) {
    if (!(error instanceof InvalidReference)) throw error;
    return [invalidValue(path, pullSpec, error.message)];
  }
}

/** What is wrong with the name of a stream, and with its namespace. */
export function validateStreamName(metadata: ObjectMeta, namespace: string): FieldError[] {
  const { name = '', generateName = '' } = metadata;
  const errors: FieldError[] = [];
  // The prefix must be a name by itself: that is stricter than what it generates, and what the reference does.
  if (generateName)
    errors.push(...streamNameProblems(generateName).map((problem) => invalidValue('metadata.generateName', generateName, problem)));
  if (!name) errors.push(required('metadata.name', 'name or generateName is required'));
  else errors.push(...streamNameProblems(name).map((problem) => invalidValue('metadata.name', name, problem)));
  if (!namespace) errors.push(required('metadata.namespace'));
  else errors.push(...namespaceProblems(namespace).map((problem) => invalidValue('metadata.namespace', namespace, problem)));
  if (`${namespace}/${name}`.length > NAME_LENGTH_MAX)
    errors.push(invalidValue('metadata.name', name, `'namespace/name' cannot be longer than ${NAME_LENGTH_MAX} characters`));
  return errors;
}

function validateRepository(repository: string, admission: Admission): FieldError[] {
  const path = 'spec.dockerImageRepository';
  const errors = validateSource(repository, path, false, admission);
  if (errors.length) return errors;
  const { tag, id } = parseReference(repository);
  if (tag) errors.push(invalidValue(path, repository, 'the repository name may not contain a tag'));
  if (id) errors.push(invalidValue(path, repository, 'the repository name may not contain an ID'));
  return errors;
}

/** A pull spec from which images are to come. */
function validateSource(pullSpec: string, path: string, insecure: boolean, admission: Admission): FieldError[] {
  const errors = validatePullSpec(pullSpec, path);
  const refusal = errors.length ? undefined : admission(pullSpec, insecure);
  return refusal === undefined ? errors : [forbiddenField(path, refusal)];
}
