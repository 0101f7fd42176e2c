import { ImageCreated, type MoveCause } from '@millrace/contracts/events';
import { configLabels, notableLabels } from '@millrace/domain/image-content';
import type { Image } from '@millrace/domain/image';
import { platformsOf } from '@millrace/domain/platform';
import type { Tx } from '@millrace/platform/store';

/** What an event tells of an image, and of which no more is kept once the image is stored. */
export type ImageTraits = Pick<ImageCreated, 'labels' | 'platforms' | 'mediaType' | 'size'>;

export function traitsOf(image: Image): ImageTraits {
  const size = image.dockerImageMetadata?.['Size'];
  return {
    labels: notableLabels(configLabels(image)),
    platforms: platformsOf(image),
    mediaType: image.dockerImageManifestMediaType || undefined,
    size: Number.isSafeInteger(size) && Number(size) > 0 ? Number(size) : undefined,
  };
}

/** Tells that an image is stored for the first time, and which tag brought it. `uid` is that of its row. */
export function tellCreated(
  tx: Tx,
  {
    namespace,
    stream,
    tag,
    image,
  }: { namespace: string; stream: string; tag: string; image: Pick<Image, 'metadata' | 'dockerImageReference'> },
  traits: ImageTraits,
  { uid, cause, traceparent }: { uid: string; cause: MoveCause; traceparent?: string },
): void {
  const now = new Date();
  tx.publishLater(
    ImageCreated,
    {
      ...{ namespace, stream, tag, image: image.metadata.name ?? '', uid },
      dockerImageReference: image.dockerImageReference ?? '',
      ...traits,
      cause,
      createdAt: now.toISOString(),
    },
    { id: uid, time: now, traceparent },
  );
}
