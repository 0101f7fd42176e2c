import { randomUUID } from 'node:crypto';
import { jetstream, jetstreamManager, type JetStreamClient, type JetStreamManager, type StreamInfo } from '@nats-io/jetstream';
import { connect, createInbox, headers as natsHeaders, type Msg, type NatsConnection, type Subscription } from '@nats-io/transport-node';
import type { Answer, Question, RequestContract, StreamName } from '@millrace/contracts/define';
import { events } from '@millrace/contracts/events';
import { FactWrites, type Message } from './fact-writes.ts';
import type { Log } from './log.ts';
import { currentTrace, freshTrace, withTrace } from './trace.ts';

/** Parts of an answer are kept well under NATS' default limit of 1 MiB a message. */
const PART_BYTES = 768 * 1024;
const ANSWER_LIMIT_BYTES = 256 * 1024 * 1024;
const ASK_MS = 10_000;
/** Bells are no facts: outside every stream's subjects, and not stored. */
const NUDGE_PREFIX = 'millrace.nudge';
const HOUR_NS = 3_600_000_000_000;
const Header = {
  Part: 'Millrace-Part',
  Last: 'Millrace-Last',
  Failed: 'Millrace-Failed',
} as const;

/** The owner of a noun could not be asked, or could not answer. */
export class AskError extends Error {
  override name = 'AskError';
  constructor(
    readonly code: 'no-owner' | 'timeout' | 'failed' | 'too-large' | 'closed',
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

type Answering = (question: unknown) => Promise<unknown>;

/** Those who answer in this process, by NATS server and subject: a question to them goes by a call. */
const neighbours = new Map<string, Answering>();

interface Waiting {
  parts: Uint8Array[];
  bytes: number;
  subject: string;
  settle: (outcome: Uint8Array | AskError) => void;
}

/** The connection to NATS: JetStream streams for facts, request/reply for questions. The only code that names NATS, with relay.ts and facts.ts. */
export class Bus {
  private connection: NatsConnection | undefined;
  private manager: JetStreamManager | undefined;
  private client: JetStreamClient | undefined;
  private readonly inbox = createInbox('_INBOX.millrace');
  private readonly waiting = new Map<string, Waiting>();
  private readonly writes = new FactWrites();
  private readonly serving: { subscription: Subscription; done: Promise<void> }[] = [];
  private readonly inFlight = new Set<Promise<void>>();
  private readonly movesOut: (() => unknown)[] = [];
  private readonly reconnected: (() => void)[] = [];
  private asked = 0;

  constructor(
    /** Without `retentionHours` it only looks: it makes and changes no streams. */
    private readonly options: { url: string; name: string; retentionHours?: number; stopTimeoutMs: number },
    private readonly log: Log,
  ) {}

  async open(): Promise<void> {
    const servers = this.options.url.split(',').map((url) => new URL(url.includes('://') ? url : `nats://${url}`));
    const first = servers[0];
    this.connection = await connect({
      servers: servers.map((url) => url.host),
      ...(first?.password
        ? { user: decodeURIComponent(first.username), pass: decodeURIComponent(first.password) }
        : first?.username
          ? { token: decodeURIComponent(first.username) }
          : {}),
      name: this.options.name,
      maxReconnectAttempts: -1,
      reconnectTimeWait: 250,
      reconnectJitter: 100,
      waitOnFirstConnect: true,
      pingInterval: 10_000,
      maxPingOut: 2,
      ...(first?.protocol === 'tls:' ? { tls: {} } : {}),
    });
    this.connection.subscribe(`${this.inbox}.*`, { callback: (_error, message) => this.collect(message) });
    this.writes.listen(this.connection);
    this.manager = await jetstreamManager(this.connection, { checkAPI: false });
    this.client = jetstream(this.connection);
    void this.followStatus(this.connection);
    await this.ensureStreams();
  }

  get nats(): NatsConnection {
    if (!this.connection) throw new AskError('closed', 'NATS is not connected');
    return this.connection;
  }

  get js(): JetStreamClient {
    if (!this.client) throw new AskError('closed', 'NATS is not connected');
    return this.client;
  }

  get jsm(): JetStreamManager {
    if (!this.manager) throw new AskError('closed', 'NATS is not connected');
    return this.manager;
  }

  /** Called after every reconnection: the server may have lost what it stored. */
  onReconnect(listener: () => void): void {
    this.reconnected.push(listener);
  }

  /** Throws when NATS does not answer within `timeoutMs`. */
  async check(timeoutMs = 2_000): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new AskError('timeout', `NATS has not answered for ${timeoutMs} ms`)), timeoutMs);
    });
    try {
      await Promise.race([this.nats.rtt(), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** The stream that stores an event, made again where the server has lost it. */
  async streamInfo(stream: StreamName): Promise<StreamInfo> {
    try {
      return await this.jsm.streams.info(stream);
    } catch (error) {
      if ((error as { code?: number }).code !== 404 && !/stream not found/i.test((error as Error).message)) throw error;
      await this.ensureStreams();
      return this.jsm.streams.info(stream);
    }
  }

  /** Whether the stream still has, or has let go by its retention, the event that we know at a sequence. */
  async holds(stream: StreamName, info: StreamInfo, sequence: number, eventId: string): Promise<boolean> {
    if (sequence < info.state.first_seq) return info.state.last_seq >= sequence;
    if (sequence > info.state.last_seq) return false;
    const message = await this.jsm.streams.getMessage(stream, { seq: sequence });
    return message === null || (message.header.get('ce-id') || message.header.get('Nats-Msg-Id') || `${stream}.${sequence}`) === eventId;
  }

  private async ensureStreams(): Promise<void> {
    if (this.options.retentionHours === undefined) return;
    for (const name of new Set(events.map((event) => event.stream))) {
      const subjects = events.filter((event) => event.stream === name).map((event) => event.wildcard);
      const wanted = { subjects, max_age: this.options.retentionHours * HOUR_NS, duplicate_window: 120_000_000_000 };
      try {
        const { config } = await this.jsm.streams.info(name);
        if (config.max_age !== wanted.max_age || config.subjects.toSorted().join() !== subjects.toSorted().join())
          await this.jsm.streams.update(name, wanted);
      } catch (error) {
        if ((error as { code?: number }).code !== 404 && !/stream not found/i.test((error as Error).message)) throw error;
        // Several services may come up against an empty server at once; the same configuration twice is no conflict.
        await this.jsm.streams.add({ name, ...wanted, storage: 'file', retention: 'limits', discard: 'old', allow_direct: true });
        this.log.info({ stream: name, subjects }, 'stream.created');
      }
    }
  }

  /** Asks the owner of a noun. Rejects with {@link AskError}; the answer has the contract's shape. */
  async ask<C extends RequestContract>(contract: C, question: Question<C>, options: { timeoutMs?: number } = {}): Promise<Answer<C>> {
    return JSON.parse((await this.askBytes(contract, question, options)).toString()) as Answer<C>;
  }

  /** The same, for an asker that passes the answer on: its JSON as it came, not parsed. The buffer is the asker's own. */
  async askBytes<C extends RequestContract>(contract: C, question: Question<C>, options: { timeoutMs?: number } = {}): Promise<Buffer> {
    const neighbour = neighbours.get(this.placeOf(contract.subject));
    if (neighbour) return this.askNeighbour(contract, neighbour, question, options.timeoutMs ?? ASK_MS);
    const body = await this.exchange(contract.subject, Buffer.from(JSON.stringify(question)), options.timeoutMs ?? ASK_MS);
    return Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  }

  /** Over NATS it would be the same bytes: what asker and owner hold is never the same object. */
  private async askNeighbour(
    { subject, question: shape }: RequestContract,
    answer: Answering,
    question: unknown,
    timeoutMs: number,
  ): Promise<Buffer> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new AskError('timeout', `${subject} has not been answered within ${timeoutMs} ms`)), timeoutMs);
    });
    try {
      const asked = shape.parse(JSON.parse(JSON.stringify(question)));
      const answered = answer(asked).catch((error: unknown) => {
        throw new AskError('failed', `${subject}: the service could not answer; its log names the reason`, { cause: error });
      });
      return Buffer.from(JSON.stringify(await Promise.race([answered, late])));
    } finally {
      clearTimeout(timer);
    }
  }

  private placeOf(subject: string): string {
    return `${this.options.url} ${subject}`;
  }

  private exchange(subject: string, body: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    const id = `${++this.asked}`;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => this.waiting.get(id)?.settle(new AskError('timeout', `${subject} has not been answered within ${timeoutMs} ms`)),
        timeoutMs,
      );
      this.waiting.set(id, {
        parts: [],
        bytes: 0,
        subject,
        settle: (outcome) => {
          clearTimeout(timer);
          this.waiting.delete(id);
          if (outcome instanceof AskError) reject(outcome);
          else resolve(outcome);
        },
      });
      const headers = natsHeaders();
      headers.set('traceparent', currentTrace() ?? freshTrace());
      try {
        this.nats.publish(subject, body, { reply: `${this.inbox}.${id}`, headers });
      } catch (error) {
        const code = /max.?payload/i.test(String(error)) ? 'too-large' : 'closed';
        this.waiting.get(id)?.settle(new AskError(code, `${subject} cannot be asked: ${(error as Error).message}`, { cause: error }));
      }
    });
  }

  /** Has JetStream store facts with these headers; resolves to their sequences. See {@link FactWrites}. */
  store(headers: Readonly<Record<string, string>>, messages: readonly Message[]): Promise<number[]> {
    return this.writes.store(this.nats, headers, messages);
  }

  private collect(message: Msg): void {
    const waiting = this.waiting.get(message.subject.slice(this.inbox.length + 1));
    if (!waiting) return;
    if (message.headers?.code === 503)
      return waiting.settle(new AskError('no-owner', `nobody answers ${waiting.subject}: the service that owns it is not running`));
    const failed = message.headers?.get(Header.Failed);
    if (failed) return waiting.settle(new AskError('failed', `${waiting.subject}: ${failed}`));
    waiting.parts.push(message.data);
    waiting.bytes += message.data.length;
    if (waiting.bytes > ANSWER_LIMIT_BYTES)
      return waiting.settle(new AskError('too-large', `the answer to ${waiting.subject} is over ${ANSWER_LIMIT_BYTES} bytes`));
    if (message.headers?.get(Header.Last)) waiting.settle(waiting.parts.length === 1 ? message.data : Buffer.concat(waiting.parts));
  }

  /** Answers a request; instances of one service share the questions. */
  serve<C extends RequestContract>(contract: C, answer: (question: Question<C>) => Promise<Answer<C>>): void {
    const subscription = this.nats.subscribe(contract.subject, {
      queue: contract.to,
      callback: (_error, message) => {
        const work = withTrace(message.headers?.get('traceparent'), () => this.respond(contract, message, answer));
        this.inFlight.add(work);
        void work.finally(() => this.inFlight.delete(work));
      },
    });
    const called: Answering = async (question) => {
      const work = answer(question as Question<C>);
      const done = work.then(
        () => undefined,
        (error: unknown) => this.log.error({ err: error, subject: contract.subject }, 'request.failed'),
      );
      this.inFlight.add(done);
      void done.finally(() => this.inFlight.delete(done));
      return work;
    };
    const place = this.placeOf(contract.subject);
    neighbours.set(place, called);
    this.movesOut.push(() => neighbours.get(place) === called && neighbours.delete(place));
    this.serving.push({ subscription, done: subscription.closed.then(() => undefined) });
  }

  private async respond<C extends RequestContract>(
    contract: C,
    message: Msg,
    answer: (question: Question<C>) => Promise<Answer<C>>,
  ): Promise<void> {
    try {
      const question = contract.question.parse(JSON.parse(message.string())) as Question<C>;
      this.reply(message, Buffer.from(JSON.stringify(await answer(question))));
    } catch (error) {
      this.log.error({ err: error, subject: contract.subject }, 'request.failed');
      const headers = natsHeaders();
      // The asker learns that it failed and under which id the log has the reason, not the inside of the service.
      headers.set(Header.Failed, `the service could not answer; its log names the reason under ${currentTrace() ?? randomUUID()}`);
      message.respond(undefined, { headers });
    }
  }

  private reply(message: Msg, body: Buffer): void {
    const parts = Math.max(1, Math.ceil(body.length / PART_BYTES));
    for (let part = 0; part < parts; part++) {
      const headers = natsHeaders();
      if (parts > 1) headers.set(Header.Part, `${part + 1}/${parts}`);
      if (part === parts - 1) headers.set(Header.Last, '1');
      message.respond(body.subarray(part * PART_BYTES, (part + 1) * PART_BYTES), { headers });
    }
  }

  /** Rings a bell in other instances of the service, best effort: nobody relies on it arriving. */
  nudge(bell: string): void {
    if (this.connection && !this.connection.isClosed()) this.connection.publish(`${NUDGE_PREFIX}.${bell}`);
  }

  onNudge(bell: string, listener: () => void): void {
    this.nats.subscribe(`${NUDGE_PREFIX}.${bell}`, { callback: () => listener() });
  }

  /** Takes no more questions, answers those it has, and closes. */
  async close(): Promise<void> {
    if (!this.connection) return;
    for (const moveOut of this.movesOut) moveOut();
    for (const { subscription } of this.serving) await subscription.drain().catch(() => undefined);
    const bound = new Promise((resolve) => setTimeout(resolve, this.options.stopTimeoutMs / 2).unref());
    await Promise.race([Promise.allSettled([...this.inFlight]), bound]);
    const stopping = new AskError('closed', 'the service is stopping');
    for (const waiting of [...this.waiting.values()]) waiting.settle(stopping);
    this.writes.close(stopping);
    await Promise.race([this.connection.flush().catch(() => undefined), bound]);
    await this.connection.close().catch(() => undefined);
  }

  private async followStatus(connection: NatsConnection): Promise<void> {
    for await (const status of connection.status()) {
      if (status.type === 'disconnect') this.log.warn({ server: status.server }, 'nats.disconnected');
      if (status.type !== 'reconnect') continue;
      this.log.info({ server: status.server }, 'nats.reconnected');
      for (const listener of this.reconnected) listener();
    }
  }
}
