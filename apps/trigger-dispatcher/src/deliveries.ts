import { Inject, Injectable } from '@nestjs/common';
import { Counter, Histogram, type Registry } from 'prom-client';
import { isDelivered } from '@millrace/domain/delivery-retry';
import { Bell, inRounds, pause } from '@millrace/platform/backoff';
import { Bus } from '@millrace/platform/bus';
import { METRICS } from '@millrace/platform/health';
import { aliveSql, Lease } from '@millrace/platform/lease';
import type { Log } from '@millrace/platform/log';
import { CONFIG, LOG, type Worker } from '@millrace/platform/service';
import { Store, type Tx } from '@millrace/platform/store';
import { withTrace } from '@millrace/platform/trace';
import { claim, type Share } from './claims.ts';
import type { DispatcherConfig } from './config.ts';
import { Endpoints, type EndpointKey } from './endpoints.ts';
import { Outcomes, type Claimed } from './outcomes.ts';
import { type Ahead, Ready, roomBeside } from './ready.ts';
import { PROMPT_MS, Slots, type Slot } from './slots.ts';
import { WebhookRequests } from './webhook-requests.ts';
import { Webhooks, type Called, withoutQuery } from './webhook.ts';

const NUDGE = 'trigger-dispatcher.deliveries';
const POLL_MS = 500;
/** What is due and could not be taken is being looked at by another instance. */
const LOCKED_MS = 10;
/** Retries that are due soon wake this instance on time; the others are found by the next look. */
const ALARM_MS = 60_000;
/** What is claimed as it is made, beyond the calls that may begin at once: as much as goes out promptly where receivers are well. */
const AHEAD: Ahead = { all: 1_024, perHost: 64 };
const NOT_AHEAD: Ahead = { all: 0, perHost: 0 };

/** Calls webhooks when they are due. Instances share the work by claiming rows; a claim counts as long as its instance lives. */
@Injectable()
export class Deliveries implements Worker {
  private readonly bell = new Bell();
  private readonly stopping = new AbortController();
  private readonly cutShort = new AbortController();
  private readonly slots: Slots;
  private readonly ready = new Ready();
  private readonly inFlight = new Set<Promise<void>>();
  private running: Promise<void> = Promise.resolve();
  private freedAt = 0;
  /** Room that a call makes while a look is under way is not in it. */
  private looking = false;
  /** Whether more may be due than was taken, and what there was no room for when it was looked for last. */
  private more = false;
  private full: Pick<Share, 'hosts' | 'failing'> = { hosts: {}, failing: 1 };
  private readonly attempted: Counter<'outcome'>;
  private readonly took: Histogram;

  constructor(
    private readonly store: Store,
    private readonly bus: Bus,
    private readonly lease: Lease,
    private readonly outcomes: Outcomes,
    private readonly endpoints: Endpoints,
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
    await this.giveAllBack();
    const bound = new AbortController();
    await Promise.race([
      Promise.allSettled([...this.inFlight]).then(() => bound.abort()),
      pause(this.config.STOP_TIMEOUT_MS / 2, bound.signal),
    ]);
    this.cutShort.abort();
    await Promise.allSettled([...this.inFlight]);
    // What was made meanwhile.
    await this.giveAllBack();
    await this.webhooks.close();
  }

  /** What may be claimed right away for new deliveries: they then need no look of their own. While others have been left to a look, they are not to be overtaken. */
  async share(): Promise<Share> {
    return this.shareOf(this.more ? NOT_AHEAD : AHEAD);
  }

  /** To be called after the commit that made deliveries, or made some due again; some of them may be claimed for this instance already. */
  made(deliveries: number, claimed: readonly Claimed[] = []): void {
    this.begin(claimed);
    if (deliveries <= claimed.length) return;
    this.bell.ring();
    // More than this instance can do at once: the others may have room.
    if (deliveries - claimed.length > this.slots.free) this.bus.nudge(NUDGE);
  }

  private async shareOf(ahead: Ahead): Promise<Share> {
    const instance = await this.lease.instance();
    const room = roomBeside(this.ready, this.slots, ahead, performance.now());
    return { instance, ...room, ...(this.stopping.signal.aborted ? { free: 0 } : {}) };
  }

  private run(): Promise<void> {
    const { signal } = this.stopping;
    const waiting = (err: unknown, waitMs: number) => this.log.warn({ err, waitMs }, 'deliveries.waiting');
    return inRounds(signal, waiting, async () => {
      if (Date.now() - this.freedAt >= POLL_MS) await this.freeClaims();
      const late = performance.now() - PROMPT_MS;
      await this.giveBack(this.ready.take((_, since) => since < late));
      const looked = this.slots.free > 0;
      const took = looked && (await this.claim());
      if (!took) await this.bell.wait(looked && this.more ? LOCKED_MS : this.ready.size ? PROMPT_MS : POLL_MS, signal);
    });
  }

  private async claim(): Promise<boolean> {
    const share = await this.shareOf(NOT_AHEAD);
    [this.looking, this.full] = [true, share];
    const { claimed, more } = await claim(this.store, share).finally(() => (this.looking = false));
    this.more = more;
    this.begin(claimed);
    return claimed.length > 0;
  }

