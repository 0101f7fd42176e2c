import { Inject, Injectable } from '@nestjs/common';
import { type MoveCause, PullSpecChanged, type TagMoved } from '@millrace/contracts/events';
import type { ChangeDecision, Verdict } from '@millrace/domain/change-control';
import type { ImageStream, TagEvent } from '@millrace/domain/image-stream';
import { pullSpecOf } from '@millrace/domain/pull-spec';
import { Clock } from '@millrace/platform/clock';
import type { Log } from '@millrace/platform/log';
import { CONFIG, LOG } from '@millrace/platform/service';
import { Store, type Tx } from '@millrace/platform/store';
import { Changes } from './changes.ts';
import type { TagStoreConfig } from './config.ts';
import { decided } from './controlled-tag.ts';
import { labelsOf } from './image-rows.ts';
import { lockStreams, type LockedStream, repositoryOf, type StreamKey } from './stream-rows.ts';
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

/**
 * `moved`: a tag.moved was told. `changed`: the history is another, but the tag means what it meant. `waits`, `refused`: the tag's control holds the
 * change back, or does not take it.
 */
export type TagOutcome = 'moved' | 'changed' | 'unchanged' | 'waits' | 'refused';

/** What makes what waits for tags be decided about. */
export interface Settling {
  tags: readonly Pick<TagChange, 'stream' | 'tag'>[];
  /** Who brought it about. */
  by?: string;
  /** Of the controls only what people mean is heard: hold, pause and deny. */
  force?: boolean;
  /** Said about the newest change of each, where that is still the image that was meant. */
  verdict?: Verdict & { image: string };
}

@Injectable()
export class Tags {
  constructor(
    private readonly store: Store,
    private readonly changes: Changes,
    @Inject(CONFIG) private readonly config: Pick<TagStoreConfig, 'INTERNAL_REGISTRY_HOST' | 'CDEVENTS'>,
    @Inject(LOG) private readonly log: Log,
    private readonly clock: Clock,
  ) {}

  /** Locks the rows of the streams that exist; the keys of the answer are {@link streamKey}. */
  lock(tx: Tx, keys: readonly StreamKey[]): Promise<Map<string, LockedStream>> {
    return lockStreams(tx, keys);
  }

  /** Looks up the tags that are about to change, for a caller who has other questions to ask meanwhile. */
  async load(
    tx: Tx,
    changes: readonly Pick<TagChange, 'stream' | 'tag' | 'cause'>[],
    settling: readonly Pick<TagChange, 'stream' | 'tag'>[] = [],
  ): Promise<TagMoves> {
    const work = new TagMoves(tx, this.config, this.clock.now());
    await work.load(changes, settling);
    return work;
  }

  /**
   * Puts events on tags, lets the tags of the same stream that follow them follow, and tells a tag.moved for each that means another
   * image or pull spec. Answers in the order of `changes`; `loaded` is what {@link load} gave for them.
   */
  async move(tx: Tx, changes: readonly TagChange[], loaded?: TagMoves): Promise<TagOutcome[]> {
    return changes.length ? this.perform(tx, loaded ?? (await this.load(tx, changes)), changes) : [];
  }

  /** {@link move}, and decides anew about what waits for tags: because their control is another, time has come, or somebody says so. */
  async settle(tx: Tx, settling: Settling, changes: readonly TagChange[] = []): Promise<TagOutcome[]> {
    if (!settling.tags.length) return this.move(tx, changes);
    return this.perform(tx, await this.load(tx, changes, settling.tags), changes, settling);
  }

