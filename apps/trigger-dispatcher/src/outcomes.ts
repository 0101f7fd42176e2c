import { Injectable } from '@nestjs/common';
import type { NextStep } from '@millrace/domain/delivery-retry';
import { pause } from '@millrace/platform/backoff';
import { isTransient, Store, type Tx } from '@millrace/platform/store';
import { Changes } from './changes.ts';
import type { DeliveryState } from './tables.ts';
import { TRIGGER_COLUMNS, triggerChange, type TriggerRecord } from './trigger-record.ts';
import type { Called } from './webhook.ts';

/** One delivery in hand, with what its call needs. */
export interface Claimed {
  name: string;
  triggerUid: string;
  trigger: string;
  webhook: string;
  host: string;
  attempts: number;
  startedAt: Date;
  firingId: string;
  event: string;
  traceparent: string;
  url: string;
  timeoutSeconds: number;
  sealed: Buffer;
  gone: boolean;
  claimedBy: number;
}

/** One row to be written. */
interface Outcome {
  name: string;
  claimedBy: number;
  state: DeliveryState;
  attempts: number;
  delayMs: number | null;
  status: number | null;
  error: string | null;
  ms: number;
  answer: string | null;
}

interface Queued {
  outcome: Outcome;
  resolve: () => void;
  reject: (error: unknown) => void;
}

const ROWS_AT_ONCE = 200;

/** Writes down what came of calls. Outcomes that come while others are being written share the next statement, and its commit. */
@Injectable()
export class Outcomes {
  private queue: Queued[] = [];
  private writing = false;

  constructor(
    private readonly store: Store,
    private readonly changes: Changes,
  ) {}

  /** An outcome is worth waiting for a Postgres that restarts: without it the receiver would be called again. */
  async record(
    delivery: Claimed,
    called: Called,
    step: NextStep,
    attempts: number,
    delayMs: number | null,
    signal: AbortSignal,
  ): Promise<void> {
    const outcome: Outcome = {
      ...{ name: delivery.name, claimedBy: delivery.claimedBy, attempts, delayMs, ms: called.ms, answer: called.answer || null },
      state: step.kind === 'retry' ? 'retrying' : step.kind,
      status: called.outcome.kind === 'answered' ? called.outcome.status : null,
      error: step.kind === 'delivered' ? null : step.reason,
    };
    const marks = step.kind === 'gone' ? !delivery.gone : step.kind === 'delivered' && delivery.gone;
    for (let failures = 0; ; failures++) {
      try {
        return await (marks ? this.writeMarked(delivery, outcome) : this.enqueue(outcome));
      } catch (error) {
        if (!isTransient(error) || failures >= 8 || signal.aborted) throw error;
        await pause(Math.min(5_000, 100 * 2 ** failures), signal);
      }
    }
  }

  private enqueue(outcome: Outcome): Promise<void> {
    return new Promise((resolve, reject) => {
      this.queue.push({ outcome, resolve, reject });
      if (!this.writing) void this.drain();
    });
  }

  private async drain(): Promise<void> {
    this.writing = true;
    while (this.queue.length) {
      const part = this.queue.splice(0, ROWS_AT_ONCE);
      try {
        await write(
          this.store,
          part.map(({ outcome }) => outcome),
        );
        for (const { resolve } of part) resolve();
      } catch (error) {
        for (const { reject } of part) reject(error);
      }
    }
    this.writing = false;
  }

  /** A webhook that is gone gets no more deliveries, until it is changed or a replay reaches it. */
  private async writeMarked({ triggerUid, webhook, url }: Claimed, outcome: Outcome): Promise<void> {
    const read = `SELECT ${TRIGGER_COLUMNS} FROM trigger t WHERE uid = $1 FOR UPDATE OF t`;
    await this.store.transaction(async (tx) => {
      await tx.query(read, [triggerUid]);
      await tx.run('UPDATE webhook SET gone_at = CASE WHEN $4 THEN now() END WHERE trigger_uid = $1 AND name = $2 AND url = $3', [
        ...[triggerUid, webhook, url, outcome.state === 'gone'],
      ]);
      const [trigger] = await tx.query<TriggerRecord>(read, [triggerUid]);
      if (trigger) this.changes.record(tx, triggerChange(trigger, 'MODIFIED'));
      await write(tx, [outcome]);
    });
  }
}

/** A delivery that was canceled or deleted meanwhile has lost its claim, and stays as it is. */
async function write(on: Pick<Tx, 'query'>, rows: readonly Outcome[]): Promise<void> {
  await on.query(
    `UPDATE delivery d SET state = o.state, attempts = o.attempts, next_attempt_at = now() + o.delay_ms * interval '1 millisecond', last_attempt_at = now(),
            last_status = o.status, last_error = o.error, last_ms = o.ms, last_answer = o.answer,
            finished_at = CASE WHEN o.delay_ms IS NULL THEN now() END, claimed_by = NULL, version = d.version + 1
       FROM unnest($1::text[], $2::int[], $3::text[], $4::int[], $5::float8[], $6::int[], $7::text[], $8::int[], $9::text[])
            AS o (name, claimed_by, state, attempts, delay_ms, status, error, ms, answer)
      WHERE d.name = o.name AND d.claimed_by = o.claimed_by`,
    [
      rows.map((row) => row.name),
      rows.map((row) => row.claimedBy),
      rows.map((row) => row.state),
      rows.map((row) => row.attempts),
      rows.map((row) => row.delayMs),
      rows.map((row) => row.status),
      rows.map((row) => row.error),
      rows.map((row) => row.ms),
      rows.map((row) => row.answer),
    ],
  );
}
