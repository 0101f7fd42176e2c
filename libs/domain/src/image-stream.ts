import { z } from 'zod';
import { Image } from './image.ts';
import { ObjectMeta, ObjectReference, optional } from './object-meta.ts';
import { TagControl, TagControlStatus } from './tag-control.ts';

export const IMAGE_GROUP = 'image.openshift.io';
export const IMAGE_API_VERSION = 'image.openshift.io/v1';

export const TagImportPolicy = z
  .object({
    insecure: optional(z.boolean()).describe('Whether the registry may speak plain HTTP or show a certificate nobody signed.'),
    scheduled: optional(z.boolean()).describe('Whether the tag is imported again from time to time.'),
    importMode: optional(z.string()).describe('Legacy (the default): one image of a manifest list; PreserveOriginal: all of it.'),
  })
  .meta({ id: 'TagImportPolicy', description: 'How an image is imported.' });
export const TagReferencePolicy = z
  .object({ type: optional(z.string()).describe('Source (the default): where the image came from; Local: the internal registry.') })
  .meta({ id: 'TagReferencePolicy', description: 'Which pull spec of an image is given out.' });

/** Whether the names of workloads are looked up in the stream. */
export const ImageLookupPolicy = z
  .object({ local: z.boolean().default(false).describe('Whether workloads of the namespace may name the stream as their image.') })
  .meta({ id: 'ImageLookupPolicy', description: 'Where names of images are looked up.' });

/** What a stream's spec says about one tag: where it comes from and how it is imported. */
export const TagReference = z
  .object({
    name: z.string().default('').describe('The tag.'),
    annotations: z.record(z.string(), z.string()).nullish().describe('Notes about the tag, such as its description; istags show them.'),
    from: optional(ObjectReference).describe(
      'What the tag points at: a DockerImage (a pull spec), an ImageStreamTag or an ImageStreamImage. Absent: it moves by pushes alone.',
    ),
    reference: optional(z.boolean()).describe('Whether the tag is a name for a pull spec and nothing is imported.'),
    generation: z.int().nullish().describe('Generation of the spec at which the tag last changed. 0 asks for an import.'),
    importPolicy: optional(TagImportPolicy).describe('How the image is imported.'),
    referencePolicy: optional(TagReferencePolicy).describe('Which pull spec is given out.'),
    control: optional(TagControl).describe('What holds back the images that come for the tag.'),
  })
  .meta({ id: 'TagReference', description: 'One tag of the spec: where it comes from and how it is imported.' });
export type TagReference = z.infer<typeof TagReference>;

const [FIRST, LAST] = [Date.parse('0001-01-01T00:00:00Z'), Date.parse('9999-12-31T23:59:59Z')];
/** RFC 3339 with an offset, kept in whole seconds of UTC, within four digits of years. */
const Instant = z.iso
  .datetime({ offset: true, error: 'must be a time such as 2026-01-02T03:04:05Z' })
  .transform((time) => `${new Date(Math.min(Math.max(Date.parse(time), FIRST), LAST)).toISOString().slice(0, 19)}Z`);

/** One move of a tag. Items are newest first; `created` is RFC 3339 in whole seconds; `image` is "" for a reference-only tag. */
export const TagEvent = z
  .object({
    created: Instant.describe('When the tag moved there.'),
    dockerImageReference: z.string().default('').describe('The pull spec.'),
    image: z.string().default('').describe('The image; empty for a tag that is a reference only.'),
    generation: z.int().default(0).describe('Generation of the spec at which that was.'),
  })
  .meta({ id: 'TagEvent', description: 'One move of a tag.' });
export type TagEvent = z.infer<typeof TagEvent>;

export const TagEventCondition = z
  .object({
    type: z.string().describe('ImportSuccess.'),
    status: z.string().describe('True, False or Unknown.'),
    lastTransitionTime: optional(Instant).describe('Since when it is so.'),
    reason: optional(z.string()).describe('Why, in one word.'),
    message: optional(z.string()).describe('Why, for people.'),
    generation: z.int().default(0).describe('Generation of the spec that it is about.'),
  })
  .meta({ id: 'TagEventCondition', description: 'What is the matter with a tag.' });
