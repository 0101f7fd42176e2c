import { z } from 'zod';
import { Image } from './image.ts';
import { ImageStream, TagImportPolicy, TagReferencePolicy } from './image-stream.ts';
import { ObjectMeta, ObjectReference, optional } from './object-meta.ts';
import { Status } from './status.ts';

/** One image that is to be looked at, by its pull spec. */
export const ImageImportSpec = z
  .object({
    from: optional(ObjectReference).describe('Where it is: a DockerImage, by its pull spec.'),
    to: optional(z.object({ name: z.string().default('') }).meta({ id: 'LocalObjectReference' })).describe(
      'The tag of the stream that is to point at it; the tag of the pull spec where it has one.',
    ),
    importPolicy: optional(TagImportPolicy).describe('How it is imported.'),
    referencePolicy: optional(TagReferencePolicy).describe('Which pull spec of it is given out.'),
    includeManifest: optional(z.boolean()).describe('Whether the answer holds its manifest and config as they are.'),
  })
  .meta({ id: 'ImageImportSpec', description: 'One image that is to be imported.' });
export type ImageImportSpec = z.infer<typeof ImageImportSpec>;

/** A repository of which the first tags are to be looked at. */
export const RepositoryImportSpec = z
  .object({
    from: optional(ObjectReference).describe('Where it is: a DockerImage, a pull spec without tag and digest.'),
    importPolicy: optional(TagImportPolicy).describe('How its images are imported.'),
    referencePolicy: optional(TagReferencePolicy).describe('Which pull spec of them is given out.'),
    includeManifest: optional(z.boolean()).describe('Whether the answer holds manifests and configs as they are.'),
  })
  .meta({ id: 'RepositoryImportSpec', description: 'A repository of which the first tags are to be imported.' });
export type RepositoryImportSpec = z.infer<typeof RepositoryImportSpec>;

export const ImageStreamImportSpec = z
  .object({
    import: z.boolean().default(false).describe('Whether what is found is written to the stream; false only looks.'),
    repository: optional(RepositoryImportSpec).describe('A whole repository.'),
    images: optional(z.array(ImageImportSpec)).describe('Single images.'),
  })
  .meta({ id: 'ImageStreamImportSpec', description: 'What is to be imported.' });
export type ImageStreamImportSpec = z.infer<typeof ImageStreamImportSpec>;

/** What came of one image. */
export const ImageImportStatus = z
  .object({
    status: Status.describe('Whether it was found, or why not.'),
    image: optional(Image).describe('The image.'),
    manifests: optional(z.array(Image)).describe('The images of its platforms, where the import keeps a manifest list as it is.'),
    tag: optional(z.string()).describe('The tag at which it was found; absent for a digest.'),
  })
  .meta({ id: 'ImageImportStatus', description: 'What came of one image.' });
export type ImageImportStatus = z.infer<typeof ImageImportStatus>;

export const RepositoryImportStatus = z
  .object({
    status: Status.describe('Whether the repository was found, or why not.'),
    images: optional(z.array(ImageImportStatus)).describe('What came of each tag.'),
    additionalTags: optional(z.array(z.string())).describe('Tags that were not looked at, because there are too many.'),
  })
  .meta({ id: 'RepositoryImportStatus', description: 'What came of a repository.' });
export type RepositoryImportStatus = z.infer<typeof RepositoryImportStatus>;

export const ImageStreamImportStatus = z
  .object({
    import: optional(ImageStream).describe('The stream as the import left it.'),
    repository: optional(RepositoryImportStatus).describe('What came of the repository.'),
    images: optional(z.array(ImageImportStatus)).describe('What came of the images, in their order.'),
  })
  .meta({ id: 'ImageStreamImportStatus', description: 'What came of an import.' });
export type ImageStreamImportStatus = z.infer<typeof ImageStreamImportStatus>;

/** A request, answered at once: looks at images in registries and, if asked to, puts them into the tags of the stream it names. */
export const ImageStreamImport = z
  .object({
    kind: z.string().optional(),
    apiVersion: z.string().optional(),
    metadata: ObjectMeta,
    spec: optional(ImageStreamImportSpec).transform((spec): ImageStreamImportSpec => spec ?? { import: false }),
    status: optional(ImageStreamImportStatus),
  })
  .meta({ id: 'ImageStreamImport', description: 'Looks at images in registries and puts them into the tags of the stream that it names.' });
export type ImageStreamImport = z.infer<typeof ImageStreamImport>;
