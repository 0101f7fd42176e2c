import { Inject, Injectable } from '@nestjs/common';
import { inRounds } from '@millrace/platform/backoff';
import { Bus } from '@millrace/platform/bus';
import { Clock } from '@millrace/platform/clock';
import type { Log } from '@millrace/platform/log';
import { LOG, type Worker } from '@millrace/platform/service';
import { Store } from '@millrace/platform/store';
import { Alarm } from './alarm.ts';
import { LOOK_MAX_MS } from './trigger-decisions.ts';
import { TRIGGER_COLUMNS, type TriggerRecord } from './trigger-record.ts';
import { Triggers } from './triggers.ts';

const NUDGE = 'trigger-dispatcher.due-changes';
const POLL_MS = 500;
const BATCH = 100;

/**
 * Decides again about triggers when it is time. When that is stands in their rows, so that nothing is forgotten; instances share the work by locking
 * rows, and what an instance has not finished is as due as before.
 */
@Injectable()
export class DueChanges implements Worker {
  private readonly stopping = new AbortController();
  private running: Promise<void> = Promise.resolve();

  constructor(
    private readonly store: Store,
    private readonly bus: Bus,
    private readonly clock: Clock,
    private readonly alarm: Alarm,
    private readonly triggers: Triggers,
    @Inject(LOG) private readonly log: Log,
  ) {}

  start(): void {
    this.bus.onNudge(NUDGE, () => this.alarm.bell.ring());
    this.running = this.run();
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  /** Takes a batch of what is due; resolves to how many. */
  async decideDue(): Promise<number> {
    const now = this.clock.now();
    return this.store.transaction(async (tx) => {
      const due = await tx.query<TriggerRecord>(
        `SELECT ${TRIGGER_COLUMNS} FROM trigger t WHERE t.look_at <= $1 OR t.look_at > $2 ORDER BY t.look_at LIMIT ${BATCH} FOR UPDATE OF t SKIP LOCKED`,
        // Nothing is planned so far ahead but by a clock that was set back since; clocks of instances may differ a little.
        [now, new Date(now.getTime() + LOOK_MAX_MS + 60_000)],
      );
      if (due.length) await this.triggers.decideAgain(tx, due);
      return due.length;
    });
  }

  private run(): Promise<void> {
    const { signal } = this.stopping;
    const waiting = (err: unknown, waitMs: number) => this.log.warn({ err, waitMs }, 'due-changes.waiting');
    return inRounds(signal, waiting, async () => {
      const decided = await this.decideDue();
      // The others may help with what is behind it.
      if (decided === BATCH) this.bus.nudge(NUDGE);
      else await this.alarm.bell.wait(POLL_MS, signal);
    });
  }
}
