import { Injectable } from '@nestjs/common';
import { InvalidReference, isDigest } from '@millrace/domain/image-reference';
import { IMAGE_GROUP } from '@millrace/domain/image-stream';
import { badRequest, notFound, StatusError } from '@millrace/domain/status';
import { parseStreamImage } from '@millrace/domain/stream-names';
import { Store } from '@millrace/platform/store';
import { Images } from './images.ts';
import { meansImage } from './sources.ts';
import { Streams } from './streams.ts';
import { streamImageView } from './views.ts';

const STREAM_IMAGES = { group: IMAGE_GROUP, resource: 'imagestreamimages' };
const STREAM_IMAGE = { group: IMAGE_GROUP, resource: 'imagestreamimage' };

/** ImageStreamImages: any image of a stream's whole history, also the platform images of an index, by digest or its beginning. */
@Injectable()
export class StreamImages {
  constructor(
    private readonly store: Store,
    private readonly streams: Streams,
    private readonly images: Images,
  ) {}

  async get(namespace: string, fullName: string): Promise<object> {
    const { name, id } = nameOf(fullName);
    const [stream] = await this.streams.read(this.store, 'namespace = $2 AND name = $3', [namespace, name], 1);
    if (!stream) throw new StatusError(notFound(STREAM_IMAGES, name));
    const found = await this.newestMatch(stream.metadata.uid ?? '', id);
    if (!found) throw new StatusError(notFound(STREAM_IMAGE, fullName));
    const image = await this.images.find(this.store, found);
    if (!image) throw new StatusError(notFound(STREAM_IMAGES, found));
    return streamImageView(stream, fullName, image);
  }

  /** Of several images that the text could mean, the newest counts. */
  private async newestMatch(streamUid: string, id: string): Promise<string | undefined> {
    const is = (image: string) => (isDigest(id) ? `${image} = $2` : meansImage(image, '$2'));
    const [row] = await this.store.query<{ image: string }>(
      `SELECT image FROM (
         SELECT image, created FROM tag_item WHERE stream_uid = $1 AND ${is('image')}
         UNION ALL
         SELECT child, created FROM tag_item JOIN image_child ON parent = image WHERE stream_uid = $1 AND ${is('child')}
       ) AS found ORDER BY created DESC, image LIMIT 1`,
      [streamUid, id],
    );
    return row?.image;
  }
}

function nameOf(fullName: string): { name: string; id: string } {
  try {
    return parseStreamImage(fullName);
  } catch (error) {
    if (error instanceof InvalidReference) throw new StatusError(badRequest('ImageStreamImages must be retrieved with <name>@<id>'));
    throw error;
  }
}
