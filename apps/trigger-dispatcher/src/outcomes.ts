import { Inject, Injectable } from '@nestjs/common';
import { WebhookDisabled } from '@millrace/contracts/webhooks';
import { type Circuit, judge, type Judgement, stateOfWebhook } from '@millrace/domain/circuit';
import { failureOf, isDelivered, isGone, nextStep, type NextStep } from '@millrace/domain/delivery-retry';
import { DAY, HOUR } from '@millrace/domain/interval';
import { growingMs, pause } from '@millrace/platform/backoff';
import { packed, unpacked } from '@millrace/platform/rows';
import { CONFIG } from '@millrace/platform/service';
import { isTransient, Store, type Tx } from '@millrace/platform/store';
import { LAST_ATTEMPT } from './attempts.ts';
import { Changes } from './changes.ts';
import type { DispatcherConfig } from './config.ts';
import { LOSABLE } from './endpoints.ts';
import type { DeliveryState } from './delivery-tables.ts';
import { TRIGGER_COLUMNS, triggerChange, type TriggerRecord } from './trigger-record.ts';
import { type Called, withoutQuery } from './webhook.ts';

/** One delivery in hand, with what its call needs. */
export interface Claimed {
  name: string;
  triggerUid: string;
  trigger: string;
  webhook: string;
  host: string;
  attempts: number;
  /** Attempts ever, also before replays. */
  calls: number;
  tries: number;
  spentMs: number;
  firingId: string;
  event: string;
  traceparent: string;
  url: string;
  timeoutSeconds: number;
  sealed: Buffer;
  claimedBy: number;
  /** Its endpoint has failed before. */
  failing: boolean;
  /** The circuit of its endpoint was open. */
  probe: boolean;
  /** Others wait for this one to be over, or its success changes what is known of the endpoint. */
  watched: boolean;
}

/** What an attempt came to, and what follows. */
export interface Recorded {
  step: NextStep;
  attempts: number;
}

interface Queued {
  delivery: Claimed;
  called: Called;
  resolve: (recorded: Recorded) => void;
  reject: (error: unknown) => void;
}

/** What is known of an endpoint, and who it is. */
interface EndpointRow {
  triggerUid: string;
  webhook: string;
  url: string;
  circuit: Circuit;
  failures: number;
  failingMs: number;
  disabled: boolean;
  gone: boolean;
  failingSince: Date | null;
}

/** An endpoint after the calls of a batch. */
interface Judged {
  row: EndpointRow;
  health: Judgement;
  gone: boolean;
  reason: string | null;
}

const ROWS_AT_ONCE = 200;
/** Of a delivery the first attempts are kept and the last ones, so that its record stays small however often it is tried. */
const ATTEMPTS_KEPT = { first: 2, last: 18 };

/** What shows needs the triggers, which are locked before their webhooks. */
const TRIGGERS_NEEDED = Symbol('triggers needed');

/**
 * Writes down what came of calls, each with its attempt. Outcomes that come while others are being written share the next statement, and its commit.
 * Successes of endpoints that are well need nothing else, and never wait for the others, which say something about their endpoint.
 */
@Injectable()
export class Outcomes {
  private readonly plain = new Lane((batch) => this.writePlain(batch));
  private readonly telling = new Lane((batch) => this.writeTelling(batch));

  constructor(
    private readonly store: Store,
    private readonly changes: Changes,
    @Inject(CONFIG) private readonly config: DispatcherConfig,
  ) {}

  /** An outcome is worth waiting for a Postgres that restarts: without it the receiver would be called again. */
  async record(delivery: Claimed, called: Called, signal: AbortSignal): Promise<Recorded> {
    const lane = isDelivered(called.outcome) && !delivery.watched ? this.plain : this.telling;
    for (let failures = 0; ; failures++) {
      try {
        return await lane.add(delivery, called);
      } catch (error) {
        if (!isTransient(error) || failures >= 8 || signal.aborted) throw error;
        await pause(growingMs(failures), signal);
      }
    }
  }

  private async writePlain(batch: readonly Queued[]): Promise<Recorded[]> {
    const recorded = batch.map(({ delivery }) => ({ step: { kind: 'delivered' as const }, attempts: delivery.attempts + 1 }));
    await write(this.store, batch, recorded, true);
    return recorded;
  }

