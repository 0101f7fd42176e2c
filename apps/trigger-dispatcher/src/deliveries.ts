import { Inject, Injectable } from '@nestjs/common';
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { nextStep } from '@millrace/domain/delivery-retry';
import { Bell, pause } from '@millrace/platform/backoff';
import { Bus } from '@millrace/platform/bus';
import { METRICS } from '@millrace/platform/health';
import { aliveSql, Lease } from '@millrace/platform/lease';
import type { Log } from '@millrace/platform/log';
import { CONFIG, LOG, type Worker } from '@millrace/platform/service';
import { Store } from '@millrace/platform/store';
import { withTrace } from '@millrace/platform/trace';
import type { DispatcherConfig } from './config.ts';
import { Outcomes, type Claimed } from './outcomes.ts';
import { Slots } from './slots.ts';
import { WebhookRequests } from './webhook-requests.ts';
import { Webhooks, type Called, withoutQuery } from './webhook.ts';

const NUDGE = 'trigger-dispatcher.deliveries';
const POLL_MS = 500;
/** Retries that are due soon wake this instance on time; the others are found by the next look. */
const ALARM_MS = 60_000;
/** Deliveries that wait for a call, or for one that is under way. */
const WAITING = 'next_attempt_at IS NOT NULL AND claimed_by IS NULL';

/** How many calls this instance may begin now: in all, per host, and for hosts with another bound. */
export interface Share {
  instance: number;
  free: number;
  perHost: number;
  limits: Record<string, number>;
}

/** Calls webhooks when they are due. Instances share the work by claiming rows; a claim counts as long as its instance lives. */
@Injectable()
export class Deliveries implements Worker {
  private readonly bell = new Bell();
  private readonly stopping = new AbortController();
  private readonly cutShort = new AbortController();
  private readonly slots: Slots;
  private readonly inFlight = new Set<Promise<void>>();
  private running: Promise<void> = Promise.resolve();
  private freedAt = 0;
  private readonly attempted: Counter<'outcome'>;
  private readonly took: Histogram;

  constructor(
    private readonly store: Store,
    private readonly bus: Bus,
    private readonly lease: Lease,
    private readonly outcomes: Outcomes,
    private readonly requests: WebhookRequests,
    private readonly webhooks: Webhooks,
    @Inject(CONFIG) private readonly config: DispatcherConfig,
    @Inject(LOG) private readonly log: Log,
    @Inject(METRICS) metrics: Registry,
  ) {
    this.slots = new Slots(config.WEBHOOK_PARALLEL, config.WEBHOOK_PARALLEL_PER_HOST);
    const registers = [metrics];
    this.attempted = new Counter({
      name: 'millrace_webhook_attempts_total',
      help: 'Webhook calls, by what came of them',
      labelNames: ['outcome'],
      registers,
    });
    this.took = new Histogram({
      name: 'millrace_webhook_seconds',
      help: 'How long webhooks took to answer',
      buckets: [0.005, 0.02, 0.1, 0.5, 2, 10, 30],
      registers,
    });
    const waiting = () =>
      store
        .query<{ state: string; n: string; age: string }>(
          `SELECT state, count(*) AS n, extract(epoch FROM now() - min(created)) AS age FROM delivery WHERE finished_at IS NULL GROUP BY state`,
        )
        .catch(() => []);
    new Gauge({
      name: 'millrace_webhook_deliveries_waiting',
      help: 'Deliveries that are not over, by state',
      labelNames: ['state'],
      registers,
      async collect() {
        this.reset();
        for (const { state, n } of await waiting()) this.set({ state }, Number(n));
      },
    });
    new Gauge({
      name: 'millrace_webhook_oldest_waiting_seconds',
      help: 'Age of the oldest delivery that is not over',
      registers,
      async collect() {
        this.set(Math.max(0, ...(await waiting()).map((row) => Number(row.age))));
      },
    });
  }

  start(): void {
    this.bus.onNudge(NUDGE, () => this.bell.ring());
    this.running = this.run();
  }

  /** Takes no more; gives calls in flight half of the stop's time, and the rest back to the other instances. */
  async stop(): Promise<void> {
    this.stopping.abort();
    this.bell.ring();
    await this.running;
    const bound = new AbortController();
    await Promise.race([
      Promise.allSettled([...this.inFlight]).then(() => bound.abort()),
      pause(this.config.STOP_TIMEOUT_MS / 2, bound.signal),
    ]);
    this.cutShort.abort();
    await Promise.allSettled([...this.inFlight]);
    await this.webhooks.close();
  }

  /** What may be claimed right away for new deliveries: they then need no look of their own. */
  async share(): Promise<Share> {
    const free = this.stopping.signal.aborted ? 0 : Math.max(0, this.slots.free);
    return { instance: await this.lease.instance(), free, perHost: this.config.WEBHOOK_PARALLEL_PER_HOST, limits: this.slots.limits() };
  }

  /** To be called after the commit that made deliveries, or made some due again; some of them may be claimed for this instance already. */
  made(deliveries: number, claimed: readonly Claimed[] = []): void {
    for (const delivery of claimed) {
      this.slots.take(delivery.host);
      this.begin(delivery);
    }
    if (deliveries <= claimed.length) return;
    this.bell.ring();
    // More than this instance can do at once: the others may have room.
    if (deliveries - claimed.length > this.slots.free) this.bus.nudge(NUDGE);
  }

