import { Injectable } from '@nestjs/common';
import { aliveSql } from '@millrace/platform/lease';
import { Store, type Tx } from '@millrace/platform/store';

/** A push that is to be stored: one to be looked up, or what could not be read, with the reason. */
export interface NewPush {
  eventId: string;
  repository: string;
  tag: string;
  digest: string;
  mediaType: string;
  occurredAt: string;
  actor?: string;
  origin?: string;
  traceparent: string;
  /** Absent: it waits to be looked up. */
  quarantined?: { reason: string; body: string };
}

/** A push that this instance looks up, and nobody else. */
export interface ClaimedPush {
  id: string;
  registry: string;
  event_id: string;
  repository: string;
  tag: string;
  digest: string;
  occurred_at: string;
  actor: string | null;
  traceparent: string;
  /** Failed ones so far. */
  attempts: number;
  /** Since it was told, or last replayed. */
  age_ms: number;
  claimed_by: number;
}

const CLAIMED = `id, registry, event_id, repository, tag, digest, occurred_at, actor, traceparent, attempts, claimed_by,
  (extract(epoch FROM now() - since) * 1000)::float8 AS age_ms`;
const SAME_TAG = 'o.registry = p.registry AND o.repository = p.repository AND o.tag = p.tag';

/**
 * The pushes that wait, in Postgres, shared by all instances. Pushes of one tag are handed out one after the other, in the order in which
 * they were told: a later one has no `next_attempt_at` until the earlier one has ended.
 */
@Injectable()
export class PushQueue {
  constructor(private readonly store: Store) {}

  /**
   * Stores what one notification told, in one statement; what is known already changes nothing. Up to `free` pushes that need not wait for
   * another are claimed for `instance` in the same breath. `waiting` is how many more were stored that wait to be looked up.
   */
  async add(
    registry: string,
    pushes: readonly NewPush[],
    by?: { instance: number; free: number },
  ): Promise<{ claimed: ClaimedPush[]; waiting: number; quarantined: number; repeated: number }> {
    const rows = await this.store.query<ClaimedPush & { state: string }>(...insertion(registry, pushes, by));
    const claimed = rows.filter((row) => row.claimed_by !== null);
    const quarantined = rows.filter((row) => row.state === 'quarantined').length;
    const behind = rows.filter((row) => row.claimed_by === null && row.state === 'pending');
    for (const { repository, tag } of new Map(behind.map((row) => [`${row.repository}:${row.tag}`, row])).values())
      await this.unblock(registry, repository, tag);
    return { claimed, quarantined, waiting: rows.length - claimed.length - quarantined, repeated: pushes.length - rows.length };
  }

  /** Up to `limit` pushes that are due, oldest first, of which none has an earlier one of its tag before it. */
  claim(registry: string, limit: number, instance: number): Promise<ClaimedPush[]> {
    return this.store.query<ClaimedPush>(
      `UPDATE push SET claimed_by = $3 WHERE id IN (
         SELECT p.id FROM push p
          WHERE p.registry = $1 AND p.state = 'pending' AND p.claimed_by IS NULL AND p.next_attempt_at <= now()
            AND NOT EXISTS (SELECT 1 FROM push o WHERE o.state = 'pending' AND ${SAME_TAG} AND o.id < p.id)
          ORDER BY p.next_attempt_at, p.id LIMIT $2 FOR UPDATE SKIP LOCKED)
       RETURNING ${CLAIMED}`,
      [registry, limit, instance],
    );
  }

  /**
   * Ends a push; the next one of its tag becomes due. False where it is no longer ours to end: another instance has taken it over, somebody
   * has dropped it, or an earlier one of its tag was replayed meanwhile.
   */
  async end(
    tx: Tx,
    push: ClaimedPush,
    as: { state: 'mapped' } | { state: 'quarantined'; reason: string },
  ): Promise<{ ended: boolean; next: boolean }> {
    const [row] = await tx.query<{ ended: boolean; next: boolean }>(
      `WITH ended AS (
         UPDATE push p SET state = $3, reason = $4, attempts = attempts + 1, claimed_by = NULL, next_attempt_at = NULL, ended = now()
          WHERE p.id = $1 AND p.claimed_by = $2 AND p.state = 'pending'
            AND NOT EXISTS (SELECT 1 FROM push o WHERE o.state = 'pending' AND ${SAME_TAG} AND o.id < p.id)
         RETURNING p.*),
       next AS (
         UPDATE push SET next_attempt_at = now()
          WHERE id = (SELECT min(o.id) FROM push o JOIN ended p ON ${SAME_TAG} WHERE o.state = 'pending' AND o.id > p.id)
         RETURNING id)
       SELECT EXISTS (SELECT 1 FROM ended) AS ended, EXISTS (SELECT 1 FROM next) AS next`,
      [push.id, push.claimed_by, as.state, as.state === 'quarantined' ? as.reason : null],
    );
    return row ?? { ended: false, next: false };
  }

  /**
   * Makes the oldest push of a tag due that still waits for one which has ended. To be called after the commit of an end that saw no next push, and
   * after the commit that stored a push behind another: of two that happen at the same time, neither sees the other, but the later call sees both.
   */
  async unblock(registry: string, repository: string, tag: string): Promise<boolean> {
    const rows = await this.store.query(
      `UPDATE push SET next_attempt_at = now()
        WHERE id = (SELECT min(id) FROM push WHERE state = 'pending' AND registry = $1 AND repository = $2 AND tag = $3)
          AND state = 'pending' AND claimed_by IS NULL AND next_attempt_at IS NULL RETURNING id`,
      [registry, repository, tag],
    );
    return rows.length > 0;
  }

