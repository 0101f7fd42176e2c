import { DeliverPolicy, type ConsumerMessages, type JsMsg } from '@nats-io/jetstream';
import type { EventContract, EventData } from '@millrace/contracts/define';
import { Bell, pause } from './backoff.ts';
import type { Bus } from './bus.ts';
import type { Lease } from './lease.ts';
import type { Log } from './log.ts';
import { isTransient, type Store, type Tx } from './store.ts';
import { freshTrace } from './trace.ts';

/** A fact as a door gets it. */
export interface Fact<C extends EventContract = EventContract> {
  /** CloudEvents id: the same on every repeat. */
  readonly id: string;
  readonly subject: string;
  readonly data: EventData<C>;
  readonly time: Date;
  readonly traceparent: string;
}

/**
 * Facts in their order. The handler calls `settle` in the transaction that holds their effects: the position among the facts moves in
 * the same commit, so each is acted on exactly once, and a killed process resumes where its last commit was.
 */
export interface FactBatch<C extends EventContract = EventContract> {
  readonly facts: readonly Fact<C>[];
  settle(tx: Tx): Promise<void>;
  /**
   * Puts a fact aside that can never be acted on as it is: it is kept as a dead fact with the reason, in the same transaction as the
   * effects of the others. For what only this fact is to blame for; a throw has the whole batch tried again.
   */
  refuse(tx: Tx, fact: Fact<C>, reason: string): Promise<void>;
}

export type FactHandler<C extends EventContract = EventContract> = (batch: FactBatch<C>) => Promise<unknown>;

const MAX_ATTEMPTS = 5;
const BATCH_BYTES = 4 * 1024 * 1024;
/** What is fetched ahead of the batch in hand. */
const AHEAD_BYTES = 8 * 1024 * 1024;

/** Another instance has taken over, or the stream was replaced: start again from what Postgres says. */
class PositionLost extends Error {
  override name = 'PositionLost';
}

interface Position {
  streamCreated: string;
  sequence: number;
}

/** One fact with its place in the stream. */
interface Placed<C extends EventContract> {
  fact: Fact<C>;
  sequence: number;
}

interface Held {
  message: JsMsg;
  bytes: number;
}

/** Follows one kind of fact, in order, in batches; one instance of the service at a time, the others stand by. */
export class FactConsumer<C extends EventContract = EventContract> {
  private readonly stopping = new AbortController();
  private readonly arrived = new Bell();
  private readonly taken = new Bell();
  private running: Promise<void> = Promise.resolve();
  private messages: ConsumerMessages | undefined;
  private buffer: Held[] = [];
  private bytes = 0;

  constructor(
    private readonly contract: C,
    private readonly handler: FactHandler<C>,
    private readonly options: { batch: number },
    private readonly on: { store: Store; bus: Bus; lease: Lease; log: Log; handled: (facts: number, outcome: 'done' | 'dead') => void },
  ) {}

  start(): void {
    this.on.bus.onReconnect(() => void this.messages?.close());
    this.running = this.run();
  }

  /** Finishes the batch in hand and stops; what was not settled is taken up by the next instance. */
  async stop(): Promise<void> {
    this.stopping.abort();
    this.arrived.ring();
    this.taken.ring();
    await this.messages?.close();
    await this.running;
    await this.on.lease.resign(this.role).catch(() => undefined);
  }

  private get role(): string {
    return `facts ${this.contract.name}`;
  }

  private async run(): Promise<void> {
    const { signal } = this.stopping;
    for (let failures = 0; !signal.aborted;) {
      try {
        if (!(await this.on.lease.leads(this.role))) {
          await pause(250, signal);
          continue;
        }
        await this.follow(() => (failures = 0));
      } catch (error) {
        if (signal.aborted) break;
        const waitMs = error instanceof PositionLost ? 50 : Math.min(5_000, 100 * 2 ** failures++);
        this.on.log.warn({ err: error, event: this.contract.name, waitMs }, 'facts.restarting');
        await pause(waitMs, signal);
      }
    }
  }

  /** Reads from the stored position on until the connection, the stream or the leadership is lost. */
  private async follow(progress: () => void): Promise<void> {
    const position = await this.loadPosition();
    const consumer = await this.on.bus.js.consumers.get(this.contract.stream, {
      filter_subjects: this.contract.wildcard,
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: position.sequence + 1,
    });
    const messages = await consumer.consume({ max_messages: this.options.batch * 2, expires: 30_000 });
    this.messages = messages;
    this.buffer = [];
    this.bytes = 0;
    let ended = false;
    const pumping = this.pump(messages).finally(() => {
      ended = true;
      this.arrived.ring();
    });
    try {
      while (!this.stopping.signal.aborted && !ended) {
        const held = this.take();
        if (!held.length) await this.arrived.wait(1_000, this.stopping.signal);
        else {
          // What cannot leave need not come in.
          await this.on.store.outbox.room(this.stopping.signal);
          await this.handle(held, position, progress);
        }
        if (!(await this.on.lease.leads(this.role))) throw new PositionLost('the leadership has gone to another instance');
      }
    } finally {
      this.buffer = [];
      this.taken.ring();
      await messages.close().catch(() => undefined);
      await pumping.catch(() => undefined);
    }
  }

