import { type ClientOptions, connected, type Connected } from './connection.ts';
import { type EventName, STREAM } from './contracts.ts';
import { ClientError, clientError } from './errors.ts';
import { read, stateOf, type ReadOptions, type State, type StateOptions } from './reading.ts';
import { deliveryFrom, type Start } from './start.ts';
import { Subscription, type SubscriptionOptions } from './subscription.ts';
import type { ToldEvent } from './told-event.ts';

export type { ClientOptions } from './connection.ts';
export { ClientError, type ClientErrorCode } from './errors.ts';
export type { EventData, EventName } from './contracts.ts';
export type { EventFilter } from './filter.ts';
export type { Start } from './start.ts';
export type { InvalidMessage, ToldEvent } from './told-event.ts';
export type { ConsumedEvent, Settling } from './consumed-event.ts';
export type { ReadOptions, State, StateOptions } from './reading.ts';
export { Subscription, type HandleOptions, type SubscriptionOptions } from './subscription.ts';

/** Connects to the NATS server that Millrace tells its events on. Throws {@link ClientError}. */
export async function connect(options: ClientOptions): Promise<Client> {
  return new Client(await connected(options));
}

/** A connection to the events of one Millrace. */
export class Client {
  private readonly subscriptions = new Set<Subscription>();

  /** Made by {@link connect}. */
  constructor(private readonly on: Connected) {}

  /**
   * Takes a durable place among the events of a filter: what is told while nobody reads is there at the next start, as long as the stream keeps it.
   * Throws {@link ClientError}.
   */
  async subscribe<const N extends EventName = EventName>(options: SubscriptionOptions<N>): Promise<Subscription<N>> {
    const subscription = await Subscription.open(this.on, options, (one) => this.subscriptions.delete(one));
    this.subscriptions.add(subscription as unknown as Subscription);
    return subscription;
  }

  /** Events that are there now, in their order, from a time or sequence on; ends with the last. Keeps no place on the server. */
  read<const N extends EventName = EventName>(options: ReadOptions<N> = {}): AsyncGenerator<ToldEvent<N>, void, undefined> {
    return read(this.on, options);
  }

  /** The last event of each tag: where all tags point. */
  state<const N extends EventName = 'tag.moved'>(options: StateOptions<N> = {}): Promise<State<N>> {
    return stateOf(this.on, options);
  }

  /** Puts the place of a subscription elsewhere: its events from there on come, again too. Those who read it go on there by themselves. */
  async rewind(name: string, to: Start): Promise<void> {
    const delivery = deliveryFrom(to);
    try {
      const { config } = await this.on.manager.consumers.info(STREAM, name);
      const { durable_name, filter_subject, filter_subjects, ack_policy, ack_wait, max_ack_pending, max_deliver } = config;
      const kept = { durable_name, filter_subject, filter_subjects, ack_policy, ack_wait, max_ack_pending, max_deliver };
      await this.on.manager.consumers.delete(STREAM, name);
      await this.on.manager.consumers.add(STREAM, { ...kept, ...delivery });
    } catch (error) {
      throw this.about(name, error);
    }
  }

  /** Gives a place up: its events are no longer kept account of. */
  async unsubscribe(name: string): Promise<void> {
    try {
      await this.on.manager.consumers.delete(STREAM, name);
    } catch (error) {
      throw this.about(name, error);
    }
  }

  /** Stops all subscriptions as {@link Subscription.stop} does, then closes the connection. */
  async close(options: { withinMs?: number } = {}): Promise<void> {
    await Promise.all([...this.subscriptions].map((subscription) => subscription.stop(options)));
    await this.on.nats.close();
  }

  private about(name: string, error: unknown): ClientError {
    const { code, message } = clientError(error, this.on.place);
    if (code !== 'subscription-gone') return new ClientError(code, message, { cause: error });
    return new ClientError(code, `there is no subscription ${name} on NATS at ${this.on.place.servers}`, { cause: error });
  }
}