  /** Puts a failed push back, to be tried again after `delayMs`. */
  async retry(push: ClaimedPush, delayMs: number, reason: string): Promise<void> {
    await this.store.query(
      `UPDATE push SET attempts = attempts + 1, reason = $3, claimed_by = NULL, next_attempt_at = now() + $4 * interval '1 millisecond'
        WHERE id = $1 AND claimed_by = $2`,
      [push.id, push.claimed_by, reason, delayMs],
    );
  }

  /** Puts a push back as it was. */
  async release(push: ClaimedPush): Promise<void> {
    await this.store.query('UPDATE push SET claimed_by = NULL, next_attempt_at = now() WHERE id = $1 AND claimed_by = $2', [
      push.id,
      push.claimed_by,
    ]);
  }

  /** The registry answers again: what waits for its next try need not wait on. Resolves to how many. */
  async hasten(registry: string): Promise<number> {
    const rows = await this.store.query(
      `UPDATE push SET next_attempt_at = now() WHERE registry = $1 AND state = 'pending' AND claimed_by IS NULL AND next_attempt_at > now() RETURNING id`,
      [registry],
    );
    return rows.length;
  }

  /** Frees what a killed instance had claimed, and what nothing holds back any more. Resolves to the registries where there was something. */
  async sweep(): Promise<string[]> {
    const rows = await this.store.query<{ registry: string }>(
      `WITH gone AS (
         SELECT claimed_by FROM (SELECT DISTINCT claimed_by FROM push WHERE state = 'pending' AND claimed_by IS NOT NULL) c
          WHERE NOT ${aliveSql('c.claimed_by')}),
       freed AS (
         UPDATE push SET claimed_by = NULL, next_attempt_at = now()
          WHERE state = 'pending' AND claimed_by IN (SELECT claimed_by FROM gone) RETURNING registry),
       -- Told at the very moment at which the push before it ended.
       unblocked AS (
         UPDATE push p SET next_attempt_at = now()
          WHERE p.state = 'pending' AND p.claimed_by IS NULL AND p.next_attempt_at IS NULL
            AND NOT EXISTS (SELECT 1 FROM push o WHERE o.state = 'pending' AND ${SAME_TAG} AND o.id < p.id) RETURNING registry)
       SELECT registry FROM freed UNION SELECT registry FROM unblocked`,
    );
    return rows.map((row) => row.registry);
  }

  /** Deletes what became a mapping before the given age; resolves to how many rows, at most a batch. */
  async clean(hours: number): Promise<number> {
    const rows = await this.store.query(
      `DELETE FROM push WHERE id IN (
         SELECT id FROM push WHERE state = 'mapped' AND ended < now() - make_interval(hours => $1) ORDER BY ended LIMIT 5000) RETURNING id`,
      [hours],
    );
    return rows.length;
  }

  /** By registry, how many pushes wait and since when the oldest of them, in seconds. */
  waiting(): Promise<{ registry: string; count: number; oldest: number }[]> {
    return this.store.query(
      `SELECT registry, count(*)::int AS count, extract(epoch FROM now() - min(received))::float8 AS oldest FROM push WHERE state = 'pending' GROUP BY registry`,
    );
  }
}

function insertion(registry: string, pushes: readonly NewPush[], by?: { instance: number; free: number }): [string, unknown[]] {
  const column = <T>(of: (push: NewPush) => T) => pushes.map(of);
  return [
    `WITH given AS (
       SELECT *, reason IS NULL AND (row_number() OVER (PARTITION BY repository, tag, reason IS NULL ORDER BY n) > 1
           OR EXISTS (SELECT 1 FROM push o WHERE o.state = 'pending' AND o.registry = $1 AND o.repository = g.repository AND o.tag = g.tag)) AS blocked
         FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[])
           WITH ORDINALITY AS g (event_id, repository, tag, digest, media_type, occurred_at, actor, origin, traceparent, reason, body, n))
     INSERT INTO push (registry, event_id, repository, tag, digest, media_type, occurred_at, actor, origin, traceparent, reason, body,
                       state, next_attempt_at, claimed_by, ended)
     SELECT $1, event_id, repository, tag, digest, media_type, occurred_at, actor, origin, traceparent, reason, body,
            CASE WHEN reason IS NULL THEN 'pending' ELSE 'quarantined' END,
            CASE WHEN reason IS NULL AND NOT blocked THEN now() END,
            CASE WHEN reason IS NULL AND NOT blocked AND n <= $13 THEN $14::integer END,
            CASE WHEN reason IS NOT NULL THEN now() END
       FROM given ORDER BY n
     ON CONFLICT (registry, event_id) DO NOTHING
     RETURNING ${CLAIMED}, state`,
    [
      registry,
      column((p) => p.eventId),
      column((p) => p.repository),
      column((p) => p.tag),
      column((p) => p.digest),
      column((p) => p.mediaType),
      column((p) => p.occurredAt),
      column((p) => p.actor ?? null),
      column((p) => p.origin ?? null),
      column((p) => p.traceparent),
      column((p) => p.quarantined?.reason.slice(0, 2_000) ?? null),
      column((p) => p.quarantined?.body ?? null),
      by?.free ?? 0,
      by?.instance ?? null,
    ],
  ];
}
