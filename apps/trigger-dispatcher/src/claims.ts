import type { Store } from '@millrace/platform/store';
import { LOSABLE, WAITING } from './endpoints.ts';
import type { Claimed } from './outcomes.ts';

/** How many calls an instance may begin now: in all, per host, for hosts with another bound, and for endpoints that fail. */
export interface Share {
  instance: number;
  free: number;
  perHost: number;
  hosts: Record<string, number>;
  failing: number;
}

/** Webhooks that are looked at by one statement. */
const LOOK = 1_000;
/** Deliveries that are taken by one statement, so that the first of them need not wait for many. */
const TAKE = 200;

/** Of a delivery `d` behind an open circuit: it was answered often, and never well. Others may be; so it does not keep the probes for itself. */
const SUSPECT = `(d.attempts >= 12 AND d.last_status IS NOT NULL AND d.last_status NOT IN (429, 502, 503, 504))`;

const OF_ENDPOINT = 'd.trigger_uid = a.trigger_uid AND d.webhook = a.name';

/**
 * Takes deliveries that are due. It begins with the webhooks that have some, so neither a long queue hides the others' nor is it read through; those of
 * one host share what the host may have, in turns. A webhook's row is locked meanwhile, so what is decided by its rate, its circuit and its order holds
 * for all instances. With the deliveries that it takes, the statement notes when to look at the webhook again.
 *
 * - Usually what is due goes out by the time at which it is.
 * - `ordered`: the oldest that is not over, alone.
 * - Circuit open: the oldest, alone, when the probe is due. Draining: the oldest that is due, alone; when none is left the circuit is closed.
 *
 * Whoever makes a delivery wait writes the webhook's row too. One that was written since the statement began to look (its xmin is another) may have
 * deliveries that the statement does not see, so it is left for the next.
 *
 * Outcomes wake the webhooks whose calls are counted here; that they are looked at a second later anyway is for outcomes that never come.
 */
