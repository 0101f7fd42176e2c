import { DeliverPolicy, type ConsumerMessages, type JsMsg } from '@nats-io/jetstream';
import type { EventContract, EventData } from '@millrace/contracts/define';
import { Bell, growingMs, pause } from './backoff.ts';
import type { Bus } from './bus.ts';
import { putAside } from './dead-facts.ts';
import type { Lease } from './lease.ts';
import type { Log } from './log.ts';
import { isTransient, type Store, type Tx } from './store.ts';
import { freshTrace } from './trace.ts';

/** A fact by its name: enough to put it aside. */
export interface FactOrigin {
  /** CloudEvents id: the same on every repeat. */
  readonly id: string;
  readonly subject: string;
  readonly traceparent: string;
  /** Its JSON as it was told, or what stands there instead. */
  body(): string;
  /** CloudEvents attributes that it carries as headers, by lower-case name: `ce-type`. */
  attributes?(): Readonly<Record<string, string>>;
}

/** A fact as a door gets it. */
export interface Fact<C extends EventContract = EventContract> extends FactOrigin {
  readonly data: EventData<C>;
  readonly time: Date;
}

/** What a door has made of a fact. */
export interface Taken<T> {
  readonly origin: FactOrigin;
  readonly made: T;
}

/**
 * Facts in their order. The handler calls `settle` in the transaction that holds their effects: the position among the facts moves in
 * the same commit, so each is acted on exactly once, and a killed process resumes where its last commit was.
 */
export interface FactBatch<C extends EventContract = EventContract> {
  /**
   * What `take` makes of each fact, in order; to be called before `settle`. A fact is parsed when its turn comes and not kept, so a batch of bulky
   * facts takes no more memory than what is made of them. Those that are not of the contract's shape are refused, and `take` does not see them.
   */
  read<T>(take: (fact: Fact<C>) => T): Taken<T>[];
  settle(tx: Tx): Promise<void>;
  /**
   * Puts a fact aside that can never be acted on as it is: it is kept as a dead fact with the reason, in the same transaction as the
   * effects of the others. For what only this fact is to blame for; a throw has the whole batch tried again.
   */
  refuse(tx: Tx, fact: FactOrigin, reason: string): Promise<void>;
}

export type FactHandler<C extends EventContract = EventContract> = (batch: FactBatch<C>) => Promise<unknown>;

const MAX_ATTEMPTS = 5;
const BATCH_BYTES = 2 * 1024 * 1024;
/** What is fetched ahead of the batch in hand. */
const AHEAD_BYTES = 3 * 1024 * 1024;

/** Another instance has taken over, or the stream was replaced: start again from what Postgres says. */
class PositionLost extends Error {
  override name = 'PositionLost';
}

interface Position {
  streamCreated: string;
  sequence: number;
}

interface Refused {
  fact: FactOrigin;
  reason: string;
}

