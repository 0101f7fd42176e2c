import { type Image, type ImageLayer, LAYERS_ORDER_ANNOTATION, MANIFEST_STORED_ANNOTATION } from './image.ts';
import { validateSignature } from './image-signature.ts';
import { type FieldError, invalidValue, required } from './status.ts';
import { pathSegmentProblems } from './stream-names.ts';
import { validatePullSpec } from './stream-validation.ts';

/** What an image that somebody hands in must have, and what is filled in before it is kept for ever. */

const DIGEST_PATTERN = /^[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}$/;
const MEDIA_TYPE_PATTERN = /^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}\/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$/;

/** Field errors of an image, in the order and the words of the reference; `path` is where it stands, such as `image`, or '' for an object. */
export function validateImage(image: Image, path = ''): FieldError[] {
  const at = (field: string) => (path ? `${path}.${field}` : field);
  const { name = '' } = image.metadata;
  const errors: FieldError[] = [];
  if (!name) errors.push(required(at('metadata.name'), 'name or generateName is required'));
  else errors.push(...pathSegmentProblems(name).map((problem) => invalidValue(at('metadata.name'), name, problem)));
  if (!image.dockerImageReference) errors.push(required(at('dockerImageReference')));
  else errors.push(...validatePullSpec(image.dockerImageReference, at('dockerImageReference')));
  (image.signatures ?? []).forEach((signature, i) => errors.push(...validateSignature(signature, at(`signatures[${i}]`))));
  const manifests = image.dockerImageManifests ?? [];
  manifests.forEach((manifest, i) => {
    const of = (field: string) => at(`dockerImageManifests[${i}].${field}`);
    if (!DIGEST_PATTERN.test(manifest.digest))
      errors.push(invalidValue(of('digest'), manifest.digest, 'digest does not conform with OCI image specification'));
    if (!MEDIA_TYPE_PATTERN.test(manifest.mediaType))
      errors.push(invalidValue(of('mediaType'), manifest.mediaType, 'media type does not conform to RFC6838'));
    if (!manifest.architecture) errors.push(required(of('architecture')));
    if (!manifest.os) errors.push(required(of('os')));
    if (manifest.manifestSize < 0) errors.push(invalidValue(of('size'), manifest.manifestSize, 'manifest size cannot be negative'));
  });
  const layers = image.dockerImageLayers ?? [];
  if (manifests.length && layers.length) {
    const shown = layers.map(({ name: layer, size, mediaType }) => ({ Name: layer, LayerSize: size, MediaType: mediaType }));
    errors.push(invalidValue(at('dockerImageLayers'), shown, 'dockerImageLayers should not be set when dockerImageManifests is set'));
  }
  return errors;
}

/**
 * The image as it is kept: with metadata, layers and size from the manifest and config that it brings, unless it says them itself.
 * Where the registry keeps the manifest, the texts are left out. A manifest that cannot be read adds nothing.
 */
export function completeImage(image: Image): Image {
  const { dockerImageManifest, dockerImageConfig, ...rest } = image;
  const filled = dockerImageManifest ? fromManifest(rest, dockerImageManifest, dockerImageConfig) : rest;
  const texts = image.metadata.annotations?.[MANIFEST_STORED_ANNOTATION] === 'true' ? {} : { dockerImageManifest, dockerImageConfig };
  return {
    ...filled,
    dockerImageMetadata: {
      Id: '',
      Created: null,
      ContainerConfig: {},
      ...filled.dockerImageMetadata,
      kind: 'DockerImage',
      apiVersion: 'image.openshift.io/1.0',
    },
    dockerImageMetadataVersion: filled.dockerImageMetadataVersion || '1.0',
    ...texts,
  };
}

/**
 * What an update leaves of an image: metadata and layers are what they were, whatever is sent; a manifest or config may be taken away, or
 * given where it is the very text that the image, or its manifest, names by digest. `isContentOf` answers that.
 */
export function updatedImage(old: Image, submitted: Image, isContentOf: (digest: string, text: string) => boolean): Image {
  const { name = '' } = old.metadata;
  const kept = (field: 'dockerImageManifest' | 'dockerImageConfig', digest: string) =>
    !submitted[field] || isContentOf(digest, submitted[field]) ? submitted[field] || undefined : old[field];
  const dockerImageManifest = kept('dockerImageManifest', name);
  const config = asObject(asJson(dockerImageManifest ?? '')?.['config']);
  return completeImage({
    ...submitted,
    metadata: { ...submitted.metadata, name },
    dockerImageMetadata: old.dockerImageMetadata,
    dockerImageMetadataVersion: old.dockerImageMetadataVersion,
    dockerImageLayers: old.dockerImageLayers,
    dockerImageSignatures: old.dockerImageSignatures ?? submitted.dockerImageSignatures,
    dockerImageManifest,
    dockerImageConfig: kept('dockerImageConfig', String(config?.['digest'] ?? '')),
  });
}

