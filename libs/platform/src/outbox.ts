import type { EventContract, EventData } from '@millrace/contracts/define';
import { Bell } from './backoff.ts';
import { valuesList } from './rows.ts';
import type { Tx } from './store.ts';
import { currentTrace, freshTrace } from './trace.ts';

export interface FactMeta {
  id: string;
  time?: Date;
  traceparent?: string;
  /** The data as JSON, where the teller has it. */
  json?: string;
}

/** A fact that waits for its transaction to commit. */
export interface Staged {
  event: string;
  stream: string;
  subject: string;
  id: string;
  headers: Record<string, string>;
  body: string;
}

/** A fact in the outbox that JetStream has not stored yet; in the order of `id`. */
export interface Waiting {
  id: string;
  event: string;
  stream: string;
  subject: string;
  eventId: string;
  headers: Record<string, string>;
  body: Buffer;
}

/** The longest list that one INSERT takes: seven parameters a row, 65,535 in all. */
const ROWS_PER_INSERT = 1_000;

/**
 * Facts are written here in the transaction that made them true, so a crash between commit and publish loses none; the
 * relay (relay.ts) publishes them in the order of their ids. Transactions on one stream of images wait for each other
 * before they write here, so that order is the order of commits wherever it matters.
 */
export class Outbox {
  private crowded = (): boolean => false;
  private backlog = (): number | undefined => undefined;
  private readonly emptied = new Bell();
  private readonly calmer = new Bell();
  private wakers: ((facts: readonly Waiting[]) => void)[] = [];

  stage<C extends EventContract>(contract: C, data: EventData<C>, meta: FactMeta): Staged {
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
        ...(contract.about ? { 'ce-subject': contract.about(data).replaceAll('%', '%25') } : {}),
        'ce-time': (meta.time ?? new Date()).toISOString(),
        'content-type': 'application/json',
        traceparent: meta.traceparent ?? currentTrace() ?? freshTrace(),
        'Nats-Msg-Id': meta.id,
      },
      body: meta.json ?? JSON.stringify(data),
    };
  }

  /** Sends all of it at once; resolves to the facts with the ids that they got. */
  async insert(tx: Tx, staged: readonly Staged[]): Promise<Waiting[]> {
    const facts = staged.map(({ id, body, ...rest }) => ({ ...rest, eventId: id, body: Buffer.from(body) }));
    const answers: Promise<{ id: string }[]>[] = [];
    for (let from = 0; from < facts.length; from += ROWS_PER_INSERT) {
      const part = facts.slice(from, from + ROWS_PER_INSERT);
      const values = valuesList(part.map((s) => [s.event, s.stream, s.subject, s.eventId, JSON.stringify(s.headers), s.body]));
      answers.push(
        tx.query(
          `INSERT INTO outbox (event, stream, subject, event_id, headers, body) VALUES ${values.sql} RETURNING id`,
          values.parameters,
        ),
      );
    }
    const ids = (await Promise.all(answers)).flat();
    return facts.map((fact, i) => ({ ...fact, id: ids[i]?.id ?? '' }));
  }

  /** Resolves when the facts that this instance committed and has not published yet are few enough to tell more; after a second at the latest. */
  async room(signal: AbortSignal): Promise<void> {
    if (this.crowded()) await this.emptied.wait(1_000, signal);
  }

  /** Whether this instance is the one that publishes. */
  get publishesHere(): boolean {
    return this.backlog() !== undefined;
  }

  /**
   * Resolves when no more than `max` facts wait to be published here, after `waitMs` at the latest: for who tells many, and would have what others
   * tell wait behind them.
   */
  async calm(max: number, waitMs: number, signal: AbortSignal): Promise<void> {
    const deadline = performance.now() + waitMs;
    for (let left = waitMs; left > 0 && !signal.aborted && (this.backlog() ?? 0) > max; left = deadline - performance.now())
      await this.calmer.wait(left, signal);
  }

  /** Says how many facts wait where this instance publishes them; undefined where another does. */
  onBacklog(backlog: () => number | undefined): void {
    this.backlog = backlog;
  }

  /** Says whether too many facts wait; {@link published} is to be called when they have become fewer. */
  onCrowd(crowded: () => boolean): void {
    this.crowded = crowded;
  }

  published(): void {
    this.emptied.ring();
    this.calmer.ring();
  }

  /** Called after every commit that staged something, with what it staged. */
  onWake(waker: (facts: readonly Waiting[]) => void): void {
    this.wakers.push(waker);
  }

  wake(facts: readonly Waiting[]): void {
    for (const waker of this.wakers) waker(facts);
  }
}