/** Follows one kind of fact, in order, in batches; one instance of the service at a time, the others stand by. */
export class FactConsumer<C extends EventContract = EventContract> {
  private readonly stopping = new AbortController();
  private readonly arrived = new Bell();
  private readonly taken = new Bell();
  private running: Promise<void> = Promise.resolve();
  private messages: ConsumerMessages | undefined;
  private buffer: JsMsg[] = [];
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
        const waitMs = error instanceof PositionLost ? 50 : growingMs(failures++);
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
    const stream = await consumer.consume({ max_messages: this.options.batch * 2, expires: 30_000 });
    this.messages = stream;
    this.buffer = [];
    this.bytes = 0;
    let ended = false;
    const pumping = this.pump(stream).finally(() => {
      ended = true;
      this.arrived.ring();
    });
    try {
      while (!this.stopping.signal.aborted && !ended) {
        const messages = this.take();
        if (!messages.length) await this.arrived.wait(1_000, this.stopping.signal);
        else {
          // What cannot leave need not come in.
          await this.on.store.outbox.room(this.stopping.signal);
          await this.handle(messages, position);
          progress();
        }
        if (!(await this.on.lease.leads(this.role))) throw new PositionLost('the leadership has gone to another instance');
      }
    } finally {
      this.buffer = [];
      this.taken.ring();
      await stream.close().catch(() => undefined);
      await pumping.catch(() => undefined);
    }
  }

  private async pump(messages: ConsumerMessages): Promise<void> {
    for await (const message of messages) {
      this.buffer.push(message);
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

  private take(): JsMsg[] {
    let bytes = 0;
    let count = 0;
    for (const { data } of this.buffer) {
      if (count === this.options.batch || (count > 0 && bytes + data.length > BATCH_BYTES)) break;
      bytes += data.length;
      count++;
    }
    const messages = this.buffer.splice(0, count);
    this.bytes -= bytes;
    if (count) this.taken.ring();
    return messages;
  }

  private parse(message: JsMsg, origin: FactOrigin): Fact<C> | Refused {
    try {
      const parsed = this.contract.data.safeParse(message.json());
      if (parsed.success) {
        const time = new Date(message.headers?.get('ce-time') || message.info.timestampNanos / 1e6);
        return { ...origin, data: parsed.data as EventData<C>, time };
      }
      const problems = parsed.error.issues.slice(0, 5).map((issue) => `${issue.path.join('.') || 'body'}: ${issue.message}`);
      return { fact: origin, reason: problems.join('; ') };
    } catch (error) {
      return { fact: origin, reason: `body is not JSON: ${(error as Error).message}` };
    }
  }

  /** A batch that fails for what is in it is taken apart, so that one bad fact neither stops nor loses the others. */
  private async handle(messages: readonly JsMsg[], position: Position): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        const refused = await this.attempt(messages, position);
        this.on.handled(messages.length - refused, 'done');
        return;
      } catch (error) {
        if (error instanceof PositionLost || this.stopping.signal.aborted) throw error;
        const transient = isTransient(error);
        if (!transient && messages.length > 1) {
          this.on.log.warn({ err: error, event: this.contract.name, facts: messages.length }, 'facts.one-by-one');
          for (const one of messages) await this.handle([one], position);
          return;
        }
        if (!transient && attempt >= MAX_ATTEMPTS) {
          const [one] = messages;
          if (one) await this.bury(one, (error as Error).message, attempt, position);
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
  private async attempt(messages: readonly JsMsg[], position: Position): Promise<number> {
    const last = messages.at(-1);
    if (!last) return 0;
    let settled = false;
    let malformed: Refused[] | undefined;
    let refused: Refused[] = [];
    let tried: Tx | undefined;
    const within = (tx: Tx) => {
      // The handler may have begun anew, in another transaction.
      if (tx !== tried) refused = [];
      tried = tx;
    };
    const refuse = async (tx: Tx, one: Refused) => {
      within(tx);
      refused.push(one);
      await putAside(tx, this.contract.name, one.fact, one.reason, 1);
    };
    await this.handler({
      read: (take) => {
        const unread: Refused[] = (malformed = []);
        return messages.flatMap((message) => {
          const origin = originOf(message);
          const parsed = this.parse(message, origin);
          if ('data' in parsed) return [{ origin, made: take(parsed) }];
          unread.push(parsed);
          return [];
        });
      },
      settle: async (tx) => {
        within(tx);
        if (!malformed) throw new Error(`the handler of ${this.contract.name} settles a batch that it has not read`);
        // Known before the commit is early enough: the effects need not wait for it.
        tx.require(this.savePosition(tx, position, last.seq, originOf(last).id));
        for (const one of malformed) await refuse(tx, one);
        settled = true;
      },
      refuse: (tx, fact, reason) => refuse(tx, { fact, reason }),
    });
    if (!settled) throw new Error(`the handler of ${this.contract.name} has not settled its batch`);
    position.sequence = last.seq;
    for (const { fact, reason } of refused) this.tellDead(fact, reason, 1);
    return refused.length;
  }

  private async bury(message: JsMsg, reason: string, attempts: number, position: Position): Promise<void> {
    const fact = originOf(message);
    await this.on.store.transaction(async (tx) => {
      await putAside(tx, this.contract.name, fact, reason, attempts);
      await this.savePosition(tx, position, message.seq, fact.id);
    });
    position.sequence = message.seq;
    this.tellDead(fact, reason, attempts);
  }

  private tellDead({ subject, id }: FactOrigin, reason: string, attempts: number): void {
    this.on.handled(1, 'dead');
    this.on.log.error({ event: this.contract.name, subject, eventId: id, reason, attempts }, 'fact.dead');
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

function originOf(message: JsMsg): FactOrigin {
  const header = (name: string) => message.headers?.get(name) || undefined;
  return {
    id: header('ce-id') ?? header('Nats-Msg-Id') ?? `${message.info.stream}.${message.seq}`,
    subject: message.subject,
    traceparent: header('traceparent') ?? freshTrace(),
    body: () => message.string(),
    attributes: () =>
      Object.fromEntries(
        (message.headers?.keys() ?? []).flatMap((name) =>
          /^ce-/i.test(name) ? [[name.toLowerCase(), message.headers?.get(name) ?? '']] : [],
        ),
      ),
  };
}

/** How far the service has acted on an event, for whoever told it. */
export async function positionIn(store: Store, question: { event: string }): Promise<{ streamCreated: string; sequence: number } | null> {
  const [row] = await store.query<{ stream_created: string; sequence: string }>(
    'SELECT stream_created, sequence FROM fact_position WHERE event = $1',
    [question.event],
  );
  return row ? { streamCreated: row.stream_created, sequence: Number(row.sequence) } : null;
}
