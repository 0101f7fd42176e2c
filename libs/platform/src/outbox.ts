import type { EventContract, EventData } from '@millrace/contracts/define';
import { Bell } from './backoff.ts';
import { idHeaders } from './fact-writes.ts';
import { valuesList } from './rows.ts';
import type { Tx } from './store.ts';
import { currentTrace, freshTrace } from './trace.ts';

export interface FactMeta {
  id: string;
  time?: Date;
  traceparent?: string;
  /** The data as JSON, where the teller has it. Facts that are told one after the other and end alike are kept together, with one `end`. */
  json?: { begin: string; end: string };
}

/** A fact that waits for its transaction to commit. */
export interface Staged extends OneFact {
  event: string;
  stream: string;
  /** Without its id. */
  headers: Record<string, string>;
  end: string;
}

/** What a fact has for itself. */
export interface OneFact {
  subject: string;
  id: string;
  /** Of its body. */
  begin: string;
}

/** Facts in the outbox, mostly one, that JetStream has not stored yet; in the order of `id`. */
export interface Waiting {
  id: string;
  event: string;
  stream: string;
  headers: Record<string, string>;
  facts: readonly OneFact[];
  /** How the bodies of all of them end. */
  end: Buffer;
}

/** The longest list that one INSERT takes: seven parameters a row, 65,535 in all. */
const ROWS_PER_INSERT = 1_000;
/** Facts that one row holds: they are published together, and again where one of them was refused. */
const FACTS_PER_ROW = 25;

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
        'ce-source': `/${contract.from}`,
        'ce-type': contract.type,
        ...(contract.about ? { 'ce-subject': contract.about(data).replaceAll('%', '%25') } : {}),
        'ce-time': (meta.time ?? new Date()).toISOString(),
        'content-type': 'application/json',
        traceparent: meta.traceparent ?? currentTrace() ?? freshTrace(),
      },
      ...(meta.json ?? { begin: '', end: JSON.stringify(data) }),
    };
  }

  /** Sends all of it at once; resolves to the rows with the ids that they got. */
  async insert(tx: Tx, staged: readonly Staged[]): Promise<Waiting[]> {
    const rows = together(staged);
    const answers: Promise<{ id: string }[]>[] = [];
    for (let from = 0; from < rows.length; from += ROWS_PER_INSERT) {
      const values = valuesList(rows.slice(from, from + ROWS_PER_INSERT).map(columnsOf));
      answers.push(
        tx.query(
          `INSERT INTO outbox (event, stream, subject, event_id, headers, body, facts) VALUES ${values.sql} RETURNING id`,
          values.parameters,
        ),
      );
    }
    const ids = (await Promise.all(answers)).flat();
    return rows.map((row, i) => ({ ...row, id: ids[i]?.id ?? '' }));
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

/** Bytes that are kept of it, and those that go out. */
export const sizeOf = ({ facts, end }: Pick<Waiting, 'facts' | 'end'>): { kept: number; sent: number } => {
  const begins = facts.reduce((sum, { begin }) => sum + begin.length, 0);
  return { kept: begins + end.length, sent: begins + facts.length * end.length };
};

type Row = Omit<Staged, keyof OneFact> & { facts: OneFact[] };

/** Rows for facts: those that follow each other and differ in what they begin with alone share one. */
function together(staged: readonly Staged[]): Omit<Waiting, 'id'>[] {
  const rows: Row[] = [];
  for (const { subject, id, begin, ...rest } of staged) {
    const fact = { subject, id, begin };
    const row = rows.at(-1);
    if (row && begin && row.facts.length < FACTS_PER_ROW && endAlike(row, rest)) row.facts.push(fact);
    else rows.push({ ...rest, facts: [fact] });
  }
  return rows.map((row) => ({ ...row, end: Buffer.from(row.end) }));
}

const endAlike = (row: Row, other: Omit<Staged, keyof OneFact>): boolean =>
  row.event === other.event &&
  row.end === other.end &&
  ['ce-subject', 'ce-time', 'traceparent'].every((name) => row.headers[name] === other.headers[name]);

/** Of several, `subject` is empty: NATS takes nothing there, so a program that knows of one fact a row leaves it to those that know more. */
function columnsOf(row: Omit<Waiting, 'id'>): unknown[] {
  const { event, stream, headers, facts, end } = row;
  const [first] = facts;
  if (facts.length === 1 && first)
    return [
      event,
      stream,
      first.subject,
      first.id,
      JSON.stringify({ ...headers, ...idHeaders(first.id) }),
      Buffer.concat([Buffer.from(first.begin), end]),
      null,
    ];
  return [event, stream, '', facts.at(-1)?.id, JSON.stringify(headers), end, JSON.stringify(facts)];
}