  private async perform(tx: Tx, work: TagMoves, changes: readonly TagChange[], settling?: Settling): Promise<TagOutcome[]> {
    const outcomes: TagOutcome[] = [];
    for (const change of changes) outcomes.push(await work.apply(change));
    for (const tag of settling?.tags ?? []) {
      await work.decideAnew(tag, settling);
      if (settling?.verdict && work.say(tag, settling.verdict)) await work.decideAnew(tag, settling);
    }
    work.write();
    await work.tell();
    tx.afterCommit(() => this.logMoves(work));
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

  private logMoves({ told, reasons }: TagMoves): void {
    for (const { namespace, stream, tag, generation, previous, current, cause, superseded } of told)
      this.log.info(
        { namespace, stream, tag, generation, image: current.image, previous: previous?.image, cause, superseded },
        'tag.moved',
      );
    for (const [{ stream, tag, event, cause }, reason] of reasons)
      this.log.info({ namespace: stream.namespace, stream: stream.name, tag, image: event.image, cause, reason }, 'tag.held');
  }

  /**
   * Takes a tag's history and conditions away. What its registries told before stays known, so that a repeat does not bring it back, and
   * the count of its moves goes on. False where there was nothing.
   */
  async remove(tx: Tx, stream: LockedStream, tag: string): Promise<boolean> {
    const cleared = await tx.run(
      `UPDATE tag SET items = 0, top_position = NULL, image = NULL, reference = NULL, created = NULL, generation = NULL, conditions = NULL, last_move = NULL,
              control = NULL, look_at = NULL, looked_at = NULL
        WHERE stream_uid = $1 AND name = $2 AND (items > 0 OR conditions IS NOT NULL OR control IS NOT NULL)`,
      [stream.uid, tag],
    );
    if (!cleared) return false;
    await this.forgetWaiting(tx, stream, tag);
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

  /** Nothing comes of what waits for a tag. What led to it stays known, so that a repeat does not bring it back. */
  async forgetWaiting(tx: Tx, { uid }: Pick<LockedStream, 'uid'>, tag: string): Promise<void> {
    await tx.run("UPDATE tag_change SET outcome = 'dropped', decided = $3 WHERE stream_uid = $1 AND tag = $2 AND outcome IS NULL", [
      ...[uid, tag, this.clock.now()],
    ]);
    await tx.run('UPDATE tag SET control = NULL, look_at = NULL, looked_at = NULL WHERE stream_uid = $1 AND name = $2', [uid, tag]);
  }

  /** What a tag's control says about an image that it is given now; undefined where it has none, or the image is what it has. */
  fate(
    stream: Pick<ImageStream, 'spec' | 'status'>,
    tag: string,
    { image, pullSpec }: { image: string; pullSpec: string },
  ): ChangeDecision | undefined {
    const control = stream.spec.tags?.find(({ name }) => name === tag)?.control;
    const top = stream.status.tags?.find((list) => list.tag === tag)?.items?.[0];
    if (!control || (top?.image === image && top.dockerImageReference === pullSpec)) return undefined;
    const now = this.clock.now();
    return decided(control, { image, since: now.toISOString(), verdicts: [] }, now);
  }

  /** The last tag.moved of a tag, with what to pull now, or null where it has never moved or is deleted. */
  async lastMove(tag: { namespace: string; stream: string; tag: string }): Promise<TagMoved | null> {
    const [known] = await this.known([tag]);
    return known?.move ?? null;
  }

  /** What tags mean, in the order of the question; null where there is no such stream. */
  async known(
    tags: readonly { namespace: string; stream: string; tag: string }[],
    on: Pick<Tx, 'query'> = this.store,
  ): Promise<(KnownTag | null)[]> {
    const rows = await on.query<KnownRow>(
      `SELECT k.n, s.uid, s.namespace, s.name, coalesce((s.spec -> 'lookupPolicy' ->> 'local')::boolean, false) AS local,
              s.spec ->> 'dockerImageRepository' AS repository, coalesce(t.moves, 0) AS moves, t.last_move,
              (SELECT e.spec -> 'referencePolicy' ->> 'type' FROM jsonb_array_elements(coalesce(s.spec -> 'tags', '[]')) AS e (spec)
                WHERE e.spec ->> 'name' = k.tag LIMIT 1) AS policy
         FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS k (namespace, stream, tag, n)
         JOIN stream s ON s.namespace = k.namespace AND s.name = k.stream
         LEFT JOIN tag t ON t.stream_uid = s.uid AND t.name = k.tag`,
      [tags.map((one) => one.namespace), tags.map((one) => one.stream), tags.map((one) => one.tag)],
    );
    const moves = new Map(rows.flatMap((row) => (row.last_move ? [[row.n, JSON.parse(row.last_move) as TagMoved] as const] : [])));
    const labels = moves.size
      ? await labelsOf(
          on,
          [...moves.values()].map((move) => move.current.image),
        )
      : new Map<string, Record<string, string>>();
    const known: (KnownTag | null)[] = tags.map(() => null);
    for (const { n, uid, namespace, name, local, repository, moves: count, policy } of rows) {
      const internal = this.config.INTERNAL_REGISTRY_HOST;
      const own = internal ? `${internal}/${namespace}/${name}` : (repository ?? '');
      const last = moves.get(n);
      const move = last && {
        ...last,
        pullSpec: pullSpecOf(last.current, { policy: policy ?? undefined, repository: own }),
        labels: labels.get(last.current.image) ?? {},
      };
      known[Number(n) - 1] = { streamUid: uid, local, repository: own, moves: Number(count), move: move ?? null };
    }
    return known;
  }

  /** Tells the tags of a changed stream whose image stays while what to pull for it becomes another text. */
  async tellPullSpecs(tx: Tx, before: ImageStream, stream: LockedStream, moved: ReadonlySet<string>): Promise<void> {
    const old = { namespace: stream.namespace, name: stream.name, spec: before.spec };
    const textOf = (of: typeof old, tag: string, top: TagEvent) =>
      pullSpecOf(top, {
        policy: of.spec.tags?.find(({ name }) => name === tag)?.referencePolicy?.type,
        repository: repositoryOf(of, this.config.INTERNAL_REGISTRY_HOST),
      });
    const tags = (before.status.tags ?? []).flatMap(({ tag, items }) => {
      const [top] = items ?? [];
      return top && !moved.has(tag) && textOf(old, tag, top) !== textOf(stream, tag, top) ? [tag] : [];
    });
    if (!tags.length) return;
    const { namespace, name } = stream;
    const known = await this.known(
      tags.map((tag) => ({ namespace, stream: name, tag })),
      tx,
    );
    for (const move of known.flatMap((one) => one?.move ?? []))
      tx.publishLater(PullSpecChanged, move, { id: `${move.streamUid}.${move.tag}.${move.generation}.${stream.generation}` });
  }
}

/** What is known of a tag of a stream that is there. */
export interface KnownTag {
  streamUid: string;
  local: boolean;
  repository: string;
  moves: number;
  move: TagMoved | null;
}

interface KnownRow {
  n: string;
  uid: string;
  namespace: string;
  name: string;
  local: boolean;
  repository: string | null;
  moves: string;
  last_move: string | null;
  policy: string | null;
}
