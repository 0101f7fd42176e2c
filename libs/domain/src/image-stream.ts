import { z } from 'zod';
import { Image } from './image.ts';
import { ObjectMeta, ObjectReference, optional } from './object-meta.ts';

export const IMAGE_GROUP = 'image.openshift.io';
export const IMAGE_API_VERSION = 'image.openshift.io/v1';

export const TagImportPolicy = z
  .object({ insecure: optional(z.boolean()), scheduled: optional(z.boolean()), importMode: optional(z.string()) })
  .meta({ id: 'TagImportPolicy' });
export const TagReferencePolicy = z.object({ type: optional(z.string()) }).meta({ id: 'TagReferencePolicy' });
/** Whether images of the stream are found by its bare name. */
const ImageLookupPolicy = z.object({ local: z.boolean().default(false) }).meta({ id: 'ImageLookupPolicy' });

/** What a stream's spec says about one tag: where it comes from and how it is imported. */
export const TagReference = z
  .object({
    name: z.string().default(''),
    annotations: z.record(z.string(), z.string()).nullish(),
    from: optional(ObjectReference),
    reference: optional(z.boolean()),
    generation: z.int().nullish(),
    importPolicy: optional(TagImportPolicy),
    referencePolicy: optional(TagReferencePolicy),
  })
  .meta({ id: 'TagReference' });
export type TagReference = z.infer<typeof TagReference>;

const [FIRST, LAST] = [Date.parse('0001-01-01T00:00:00Z'), Date.parse('9999-12-31T23:59:59Z')];
/** RFC 3339 with an offset, kept in whole seconds of UTC, within four digits of years. */
const Instant = z.iso
  .datetime({ offset: true, error: 'must be a time such as 2026-01-02T03:04:05Z' })
  .transform((time) => `${new Date(Math.min(Math.max(Date.parse(time), FIRST), LAST)).toISOString().slice(0, 19)}Z`);

/** One move of a tag. Items are newest first; `created` is RFC 3339 in whole seconds; `image` is "" for a reference-only tag. */
export const TagEvent = z
  .object({
    created: Instant,
    dockerImageReference: z.string().default(''),
    image: z.string().default(''),
    generation: z.int().default(0),
  })
  .meta({ id: 'TagEvent' });
export type TagEvent = z.infer<typeof TagEvent>;

export const TagEventCondition = z
  .object({
    type: z.string(),
    status: z.string(),
    lastTransitionTime: optional(Instant),
    reason: optional(z.string()),
    message: optional(z.string()),
    generation: z.int().default(0),
  })
  .meta({ id: 'TagEventCondition' });
export type TagEventCondition = z.infer<typeof TagEventCondition>;

export const NamedTagEventList = z
  .object({ tag: z.string(), items: z.array(TagEvent).nullable().default(null), conditions: optional(z.array(TagEventCondition)) })
  .meta({ id: 'NamedTagEventList' });
export type NamedTagEventList = z.infer<typeof NamedTagEventList>;

export const ImageStreamSpec = z
  .object({
    lookupPolicy: ImageLookupPolicy.default({ local: false }),
    dockerImageRepository: optional(z.string()),
    tags: optional(z.array(TagReference)),
  })
  .meta({ id: 'ImageStreamSpec' });
export type ImageStreamSpec = z.infer<typeof ImageStreamSpec>;

export const ImageStreamStatus = z
  .object({
    dockerImageRepository: z.string().default(''),
    publicDockerImageRepository: optional(z.string()),
    tags: optional(z.array(NamedTagEventList)),
  })
  .meta({ id: 'ImageStreamStatus' });
export type ImageStreamStatus = z.infer<typeof ImageStreamStatus>;

/** A stream: a named set of tags. `spec.tags` and `status.tags` are sorted by tag name. */
export const ImageStream = z
  .object({
    kind: z.string().optional(),
    apiVersion: z.string().optional(),
    metadata: ObjectMeta,
    spec: optional(ImageStreamSpec).transform((spec): ImageStreamSpec => spec ?? { lookupPolicy: { local: false } }),
    status: optional(ImageStreamStatus).transform((status): ImageStreamStatus => status ?? { dockerImageRepository: '' }),
  })
  .meta({ id: 'ImageStream' });
export type ImageStream = z.infer<typeof ImageStream>;

/** A virtual object: one tag with the image on top of it; `metadata.name` is `stream:tag`. */
export const ImageStreamTag = z
  .object({
    kind: z.string().optional(),
    apiVersion: z.string().optional(),
    metadata: ObjectMeta,
    tag: TagReference.nullish(),
    generation: z.int().default(0),
    lookupPolicy: ImageLookupPolicy.optional(),
    conditions: optional(z.array(TagEventCondition)),
    image: optional(Image),
  })
  .meta({ id: 'ImageStreamTag' });
export type ImageStreamTag = z.infer<typeof ImageStreamTag>;

/** A virtual object: one tag as the stream has it, with its whole history; `metadata` is the stream's, under the name `stream:tag`. */
export const ImageTag = z
  .object({
    kind: z.string().optional(),
    apiVersion: z.string().optional(),
    metadata: ObjectMeta,
    spec: TagReference.nullish(),
    status: NamedTagEventList.nullish(),
    image: Image.nullish(),
  })
  .meta({ id: 'ImageTag' });
export type ImageTag = z.infer<typeof ImageTag>;

/** What a registry posts after a push: `metadata.name` is the stream. */
export const ImageStreamMapping = z
  .object({
    kind: z.string().optional(),
    apiVersion: z.string().optional(),
    metadata: ObjectMeta.default({} as ObjectMeta),
    dockerImageRepository: optional(z.string()),
    image: optional(Image),
    tag: optional(z.string()),
  })
  .meta({ id: 'ImageStreamMapping' });
export type ImageStreamMapping = z.infer<typeof ImageStreamMapping>;
