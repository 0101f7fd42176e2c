import type { JsMsg } from '@nats-io/jetstream';
import { z } from 'zod';
import { contracts, eventNameOf, type EventData, type EventName } from './contracts.ts';

interface Told<N extends EventName> {
  /** What it is: `tag.moved`. Tells the type of `data`. */
  readonly event: N;
  /** The same for every copy of the event, for ever: who has acted on it once need not again. */
  readonly id: string;
  /** CloudEvents type and source. */
  readonly type: string;
  readonly source: string;
  readonly time: Date;
  /** W3C trace context, carried from the push on. */
  readonly traceparent: string | undefined;
  readonly subject: string;
  /** Place in the stream. */
  readonly sequence: number;
  readonly data: EventData<N>;
}

/** An event as it was told; `event` says which, and so what `data` is. */
export type ToldEvent<N extends EventName = EventName> = { [K in N]: Told<K> }[N];

/** A message that is no event as its contract says. */
export interface InvalidMessage {
  readonly subject: string;
  readonly sequence: number;
  readonly id: string | undefined;
  readonly reason: string;
  readonly body: string;
}

const REASON_LENGTH_MAX = 2_000;

/** What a message says, or why it says nothing that can be used. */
export function readMessage(message: JsMsg): { event: ToldEvent } | { invalid: InvalidMessage } {
  const { subject, seq: sequence } = message;
  const header = (name: string) => message.headers?.get(name) || undefined;
  const id = header('ce-id') ?? header('Nats-Msg-Id');
  const invalid = (reason: string) => ({
    invalid: { subject, sequence, id, reason: reason.slice(0, REASON_LENGTH_MAX), body: message.string() },
  });
  const event = eventNameOf(subject);
  if (!event) return invalid('its subject is that of no event');
  const { type, data: shape } = contracts[event];
  if (!id) return invalid('it has no ce-id');
  if (header('ce-type') !== undefined && header('ce-type') !== type) return invalid(`its type is ${header('ce-type')} and not ${type}`);
  let json: unknown;
  try {
    json = message.json();
  } catch {
    return invalid('its body is not JSON');
  }
  const parsed = shape.safeParse(json);
  if (!parsed.success) return invalid(z.prettifyError(parsed.error));
  const told = Date.parse(header('ce-time') ?? '');
  return {
    event: {
      ...{ event, id, type, subject, sequence },
      source: header('ce-source') ?? '',
      time: Number.isNaN(told) ? message.time : new Date(told),
      traceparent: header('traceparent'),
      data: parsed.data,
    } as ToldEvent,
  };
}
