import { AsyncLocalStorage } from 'node:async_hooks';
import { randomBytes } from 'node:crypto';

/** W3C trace context: the `traceparent` of the work in hand, carried from a push to its webhooks. */
const active = new AsyncLocalStorage<string>();
const GRAMMAR = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

export const currentTrace = (): string | undefined => active.getStore();

/** Runs `work` under the given traceparent, or under a fresh one where there is none or it is malformed. */
export function withTrace<T>(traceparent: string | null | undefined, work: () => T): T {
  return active.run(traceparent && GRAMMAR.test(traceparent) ? traceparent : freshTrace(), work);
}

export const freshTrace = (): string => `00-${randomBytes(16).toString('hex')}-${randomBytes(8).toString('hex')}-01`;