  private async run(): Promise<void> {
    const { signal } = this.stopping;
    for (let failures = 0; !signal.aborted;) {
      try {
        if (Date.now() - this.freedAt >= POLL_MS) await this.freeClaims();
        const claimed = this.slots.free > 0 ? await this.claim() : [];
        for (const delivery of claimed) this.begin(delivery);
        failures = 0;
        if (!claimed.length) await this.bell.wait(POLL_MS, signal);
      } catch (error) {
        if (signal.aborted) break;
        const waitMs = Math.min(5_000, 100 * 2 ** failures++);
        this.log.warn({ err: error, waitMs }, 'deliveries.waiting');
        await pause(waitMs, signal);
      }
    }
  }

  /** What a killed instance had in hand is due again. */
  private async freeClaims(): Promise<void> {
    this.freedAt = Date.now();
    const freed = await this.store.query(
      `UPDATE delivery SET claimed_by = NULL WHERE claimed_by IN (
         SELECT c.claimed_by FROM (SELECT DISTINCT claimed_by FROM delivery WHERE claimed_by IS NOT NULL) c WHERE NOT ${aliveSql('c.claimed_by')}
       ) RETURNING name`,
    );
    if (freed.length) this.log.warn({ deliveries: freed.length }, 'deliveries.taken-over');
  }

  /**
   * Takes what is due, oldest first within each host and as many per host as it may have: a long queue of one host neither hides
   * the others' nor is read through to find them.
   */
  private async claim(): Promise<Claimed[]> {
    const instance = await this.lease.instance();
    const rows = await this.store.query<Claimed>(
      `WITH RECURSIVE hosts (host) AS (
         (SELECT host FROM delivery WHERE ${WAITING} ORDER BY host LIMIT 1)
         UNION ALL
         SELECT (SELECT d.host FROM delivery d WHERE ${WAITING} AND d.host > hosts.host ORDER BY d.host LIMIT 1) FROM hosts WHERE hosts.host IS NOT NULL
       ), due AS MATERIALIZED (
         SELECT d.name FROM hosts CROSS JOIN LATERAL (
           SELECT name, next_attempt_at FROM delivery WHERE ${WAITING} AND host = hosts.host AND next_attempt_at <= now()
            ORDER BY next_attempt_at LIMIT coalesce(($1::jsonb ->> hosts.host)::int, $2) FOR UPDATE SKIP LOCKED
         ) d WHERE hosts.host IS NOT NULL ORDER BY d.next_attempt_at LIMIT $3
       )
       UPDATE delivery d SET claimed_by = $4, started_at = coalesce(d.started_at, now()) FROM due, firing f, webhook w
        WHERE d.name = due.name AND f.id = d.firing_id AND w.trigger_uid = d.trigger_uid AND w.name = d.webhook
       RETURNING d.name, d.trigger_uid AS "triggerUid", d.namespace || '/' || d.trigger_name AS trigger, d.webhook, d.host, d.attempts,
         d.started_at AS "startedAt", d.firing_id AS "firingId", f.event, f.traceparent, w.url, w.timeout_seconds AS "timeoutSeconds", w.sealed,
         w.gone_at IS NOT NULL AS gone, d.claimed_by AS "claimedBy"`,
      [JSON.stringify(this.slots.limits()), this.config.WEBHOOK_PARALLEL_PER_HOST, this.slots.free, instance],
    );
    for (const row of rows) this.slots.take(row.host);
    return rows;
  }

  private begin(delivery: Claimed): void {
    const work = withTrace(delivery.traceparent, async () => {
      const called = await this.call(delivery);
      // Others may go on while the outcome is written down.
      this.slots.release(delivery.host, called?.outcome.kind !== 'failed');
      this.bell.ring();
      await (called ? this.finish(delivery, called) : this.giveBack(delivery));
    })
      .catch((error: unknown) => this.log.error({ err: error, delivery: delivery.name }, 'delivery.not-recorded'))
      .finally(() => this.inFlight.delete(work));
    this.inFlight.add(work);
  }

  /** Undefined when the service stops before the receiver has answered. */
  private async call(delivery: Claimed): Promise<Called | undefined> {
    try {
      const call = await this.requests.of(delivery);
      return await this.webhooks.call(call, this.cutShort.signal);
    } catch (error) {
      if (this.cutShort.signal.aborted) return undefined;
      return { outcome: { kind: 'failed', error: (error as Error).message }, headers: {}, answer: '', ms: 0 };
    }
  }

  private async giveBack({ name, claimedBy }: Claimed): Promise<void> {
    await this.store.query('UPDATE delivery SET claimed_by = NULL WHERE name = $1 AND claimed_by = $2', [name, claimedBy]);
    this.bus.nudge(NUDGE);
  }

  private async finish(delivery: Claimed, called: Called): Promise<void> {
    const now = new Date();
    const attempts = delivery.attempts + 1;
    const step = nextStep(called.outcome, { attempts, firstAttemptAt: delivery.startedAt, now, random: Math.random() });
    const delayMs = step.kind === 'retry' ? step.at.getTime() - now.getTime() : null;
    await this.outcomes.record(delivery, called, step, attempts, delayMs, this.cutShort.signal);
    if (delayMs !== null && delayMs <= ALARM_MS) setTimeout(() => this.bell.ring(), delayMs + 1).unref();
    this.attempted.inc({ outcome: step.kind });
    this.took.observe(called.ms / 1_000);
    this.log.info(
      {
        delivery: delivery.name,
        id: delivery.firingId,
        trigger: delivery.trigger,
        webhook: delivery.webhook,
        host: delivery.host,
        url: withoutQuery(delivery.url),
        attempt: attempts,
        ...(called.outcome.kind === 'answered' ? { status: called.outcome.status } : { error: called.outcome.error }),
        ms: called.ms,
        outcome: step.kind,
        ...(step.kind === 'retry' ? { next: step.at.toISOString() } : {}),
      },
      'delivery.attempted',
    );
  }
}