  private async writeTelling(batch: readonly Queued[]): Promise<Recorded[]> {
    const judged = await this.judgeAndWrite(batch, false);
    return judged === TRIGGERS_NEEDED ? ((await this.judgeAndWrite(batch, true)) as Recorded[]) : judged;
  }

  /** In two round trips: what is known of the endpoints, then everything that is known now. */
  private judgeAndWrite(batch: readonly Queued[], withTriggers: boolean): Promise<Recorded[] | typeof TRIGGERS_NEEDED> {
    return this.store.transaction(async (tx) => {
      const uids = batch.map(({ delivery }) => delivery.triggerUid);
      if (withTriggers) tx.send('SELECT FROM trigger WHERE uid = ANY($1) ORDER BY uid FOR UPDATE', [uids]);
      const rows = await tx.query<EndpointRow>(
        `SELECT w.trigger_uid AS "triggerUid", w.name AS webhook, w.url, w.circuit, w.failures, w.failing_ms::float8 AS "failingMs",
                w.disabled_at IS NOT NULL AS disabled, w.gone_at IS NOT NULL AS gone, w.failing_since AS "failingSince"
           FROM webhook w WHERE (w.trigger_uid, w.name) IN (SELECT * FROM unnest($1::uuid[], $2::text[])) ORDER BY w.trigger_uid, w.name FOR UPDATE`,
        [uids, batch.map(({ delivery }) => delivery.webhook)],
      );
      const endpoints = new Map(rows.map((row) => [keyOf(row), { row, health: row, gone: row.gone, reason: null } as Judged]));
      const recorded = batch.map((one) => this.judge(one, endpoints.get(keyOf(one.delivery))));
      const judged = [...endpoints.values()];
      const shown = judged.filter(({ row, health, gone }) => stateOfWebhook(row) !== stateOfWebhook({ ...health, gone }));
      if (shown.length && !withTriggers) return TRIGGERS_NEEDED;
      this.writeEndpoints(tx, judged);
      const written = write(tx, batch, recorded);
      if (shown.length) await this.tell(tx, shown);
      await written;
      return recorded;
    });
  }

  private judge({ delivery, called }: Queued, endpoint: Judged | undefined): Recorded {
    const { outcome, ms } = called;
    const about = { now: new Date(), random: Math.random() };
    // Of a webhook that was sent elsewhere meanwhile nothing is known by this.
    if (endpoint?.row.url === delivery.url) {
      const disableAfterMs = this.config.WEBHOOK_DISABLE_DAYS * DAY;
      endpoint.health = judge(endpoint.health, { outcome, ms, probe: delivery.probe }, { disableAfterMs, ...about });
      endpoint.gone = isGone(outcome) || (endpoint.gone && !isDelivered(outcome));
      endpoint.reason = isDelivered(outcome) ? null : failureOf(outcome).slice(0, 500);
    }
    const { circuit, probeInMs } = endpoint?.health ?? { circuit: 'closed' };
    const step = nextStep(outcome, {
      ...{ tries: delivery.tries + 1, spentMs: delivery.spentMs, ms, giveUpMs: this.config.DELIVERY_GIVE_UP_HOURS * HOUR },
      ...(circuit === 'open' ? { probeInMs: probeInMs ?? 0 } : {}),
      ...about,
    });
    return { step, attempts: delivery.attempts + 1 };
  }

