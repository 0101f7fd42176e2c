import type { JsMsg } from '@nats-io/jetstream';
import { ClientError } from './errors.ts';
import type { EventName } from './contracts.ts';
import type { ToldEvent } from './told-event.ts';

/** What its consumer says of an event. The first word counts: what is said of an event that is settled does nothing. */
export interface Settling {
  /** How often it has been given out, this time included: more than 1 is a repeat. */
  readonly deliveries: number;
  readonly settled: boolean;
  /** It is done: it does not come again. */
  ack(): void;
  /** The same; resolves when the server has it, so that after this only a restored backup brings it again. */
  acked(): Promise<void>;
  /** It is to come again, after `delayMs` or at once. */
  nak(delayMs?: number): void;
  /** It is still being worked on: it does not come again within another `ackWaitMs`. */
  working(): void;
  /** It is given up, and does not come again. */
  term(): void;
}

export type ConsumedEvent<N extends EventName = EventName> = ToldEvent<N> & Settling;

/** An event in hand. `onSettled` is called once. */
export function consumedEvent(event: ToldEvent, message: JsMsg, onSettled: (event: ConsumedEvent) => void): ConsumedEvent {
  let settled = false;
  const settle = (say: () => void): void => {
    if (settled) return;
    settled = true;
    say();
    onSettled(consumed);
  };
  const consumed: ConsumedEvent = Object.defineProperty(
    {
      ...event,
      settled: false,
      deliveries: message.info.deliveryCount,
      ack: () => settle(() => message.ack()),
      acked: async () => {
        if (settled) return;
        settled = true;
        try {
          if (!(await message.ackAck())) throw new ClientError('failed', `event ${event.id} was settled before`);
        } finally {
          onSettled(consumed);
        }
      },
      // NATS 2.9 confuses events that are given back at once while nobody asks for any: it gives one out twice, and another late.
      nak: (delayMs = 0) => settle(() => message.nak(Math.max(1, delayMs))),
      working: () => {
        if (!settled) message.working();
      },
      term: () => settle(() => message.term()),
    },
    'settled',
    { enumerable: true, get: () => settled },
  );
  return consumed;
}
