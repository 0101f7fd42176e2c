import { z } from 'zod';
import { ImageSignature } from './image-signature.ts';
import { ObjectMeta, optional } from './object-meta.ts';

/** The raw manifest and config of an image are no secret and no state: they are taken, used and bounded by the request's size. */
const Text = optional(z.string());

export const ImageLayer = z
  .object({ name: z.string(), size: z.int().nonnegative().default(0), mediaType: z.string().default('') })
  .meta({ id: 'ImageLayer' });
export type ImageLayer = z.infer<typeof ImageLayer>;

/** One platform of a manifest list or index. */
export const ImageManifest = z
  .object({
    digest: z.string(),
    mediaType: z.string().default(''),
    manifestSize: z.int().default(0),
    architecture: z.string().default(''),
    os: z.string().default(''),
    variant: optional(z.string()),
  })
  .meta({ id: 'ImageManifest' });
export type ImageManifest = z.infer<typeof ImageManifest>;

/** `dockerImageMetadata`: what the image's config says, under Docker's key names; kept as it came. */
export const DockerImage = z.looseObject({ kind: z.string().optional(), apiVersion: z.string().optional() }).meta({ id: 'DockerImage' });
export type DockerImage = z.infer<typeof DockerImage>;

/** An immutable image; `metadata.name` is its manifest digest. Shape of `image.openshift.io/v1` Image. */
export const Image = z
  .object({
    kind: z.string().optional(),
    apiVersion: z.string().optional(),
    metadata: ObjectMeta.default({} as ObjectMeta),
    dockerImageReference: optional(z.string()),
    dockerImageMetadata: optional(DockerImage),
    dockerImageMetadataVersion: optional(z.string()),
    dockerImageManifest: Text,
    dockerImageConfig: Text,
    dockerImageLayers: optional(z.array(ImageLayer)),
    dockerImageManifests: optional(z.array(ImageManifest)),
    dockerImageManifestMediaType: optional(z.string()),
    dockerImageSignatures: optional(z.array(z.string())),
    signatures: optional(z.array(ImageSignature)),
  })
  .meta({ id: 'Image' });
export type Image = z.infer<typeof Image>;

/** Annotation that says in which order `dockerImageLayers` stands: always lowest first. */
export const LAYERS_ORDER_ANNOTATION = 'image.openshift.io/dockerLayersOrder';
/** Annotation of an image whose content lies in the internal registry. */
export const MANAGED_ANNOTATION = 'openshift.io/image.managed';
/** Annotation that says that the registry keeps the manifest itself, so that its text is not stored again. */
export const MANIFEST_STORED_ANNOTATION = 'image.openshift.io/manifestBlobStored';