  /** What waits for an endpoint that answers again is due at once, whatever waits it was given before; the circuit sends it one by one. */
  private writeEndpoints(tx: Tx, judged: readonly Judged[]): void {
    const keys = (of: readonly Judged[]) => [of.map(({ row }) => row.triggerUid), of.map(({ row }) => row.webhook)];
    tx.send(
      `UPDATE webhook w SET circuit = j.circuit, failures = j.failures, failing_ms = j.failing_ms, failing_reason = coalesce(j.reason, CASE WHEN j.failures > 0 THEN w.failing_reason END),
              failing_since = CASE WHEN j.failures > 0 THEN coalesce(w.failing_since, now()) END,
              probe_at = CASE WHEN j.circuit <> 'open' THEN NULL WHEN j.probe_ms IS NULL THEN w.probe_at ELSE now() + j.probe_ms * interval '1 millisecond' END,
              disabled_at = CASE WHEN j.disabled THEN coalesce(w.disabled_at, now()) END, gone_at = CASE WHEN j.gone THEN coalesce(w.gone_at, now()) END,
              due_at = CASE WHEN j.disabled THEN NULL WHEN j.circuit <> 'open' THEN now() WHEN j.probe_ms IS NULL THEN coalesce(w.probe_at, now())
                            ELSE now() + j.probe_ms * interval '1 millisecond' END
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::float8[], $6::float8[], $7::boolean[], $8::boolean[], $9::text[])
              AS j (uid, name, circuit, failures, failing_ms, probe_ms, disabled, gone, reason)
        WHERE w.trigger_uid = j.uid AND w.name = j.name`,
      [
        ...keys(judged),
        judged.map(({ health }) => health.circuit),
        judged.map(({ health }) => health.failures),
        judged.map(({ health }) => health.failingMs),
        judged.map(({ health }) => health.probeInMs ?? null),
        judged.map(({ health }) => health.disabled),
        judged.map(({ gone }) => gone),
        judged.map(({ reason }) => reason),
      ],
    );
    const answering = judged.filter(({ row, health }) => row.circuit === 'open' && health.circuit === 'draining');
    if (answering.length)
      tx.send(
        `UPDATE delivery d SET next_attempt_at = now() FROM unnest($1::uuid[], $2::text[]) AS j (uid, name)
          WHERE d.trigger_uid = j.uid AND d.webhook = j.name AND d.next_attempt_at > now() AND d.claimed_by IS NULL`,
        keys(answering),
      );
  }

  /** A webhook that is gone gets no more deliveries, until it is changed or a replay reaches it; one that is disabled keeps them. */
  private async tell(tx: Tx, shown: readonly Judged[]): Promise<void> {
    const triggers = await tx.query<TriggerRecord>(`SELECT ${TRIGGER_COLUMNS} FROM trigger t WHERE uid = ANY($1)`, [
      shown.map(({ row }) => row.triggerUid),
    ]);
    for (const trigger of triggers) {
      this.changes.record(tx, triggerChange(trigger, 'MODIFIED'));
      for (const { row, health, reason } of shown) {
        if (row.triggerUid !== trigger.uid || !health.disabled || row.disabled) continue;
        const { namespace, name, uid, impaired } = trigger;
        const disabledAt = new Date(impaired?.[row.webhook]?.disabled ?? Date.now()).toISOString();
        tx.publishLater(
          WebhookDisabled,
          {
            ...{ trigger: { namespace, name, uid }, webhook: row.webhook, url: withoutQuery(row.url), disabledAt },
            failingSince: row.failingSince?.toISOString() ?? disabledAt,
            ...{ failures: health.failures, reason: reason ?? '' },
          },
          { id: `${uid}.${row.webhook}.disabled.${disabledAt}` },
        );
      }
    }
  }
}

/** What is written together, one batch after the other. */
class Lane {
  private queue: Queued[] = [];
  private writing = false;

  constructor(private readonly write: (batch: readonly Queued[]) => Promise<Recorded[]>) {}

  add(delivery: Claimed, called: Called): Promise<Recorded> {
    return new Promise((resolve, reject) => {
      this.queue.push({ delivery, called, resolve, reject });
      if (!this.writing) void this.drain();
    });
  }