const CLAIM = `WITH looked AS MATERIALIZED (
    SELECT trigger_uid, name, version, room, sharing FROM (
      SELECT w.*, coalesce(($1::jsonb ->> w.host)::int, $2::int) AS room, row_number() OVER (PARTITION BY w.host ORDER BY w.due_at) AS nth,
             count(*) OVER (PARTITION BY w.host) AS sharing, row_number() OVER (PARTITION BY w.failures > 0 ORDER BY w.due_at) AS turn
        FROM (SELECT trigger_uid, name, xmin AS version, host, due_at, failures FROM webhook
               WHERE due_at <= now() AND host <> ALL ($3::text[]) AND (failures = 0 OR $4::int > 0) ORDER BY due_at LIMIT ${LOOK}) w
    ) one WHERE nth <= room AND (failures = 0 OR turn <= $4::int) ORDER BY due_at LIMIT $5::int
  ), awake AS MATERIALIZED (
    SELECT w.trigger_uid, w.name, w.ordered, w.circuit, w.probe_at, w.parallel, w.failures, w.rate_ms * interval '1 millisecond' AS per, w.rate_calls AS calls,
           greatest(least(coalesce(w.paced_until, now()), now() + w.rate_ms * interval '1 millisecond'), now()) AS paced,
           w.ordered OR w.circuit <> 'closed' AS single, w.ordered OR w.circuit <> 'closed' OR w.failures > 0 OR w.parallel IS NOT NULL AS counted,
           w.host, looked.room AS host_room, ceil(looked.room::numeric / least(looked.sharing, looked.room))::int AS share
      FROM looked JOIN webhook w USING (trigger_uid, name)
     WHERE w.xmin = looked.version AND w.due_at <= now() AND w.disabled_at IS NULL FOR UPDATE OF w SKIP LOCKED
  ), counted AS MATERIALIZED (
    SELECT a.*, CASE WHEN a.counted THEN CASE WHEN a.single OR a.failures > 0 THEN 1 ELSE a.parallel END
                  - (SELECT count(*)::int FROM delivery d WHERE ${OF_ENDPOINT} AND d.claimed_by IS NOT NULL) END AS room,
           CASE WHEN a.circuit = 'open' AND a.probe_at > now() THEN 0 WHEN a.calls IS NULL THEN a.share
                ELSE floor(extract(epoch FROM now() + a.per - a.paced) / extract(epoch FROM a.per) * a.calls + 0.000001)::int END AS allowed
      FROM awake a
  ), allowed AS MATERIALIZED (
    SELECT a.*, greatest(0, least(a.share, a.room, a.allowed)) AS cap FROM counted a
  ), next AS (
    SELECT a.*, d.delivery, d.at, row_number() OVER (PARTITION BY a.trigger_uid, a.name ORDER BY d.at, d.position) AS nth
      FROM allowed a LEFT JOIN LATERAL (
        SELECT d.name AS delivery, d.next_attempt_at AS at, d.position FROM delivery d WHERE ${OF_ENDPOINT} AND ${WAITING} ORDER BY d.next_attempt_at, d.position LIMIT a.cap + 1
      ) d ON true WHERE NOT a.single
    UNION ALL
    SELECT a.*, d.delivery, d.at, 1
      FROM allowed a LEFT JOIN LATERAL (
        SELECT delivery, at FROM (
          (SELECT d.name AS delivery, d.next_attempt_at AS at, 1 AS choice FROM delivery d
            WHERE ${OF_ENDPOINT} AND d.finished_at IS NULL AND ${WAITING} AND (a.ordered OR a.circuit <> 'draining' OR d.next_attempt_at <= now())
              AND (a.ordered OR a.circuit <> 'open' OR NOT ${SUSPECT}) ORDER BY d.position LIMIT 1)
          UNION ALL
          (SELECT d.name, d.next_attempt_at, 2 FROM delivery d
            WHERE ${OF_ENDPOINT} AND d.finished_at IS NULL AND ${WAITING} AND a.circuit = 'open' ORDER BY d.position LIMIT 1)
        ) either ORDER BY choice LIMIT 1
      ) d ON true WHERE a.single
  ), chosen AS MATERIALIZED (
    SELECT n.*, takeable AND row_number() OVER (PARTITION BY takeable ORDER BY nth, at) <= $5::int
                         AND row_number() OVER (PARTITION BY takeable, host ORDER BY nth, at) <= host_room AS take
      FROM (SELECT *, delivery IS NOT NULL AND nth <= cap AND (circuit = 'open' OR at <= now()) AS takeable FROM next) n
  ), taken AS (
    UPDATE delivery d SET claimed_by = $6, started_at = coalesce(d.started_at, now())
      FROM chosen n WHERE d.name = n.delivery AND n.take AND d.next_attempt_at IS NOT NULL AND d.claimed_by IS NULL
    RETURNING d.name, d.trigger_uid, d.namespace, d.trigger_name, d.webhook, d.host, d.attempts, d.calls, d.tries, d.spent_ms, d.firing_id, d.claimed_by, d.position
  ), rests AS (
    SELECT *, circuit = 'draining' AND first IS NULL AND n = 0 AND room = 1 AS drained, paced + n * per / calls AS paced_to
      FROM (SELECT trigger_uid, name, circuit, probe_at, counted, room, calls, per, paced, (count(*) FILTER (WHERE take))::int AS n, min(at) FILTER (WHERE NOT take) AS first
              FROM chosen GROUP BY trigger_uid, name, circuit, probe_at, counted, room, calls, per, paced) one
  ), noted AS (
    UPDATE webhook w SET paced_until = CASE WHEN a.n > 0 THEN a.paced_to ELSE w.paced_until END, circuit = CASE WHEN a.drained THEN 'closed' ELSE w.circuit END,
           due_at = CASE WHEN a.drained THEN (SELECT min(d.next_attempt_at) FROM delivery d WHERE ${OF_ENDPOINT} AND ${WAITING})
                         WHEN a.counted AND a.room <= a.n THEN now() + interval '1 second'
                         WHEN a.first IS NULL THEN NULL
                         WHEN a.circuit = 'open' THEN greatest(a.probe_at, now())
                         ELSE greatest(a.first, now(), a.paced_to - a.per + a.per / a.calls) END
      FROM rests a WHERE w.trigger_uid = a.trigger_uid AND w.name = a.name
  )
  SELECT more.more, t.name, t.trigger_uid AS "triggerUid", t.namespace || '/' || t.trigger_name AS trigger, t.webhook, t.host, t.attempts, t.calls, t.tries,
         t.spent_ms::float8 AS "spentMs", t.firing_id AS "firingId", t.claimed_by AS "claimedBy", f.event, f.traceparent, w.url, w.timeout_seconds AS "timeoutSeconds",
         w.sealed, w.failures > 0 AS failing, w.circuit = 'open' AS probe,
         w.failures > 0 OR w.circuit <> 'closed' OR w.ordered OR w.parallel IS NOT NULL OR w.gone_at IS NOT NULL AS watched
    FROM (SELECT EXISTS (SELECT FROM looked) AS more, ${LOSABLE}) more
    LEFT JOIN (taken t JOIN firing f ON f.id = t.firing_id JOIN webhook w ON w.trigger_uid = t.trigger_uid AND w.name = t.webhook) ON true
   ORDER BY t.position`;

/** Resolves to what is in hand now, and whether more may be due that there is room for. */
export async function claim(store: Pick<Store, 'query'>, share: Share): Promise<{ claimed: Claimed[]; more: boolean }> {
  const hosts = Object.entries(share.hosts);
  const rows = await store.query<Omit<Claimed, 'name'> & { name: string | null; more: boolean }>(CLAIM, [
    JSON.stringify(Object.fromEntries(hosts.filter(([, room]) => room > 0))),
    share.perHost,
    hosts.filter(([, room]) => room <= 0).map(([host]) => host),
    ...[share.failing, Math.min(share.free, TAKE), share.instance],
  ]);
  return { claimed: rows.filter((row): row is Claimed & { more: boolean } => row.name !== null), more: rows[0]?.more ?? false };
}
