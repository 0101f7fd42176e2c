import { Inject, Injectable } from '@nestjs/common';
import { PullSpecChanged, TagMoved } from '@millrace/contracts/events';
import { inRounds } from '@millrace/platform/backoff';
import { putAside } from '@millrace/platform/dead-facts';
import type { Log } from '@millrace/platform/log';
import { CONFIG, LOG, type Worker } from '@millrace/platform/service';
import { isTransient, Store, type Tx } from '@millrace/platform/store';
import type { DispatcherConfig } from './config.ts';
import { FanOuts, type FanOut, type Part } from './fan-outs.ts';
import { Triggers } from './triggers.ts';
import { WorkloadTriggers } from './workload-triggers.ts';

/** How soon another instance goes on when the one that publishes is gone. */
const POLL_MS = 250;
/** How often a follower is tried alone that the move cannot be brought to. */
const TRIES = 3;
/** Facts that may wait to be published when a part commits, beside those of the part before: what others tell meanwhile waits behind two parts, and this thread has time for them. */
const AHEAD = 20;
/** Without NATS it waits no longer: the part holds its triggers meanwhile. */
const AHEAD_MS = 500;

/** Brings moves to their many followers, part by part: in the instance that publishes what is told. */
@Injectable()
export class FanOutWorker implements Worker {
  private readonly stopping = new AbortController();
  private running: Promise<void> = Promise.resolve();

  constructor(
    private readonly store: Store,
    private readonly fanOuts: FanOuts,
    private readonly triggers: Triggers,
    private readonly workloads: WorkloadTriggers,
    @Inject(CONFIG) private readonly config: Pick<DispatcherConfig, 'FAN_OUT_PART'>,
    @Inject(LOG) private readonly log: Log,
  ) {}

  start(): void {
    this.fanOuts.listen();
    this.running = this.run();
  }

  /** Finishes the part in hand; any instance goes on from there. */
  async stop(): Promise<void> {
    this.stopping.abort();
    this.fanOuts.wake();
    await this.running;
  }

  private run(): Promise<void> {
    const { signal } = this.stopping;
    const waiting = (err: unknown, waitMs: number) => this.log.warn({ err, waitMs }, 'fan-outs.waiting');
    return inRounds(signal, waiting, async () => {
      // Where it is published from memory.
      const worked = this.store.outbox.publishesHere && (await this.work());
      if (!worked) await this.fanOuts.wait(POLL_MS, signal);
    });
  }

  /** One part of one move; false when there is none. */
  private async work(): Promise<boolean> {
    let tried: FanOut | undefined;
    try {
      return await this.part(this.config.FAN_OUT_PART, (fanOut) => (tried = fanOut));
    } catch (error) {
      if (isTransient(error) || !tried) throw error;
      this.log.warn({ err: error, event: tried.event, eventId: tried.eventId }, 'fan-outs.one-by-one');
    }
    const { id } = tried;
    for (let n = 0; n < this.config.FAN_OUT_PART && !this.stopping.signal.aborted && (await this.alone(id)); n++);
    return true;
  }

  /** One follower, so that one that the move cannot be brought to holds up no other: for it the move is put aside, with the reason. */
  private async alone(id: string): Promise<boolean> {
    for (let tries = 1; ; tries++) {
      let tried: FanOut | undefined;
      try {
        return await this.part(1, (fanOut) => (tried = fanOut), id);
      } catch (error) {
        if (isTransient(error) || !tried) throw error;
        if (tries === TRIES) return this.pass(tried, (error as Error).message);
      }
    }
  }

  private part(size: number, begun: (fanOut: FanOut) => void, id?: string): Promise<boolean> {
    return this.store.transaction(async (tx) => {
      const fanOut = await this.fanOuts.next(tx, id);
      if (!fanOut) return false;
      begun(fanOut);
      tx.require(this.store.outbox.calm(this.config.FAN_OUT_PART + AHEAD, AHEAD_MS, this.stopping.signal));
      this.fanOuts.advance(tx, fanOut, await this.to(fanOut).bring(tx, fanOut, size));
      return true;
    });
  }

  private pass(tried: FanOut, problem: string): Promise<boolean> {
    return this.store.transaction(async (tx) => {
      const fanOut = await this.fanOuts.next(tx, tried.id);
      if (fanOut?.after !== tried.after) return fanOut !== undefined;
      const follower = await this.to(fanOut).after(tx, fanOut);
      const { event, eventId, move, traceparent } = fanOut;
      const { subjectOf } = event === PullSpecChanged.name ? PullSpecChanged : TagMoved;
      const fact = { id: eventId, subject: subjectOf(move), traceparent, body: () => JSON.stringify(move) };
      const reason = `cannot be brought to ${follower} of its ${fanOut.followers}: ${problem}`;
      await putAside(tx, event, fact, reason, TRIES);
      this.fanOuts.advance(tx, fanOut, { brought: 0, last: follower, more: follower !== null });
      tx.afterCommit(() => this.log.error({ event, subject: fact.subject, eventId, reason, attempts: TRIES }, 'fact.dead'));
      return true;
    });
  }

  private to({ followers }: FanOut): Bringing {
    return followers === 'triggers' ? this.triggers : this.workloads;
  }
}

/** Those who follow tags. */
interface Bringing {
  /** Brings the move to the next followers, in the order of their uids. */
  bring(tx: Tx, fanOut: FanOut, size: number): Promise<Part>;
  /** The uid of the next follower; null where there is none. */
  after(tx: Tx, fanOut: FanOut): Promise<string | null>;
}
