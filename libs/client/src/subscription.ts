import { AckPolicy, DeliverPolicy, type ConsumerMessages, type JsMsg } from '@nats-io/jetstream';
import { nanos } from '@nats-io/transport-node';
import { z } from 'zod';
import type { Connected } from './connection.ts';
import { consumedEvent, type ConsumedEvent } from './consumed-event.ts';
import { type EventName, STREAM } from './contracts.ts';
import { ClientError, clientError } from './errors.ts';
import { type EventFilter, filterFor, type Selection, selectionOf } from './filter.ts';
import { deliveryFrom, type Delivery, type Start } from './start.ts';
import { type InvalidMessage, readMessage } from './told-event.ts';

export interface SubscriptionOptions<N extends EventName = EventName> extends EventFilter<N> {
  /** Names the place among the events, which the server keeps. Processes that give one name share its events. */
  name: string;
  /** Where a name that the server does not know begins; 'all' when absent. One that it knows goes on where it was. */
  from?: Start;
  /** How many events may be given out and not yet settled, to all processes of the name; 32. */
  maxInFlight?: number;
  /** After how long an event that is not settled comes again, in milliseconds; 30,000. */
  ackWaitMs?: number;
  /** Called with each message that is no event as its contract says; it is ended first and does not come again. A process warning when absent. */
  onInvalid?: (message: InvalidMessage) => void;
}

export interface HandleOptions {
  /** Handlers that run at a time; 1, which keeps events in their order. */
  concurrency?: number;
  /** Called with what a handler throws, before the event is put back; a process warning when absent. */
  onError?: (error: unknown, event: ConsumedEvent) => void;
  /** How long an event waits that failed, by how often it was given out; 1 s, twice as long each time, 5 minutes at most. */
  retryAfterMs?: (deliveries: number) => number;
}

const Options = z.strictObject({
  name: z.string().regex(/^[A-Za-z0-9_-]{1,128}$/, 'must be 1 to 128 letters, digits, - and _'),
  maxInFlight: z.int().min(1).max(10_000).default(32),
  ackWaitMs: z
    .int()
    .min(500)
    .max(24 * 3_600_000)
    .default(30_000),
});
const Concurrency = z.int().min(1).max(10_000).default(1);

const RETRY_FIRST_MS = 1_000;
const RETRY_LONGEST_MS = 300_000;
/** After two that are missing, it is looked at what has become of the place. */
const HEARTBEAT_MS = 5_000;
/** How long a consumer may be missing until whoever moves it has made it anew. */
const MISSING_MS = 5_000;
const LOOK_MS = 250;

/** A durable place among the events of a filter: iterate over it, or hand it a handler. */
export class Subscription<N extends EventName = EventName> implements AsyncIterable<ConsumedEvent<N>> {
  private messages: ConsumerMessages | undefined;
  private readonly waiting: ConsumedEvent[] = [];
  /** What somebody works on. */
  private readonly inHand = new Set<ConsumedEvent>();
  /** What is kept from coming again while this process lives: what waits, and what a handler has. */
  private readonly kept = new Set<ConsumedEvent>();
  private readonly woken = new Set<() => void>();
  private readonly keeping: NodeJS.Timeout;
  private stopping: Promise<void> | undefined;
  private failure: ClientError | undefined;
  private recovering = false;
  private streamCreated = '';

  /** Made by the client's `subscribe`. */
  private constructor(
    private readonly on: Connected,
    private readonly over: (subscription: Subscription) => unknown,
    readonly name: string,
    private readonly selection: Selection,
    private readonly options: { maxInFlight: number; ackWaitMs: number; onInvalid?: (message: InvalidMessage) => void },
  ) {
    this.keeping = setInterval(() => {
      for (const event of this.kept) event.working();
    }, options.ackWaitMs / 2);
    this.keeping.unref();
  }

  static async open<N extends EventName>(
    on: Connected,
    given: SubscriptionOptions<N>,
    over: (subscription: Subscription) => unknown,
  ): Promise<Subscription<N>> {
    const { name, from = 'all', maxInFlight, ackWaitMs, onInvalid, ...filter } = given;
    const parsed = Options.safeParse({ name, maxInFlight, ackWaitMs });
    if (!parsed.success) throw new ClientError('bad-option', z.prettifyError(parsed.error));
    const subscription = new Subscription<N>(on, over, name, selectionOf(filter), { ...parsed.data, onInvalid });
    try {
      subscription.streamCreated = (await on.manager.streams.info(STREAM)).created;
      await subscription.place(deliveryFrom(from));
      await subscription.pull();
    } catch (error) {
      clearInterval(subscription.keeping);
      throw clientError(error, on.place);
    }
    void on.nats
      .closed()
      .then((error) => subscription.fail(error ? clientError(error, on.place) : new ClientError('closed', 'the client is closed')));
    return subscription;
  }

