import { Inject, Injectable } from '@nestjs/common';
import type { MoveCause, TagMoved } from '@millrace/contracts/events';
import type { TagEvent } from '@millrace/domain/image-stream';
import type { Log } from '@millrace/platform/log';
import { CONFIG, LOG } from '@millrace/platform/service';
import { Store, type Tx } from '@millrace/platform/store';
import { Changes } from './changes.ts';
import type { TagStoreConfig } from './config.ts';
import { labelsOf } from './image-rows.ts';
import { lockStreams, type LockedStream, type StreamKey } from './stream-rows.ts';
import { TagMoves } from './tag-moves.ts';

export { inSeconds, repositoryOf, streamKey, type LockedStream, type StreamKey } from './stream-rows.ts';

/*
 * How tags move: the one way in which images get into tags, whoever puts them there. It reads no more of a history than its newest
 * item, and for what comes late the few around its place, so a tag with 100,000 items costs what one with ten does. A batch of
 * hundreds of changes takes a handful of statements.
 */

/** What is to become of one tag. Changes of one call take effect in their order. */
export interface TagChange {
  stream: LockedStream;
  tag: string;
  /** The event that is put on the tag; with `source` and `observedAt` it takes its place in the order of that registry. */
  event: TagEvent;
  source?: string;
  observedAt?: string;
  /** `id` is the same for every repeat: a repeat changes nothing. */
  cause: MoveCause;
  /** The image is what the tag has, under another digest: the newest item names it from now on, and the tag does not move. */
  counterpart?: boolean;
  /** Labels of the image config; looked up where absent. */
  labels?: Record<string, string>;
  traceparent?: string;
}

/** `moved`: a tag.moved was told. `changed`: the history is another, but the tag means what it meant. */
export type TagOutcome = 'moved' | 'changed' | 'unchanged';

@Injectable()
export class Tags {
  constructor(
    private readonly store: Store,
    private readonly changes: Changes,
    @Inject(CONFIG) private readonly config: Pick<TagStoreConfig, 'INTERNAL_REGISTRY_HOST'>,
    @Inject(LOG) private readonly log: Log,
  ) {}

  /** Locks the rows of the streams that exist; the keys of the answer are {@link streamKey}. */
  lock(tx: Tx, keys: readonly StreamKey[]): Promise<Map<string, LockedStream>> {
    return lockStreams(tx, keys);
  }

  /** Looks up the tags that are about to change, for a caller who has other questions to ask meanwhile. */
  async load(tx: Tx, changes: readonly Pick<TagChange, 'stream' | 'tag' | 'cause'>[]): Promise<TagMoves> {
    const work = new TagMoves(tx, this.config.INTERNAL_REGISTRY_HOST);
    await work.load(changes);
    return work;
  }

  /**
   * Puts events on tags, lets the tags of the same stream that follow them follow, and tells a tag.moved for each that means another
   * image or pull spec. Answers in the order of `changes`; `loaded` is what {@link load} gave for them.
   */
  async move(tx: Tx, changes: readonly TagChange[], loaded?: TagMoves): Promise<TagOutcome[]> {
    if (!changes.length) return [];
    const work = loaded ?? (await this.load(tx, changes));
    const outcomes: TagOutcome[] = [];
    for (const change of changes) outcomes.push(await work.apply(change));
    work.write();
    await work.tell();
    tx.afterCommit(() => this.logMoves(work.told));
    for (const stream of work.shown)
      this.changes.record(tx, {
        resource: 'imagestreams',
        type: 'MODIFIED',
        namespace: stream.namespace,
        name: stream.name,
        uid: stream.uid,
      });
    return outcomes;
  }

  private logMoves(moves: readonly TagMoved[]): void {
    for (const { namespace, stream, tag, generation, previous, current, cause } of moves)
      this.log.info({ namespace, stream, tag, generation, image: current.image, previous: previous?.image, cause }, 'tag.moved');
  }

  /**
   * Takes a tag's history and conditions away. What its registries told before stays known, so that a repeat does not bring it back, and
   * the count of its moves goes on. False where there was nothing.
   */
  async remove(tx: Tx, stream: LockedStream, tag: string): Promise<boolean> {
    const cleared = await tx.run(
      `UPDATE tag SET items = 0, top_position = NULL, image = NULL, reference = NULL, created = NULL, generation = NULL, conditions = NULL, last_move = NULL
        WHERE stream_uid = $1 AND name = $2 AND (items > 0 OR conditions IS NOT NULL)`,
      [stream.uid, tag],
    );
    if (!cleared) return false;
    await tx.run('DELETE FROM tag_item WHERE stream_uid = $1 AND tag = $2', [stream.uid, tag]);
    this.changes.record(tx, {
      resource: 'imagestreams',
      type: 'MODIFIED',
      namespace: stream.namespace,
      name: stream.name,
      uid: stream.uid,
    });
    return true;
  }

  /** The last tag.moved of a tag, or null where it has never moved or is deleted. */
  async lastMove({ namespace, stream, tag }: { namespace: string; stream: string; tag: string }): Promise<TagMoved | null> {
    const [row] = await this.store.query<{ last_move: string | null }>(
      'SELECT t.last_move FROM stream s JOIN tag t ON t.stream_uid = s.uid WHERE s.namespace = $1 AND s.name = $2 AND t.name = $3',
      [namespace, stream, tag],
    );
    if (!row?.last_move) return null;
    const move = JSON.parse(row.last_move) as TagMoved;
    return { ...move, labels: (await labelsOf(this.store, [move.current.image])).get(move.current.image) ?? {} };
  }
}
