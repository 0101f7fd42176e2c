import { Injectable } from '@nestjs/common';
import { type AfterCheck, backlogShift } from '@millrace/domain/import-schedule';
import { Clock } from '@millrace/platform/clock';
import { aliveSql } from '@millrace/platform/lease';
import { Store, type Tx } from '@millrace/platform/store';
import type { Place } from './followers.ts';

/** A check in hand, with what it needs to be made. */
export interface ClaimedCheck extends Place {
  id: string;
  insecure: boolean;
  importMode: string;
  credentials: string;
  digest: string | null;
  failures: number;
  told: string | null;
  announced: boolean;
  announcedDigest: string | null;
  looks: number;
  touched: string;
  /** Of those that follow; null where nobody does any more. */
  intervalMs: number | null;
  /** Of one that follows, whose secrets are used and whose pull spec this is. */
  namespace: string | null;
  source: string | null;
  lateMs: number;
  instance: number;
}

/** A check that was made, to be written down. */
export interface MadeCheck {
  check: ClaimedCheck;
  step: AfterCheck;
  /** Served to all that follow; null where some of them do not have it, undefined where nothing is known anew. */
  digest: string | null | undefined;
  reason: string | null;
  told: string | null;
}

const CLAIMED = `s.id, s.host, s.repository, s.reference, s.insecure, s.import_mode AS "importMode", s.credentials, s.digest, s.failures, s.told, s.announced,
  s.announced_digest AS "announcedDigest", s.looks, s.touched, s.claimed_by AS instance, $2 - extract(epoch FROM s.next_check_at)::float8 * 1000 AS "lateMs"`;
const UNCLAIMED_DUE = `claimed_by IS NULL AND next_check_at <= to_timestamp($2::float8 / 1000)`;

/** The checks in Postgres: which is due when, who has claimed it, what came of it. Times are the clock's that is given. */
@Injectable()
export class CheckQueue {
  constructor(
    private readonly store: Store,
    private readonly clock: Clock,
  ) {}

  /** Up to `limit` checks that are due: first those that were woken, then the others, those that are due longest in front. */
  async claim(instance: number, limit: number): Promise<ClaimedCheck[]> {
    return this.store.query<ClaimedCheck>(
      `WITH woken AS MATERIALIZED (
         SELECT id FROM scheduled_import WHERE woken AND ${UNCLAIMED_DUE} ORDER BY next_check_at LIMIT $3 FOR UPDATE SKIP LOCKED),
       turn AS MATERIALIZED (
         SELECT id FROM scheduled_import WHERE NOT woken AND ${UNCLAIMED_DUE} ORDER BY next_check_at
          LIMIT $3 - (SELECT count(*) FROM woken) FOR UPDATE SKIP LOCKED),
       claimed AS (
         UPDATE scheduled_import s SET claimed_by = $1, woken = false FROM (TABLE woken UNION ALL TABLE turn) due WHERE s.id = due.id
         RETURNING ${CLAIMED})
       SELECT c.*, f."intervalMs", f.namespace, f.source FROM claimed c CROSS JOIN LATERAL (
         SELECT min(t.interval_ms)::float8 AS "intervalMs", min(t.namespace) AS namespace,
                (array_agg(w.source ORDER BY t.namespace))[1] AS source
           FROM scheduled_tag t JOIN wanted_tag w USING (stream_uid, tag) WHERE t.import_id = c.id) f`,
      [instance, this.clock.now().getTime(), limit],
    );
  }

  /** Writes down checks that were made. What was changed from outside meanwhile stays as it was changed. */
  async finish(on: Pick<Tx, 'query'>, made: readonly MadeCheck[]): Promise<void> {
    const column = <T>(of: (one: MadeCheck) => T) => made.map(of);
    await on.query(
      `UPDATE scheduled_import s SET claimed_by = NULL, checked_at = to_timestamp($12::float8 / 1000),
              digest = CASE WHEN s.touched <> o.touched THEN NULL WHEN o.kept THEN s.digest ELSE o.digest END,
              changed_at = CASE WHEN o.changed AND s.digest IS NOT NULL THEN to_timestamp($12::float8 / 1000) ELSE s.changed_at END,
              failures = o.failures, refused = o.refused, reason = o.reason, told = o.told,
              announced = CASE WHEN s.touched <> o.touched THEN s.announced ELSE o.awaited END,
              announced_digest = CASE WHEN s.touched <> o.touched OR o.awaited THEN s.announced_digest END,
              looks = CASE WHEN s.touched <> o.touched THEN s.looks WHEN o.awaited THEN s.looks + 1 ELSE 0 END,
              next_check_at = CASE WHEN s.woken THEN s.next_check_at ELSE to_timestamp(o.at / 1000) END
         FROM unnest($1::bigint[], $2::int[], $3::bigint[], $4::text[], $5::boolean[], $6::boolean[], $7::int[], $8::boolean[], $9::text[], $10::text[], $11::boolean[],
                     $13::float8[])
              AS o (id, instance, touched, digest, kept, changed, failures, refused, reason, told, awaited, at)
        WHERE s.id = o.id AND s.claimed_by = o.instance`,
      [
        column(({ check }) => check.id),
        column(({ check }) => check.instance),
        column(({ check }) => check.touched),
        column(({ digest }) => digest ?? null),
        column(({ digest }) => digest === undefined),
        column(({ step }) => step.kind === 'changed'),
        column(({ check, step }) =>
          step.kind === 'failing' || step.kind === 'refused' ? step.failures : step.kind === 'unsent' ? check.failures : 0,
        ),
        column(({ step }) => step.kind === 'refused'),
        column(({ reason }) => reason?.slice(0, 1_000) ?? null),
        column(({ told }) => told),
        column(({ step }) => step.awaited),
        this.clock.now().getTime(),
        column(({ step }) => step.at),
      ],
    );
  }

