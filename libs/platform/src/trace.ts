import { AsyncLocalStorage } from 'node:async_hooks';
import { randomFillSync } from 'node:crypto';

/** W3C trace context: the `traceparent` of the work in hand, carried from a push to its webhooks. */
const active = new AsyncLocalStorage<string>();
const GRAMMAR = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

export const currentTrace = (): string | undefined => active.getStore();

/** Runs `work` under the given traceparent, or under a fresh one where there is none or it is malformed. */
export function withTrace<T>(traceparent: string | null | undefined, work: () => T): T {
  return active.run(traceparent && GRAMMAR.test(traceparent) ? traceparent : freshTrace(), work);
}

export const freshTrace = (): string => `00-${freshHex(16)}-${freshHex(8)}-01`;

/** Every request takes some: the system is asked for many at a time. */
const random = Buffer.alloc(4_096);
let taken = random.length;

function freshHex(bytes: number): string {
  if (taken + bytes > random.length) {
    randomFillSync(random);
    taken = 0;
  }
  taken += bytes;
  return random.toString('hex', taken - bytes, taken);
}
