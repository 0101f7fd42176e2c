import { Injectable } from '@nestjs/common';
import { notFound, StatusError } from '@millrace/domain/status';
import { type LayeredImage, streamLayers } from '@millrace/domain/stream-layers';
import { Store } from '@millrace/platform/store';
import { STREAMS, Streams } from './streams.ts';

/** What a stream's repository holds: a registry asks for it before it hands out a blob, or mounts one from another stream. */
@Injectable()
export class Layers {
  constructor(
    private readonly store: Store,
    private readonly streams: Streams,
  ) {}

  /** Of all images of the whole history; in one snapshot, so that an image that is missing here is really gone. */
  get(namespace: string, name: string): Promise<object> {
    return this.store.transaction(
      async (tx) => {
        const [stream] = await this.streams.read(tx, 'namespace = $2 AND name = $3', [namespace, name], 1);
        if (!stream) throw new StatusError(notFound(STREAMS, name));
        const history = await tx.query<{ image: string }>(
          `SELECT image FROM tag_item WHERE stream_uid = $1 AND image <> '' GROUP BY image ORDER BY max(created) DESC, image`,
          [stream.metadata.uid],
        );
        const names = history.map((row) => row.image);
        const images = await tx.query<LayeredImage & { name: string; id: unknown }>(
          `WITH RECURSIVE wanted AS (
             SELECT unnest($1::text[]) AS name UNION SELECT child FROM image_child JOIN wanted ON parent = name
           )
           SELECT name, document::json -> 'dockerImageMetadata' -> 'Id' AS id, document::json -> 'dockerImageLayers' AS "dockerImageLayers",
                  document::json -> 'dockerImageManifests' AS "dockerImageManifests",
                  document::json -> 'dockerImageManifestMediaType' AS "dockerImageManifestMediaType"
             FROM image JOIN wanted USING (name)`,
          [names],
        );
        const known = new Map(images.map(({ name: image, id, ...parts }) => [image, { ...parts, dockerImageMetadata: { Id: id } }]));
        return { metadata: stream.metadata, ...streamLayers(names, known) };
      },
      { isolation: 'REPEATABLE READ', readOnly: true },
    );
  }
}
