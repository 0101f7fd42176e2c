import { type Image, type ImageLayer, LAYERS_ORDER_ANNOTATION, MANIFEST_STORED_ANNOTATION } from './image.ts';
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

function fromManifest(image: Omit<Image, 'dockerImageManifest' | 'dockerImageConfig'>, manifestText: string, configText = '') {
  const manifest = asJson(manifestText);
  const descriptor = manifest && asObject(manifest['config']);
  const complete = image.dockerImageLayers?.length && Number(image.dockerImageMetadata?.['Size']) > 0 && image.dockerImageManifestMediaType;
  if (!manifest || !descriptor || complete) return image;
  const layers = (Array.isArray(manifest['layers']) ? manifest['layers'] : []).map(asLayer);
  const config = asJson(configText) ?? {};
  const said = Object.entries(METADATA_KEYS).flatMap(([from, to]) => (config[from] ? [[to, config[from]]] : []));
  const size = layers.reduce((sum, layer) => sum + layer.size, 0) + (Number(descriptor['size']) || configText.length);
  const mediaType = image.dockerImageManifestMediaType || String(manifest['mediaType'] ?? '') || undefined;
  return {
    ...image,
    metadata: { ...image.metadata, annotations: { ...image.metadata.annotations, [LAYERS_ORDER_ANNOTATION]: 'ascending' } },
    dockerImageMetadata: { ...image.dockerImageMetadata, ...Object.fromEntries(said), Id: String(descriptor['digest'] ?? ''), Size: size },
    dockerImageLayers: layers,
    dockerImageManifestMediaType: mediaType,
  };
}

function asLayer(descriptor: unknown): ImageLayer {
  const { digest, size, mediaType } = asObject(descriptor) ?? {};
  return { name: String(digest ?? ''), size: Math.max(0, Number(size) || 0), mediaType: String(mediaType ?? '') };
}

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
