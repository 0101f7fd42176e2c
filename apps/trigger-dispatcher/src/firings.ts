import { Inject, Injectable } from '@nestjs/common';
import { Counter, type Registry } from 'prom-client';
import { BuildTriggered, DeployTriggered, type TagMoved, type Triggered } from '@millrace/contracts/events';
import type { TriggerKind } from '@millrace/domain/image-trigger';
import type { Skipped, Waited } from '@millrace/domain/pending-change';
import { firingId, type Missed } from '@millrace/domain/trigger-matching';
import { METRICS } from '@millrace/platform/health';
import type { Log } from '@millrace/platform/log';
import { packed, unpacked } from '@millrace/platform/rows';
import { LOG } from '@millrace/platform/service';
import type { Tx } from '@millrace/platform/store';
import { Deliveries } from './deliveries.ts';
import { UNRESTRAINED, WAKE } from './endpoints.ts';
import type { Claimed } from './outcomes.ts';
import type { Follower } from './trigger-record.ts';

/** One trigger that a move of its tag fires. */
export interface Firing {
  trigger: Follower;
  move: TagMoved;
  missed?: Missed;
  /** What it has skipped, and why it did not fire at once. */
  between?: readonly Skipped[];
  waited?: Waited;
  traceparent: string;
}

const CONTRACTS = { Build: BuildTriggered, Deploy: DeployTriggered } as const satisfies Record<TriggerKind, unknown>;

/** Writes down what fired: the event for NATS, and a delivery for each webhook. */
@Injectable()
export class Firings {
  private readonly fired: Counter<'kind'>;

  constructor(
    private readonly deliveries: Deliveries,
    @Inject(LOG) private readonly log: Log,
    @Inject(METRICS) metrics: Registry,
  ) {
    this.fired = new Counter({
      name: 'millrace_trigger_firings_total',
      help: 'Moves of tags that fired a trigger, by kind',
      labelNames: ['kind'],
      registers: [metrics],
    });
  }

  /** The triggers are locked, and have not fired for these moves before. */
  async write(tx: Tx, firings: readonly Firing[]): Promise<void> {
    if (!firings.length) return;
    const now = new Date();
    const ends = new Map<TagMoved, string>();
    const rows = firings.map((firing) => {
      const { trigger, move } = firing;
      const end = ends.get(move) ?? endOf(move);
      ends.set(move, end);
      return { ...firing, id: firingId(trigger.uid, move.tag, move), json: { begin: beginOf(firing), end } };
    });
    // What no webhook gets is told on NATS, and need not lie here too.
    const called = rows.filter(({ trigger }) => trigger.spec.webhooks.length);
    const deliveries = Map.groupBy(called.length ? await this.deliver(tx, called, now) : [], ({ id }) => id);
    const fresh = rows.filter((row) => !row.trigger.spec.webhooks.length || deliveries.has(row.id));
    for (const { json, ...firing } of fresh)
      tx.publishLater(CONTRACTS[firing.trigger.spec.kind], triggered(firing), {
        id: firing.id,
        time: now,
        traceparent: firing.traceparent,
        json,
      });
    tx.afterCommit(() => {
      for (const { id, trigger, move, missed, waited, traceparent } of fresh) {
        this.fired.inc({ kind: trigger.spec.kind });
        this.log.info(
          {
            id,
            trigger: `${trigger.namespace}/${trigger.name}`,
            kind: trigger.spec.kind,
            tag: `${move.namespace}/${move.stream}:${move.tag}`,
            generation: move.generation,
            image: move.current.image,
            ...(missed ? { missed } : {}),
            ...(waited ? { waited: waited.for } : {}),
            deliveries: deliveries.get(id)?.filter((row) => row.name !== null).length ?? 0,
            traceparent,
          },
          'trigger.fired',
        );
      }
    });
  }

