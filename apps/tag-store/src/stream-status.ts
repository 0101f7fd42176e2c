import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { IMAGE_GROUP, type ImageStream, type NamedTagEventList } from '@millrace/domain/image-stream';
import { forbiddenField, invalid, notFound, StatusError } from '@millrace/domain/status';
import { nextStatus } from '@millrace/domain/stream-spec';
import { validateStatus } from '@millrace/domain/stream-validation';
import { valuesList } from '@millrace/platform/rows';
import { Store, type Tx } from '@millrace/platform/store';
import type { LockedStream } from './stream-rows.ts';
import { numbered, STREAMS, Streams } from './streams.ts';
import { Tags } from './tags.ts';
import { checkUpdate, sameJson, type WriteOptions } from './writes.ts';

const ROWS_PER_STATEMENT = 5_000;

/** The status subresource: histories as a client says they are. The spec stays as it is stored, and so does the generation. */
@Injectable()
export class StreamStatus {
  constructor(
    private readonly store: Store,
    private readonly streams: Streams,
    private readonly tags: Tags,
  ) {}

  async update(namespace: string, name: string, submitted: ImageStream, options: WriteOptions): Promise<ImageStream> {
    const written = await this.store.write(options.dryRun, async (tx) => {
      const old = await this.streams.lock(tx, namespace, name, 'whole');
      if (!old) throw new StatusError(notFound(STREAMS, name));
      checkUpdate(STREAMS, old.metadata, submitted.metadata);
      const status = nextStatus(old, submitted.status);
      const errors = validateStatus(status, old.status);
      if (errors.length) throw new StatusError(invalid(IMAGE_GROUP, 'ImageStream', name, errors));

      const { uid = '', generation = 0 } = old.metadata;
      const stream: LockedStream = { namespace, name, uid, generation, spec: old.spec };
      const before = new Map((old.status.tags ?? []).map((list) => [list.tag, list]));
      const wanted = (status.tags ?? []).filter((list) => list.items?.length || list.conditions?.length);
      // What waits for a tag is no client's to write.
      const gone = [...before.values()].filter(
        ({ tag, items, conditions }) => (items?.length || conditions?.length) && !wanted.some((list) => list.tag === tag),
      );
      for (const { tag } of gone) await this.tags.remove(tx, stream, tag);
      const changed = wanted.filter((list) => !sameJson({ ...list, control: null }, { ...before.get(list.tag), control: null }));
      for (const list of changed) await this.put(tx, stream, before.get(list.tag), list, options);
      const rewritten = [...gone, ...changed].map(({ tag }) => ({ stream, tag }));
      // What is shown of a control went with the list.
      await this.tags.settle(tx, {
        tags: rewritten.filter(({ tag }) => old.spec.tags?.some(({ name, control }) => name === tag && control)),
      });
      const recorded = changed.length || gone.length ? this.streams.record(tx, old, 'MODIFIED') : undefined;
      const wantedStream = { metadata: { ...submitted.metadata, namespace, name }, spec: old.spec };
      const written = await this.streams.write(tx, old, wantedStream, options.user);
      return { ...written, recorded: written.recorded ?? recorded };
    });
    return numbered(written);
  }

  /** Makes a tag's history what the list says. Where its newest item is another one, the tag moves to it like any other tag. */
  private async put(
    tx: Tx,
    stream: LockedStream,
    before: NamedTagEventList | undefined,
    list: NamedTagEventList,
    { user }: WriteOptions,
  ): Promise<void> {
    const { tag } = list;
    const items = list.items ?? [];
    const [top] = items;
    if (!top) {
      await this.tags.remove(tx, stream, tag);
    } else {
      if (!sameJson(top, before?.items?.[0])) {
        const cause = { kind: 'tag' as const, id: randomUUID(), actor: user.name };
        const [outcome] = await this.tags.move(tx, [{ stream, tag, event: top, cause }]);
        if (outcome === 'refused') throw denied(stream, tag, top.image);
      }
      if (!sameJson(items, await this.streams.history(tx, stream.uid, tag))) await this.rewrite(tx, stream, tag, items);
    }
    await tx.run(
      `INSERT INTO tag (stream_uid, name, conditions) VALUES ($1, $2, $3)
        ON CONFLICT (stream_uid, name) DO UPDATE SET conditions = excluded.conditions`,
      [stream.uid, tag, list.conditions?.length ? JSON.stringify(list.conditions) : null],
    );
  }

  /** Puts the items in place of those that are stored, newest first. */
  private async rewrite(tx: Tx, stream: LockedStream, tag: string, items: NonNullable<NamedTagEventList['items']>): Promise<void> {
    await tx.run('DELETE FROM tag_item WHERE stream_uid = $1 AND tag = $2', [stream.uid, tag]);
    const rows = items.map((item, i) => [items.length - i, item.image, item.dockerImageReference, item.created, item.generation]);
    for (let from = 0; from < rows.length; from += ROWS_PER_STATEMENT) {
      const casts = ['numeric', 'text', 'text', 'timestamptz', 'bigint'];
      const values = valuesList(rows.slice(from, from + ROWS_PER_STATEMENT), casts, 2);
      await tx.run(
        `INSERT INTO tag_item (stream_uid, tag, position, image, reference, created, generation)
          SELECT $1::uuid, $2::text, v.* FROM (VALUES ${values.sql}) AS v`,
        [stream.uid, tag, ...values.parameters],
      );
    }
    await tx.run(
      `UPDATE tag SET items = $3, top_position = $3, image = item.image, reference = item.reference, created = item.created, generation = item.generation
         FROM tag_item item
        WHERE tag.stream_uid = $1 AND name = $2 AND item.stream_uid = $1 AND item.tag = $2 AND item.position = $3::bigint::numeric`,
      [stream.uid, tag, items.length],
    );
  }
}

const denied = ({ name }: LockedStream, tag: string, image: string): StatusError =>
  new StatusError(
    invalid(IMAGE_GROUP, 'ImageStream', name, [forbiddenField(`status.tags[${tag}].items[0].image`, `${image} is denied for this tag`)]),
  );
