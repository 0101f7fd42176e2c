import { HOUR, MINUTE, SECOND } from './interval.ts';

/** What one attempt to call a webhook came to. */
export type AttemptOutcome =
  /** `accepted` where not every 2xx is success, `meaning` where more is known than the status. */
  { kind: 'answered'; status: number; retryAfter?: string; accepted?: boolean; meaning?: string } | { kind: 'failed'; error: string };

/**
 * What the attempt was about. Times are durations, added up from waits that were given and calls that were made: no clock that jumps makes a delivery
 * older than it is.
 */
export interface AttemptContext {
  /** Own tries of the delivery, this one too; calls that probed an open circuit are none. */
  tries: number;
  /** What its own tries, and the waits between them, took before this one. */
  spentMs: number;
  /** What this one took. */
  ms: number;
  giveUpMs: number;
  /** While the circuit of its endpoint is open: when that is probed again. */
  probeInMs?: number;
  /** For a date in `Retry-After` alone. */
  now: Date;
  /** In [0, 1). */
  random: number;
}

export type NextStep =
  | { kind: 'delivered' }
  | { kind: 'gone'; reason: string }
  | { kind: 'retry'; delayMs: number; tries: number; spentMs: number; reason: string }
  | { kind: 'dead'; reason: string };

/** Waiting times after the first, second, ... failure; the last one repeats. Dense at first: a deployment waits for it. */
const DELAYS_MS = [
  SECOND,
  5 * SECOND,
  30 * SECOND,
  2 * MINUTE,
  10 * MINUTE,
  30 * MINUTE,
  HOUR,
  2 * HOUR,
  3 * HOUR,
  4 * HOUR,
  5 * HOUR,
  6 * HOUR,
];
/** A tenth more or less, so that what failed together does not come back together. */
const JITTER = 0.1;
const RETRY_AFTER_MS = { min: SECOND, max: 6 * HOUR };
/** No delivery is given a longer wait: one that stands further ahead was put there by a clock that has been set back since. */
export const LONGEST_WAIT_MS = 7 * HOUR;

/**
 * 2xx is delivered; 410 says that the receiver is gone for good; everything else, redirects included, is tried again. `Retry-After` of a 429 or 503 is
 * obeyed within bounds. What its own tries and their waits add up to is bounded by `giveUpMs`: the last attempt falls at the end of it, after it comes
 * `dead`. While the circuit is open, the delivery waits for its endpoint, and none of that counts.
 */
export function nextStep(outcome: AttemptOutcome, context: AttemptContext): NextStep {
  const { tries, spentMs, ms, giveUpMs, probeInMs, now, random } = context;
  if (isDelivered(outcome)) return { kind: 'delivered' };
  const reason = failureOf(outcome);
  if (isGone(outcome)) return { kind: 'gone', reason };
  if (probeInMs !== undefined) return { kind: 'retry', delayMs: probeInMs, tries: tries - 1, spentMs, reason };
  const spent = spentMs + ms;
  if (spent >= giveUpMs) return { kind: 'dead', reason };
  const delayMs = Math.min(toldDelayMs(outcome, now) ?? ownDelayMs(tries, random), giveUpMs - spent);
  return { kind: 'retry', delayMs, tries, spentMs: spent + delayMs, reason };
}

export const isDelivered = (outcome: AttemptOutcome): boolean =>
  outcome.kind === 'answered' && (outcome.accepted ?? (outcome.status >= 200 && outcome.status < 300));

export const isGone = (outcome: AttemptOutcome): boolean => outcome.kind === 'answered' && outcome.status === 410;

/** Why an attempt did not deliver, in words. */
export function failureOf(outcome: AttemptOutcome): string {
  if (outcome.kind === 'failed') return outcome.error;
  const { status, meaning } = outcome;
  return meaning ?? (status >= 300 && status < 400 ? `answered ${status}: redirects are not followed` : `answered ${status}`);
}

/** What a 429 or 503 asks for, in milliseconds within bounds; undefined where it asks for nothing that can be read. */
export function toldDelayMs(outcome: AttemptOutcome, now: Date): number | undefined {
  if (outcome.kind !== 'answered' || (outcome.status !== 429 && outcome.status !== 503)) return undefined;
  const text = outcome.retryAfter?.trim() ?? '';
  const told = /^\d{1,9}$/.test(text) ? Number(text) * SECOND : isHttpDate(text) ? Date.parse(text) - now.getTime() : undefined;
  return told === undefined || Number.isNaN(told) ? undefined : Math.min(RETRY_AFTER_MS.max, Math.max(RETRY_AFTER_MS.min, told));
}

const ownDelayMs = (tries: number, random: number): number => jittered(DELAYS_MS[Math.min(tries, DELAYS_MS.length) - 1] ?? SECOND, random);

/** A tenth more or less. */
export const jittered = (ms: number, random: number): number => Math.round(ms * (1 - JITTER + 2 * JITTER * random));

const isHttpDate = (text: string): boolean => /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? .{10,40}$/.test(text);
