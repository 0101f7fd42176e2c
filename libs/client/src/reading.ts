import { DeliverPolicy } from '@nats-io/jetstream';
import type { Connected } from './connection.ts';
import { type EventName, STREAM } from './contracts.ts';
import { ClientError, clientError } from './errors.ts';
import { type EventFilter, filterFor, selectionOf } from './filter.ts';
import { deliveryFrom, type Delivery, type Start } from './start.ts';
import { type InvalidMessage, readMessage, type ToldEvent } from './told-event.ts';

export interface ReadOptions<N extends EventName = EventName> extends EventFilter<N> {
  /** 'all' when absent. */
  from?: Exclude<Start, 'new'>;
  /** Called with each message that is no event as its contract says; they are left out. */
  onInvalid?: (message: InvalidMessage) => void;
}

export interface StateOptions<N extends EventName = EventName> extends Omit<EventFilter<N>, 'events'> {
  /** Whose last event of each subject; 'tag.moved' when absent. */
  event?: N;
  onInvalid?: (message: InvalidMessage) => void;
}

/** The last event of each tag, or of each trigger of it. */
export interface State<N extends EventName = EventName> {
  events: ToldEvent<N>[];
  /** To go on from without a gap: `subscribe({ from: { sequence } })`. What was told meanwhile comes in both. */
  sequence: number;
  /** As far as the stream reaches back: of what has not happened since, nothing is here. */
  since: Date;
}

const AT_ONCE = 1_000;

/** Reads events without a place of its own on the server, up to what is there when it begins. */
export async function* read<N extends EventName>(
  on: Connected,
  { from = 'all', onInvalid, ...filter }: ReadOptions<N>,
): AsyncGenerator<ToldEvent<N>, void, undefined> {
  const delivery = deliveryFrom(from);
  if ((from as Start) === 'new')
    throw new ClientError('bad-option', "from: reading ends with what is there, so 'new' gives nothing: subscribe instead");
  yield* upTo(on, (await streamOf(on)).last, delivery, filter, onInvalid);
}

export async function stateOf<N extends EventName>(on: Connected, { event, onInvalid, ...filter }: StateOptions<N>): Promise<State<N>> {
  // Before any is read: what is told meanwhile is then told again to whoever goes on from here.
  const { last, since } = await streamOf(on);
  const newest = new Map<string, ToldEvent<N>>();
  const chosen = { ...filter, events: [event ?? ('tag.moved' as N)] };
  for await (const told of upTo<N>(on, Number.MAX_SAFE_INTEGER, { deliver_policy: DeliverPolicy.LastPerSubject }, chosen, onInvalid))
    newest.set(told.subject, told);
  return { events: [...newest.values()], sequence: last + 1, since };
}

async function streamOf({ manager, place }: Connected): Promise<{ last: number; since: Date }> {
  try {
    const { state } = await manager.streams.info(STREAM);
    return { last: state.last_seq, since: state.messages ? new Date(state.first_ts) : new Date() };
  } catch (error) {
    throw clientError(error, place);
  }
}

/** Events until there are no more, or `last` is reached. */
async function* upTo<N extends EventName>(
  { nats, manager, place }: Connected,
  last: number,
  delivery: Delivery,
  filter: EventFilter<N>,
  onInvalid?: (message: InvalidMessage) => void,
): AsyncGenerator<ToldEvent<N>, void, undefined> {
  const selection = selectionOf(filter);
  try {
    const { filter_subject, filter_subjects = filter_subject } = filterFor(selection, nats.info?.version ?? '');
    const consumer = await manager.jetstream().consumers.get(STREAM, { ...(filter_subjects ? { filter_subjects } : {}), ...delivery });
    try {
      if ((await consumer.info(true)).num_pending === 0) return;
      const messages = await consumer.consume({ max_messages: AT_ONCE });
      try {
        for await (const message of messages) {
          if (message.seq > last) return;
          if (selection.wants(message.subject)) {
            const made = readMessage(message);
            if ('event' in made) yield made.event as ToldEvent<N>;
            else onInvalid?.(made.invalid);
          }
          if (message.seq === last || message.info.pending === 0) return;
        }
      } finally {
        await messages.close();
      }
    } finally {
      await consumer.delete().catch(() => undefined);
    }
  } catch (error) {
    throw clientError(error, place);
  }
}