  /** Event by event; leaving the loop stops the subscription. An event that is not settled comes again after `ackWaitMs`. */
  async *[Symbol.asyncIterator](): AsyncGenerator<ConsumedEvent<N>, void, undefined> {
    try {
      for (let event = await this.next(); event; event = await this.next()) {
        // Whoever iterates says himself that he is still at it: one that he forgot is to come again.
        this.kept.delete(event);
        yield event as ConsumedEvent<N>;
        this.release(event);
      }
    } finally {
      this.inHand.clear();
      await this.stop();
    }
  }

  /**
   * Gives each event to a handler, and settles it by how that ends: acknowledged when it resolves, to come again when it throws, unless the handler
   * has said something else. An event is kept while its handler runs, however long. Resolves when the subscription has been stopped.
   */
  async handle(handler: (event: ConsumedEvent<N>) => unknown, options: HandleOptions = {}): Promise<void> {
    const concurrency = Concurrency.safeParse(options.concurrency);
    if (!concurrency.success) throw new ClientError('bad-option', `concurrency: ${z.prettifyError(concurrency.error)}`);
    const worker = async () => {
      for (let event = await this.next(); event; event = await this.next()) {
        await this.work(event, handler as (event: ConsumedEvent) => unknown, options);
        this.release(event);
      }
    };
    await Promise.all(Array.from({ length: concurrency.data }, worker));
  }

  /**
   * Takes no more, gives back what nobody has begun with, and waits until what is in hand is settled, or for `withinMs`; what is not by then comes
   * again. The place is kept on the server.
   */
  stop({ withinMs = 30_000 }: { withinMs?: number } = {}): Promise<void> {
    this.stopping ??= this.finish(withinMs);
    return this.stopping;
  }

  private async finish(withinMs: number): Promise<void> {
    this.wake();
    await this.messages?.close();
    // Once the server knows that nothing more is taken here: what is given back must not come back.
    await this.flush();
    for (const event of this.waiting.splice(0)) event.nak();
    const deadline = Date.now() + withinMs;
    while (this.inHand.size && !this.failure && Date.now() < deadline) await this.change(deadline - Date.now());
    clearInterval(this.keeping);
    this.kept.clear();
    await this.flush();
    this.over(this as unknown as Subscription);
  }

  private async flush(): Promise<void> {
    if (!this.on.nats.isClosed()) await this.on.nats.flush().catch(() => undefined);
  }

  private async next(): Promise<ConsumedEvent | undefined> {
    for (;;) {
      if (this.failure) throw this.failure;
      if (this.stopping) return undefined;
      const event = this.waiting.shift();
      if (event) {
        this.inHand.add(event);
        return event;
      }
      await this.change();
    }
  }

  private async work(
    event: ConsumedEvent,
    handler: (event: ConsumedEvent) => unknown,
    { onError, retryAfterMs = backoff }: HandleOptions,
  ): Promise<void> {
    try {
      await handler(event);
      event.ack();
    } catch (error) {
      try {
        if (onError) onError(error, event);
        else warn(`the handler of subscription ${this.name} failed for event ${event.id}: ${String(error)}`, 'MILLRACE_HANDLER_FAILED');
      } finally {
        event.nak(retryAfterMs(event.deliveries));
      }
    }
  }

  private release(event: ConsumedEvent): void {
    this.kept.delete(event);
    if (this.inHand.delete(event)) this.wake();
  }