  private async drain(): Promise<void> {
    this.writing = true;
    while (this.queue.length) {
      const batch = this.queue.splice(0, ROWS_AT_ONCE);
      try {
        const recorded = await this.write(batch);
        batch.forEach(({ resolve }, i) => resolve(recorded[i] as Recorded));
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.writing = false;
  }
}

const keyOf = ({ triggerUid, webhook }: { triggerUid: string; webhook: string }): string => `${triggerUid}/${webhook}`;

/**
 * The attempt is kept with its delivery, and the one that was there goes to the others; most have one alone. A delivery that was canceled or deleted
 * meanwhile has lost its claim, and stays as it is.
 */
async function write(on: Pick<Tx, 'query'>, batch: readonly Queued[], recorded: readonly Recorded[], losable = false): Promise<void> {
  const rows = batch.map(({ delivery, called }, i) => rowOf(delivery, called, recorded[i] as Recorded));
  const column = <K extends keyof OutcomeRow>(name: K) => rows.map((row) => row[name]);
  const { first, last } = ATTEMPTS_KEPT;
  await on.query(
    `WITH o AS MATERIALIZED (
       SELECT * FROM unnest($1::text[], $2::int[], $3::int[], $4::text[], $5::int[], $6::int[], $7::float8[], $8::float8[], $9::int[], $10::text[], $11::int[], $12::text[],
                ${unpacked('$13')}, ${unpacked('$14')}, $15::text[]) AS o (name, claimed_by, calls, state, attempts, tries, spent_ms, delay_ms, status, error, ms, answer, request, headers, outcome)
     ), before AS (
       SELECT d.* FROM o JOIN delivery d ON d.name = o.name WHERE o.calls > 0
     ), done AS (
       UPDATE delivery d SET state = o.state, attempts = o.attempts, tries = o.tries, spent_ms = o.spent_ms, calls = d.calls + 1,
              next_attempt_at = now() + o.delay_ms * interval '1 millisecond', last_next_at = now() + o.delay_ms * interval '1 millisecond',
              last_attempt_at = now(), last_status = o.status, last_error = o.error, last_ms = o.ms, last_answer = o.answer,
              last_request = o.request, last_headers = o.headers, last_outcome = o.outcome,
              finished_at = CASE WHEN o.delay_ms IS NULL THEN now() END, claimed_by = NULL, version = d.version + 1
         FROM o WHERE d.name = o.name AND d.claimed_by = o.claimed_by
       RETURNING d.name
     ), moved AS (
       INSERT INTO attempt (delivery, number, at, ms, request, status, headers, answer, error, outcome, next_at)
       SELECT name, ${LAST_ATTEMPT} FROM before d JOIN done USING (name) WHERE d.last_outcome IS NOT NULL
       ON CONFLICT (delivery, number) DO NOTHING
     ), forgotten AS (
       DELETE FROM attempt a USING before d JOIN done USING (name)
        WHERE d.calls >= ${first + last} AND a.delivery = d.name AND a.number > ${first} AND a.number <= d.calls - ${last - 1}
     )
     SELECT${losable ? ` ${LOSABLE}` : ''}`,
    [
      ...[column('name'), column('claimedBy'), column('calls'), column('state'), column('attempts'), column('tries'), column('spentMs')],
      ...[column('delayMs'), column('status'), column('error'), column('ms'), column('answer')],
      ...[packed(column('request')), packed(column('headers')), column('outcome')],
    ],
  );
}

/** A delivery and its attempt, as one row of {@link write}. */
interface OutcomeRow {
  name: string;
  claimedBy: number;
  calls: number;
  state: DeliveryState;
  attempts: number;
  tries: number;
  spentMs: number;
  delayMs: number | null;
  status: number | null;
  error: string | null;
  ms: number;
  answer: string | null;
  request: string | null;
  headers: string | null;
  outcome: NextStep['kind'];
}

function rowOf(delivery: Claimed, { outcome, ms, answer, request, headers }: Called, { step, attempts }: Recorded): OutcomeRow {
  const retry = step.kind === 'retry' ? step : undefined;
  return {
    ...{ name: delivery.name, claimedBy: delivery.claimedBy, calls: delivery.calls, attempts, ms },
    state: step.kind === 'retry' ? 'retrying' : step.kind,
    tries: retry?.tries ?? delivery.tries + 1,
    spentMs: retry?.spentMs ?? delivery.spentMs,
    delayMs: retry?.delayMs ?? null,
    status: outcome.kind === 'answered' ? outcome.status : null,
    error: step.kind === 'delivered' ? null : step.reason,
    answer: answer || null,
    request: request ? JSON.stringify(request) : null,
    headers: Object.keys(headers).length ? JSON.stringify(headers) : null,
    outcome: step.kind,
  };
}
