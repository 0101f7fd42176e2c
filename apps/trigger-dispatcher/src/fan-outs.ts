import { Inject, Injectable } from '@nestjs/common';
import { Gauge, type Registry } from 'prom-client';
import type { TagMoved } from '@millrace/contracts/events';
import { Bell } from '@millrace/platform/backoff';
import { Bus } from '@millrace/platform/bus';
import { METRICS } from '@millrace/platform/health';
import { Store, type Tx } from '@millrace/platform/store';
import type { FanOutRow } from './tables.ts';

/** A move as it was told. */
export interface Told {
  move: TagMoved;
  traceparent: string;
  /** `tag.moved` or `pullspec.changed`. */
  event: string;
  eventId: string;
}

/** A move on its way to many followers. */
export interface FanOut extends Told {
  id: string;
  followers: FanOutRow['followers'];
  /** Followers up to this uid have it. */
  after: string | null;
}

/** Some followers that a transaction has brought a move to, in the order of their uids. */
export interface Part {
  brought: number;
  /** The uid of the last of them; null where none was left. */
  last: string | null;
  /** False when it was for all that were left. */
  more: boolean;
}

const NUDGE = 'trigger-dispatcher.fan-outs';

/*
 * Moves that more follow than the transaction that learns of them is for. They are stored in it, and brought to the followers in parts, each
 * a transaction of its own (fan-out-worker.ts) that holds the row's lock: that is the claim, and whoever is killed has given it up. A part moves
 * `after` in the commit of its effects, so no follower is left out or has a move twice. Of one tag the oldest goes first, and while there is one,
 * later moves of the tag queue behind it: each trigger has them in their order.
 */
@Injectable()
export class FanOuts {
  private readonly bell = new Bell();

  constructor(
    private readonly bus: Bus,
    store: Store,
    @Inject(METRICS) metrics: Registry,
  ) {
    const oldest = () =>
      store
        .query<{ n: string; age: string | null }>('SELECT count(*) AS n, extract(epoch FROM now() - min(created)) AS age FROM fan_out')
        .catch(() => []);
    new Gauge({
      name: 'millrace_fan_outs_waiting',
      help: 'Moves of tags that have not reached all of their many followers yet',
      registers: [metrics],
      async collect() {
        this.set(Number((await oldest())[0]?.n ?? Number.NaN));
      },
    });
    new Gauge({
      name: 'millrace_fan_out_oldest_seconds',
      help: 'Age of the oldest of them',
      registers: [metrics],
      async collect() {
        this.set(Number((await oldest())[0]?.age ?? 0));
      },
    });
  }

  /** Has the worker bring the moves to the followers of their tags. Moves of one tag must be given in their order. */
  put(tx: Tx, followers: FanOutRow['followers'], told: readonly Told[]): void {
    if (!told.length) return;
    tx.send(
      `WITH told AS (
         SELECT * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
                WITH ORDINALITY AS one (namespace, stream, tag, event, event_id, move, traceparent, n)
       ), superseded AS (
         -- A workload takes what its tags mean now: a move that has reached none yet need not go out before a newer one.
         DELETE FROM fan_out WHERE id IN (
           SELECT o.id FROM fan_out o JOIN told USING (namespace, stream, tag) WHERE o.followers = $1 AND $1 = 'workloads' AND o.after IS NULL FOR UPDATE OF o SKIP LOCKED)
       )
       INSERT INTO fan_out (followers, namespace, stream, tag, event, event_id, move, traceparent)
       SELECT $1, namespace, stream, tag, event, event_id, move, traceparent FROM told ORDER BY n`,
      [
        followers,
        ...[told.map(({ move }) => move.namespace), told.map(({ move }) => move.stream), told.map(({ move }) => move.tag)],
        ...[told.map(({ event }) => event), told.map(({ eventId }) => eventId)],
        ...[told.map(({ move }) => JSON.stringify(move)), told.map(({ traceparent }) => traceparent)],
      ],
    );
    tx.afterCommit(() => {
      this.bell.ring();
      this.bus.nudge(NUDGE);
    });
  }

  /** The one to be worked on, locked: the oldest of its tag, and of those the one that has come least far, so that no tag holds up the others; or the one with this id. */
  async next(tx: Tx, id?: string): Promise<FanOut | undefined> {
    const [row] = await tx.query<Omit<FanOut, 'move'> & { move: string }>(
      `SELECT id, followers, event, event_id AS "eventId", move, traceparent, after FROM fan_out o
        WHERE NOT EXISTS (SELECT 1 FROM fan_out older WHERE older.followers = o.followers AND older.namespace = o.namespace AND older.stream = o.stream
                             AND older.tag = o.tag AND older.id < o.id)
          AND ($1::bigint IS NULL OR id = $1)
        ORDER BY brought, id LIMIT 1 FOR UPDATE OF o SKIP LOCKED`,
      [id ?? null],
    );
    return row && { ...row, move: JSON.parse(row.move) as TagMoved };
  }

  /** Notes in the transaction of a part that its followers have the move; with the last part it is over. */
  advance(tx: Tx, { id }: FanOut, { brought, last, more }: Part): void {
    if (more) tx.send('UPDATE fan_out SET after = $2, brought = brought + $3 WHERE id = $1', [id, last, brought]);
    else tx.send('DELETE FROM fan_out WHERE id = $1', [id]);
  }

  /** Resolves when something has been put, here or by another instance, or after `ms`. */
  wait(ms: number, signal: AbortSignal): Promise<void> {
    return this.bell.wait(ms, signal);
  }

  /** Hears of what other instances put. */
  listen(): void {
    this.bus.onNudge(NUDGE, () => this.bell.ring());
  }

  wake(): void {
    this.bell.ring();
  }
}