  /** Makes the place on the server, or brings the one that is there up to date; where it stands stays as it is. */
  private async place(delivery: Delivery): Promise<void> {
    const { consumers } = this.on.manager;
    const config = {
      // Said even where there is none: the place may have had one.
      filter_subject: undefined,
      filter_subjects: undefined,
      ...filterFor(this.selection, this.on.nats.info?.version ?? ''),
      ack_wait: nanos(this.options.ackWaitMs),
      max_ack_pending: this.options.maxInFlight,
    };
    const known = await consumers.info(STREAM, this.name).catch((error: unknown) => {
      if (clientError(error, this.on.place).code === 'subscription-gone') return undefined;
      throw error;
    });
    if (!known)
      await consumers.add(STREAM, { durable_name: this.name, ack_policy: AckPolicy.Explicit, max_deliver: -1, ...config, ...delivery });
    else if (known.config.deliver_subject || known.config.ack_policy !== AckPolicy.Explicit)
      throw new ClientError(
        'bad-option',
        `name: there is a consumer ${this.name} of another kind on ${STREAM}: take another name, or delete it`,
      );
    else if (Object.entries(config).some(([key, value]) => String(known.config[key as keyof typeof config] ?? '') !== String(value ?? '')))
      await consumers.update(STREAM, this.name, config);
  }

  private async pull(): Promise<void> {
    const consumer = await this.on.manager.jetstream().consumers.get(STREAM, this.name);
    const messages = await consumer.consume({
      max_messages: this.options.maxInFlight,
      idle_heartbeat: HEARTBEAT_MS,
      callback: (message) => this.take(message),
    });
    this.messages = messages;
    if (this.stopping) return void messages.close();
    void this.watch(messages);
    void messages.closed().then((error) => {
      if (error && this.messages === messages) this.fail(clientError(error, this.on.place));
    });
  }

  private take(message: JsMsg): void {
    if (!this.selection.wants(message.subject)) return message.ack();
    const read = readMessage(message);
    if ('invalid' in read) {
      message.term();
      const { onInvalid } = this.options;
      if (!onInvalid)
        return warn(`${read.invalid.subject} at ${read.invalid.sequence} is no event: ${read.invalid.reason}`, 'MILLRACE_INVALID_EVENT');
      try {
        return onInvalid(read.invalid);
      } catch (error) {
        return this.fail(new ClientError('failed', `onInvalid of subscription ${this.name} failed: ${String(error)}`, { cause: error }));
      }
    }
    const event = consumedEvent(read.event, message, (settled) => this.release(settled));
    this.waiting.push(event);
    this.kept.add(event);
    this.wake();
  }

  /** Sees to it that the place is there again when the server has lost it. */
  private async watch(messages: ConsumerMessages): Promise<void> {
    for await (const { type } of messages.status())
      if (type === 'consumer_deleted' || type === 'consumer_not_found' || type === 'stream_not_found') void this.recover();
  }

  /** A server that lost its disk is told all events anew: then the place begins anew too. One that somebody deleted stays deleted. */
  private async recover(): Promise<void> {
    if (this.recovering || this.stopping) return;
    this.recovering = true;
    const missingSince = Date.now();
    try {
      await this.messages?.close();
      while (!this.stopping && !this.failure) {
        try {
          const { created } = await this.on.manager.streams.info(STREAM);
          if (created !== this.streamCreated) {
            await this.place({ deliver_policy: DeliverPolicy.All });
            this.streamCreated = created;
          }
          await this.pull();
          return;
        } catch (error) {
          const { code } = clientError(error, this.on.place);
          if (code === 'closed' || code === 'unauthorized') throw error;
          if (code === 'subscription-gone' && Date.now() - missingSince > MISSING_MS)
            throw new ClientError('subscription-gone', `subscription ${this.name} was deleted on the server; subscribe anew to begin anew`);
          await this.change(LOOK_MS);
        }
      }
    } catch (error) {
      this.fail(clientError(error, this.on.place));
    } finally {
      this.recovering = false;
    }
  }

  private fail(failure: ClientError): void {
    if (this.failure || this.stopping) return this.wake();
    this.failure = failure;
    clearInterval(this.keeping);
    void this.messages?.close();
    this.wake();
    this.over(this as unknown as Subscription);
  }

  private wake(): void {
    for (const wake of [...this.woken]) wake();
  }

  /** Resolves when something may have changed, or after `withinMs`. */
  private change(withinMs?: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        this.woken.delete(wake);
        clearTimeout(timer);
        resolve();
      };
      const timer = withinMs === undefined ? undefined : setTimeout(wake, withinMs);
      this.woken.add(wake);
    });
  }
}

const backoff = (deliveries: number): number => Math.min(RETRY_LONGEST_MS, RETRY_FIRST_MS * 2 ** Math.min(deliveries - 1, 20));

const warn = (message: string, code: string): void => process.emitWarning(message, { type: 'MillraceWarning', code });