  /** What a killed instance had in hand is due again. */
  private async freeClaims(): Promise<void> {
    this.freedAt = Date.now();
    const dead = await this.store.query<{ instance: number }>(
      `SELECT c.claimed_by AS instance FROM (SELECT DISTINCT claimed_by FROM delivery WHERE claimed_by IS NOT NULL) c WHERE NOT ${aliveSql('c.claimed_by')}`,
    );
    if (!dead.length) return;
    const instances = dead.map(({ instance }) => instance);
    const freed = await this.store.transaction((tx) => this.free(tx, 'claimed_by = ANY($1)', [instances]));
    if (freed) this.log.warn({ deliveries: freed }, 'deliveries.taken-over');
  }

  /** Gives back what is claimed, and has its webhooks looked at. */
  private async free(tx: Tx, which: string, parameters: unknown[]): Promise<number> {
    const found = await tx.query<EndpointKey>(
      `SELECT w.trigger_uid AS "triggerUid", w.name AS webhook FROM webhook w
        WHERE (w.trigger_uid, w.name) IN (SELECT trigger_uid, webhook FROM delivery WHERE claimed_by IS NOT NULL AND ${which})
        ORDER BY w.trigger_uid, w.name FOR UPDATE`,
      parameters,
    );
    const freed = await tx.run(`UPDATE delivery SET claimed_by = NULL WHERE claimed_by IS NOT NULL AND ${which}`, parameters);
    await this.endpoints.wake(tx, found);
    return freed;
  }

  private begin(claimed: readonly Claimed[]): void {
    const now = performance.now();
    for (const delivery of claimed) this.ready.add(delivery, now);
    this.goOn();
  }

  /** Makes the calls that there is room for, to one host where that is given. */
  private goOn(host?: string): void {
    const now = performance.now();
    const hasRoom = (one: string): boolean => !this.stopping.signal.aborted && this.slots.hasRoom(one, now);
    for (let next = this.ready.next(hasRoom, host); next; next = this.ready.next(hasRoom, host)) this.send(next, now);
  }

  private send(delivery: Claimed, now: number): void {
    const slot = this.slots.take(delivery.host, delivery.failing, now);
    const work = withTrace(delivery.traceparent, () => this.deliver(delivery, slot))
      .catch((error: unknown) => this.log.error({ err: error, delivery: delivery.name }, 'delivery.not-recorded'))
      .finally(() => this.inFlight.delete(work));
    this.inFlight.add(work);
  }

  private async deliver(delivery: Claimed, slot: Slot): Promise<void> {
    const called = await this.call(delivery);
    const well = called && isDelivered(called.outcome);
    // What waits for a receiver that is not well is for its circuit to decide.
    const behind = well
      ? []
      : this.ready.take(({ triggerUid, webhook }) => triggerUid === delivery.triggerUid && webhook === delivery.webhook);
    const wasFull = this.slots.free === 0;
    // Others may go on while the outcome is written down.
    this.slots.release(slot);
    this.goOn(wasFull ? undefined : slot.host);
    if (this.looking || this.more || this.full.hosts[slot.host] === 0 || this.full.failing === 0) this.bell.ring();
    try {
      await (called ? this.finish(delivery, called) : this.giveBack([delivery]));
    } finally {
      await this.giveBack(behind);
    }
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

  private async giveAllBack(): Promise<void> {
    const waiting = this.ready.take(() => true);
    await this.giveBack(waiting).catch((err: unknown) => this.log.warn({ err, deliveries: waiting.length }, 'deliveries.not-given-back'));
  }

  private async giveBack(deliveries: readonly Claimed[]): Promise<void> {
    if (!deliveries.length) return;
    const claims = [deliveries.map(({ name }) => name), deliveries.map(({ claimedBy }) => claimedBy)];
    try {
      await this.store.transaction((tx) => this.free(tx, '(name, claimed_by) IN (SELECT * FROM unnest($1::text[], $2::int[]))', claims));
    } catch (error) {
      // They are still this instance's to see to.
      for (const delivery of deliveries) this.ready.add(delivery, -Infinity);
      throw error;
    }
    this.bus.nudge(NUDGE);
  }

  private async finish(delivery: Claimed, called: Called): Promise<void> {
    const { step, attempts } = await this.outcomes.record(delivery, called, this.cutShort.signal);
    // What waits for this one to be over, or for its endpoint to answer, is due now.
    if (delivery.watched || step.kind === 'retry') this.bell.ring();
    if (step.kind === 'retry' && step.delayMs <= ALARM_MS) setTimeout(() => this.bell.ring(), step.delayMs + 1).unref();
    this.attempted.inc({ outcome: step.kind });
    this.took.observe(called.ms / 1_000);
    this.log.info(
      {
        delivery: delivery.name,
        id: delivery.firingId,
        trigger: delivery.trigger,
        webhook: delivery.webhook,
        host: delivery.host,
        url: called.request?.url ?? withoutQuery(delivery.url),
        attempt: attempts,
        ...(called.outcome.kind === 'answered' ? { status: called.outcome.status } : { error: called.outcome.error }),
        ms: called.ms,
        outcome: step.kind,
        ...(step.kind === 'retry' ? { next: new Date(Date.now() + step.delayMs).toISOString() } : {}),
      },
      'delivery.attempted',
    );
  }
}
