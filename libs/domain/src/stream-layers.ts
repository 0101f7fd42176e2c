import { z } from 'zod';
import type { Image } from './image.ts';
import { ObjectMeta } from './object-meta.ts';

/** A blob of a stream's repository; `size` is null where nobody has told it. */
const Blob = z.object({ size: z.int().nullable(), mediaType: z.string() });
type Blob = z.infer<typeof Blob>;

/** What an image is made of, by digest. An index has manifests, and neither layers nor config. */
const ImageBlobs = z.object({
  imageMissing: z.boolean(),
  layers: z.array(z.string()).nullable(),
  config: z.string().nullable(),
  manifests: z.array(z.string()).optional(),
});
type ImageBlobs = z.infer<typeof ImageBlobs>;

/** What lies, or may be pulled, in the repository of a stream: a registry asks before it hands out or mounts a blob. */
export const ImageStreamLayers = z.object({
  kind: z.string().optional(),
  apiVersion: z.string().optional(),
  metadata: ObjectMeta.default({} as ObjectMeta),
  blobs: z.record(z.string(), Blob),
  images: z.record(z.string(), ImageBlobs),
});
export type StreamLayers = Pick<z.infer<typeof ImageStreamLayers>, 'blobs' | 'images'>;

/** What an image says of itself that matters here. */
export type LayeredImage = Pick<
  Image,
  'dockerImageMetadata' | 'dockerImageLayers' | 'dockerImageManifests' | 'dockerImageManifestMediaType'
>;

const SCHEMA_2 = 'application/vnd.docker.distribution.manifest.v2+json';
/** Media type of the config that belongs to a manifest of a media type; older manifests hold their config themselves. */
const CONFIG_TYPES: Record<string, string> = {
  [SCHEMA_2]: 'application/vnd.docker.container.image.v1+json',
  'application/vnd.oci.image.manifest.v1+json': 'application/vnd.oci.image.config.v1+json',
};

/** The blobs and images of a stream whose history names these images, and of the platform images of an index among them. */
export function streamLayers(history: readonly string[], known: ReadonlyMap<string, LayeredImage>): StreamLayers {
  const blobs = new Map<string, Blob>();
  const images = new Map<string, ImageBlobs>();
  const add = (digest: string, blob: Blob) => blobs.has(digest) || blobs.set(digest, blob);
  const names = [...history];
  // Grows while it is walked.
  for (const name of names) {
    if (images.has(name)) continue;
    const image = known.get(name);
    if (!image) {
      images.set(name, { imageMissing: true, layers: null, config: null });
      continue;
    }
    for (const layer of image.dockerImageLayers ?? []) add(layer.name, { size: layer.size, mediaType: layer.mediaType });
    const config = configOf(image);
    if (config) add(config.digest, { size: null, mediaType: config.mediaType });
    // The manifest is a blob too.
    add(name, { size: null, mediaType: image.dockerImageManifestMediaType || SCHEMA_2 });
    const parts = blobsOf(image);
    images.set(name, parts);
    names.push(...(parts.manifests ?? []));
  }
  return { blobs: sorted(blobs), images: sorted(images) };
}

function blobsOf(image: LayeredImage): ImageBlobs {
  const { dockerImageLayers, dockerImageManifests } = image;
  const layers = dockerImageLayers ?? [];
  const manifests = dockerImageManifests ?? [];
  return {
    imageMissing: false,
    layers: layers.length ? layers.map(({ name }) => name) : null,
    config: configOf(image)?.digest ?? null,
    ...(manifests.length ? { manifests: manifests.map(({ digest }) => digest) } : {}),
  };
}

function configOf({ dockerImageManifestMediaType = '', dockerImageMetadata }: LayeredImage) {
  const mediaType = CONFIG_TYPES[dockerImageManifestMediaType];
  const id = dockerImageMetadata?.['Id'];
  return mediaType && typeof id === 'string' && id ? { digest: id, mediaType } : undefined;
}

const sorted = <T>(entries: ReadonlyMap<string, T>): Record<string, T> =>
  Object.fromEntries([...entries].sort(([a], [b]) => (a < b ? -1 : 1)));
