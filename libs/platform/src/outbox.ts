import type { EventContract, EventData } from '@millrace/contracts/define';
import { valuesList } from './rows.ts';
import type { Tx } from './store.ts';
import { currentTrace, freshTrace } from './trace.ts';

/** A fact that waits for its transaction to commit. */
export interface Staged {
  event: string;
  stream: string;
  subject: string;
  id: string;
  headers: Record<string, string>;
  body: string;
}

/** The longest list that one INSERT takes: seven parameters a row, 65,535 in all. */
const ROWS_PER_INSERT = 1_000;

/**
 * Facts are written here in the transaction that made them true, so a crash between commit and publish loses none; the
 * relay (relay.ts) publishes them in the order of their ids. Transactions on one stream of images wait for each other
 * before they write here, so that order is the order of commits wherever it matters.
 */
export class Outbox {
  private wakers: (() => void)[] = [];

  stage<C extends EventContract>(contract: C, data: EventData<C>, meta: { id: string; time?: Date; traceparent?: string }): Staged {
    return {
      event: contract.name,
      stream: contract.stream,
      subject: contract.subjectOf(data),
      id: meta.id,
      headers: {
        'ce-specversion': '1.0',
        'ce-id': meta.id,
        'ce-source': `/${contract.from}`,
        'ce-type': contract.type,
        'ce-time': (meta.time ?? new Date()).toISOString(),
        'content-type': 'application/json',
        traceparent: meta.traceparent ?? currentTrace() ?? freshTrace(),
        'Nats-Msg-Id': meta.id,
      },
      body: JSON.stringify(data),
    };
  }

  async insert(tx: Tx, staged: readonly Staged[]): Promise<void> {
    for (let from = 0; from < staged.length; from += ROWS_PER_INSERT) {
      const rows = staged.slice(from, from + ROWS_PER_INSERT);
      const values = valuesList(rows.map((s) => [s.event, s.stream, s.subject, s.id, JSON.stringify(s.headers), Buffer.from(s.body)]));
      await tx.run(`INSERT INTO outbox (event, stream, subject, event_id, headers, body) VALUES ${values.sql}`, values.parameters);
    }
  }

  /** Called after every commit that staged something. */
  onWake(waker: () => void): void {
    this.wakers.push(waker);
  }

  wake(): void {
    for (const waker of this.wakers) waker();
  }
}