  private async pump(messages: ConsumerMessages): Promise<void> {
    for await (const message of messages) {
      this.buffer.push({ message, bytes: message.data.length });
      this.bytes += message.data.length;
      this.arrived.ring();
      // Not reading on is what makes the server stop sending.
      while (
        (this.buffer.length >= this.options.batch * 2 || this.bytes >= AHEAD_BYTES) &&
        this.messages === messages &&
        !this.stopping.signal.aborted
      )
        await this.taken.wait(1_000);
    }
  }

  private take(): Held[] {
    let bytes = 0;
    let count = 0;
    while (
      count < this.buffer.length &&
      count < this.options.batch &&
      (count === 0 || bytes + (this.buffer[count]?.bytes ?? 0) <= BATCH_BYTES)
    )
      bytes += this.buffer[count++]?.bytes ?? 0;
    const held = this.buffer.splice(0, count);
    this.bytes -= bytes;
    if (count) this.taken.ring();
    return held;
  }

  private async handle(held: Held[], position: Position, progress: () => void): Promise<void> {
    let run: Placed<C>[] = [];
    for (const { message } of held) {
      const parsed = this.parse(message);
      if (parsed.kind === 'fact') run.push({ fact: parsed.fact, sequence: message.seq });
      else {
        await this.handleRun(run, position);
        run = [];
        await this.bury(message, parsed.reason, 1, position);
      }
    }
    await this.handleRun(run, position);
    progress();
  }

  private parse(message: JsMsg): { kind: 'fact'; fact: Fact<C> } | { kind: 'malformed'; reason: string } {
    try {
      const parsed = this.contract.data.safeParse(message.json());
      if (!parsed.success)
        return {
          kind: 'malformed',
          reason: parsed.error.issues
            .map((issue) => `${issue.path.join('.') || 'body'}: ${issue.message}`)
            .slice(0, 5)
            .join('; '),
        };
      const header = (name: string) => message.headers?.get(name) || undefined;
      return {
        kind: 'fact',
        fact: {
          id: header('ce-id') ?? header('Nats-Msg-Id') ?? `${message.info.stream}.${message.seq}`,
          subject: message.subject,
          data: parsed.data as EventData<C>,
          time: new Date(header('ce-time') ?? message.info.timestampNanos / 1e6),
          traceparent: header('traceparent') ?? freshTrace(),
        },
      };
    } catch (error) {
      return { kind: 'malformed', reason: `body is not JSON: ${(error as Error).message}` };
    }
  }

  /** A batch that fails for what is in it is taken apart, so that one bad fact neither stops nor loses the others. */
  private async handleRun(run: Placed<C>[], position: Position): Promise<void> {
    if (!run.length) return;
    for (let attempt = 1; ; attempt++) {
      try {
        const refused = await this.attempt(run, position);
        this.on.handled(run.length - refused, 'done');
        return;
      } catch (error) {
        if (error instanceof PositionLost || this.stopping.signal.aborted) throw error;
        const transient = isTransient(error);
        if (!transient && run.length > 1) {
          this.on.log.warn({ err: error, event: this.contract.name, facts: run.length }, 'facts.one-by-one');
          for (const one of run) await this.handleRun([one], position);
          return;
        }
        if (!transient && attempt >= MAX_ATTEMPTS) {
          const [one] = run;
          if (one) await this.buryFact(one.fact, one.sequence, (error as Error).message, attempt, position);
          return;
        }
        const waitMs = Math.min(5_000, 50 * 2 ** Math.min(attempt, 10));
        this.on.log.warn({ err: error, event: this.contract.name, attempt, waitMs }, 'facts.retrying');
        await pause(waitMs, this.stopping.signal);
        if (this.stopping.signal.aborted) throw error;
      }
    }
  }

  /** Resolves to how many of them were refused. */
  private async attempt(run: Placed<C>[], position: Position): Promise<number> {
    const last = run.at(-1);
    if (!last) return 0;
    let settled = false;
    let refused: { fact: Fact<C>; reason: string }[] = [];
    let tried: Tx | undefined;
    const within = (tx: Tx) => {
      // The handler may have begun anew, in another transaction.
      if (tx !== tried) refused = [];
      tried = tx;
    };
    await this.handler({
      facts: run.map((one) => one.fact),
      settle: async (tx) => {
        within(tx);
        // Known before the commit is early enough: the effects need not wait for it.
        const saved = this.savePosition(tx, position, last.sequence, last.fact.id);
        saved.catch(() => undefined);
        tx.beforeCommit(() => saved);
        settled = true;
      },
      refuse: async (tx, fact, reason) => {
        within(tx);
        await this.insertDead(tx, { ...fact, body: JSON.stringify(fact.data) }, reason, 1);
        refused.push({ fact, reason });
      },
    });
    if (!settled) throw new Error(`the handler of ${this.contract.name} has not settled its batch`);
    position.sequence = last.sequence;
    for (const { fact, reason } of refused) this.tellDead(fact, reason, 1);
    return refused.length;
  }