  /** A delivery for each webhook. A move that has fired the trigger before does nothing: its id is taken. */
  private async deliver(tx: Tx, fired: readonly Fired[], now: Date): Promise<Written[]> {
    const moves = [...new Set(fired.map(({ move }) => move))];
    const rows = fired.map((row) => ({ ...row, event: cloudEvent(row, now) }));
    const places = new Map(moves.map((move, i) => [move, i + 1]));
    const share = await this.deliveries.share();
    const written = await tx.query<Written>(
      `WITH fired AS (
         INSERT INTO firing (id, trigger_uid, kind, namespace, stream, tag, generation, image, event, traceparent, created)
         SELECT one.id, one.trigger_uid, one.kind, m.namespace, m.stream, m.tag, m.generation, m.image, one.event, one.traceparent, $12::timestamptz
           FROM unnest($1::text[], $2::uuid[], $3::text[], ${unpacked('$4')}, $5::text[], $6::int[]) AS one (id, trigger_uid, kind, event, traceparent, move)
           JOIN unnest($7::text[], $8::text[], $9::text[], $10::bigint[], $11::text[]) WITH ORDINALITY AS m (namespace, stream, tag, generation, image, n) ON m.n = one.move
         ON CONFLICT (id) DO NOTHING RETURNING id, trigger_uid
       ), candidate AS (
         SELECT gen_random_uuid() AS uid, f.id, o.n, w.name AS webhook, t.namespace, t.uid AS trigger_uid, t.name AS trigger, w.host, ${UNRESTRAINED} AS free
           FROM fired f JOIN unnest($1::text[]) WITH ORDINALITY AS o (id, n) ON o.id = f.id
           JOIN trigger t ON t.uid = f.trigger_uid JOIN webhook w ON w.trigger_uid = t.uid AND w.gone_at IS NULL
       ), due AS (
         SELECT *, free AND row_number() OVER (PARTITION BY free ORDER BY n) <= $14
                        AND row_number() OVER (PARTITION BY free, host ORDER BY n) <= coalesce(($13::jsonb ->> host)::int, $15) AS mine FROM candidate
       ), made AS (
         INSERT INTO delivery (name, uid, firing_id, webhook, namespace, trigger_uid, trigger_name, host, state, next_attempt_at, created, claimed_by, started_at)
         SELECT trigger || '-' || left(replace(uid::text, '-', ''), 16), uid, id, webhook, namespace, trigger_uid, trigger, host,
                'pending', now(), $12, CASE WHEN mine THEN $16::int END, CASE WHEN mine THEN now() END
           FROM due ORDER BY n, webhook
         RETURNING name, firing_id, webhook, trigger_uid, host, claimed_by
       ), waits AS (
         SELECT w.trigger_uid, w.name FROM webhook w
          WHERE (w.trigger_uid, w.name) IN (SELECT trigger_uid, webhook FROM made WHERE claimed_by IS NULL) ORDER BY w.trigger_uid, w.name FOR UPDATE
       ), woken AS (
         UPDATE webhook w SET ${WAKE} FROM waits WHERE w.trigger_uid = waits.trigger_uid AND w.name = waits.name
       )
       SELECT f.id, m.name, m.webhook, m.host, m.claimed_by AS "claimedBy", w.url, w.timeout_seconds AS "timeoutSeconds", w.sealed
         FROM fired f LEFT JOIN made m ON m.firing_id = f.id LEFT JOIN webhook w ON w.trigger_uid = m.trigger_uid AND w.name = m.webhook`,
      [
        rows.map((row) => row.id),
        rows.map((row) => row.trigger.uid),
        rows.map((row) => row.trigger.spec.kind),
        packed(rows.map((row) => row.event)),
        rows.map((row) => row.traceparent),
        rows.map((row) => places.get(row.move)),
        moves.map((move) => move.namespace),
        moves.map((move) => move.stream),
        moves.map((move) => move.tag),
        moves.map((move) => move.generation),
        moves.map((move) => move.current.image),
        ...[now, JSON.stringify(share.hosts), share.free, share.perHost, share.instance],
      ],
    );
    const events = new Map(rows.map((row) => [row.id, row]));
    tx.afterCommit(() =>
      this.deliveries.made(
        written.filter((row) => row.name !== null).length,
        written.flatMap((made) => claimedOf(events.get(made.id), made) ?? []),
      ),
    );
    return written;
  }
}

/** A firing under its id, with its event as JSON. */
interface Fired extends Firing {
  id: string;
  json: { begin: string; end: string };
}

/** A firing that was not there before, with one of its deliveries, or none. */
type Written = { id: string } & (
  { name: null } | (Pick<Claimed, 'name' | 'webhook' | 'host' | 'url' | 'timeoutSeconds' | 'sealed'> & { claimedBy: number | null })
);

/** Nothing was known against its webhook when it was made. */
const FRESH = { attempts: 0, calls: 0, tries: 0, spentMs: 0, failing: false, probe: false, watched: false };

/** The delivery, where it was claimed for this instance as it was made. */
function claimedOf(firing: (Firing & { event: string }) | undefined, made: Written): Claimed | undefined {
  if (!firing || made.name === null || made.claimedBy === null) return undefined;
  const { trigger, event, traceparent } = firing;
  const { id: firingId, claimedBy, ...row } = made;
  const of = { triggerUid: trigger.uid, trigger: `${trigger.namespace}/${trigger.name}` };
  return { ...row, ...of, firingId, claimedBy, event, traceparent, ...FRESH };
}

function triggered({
  trigger,
  move,
  missed,
  between,
  waited,
}: Pick<Firing, 'move' | 'missed' | 'between' | 'waited'> & Pick<Triggered, 'trigger'>): Triggered {
  const { namespace, stream, tag, generation, previous, current, pullSpec, labels, cause, movedAt } = move;
  return {
    trigger: { namespace: trigger.namespace, name: trigger.name, uid: trigger.uid },
    ...{ namespace, stream, tag, generation, previous, current, pullSpec, labels, cause, movedAt },
    ...(missed ? { missed } : {}),
    ...(between ? { between: [...between] } : {}),
    ...(waited ? { waited } : {}),
  };
}

/** What {@link triggered} says of the move, as JSON without its first brace: the same for all triggers that it fires, and most of their events. */
function endOf(move: TagMoved): string {
  const { trigger: _, ...rest } = triggered({ trigger: { namespace: '', name: '', uid: '' }, move });
  return JSON.stringify(rest).slice(1);
}

/** The other part of {@link triggered} as JSON, before it. */
function beginOf(firing: Firing): string {
  const { trigger, missed, between, waited } = triggered(firing);
  return `${JSON.stringify({ trigger, missed, between, waited }).slice(0, -1)},`;
}

/** CloudEvents 1.0 structured JSON: what webhooks get. Id and source are those of the event on NATS. */
function cloudEvent(row: Fired, time: Date): string {
  const contract = CONTRACTS[row.trigger.spec.kind];
  const attributes = JSON.stringify({
    specversion: '1.0',
    id: row.id,
    source: `/${contract.from}`,
    type: contract.type,
    subject: `${row.move.namespace}/${row.move.stream}:${row.move.tag}`,
    time: time.toISOString(),
    datacontenttype: 'application/json',
    traceparent: row.traceparent,
  });
  return `${attributes.slice(0, -1)},"data":${row.json.begin}${row.json.end}}`;
}