type Json = Record<string, unknown>;

/** Keys of a container config, and what they are called in `dockerImageMetadata`. */
const METADATA_KEYS = {
  parent: 'Parent',
  comment: 'Comment',
  created: 'Created',
  container: 'Container',
  container_config: 'ContainerConfig',
  docker_version: 'DockerVersion',
  author: 'Author',
  config: 'Config',
  architecture: 'Architecture',
} as const;

type WithoutTexts = Omit<Image, 'dockerImageManifest' | 'dockerImageConfig'>;

function fromManifest(image: WithoutTexts, manifestText: string, configText = ''): WithoutTexts {
  const manifest = asJson(manifestText);
  if (Array.isArray(manifest?.['manifests'])) return fromIndex(image, manifest['manifests']);
  const descriptor = manifest && asObject(manifest['config']);
  const complete = image.dockerImageLayers?.length && Number(image.dockerImageMetadata?.['Size']) > 0 && image.dockerImageManifestMediaType;
  if (!manifest || !descriptor || complete) return image;
  const layers = image.dockerImageLayers?.length ? image.dockerImageLayers : asList(manifest['layers']).map(asLayer);
  const config = asJson(configText) ?? {};
  const said = Object.entries(METADATA_KEYS).flatMap(([from, to]) => (config[from] ? [[to, config[from]]] : []));
  // A layer that occurs twice lies in the registry once.
  const sizes = new Map(layers.map((layer) => [layer.name, layer.size]));
  const size = [...sizes.values()].reduce((sum, one) => sum + one, Number(descriptor['size']) || configText.length);
  const mediaType = String(manifest['mediaType'] ?? '') || image.dockerImageManifestMediaType || undefined;
  return {
    ...image,
    metadata: { ...image.metadata, annotations: { ...image.metadata.annotations, [LAYERS_ORDER_ANNOTATION]: 'ascending' } },
    dockerImageMetadata: { ...image.dockerImageMetadata, ...Object.fromEntries(said), Id: String(descriptor['digest'] ?? ''), Size: size },
    dockerImageLayers: layers,
    dockerImageManifestMediaType: mediaType,
  };
}

/** An image of several platforms: it has their manifests, and no layers. */
function fromIndex(image: WithoutTexts, descriptors: readonly unknown[]): WithoutTexts {
  return {
    ...image,
    dockerImageMetadata: { ...image.dockerImageMetadata, Id: image.metadata.name ?? '' },
    dockerImageManifests: descriptors.map((one) => {
      const { digest, mediaType, size, platform } = asObject(one) ?? {};
      const { architecture, os, variant } = asObject(platform) ?? {};
      return {
        digest: String(digest ?? ''),
        mediaType: String(mediaType ?? ''),
        manifestSize: Number(size) || 0,
        architecture: String(architecture ?? ''),
        os: String(os ?? ''),
        ...(variant ? { variant: String(variant) } : {}),
      };
    }),
  };
}

function asLayer(descriptor: unknown): ImageLayer {
  const { digest, size, mediaType } = asObject(descriptor) ?? {};
  return { name: String(digest ?? ''), size: Math.max(0, Number(size) || 0), mediaType: String(mediaType ?? '') };
}

const asList = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);

const asObject = (value: unknown): Json | undefined =>
  value !== null && typeof value === 'object' && !Array.isArray(value) ? (value as Json) : undefined;

function asJson(text: string): Json | undefined {
  try {
    return asObject(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** Labels of the image config, as its builder set them. */
export function configLabels(image: Pick<Image, 'dockerImageMetadata'>): Record<string, string> {
  const labels = asObject(asObject(image.dockerImageMetadata?.['Config'])?.['Labels']) ?? {};
  // Of thousands of images a second: what is as it should be is not copied.
  if (Object.values(labels).every((value) => typeof value === 'string')) return labels as Record<string, string>;
  return Object.fromEntries(Object.entries(labels).flatMap(([name, value]) => (typeof value === 'string' ? [[name, value]] : [])));
}

/** What an event can carry of labels, in characters; beyond it the longest are left out. Commit and source URL are short. */
export const LABELS_LENGTH_MAX = 4_096;

/** The labels that an event tells: all, or where they are too many the shorter ones, in their order. */
export function notableLabels(labels: Record<string, string>, lengthMax = LABELS_LENGTH_MAX): Record<string, string> {
  const entries = Object.entries(labels);
  const length = ([name, value]: [string, string]) => name.length + value.length;
  let total = entries.reduce((sum, entry) => sum + length(entry), 0);
  if (total <= lengthMax) return labels;
  const dropped = new Set<string>();
  for (const entry of entries.toSorted((a, b) => length(b) - length(a))) {
    if (total <= lengthMax) break;
    total -= length(entry);
    dropped.add(entry[0]);
  }
  return Object.fromEntries(entries.filter(([name]) => !dropped.has(name)));
}
