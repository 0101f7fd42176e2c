import { IMAGE_GROUP, type ImageStream, type TagReference } from './image-stream.ts';
import type { ImageImportSpec, ImageStreamImport, ImageStreamImportSpec, RepositoryImportSpec } from './image-stream-import.ts';
import { formatReference, InvalidReference, parseReference, tryParseReference } from './image-reference.ts';
import { validateLabels } from './labels.ts';
import { type FieldError, invalidValue, required } from './status.ts';
import { isImportable, observedGeneration, type StreamDefaults } from './stream-spec.ts';
import { validateStreamName } from './stream-validation.ts';
import { prioritizeTags } from './tag-priority.ts';

/* What is to be imported: by whoever posts an ImageStreamImport, and by a stream's spec on its own. */

export const IMPORTS = { group: IMAGE_GROUP, resource: 'imagestreamimports' };
/** When the stream was last imported, RFC 3339. Where it is missing, a repository is imported as a whole. */
export const CHECKED_ANNOTATION = 'openshift.io/image.dockerRepositoryCheck';
/** `"true"`: whatever the stream takes from registries may come over plain HTTP. */
export const INSECURE_ANNOTATION = 'openshift.io/image.insecureRepository';
/** Of a spec tag: which image of a manifest list is taken where one is to be chosen. */
export const PREFER_ARCH_ANNOTATION = 'importer.image.openshift.io/prefer-arch';
export const PREFER_OS_ANNOTATION = 'importer.image.openshift.io/prefer-os';
/** Stands for "any image": clients that only ask whether they may import send it. */
const ANYTHING = '*';

/** The import in the form in which it is answered: modes, policies and target tags filled in. */
export function defaultImport(sent: ImageStreamImport, defaults: StreamDefaults = {}): ImageStreamImport & { spec: ImageStreamImportSpec } {
  const { images, repository } = sent.spec;
  return {
    ...sent,
    spec: {
      import: sent.spec.import,
      ...(repository ? { repository: { ...withPolicies(repository, defaults) } } : {}),
      ...(images?.length ? { images: images.map((image) => defaultImage(image, defaults)) } : {}),
    },
  };
}

function defaultImage(image: ImageImportSpec, defaults: StreamDefaults): ImageImportSpec {
  const { to, includeManifest, ...rest } = withPolicies(image, defaults);
  const tag = to?.name ?? tryParseReference(image.from?.name ?? '')?.tag;
  return { ...rest, ...(to || tag ? { to: { name: tag ?? '' } } : {}), ...(includeManifest ? { includeManifest } : {}) };
}

function withPolicies<T extends RepositoryImportSpec>(
  { from, importPolicy, referencePolicy, ...rest }: T,
  { importMode = 'Legacy' }: StreamDefaults,
) {
  return {
    from,
    ...rest,
    importPolicy: {
      ...(importPolicy?.insecure ? { insecure: true } : {}),
      ...(importPolicy?.scheduled ? { scheduled: true } : {}),
      importMode: importPolicy?.importMode || importMode,
    },
    referencePolicy: { type: referencePolicy?.type || 'Source' },
  };
}

/** What is wrong with an import that has its defaults, in the order and the words of the reference. */
export function validateImport({ metadata, spec }: ImageStreamImport, { namespace }: { namespace: string }): FieldError[] {
  const { images = [], repository } = spec;
  const errors: FieldError[] = [];
  for (const [i, image] of images.entries()) {
    const at = `spec.images[${i}]`;
    errors.push(...validateSource(image, at, ({ name }) => (name ? [] : [required(`${at}.from.name`)])));
    if (image.to && !image.to.name) errors.push(invalidValue(`${at}.to.name`, '', 'the name of the target tag must be specified'));
  }
  if (repository) {
    const at = 'spec.repository';
    errors.push(
      ...validateSource(repository, at, ({ name, reference }) => {
        if (!name) return [required(`${at}.from.name`, 'container image references require a name')];
        if (!reference?.tag && !reference?.id) return [];
        return [invalidValue(`${at}.from.name`, name, 'you must specify an image repository, not a tag or ID')];
      }),
    );
  }
  if (!images.length && !repository)
    errors.push(invalidValue('spec.images', null, 'you must specify at least one image or a repository import'));
  errors.push(...validateStreamName(metadata, namespace), ...validateLabels(metadata));
  return errors;
}

type Source = { name: string; reference?: ReturnType<typeof parseReference> };

function validateSource(
  { from, importPolicy, referencePolicy }: RepositoryImportSpec,
  at: string,
  further: (source: Source) => FieldError[],
): FieldError[] {
  const name = from?.name ?? '';
  const errors: FieldError[] = [];
  if (from?.kind !== 'DockerImage') errors.push(invalidValue(`${at}.from.kind`, from?.kind ?? '', 'only DockerImage is supported'));
  else if (name && name !== ANYTHING) {
    try {
      errors.push(...further({ name, reference: parseReference(name) }));
    } catch (error) {
      if (!(error instanceof InvalidReference)) throw error;
      errors.push(invalidValue(`${at}.from.name`, name, error.message));
    }
  } else errors.push(...further({ name }));
  const mode = importPolicy?.importMode ?? '';
  if (!['', 'Legacy', 'PreserveOriginal'].includes(mode))
    errors.push(
      invalidValue(`${at}.importPolicy.importMode`, mode, "invalid import mode, valid modes are '', 'Legacy', 'PreserveOriginal'"),
    );
  const policy = referencePolicy?.type ?? '';
  if (!['', 'Source', 'Local'].includes(policy))
    errors.push(invalidValue(`${at}.referencePolicy.type`, policy, 'valid values are "Source", "Local"'));
  return errors;
}

/** Which tags of a repository are imported, best first, and those for which there is no room. A tag without a name means latest. */
export function tagsOfRepository(listed: readonly string[], most: number): { tags: string[]; additional: string[] } {
  const tags = prioritizeTags([...new Set(listed.map((tag) => tag || 'latest'))]);
  return { tags: tags.slice(0, most), additional: tags.slice(most) };
}

/** The pull spec of one tag of a repository, with the registry as it was written. */
export function tagOfRepository(repository: string, tag: string): string {
  return formatReference({ ...parseReference(repository), id: '', tag });
}

/** What a stream's spec wants from registries. */
export interface StreamPlan {
  /** There is something to import now. */
  import: boolean;
  /** The stream's repository is to be imported as a whole. */
  repository: boolean;
  /** Spec tags that are to be imported now. */
  tags: TagReference[];
}

/**
 * What is to be imported of a stream now. One that was never imported brings its repository as a whole, with all its tags that can be
 * imported; else it is the tags whose spec is newer than what was last imported, or tried. A tag without a generation never is, and goes along.
 */
export function planStream({ metadata, spec, status }: ImageStream): StreamPlan {
  const importable = (spec.tags ?? []).filter(isImportable);
  const checked = Boolean(metadata.annotations?.[CHECKED_ANNOTATION]);
  const repository = !checked && Boolean(spec.dockerImageRepository);
  if (repository) return { import: true, repository, tags: importable };
  const lists = new Map((status.tags ?? []).map((list) => [list.tag, list]));
  const isNewer = (tag: TagReference) => tag.generation != null && tag.generation > observedGeneration(lists.get(tag.name));
  if (checked && !importable.some(isNewer)) return { import: false, repository, tags: [] };
  const tags = importable.filter((tag) => tag.generation == null || isNewer(tag));
  return { import: tags.length > 0, repository, tags };
}