  /** Gives claims back as they were; `forget` are those that nobody follows any more. */
  async release(checks: readonly ClaimedCheck[]): Promise<void> {
    await this.store.query('UPDATE scheduled_import SET claimed_by = NULL WHERE id = ANY ($1::bigint[]) AND claimed_by = $2', [
      checks.map(({ id }) => id),
      checks[0]?.instance ?? 0,
    ]);
  }

  /** Drops checks that nobody follows any more. */
  async forget(checks: readonly ClaimedCheck[]): Promise<void> {
    await this.store.query(
      `DELETE FROM scheduled_import s WHERE id = ANY ($1::bigint[]) AND NOT EXISTS (SELECT 1 FROM scheduled_tag t WHERE t.import_id = s.id)`,
      [checks.map(({ id }) => id)],
    );
    await this.release(checks);
  }

  /** What a killed instance had in hand is due again; resolves to how many. */
  async freeClaims(): Promise<number> {
    const freed = await this.store.query(
      `UPDATE scheduled_import SET claimed_by = NULL WHERE claimed_by IN (
         SELECT c.claimed_by FROM (SELECT DISTINCT claimed_by FROM scheduled_import WHERE claimed_by IS NOT NULL) c WHERE NOT ${aliveSql('c.claimed_by')}
       ) RETURNING id`,
    );
    return freed.length;
  }

  /** After a time in which nothing was looked at: moves what is overdue back, so that it is worked off as it would have been. */
  async spreadBacklog(): Promise<number> {
    const now = this.clock.now().getTime();
    const [oldest] = await this.store.query<{ at: number }>(
      `SELECT extract(epoch FROM next_check_at)::float8 * 1000 AS at FROM scheduled_import WHERE NOT woken AND claimed_by IS NULL ORDER BY next_check_at LIMIT 1`,
    );
    const shift = backlogShift(oldest?.at, now);
    if (!shift) return 0;
    // A statement of another instance that waits for these rows finds them moved, and lets them be.
    const moved = await this.store.query(
      `UPDATE scheduled_import SET next_check_at = next_check_at + $2 * interval '1 millisecond'
        WHERE NOT woken AND ${UNCLAIMED_DUE.replace('$2', '$1')} RETURNING id`,
      [now, shift],
    );
    return moved.length;
  }

  /** When the next check is due, in milliseconds; undefined where nothing is scheduled. */
  async nextDue(): Promise<number | undefined> {
    const [row] = await this.store.query<{ at: number | null }>(
      `SELECT extract(epoch FROM least(
         (SELECT min(next_check_at) FROM scheduled_import WHERE claimed_by IS NULL AND NOT woken),
         (SELECT min(next_check_at) FROM scheduled_import WHERE claimed_by IS NULL AND woken)))::float8 * 1000 AS at`,
    );
    return row?.at ?? undefined;
  }

  /** How many references there are in each state. */
  states(): Promise<{ state: string; count: number }[]> {
    return this.store.query(
      `SELECT CASE WHEN refused THEN 'refused' WHEN failures > 0 THEN 'failing' WHEN announced THEN 'awaited' ELSE 'scheduled' END AS state, count(*)::int AS count
         FROM scheduled_import GROUP BY 1`,
    );
  }

  /** Has a check made at once; false where there is none of that id. */
  async wake(tx: Tx, id: string): Promise<boolean> {
    const changed = await tx.run(
      'UPDATE scheduled_import SET woken = true, touched = touched + 1, next_check_at = to_timestamp($2::float8 / 1000) WHERE id = $1',
      [id, this.clock.now().getTime()],
    );
    return changed > 0;
  }
}