  private async bury(message: JsMsg, reason: string, attempts: number, position: Position): Promise<void> {
    const id = message.headers?.get('ce-id') || message.headers?.get('Nats-Msg-Id') || `${message.info.stream}.${message.seq}`;
    await this.buryRow(
      { subject: message.subject, id, body: message.string(), traceparent: message.headers?.get('traceparent') ?? '' },
      message.seq,
      reason,
      attempts,
      position,
    );
  }

  private async buryFact(fact: Fact<C>, sequence: number, reason: string, attempts: number, position: Position): Promise<void> {
    await this.buryRow(
      { subject: fact.subject, id: fact.id, body: JSON.stringify(fact.data), traceparent: fact.traceparent },
      sequence,
      reason,
      attempts,
      position,
    );
  }

  private async buryRow(
    row: { subject: string; id: string; body: string; traceparent: string },
    sequence: number,
    reason: string,
    attempts: number,
    position: Position,
  ): Promise<void> {
    await this.on.store.transaction(async (tx) => {
      await this.insertDead(tx, row, reason, attempts);
      await this.savePosition(tx, position, sequence, row.id);
    });
    position.sequence = sequence;
    this.tellDead(row, reason, attempts);
  }

  private async insertDead(
    tx: Tx,
    row: { subject: string; id: string; body: string; traceparent: string },
    reason: string,
    attempts: number,
  ): Promise<void> {
    await tx.run(
      `INSERT INTO dead_fact (event, subject, event_id, headers, body, reason, attempts) VALUES ($1, $2, $3, $4, $5, $6, $7)
       ON CONFLICT (event, event_id) DO UPDATE SET reason = excluded.reason, attempts = dead_fact.attempts + excluded.attempts`,
      // A NUL cannot be stored in a Postgres text; nothing valid holds one.
      [
        this.contract.name,
        row.subject,
        row.id,
        JSON.stringify({ traceparent: row.traceparent }),
        row.body.replaceAll('\0', '\uFFFD'),
        reason.slice(0, 2_000),
        attempts,
      ],
    );
  }

  private tellDead(row: { subject: string; id: string }, reason: string, attempts: number): void {
    this.on.handled(1, 'dead');
    this.on.log.error({ event: this.contract.name, subject: row.subject, eventId: row.id, reason, attempts }, 'fact.dead');
  }

  /** The stored position, set back where JetStream holds less than, or something else than, we had seen: repeats are harmless, gaps are not. */
  private async loadPosition(): Promise<Position> {
    const { stream, name } = this.contract;
    const info = await this.on.bus.streamInfo(stream);
    return this.on.store.transaction(async (tx) => {
      const [row] = await tx.query<{ stream_created: string; sequence: string; event_id: string }>(
        'SELECT stream_created, sequence, event_id FROM fact_position WHERE event = $1 FOR UPDATE',
        [name],
      );
      const known = row?.stream_created === info.created ? Number(row.sequence) : 0;
      const held = known === 0 || (await this.on.bus.holds(stream, info, known, row?.event_id ?? ''));
      if (!held) this.on.log.warn({ event: name, sequence: known, streamLast: info.state.last_seq }, 'facts.reading-again');
      const sequence = held ? known : 0;
      await tx.run(
        `INSERT INTO fact_position (event, stream, stream_created, sequence) VALUES ($1, $2, $3, $4)
         ON CONFLICT (event) DO UPDATE SET stream_created = excluded.stream_created, sequence = excluded.sequence, updated = now()`,
        [name, stream, info.created, sequence],
      );
      return { streamCreated: info.created, sequence };
    });
  }

  private async savePosition(tx: Tx, from: Position, to: number, eventId: string): Promise<void> {
    const moved = await tx.run(
      'UPDATE fact_position SET sequence = $4, event_id = $5, updated = now() WHERE event = $1 AND stream_created = $2 AND sequence = $3',
      [this.contract.name, from.streamCreated, from.sequence, to, eventId],
    );
    if (moved !== 1) throw new PositionLost(`another instance has acted on ${this.contract.name} meanwhile`);
  }
}

/** How far the service has acted on an event, for whoever told it. */
export async function positionIn(store: Store, question: { event: string }): Promise<{ streamCreated: string; sequence: number } | null> {
  const [row] = await store.query<{ stream_created: string; sequence: string }>(
    'SELECT stream_created, sequence FROM fact_position WHERE event = $1',
    [question.event],
  );
  return row ? { streamCreated: row.stream_created, sequence: Number(row.sequence) } : null;
}