export type TagEventCondition = z.infer<typeof TagEventCondition>;

export const NamedTagEventList = z
  .object({
    tag: z.string().describe('The tag.'),
    items: z.array(TagEvent).nullable().default(null).describe('Where it has been, newest first.'),
    conditions: optional(z.array(TagEventCondition)).describe('What is the matter with it.'),
    control: optional(TagControlStatus).describe('What waits for it; there where its spec has a control.'),
  })
  .meta({ id: 'NamedTagEventList', description: 'The history of one tag.' });
export type NamedTagEventList = z.infer<typeof NamedTagEventList>;

export const ImageStreamSpec = z
  .object({
    lookupPolicy: ImageLookupPolicy.default({ local: false }).describe('Where names of images are looked up.'),
    dockerImageRepository: optional(z.string()).describe('A repository that the stream stands for as a whole.'),
    tags: optional(z.array(TagReference)).describe('Tags that point somewhere, or have a policy.'),
  })
  .meta({ id: 'ImageStreamSpec', description: 'What the tags of a stream should point at.' });
export type ImageStreamSpec = z.infer<typeof ImageStreamSpec>;

export const ImageStreamStatus = z
  .object({
    dockerImageRepository: z.string().default('').describe('Where the stream is pushed to and pulled from.'),
    publicDockerImageRepository: optional(z.string()).describe('The same from outside.'),
    tags: optional(z.array(NamedTagEventList)).describe('The history of each tag.'),
  })
  .meta({ id: 'ImageStreamStatus', description: 'What the tags of a stream point at, and did.' });
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
  .meta({ id: 'ImageStream', description: 'A named set of tags. Each points at an image and keeps the history of where it pointed.' });
export type ImageStream = z.infer<typeof ImageStream>;

/** A virtual object: one tag with the image on top of it; `metadata.name` is `stream:tag`. */
export const ImageStreamTag = z
  .object({
    kind: z.string().optional(),
    apiVersion: z.string().optional(),
    metadata: ObjectMeta,
    tag: TagReference.nullish().describe('The tag of the spec; null where there is none.'),
    generation: z.int().default(0).describe('Generation of the newest move.'),
    lookupPolicy: ImageLookupPolicy.optional(),
    conditions: optional(z.array(TagEventCondition)).describe('What is the matter with the tag.'),
    image: optional(Image).describe('The image that the tag points at.'),
  })
  .meta({ id: 'ImageStreamTag', description: 'One tag of a stream with the image that it points at; its name is STREAM:TAG.' });
export type ImageStreamTag = z.infer<typeof ImageStreamTag>;

/** A virtual object: one tag as the stream has it, with its whole history; `metadata` is the stream's, under the name `stream:tag`. */
export const ImageTag = z
  .object({
    kind: z.string().optional(),
    apiVersion: z.string().optional(),
    metadata: ObjectMeta,
    spec: TagReference.nullish().describe('The tag of the spec; null where there is none.'),
    status: NamedTagEventList.nullish().describe('Its whole history; null where it has none.'),
    image: Image.nullish().describe('The image that the tag points at.'),
  })
  .meta({ id: 'ImageTag', description: 'One tag of a stream as it is, with its whole history; its name is STREAM:TAG.' });
export type ImageTag = z.infer<typeof ImageTag>;

/** What a registry posts after a push: `metadata.name` is the stream. */
export const ImageStreamMapping = z
  .object({
    kind: z.string().optional(),
    apiVersion: z.string().optional(),
    metadata: ObjectMeta.default({} as ObjectMeta),
    dockerImageRepository: optional(z.string()).describe('The repository by which a stream is looked for; a legacy form.'),
    image: optional(Image).describe('The image that was pushed.'),
    tag: optional(z.string()).describe('The tag that moves to it.'),
  })
  .meta({ id: 'ImageStreamMapping', description: 'Says that an image was pushed to a tag of a stream.' });
export type ImageStreamMapping = z.infer<typeof ImageStreamMapping>;
