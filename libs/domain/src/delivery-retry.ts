/** What one attempt to call a webhook came to. */
export type AttemptOutcome =
  /** `accepted` where not every 2xx is success, `meaning` where more is known than the status. */
  { kind: 'answered'; status: number; retryAfter?: string; accepted?: boolean; meaning?: string } | { kind: 'failed'; error: string };

/** What the attempt was about. `attempts` counts this one too; `random` is in [0, 1). */
export interface AttemptContext {
  attempts: number;
  firstAttemptAt: Date;
  now: Date;
  random: number;
}

export type NextStep =
  { kind: 'delivered' } | { kind: 'gone'; reason: string } | { kind: 'retry'; at: Date; reason: string } | { kind: 'dead'; reason: string };

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

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
const GIVE_UP_AFTER_MS = 24 * HOUR;
const RETRY_AFTER_MS = { min: SECOND, max: 6 * HOUR };

/**
 * 2xx is delivered; 410 says that the receiver is gone for good; everything else, redirects included, is tried again for a day.
 * `Retry-After` of a 429 or 503 is obeyed within bounds. The last attempt falls at the end of the day; after it comes `dead`.
 */
export function nextStep(outcome: AttemptOutcome, context: AttemptContext): NextStep {
  if (outcome.kind === 'answered' && (outcome.accepted ?? (outcome.status >= 200 && outcome.status < 300))) return { kind: 'delivered' };
  const reason = outcome.kind === 'failed' ? outcome.error : (outcome.meaning ?? reasonOf(outcome.status));
  if (outcome.kind === 'answered' && outcome.status === 410) return { kind: 'gone', reason };
  const deadline = context.firstAttemptAt.getTime() + GIVE_UP_AFTER_MS;
  if (context.now.getTime() >= deadline) return { kind: 'dead', reason };
  const at = context.now.getTime() + (toldDelayMs(outcome, context.now) ?? delayMs(context.attempts, context.random));
  return { kind: 'retry', at: new Date(Math.min(at, deadline)), reason };
}

function reasonOf(status: number): string {
  return status >= 300 && status < 400 ? `answered ${status}: redirects are not followed` : `answered ${status}`;
}

function delayMs(attempts: number, random: number): number {
  const base = DELAYS_MS[Math.min(attempts, DELAYS_MS.length) - 1] ?? SECOND;
  return Math.round(base * (1 - JITTER + 2 * JITTER * random));
}

/** What a 429 or 503 asks for, in milliseconds within bounds; undefined where it asks for nothing that can be read. */
function toldDelayMs(outcome: AttemptOutcome, now: Date): number | undefined {
  if (outcome.kind !== 'answered' || (outcome.status !== 429 && outcome.status !== 503)) return undefined;
  const text = outcome.retryAfter?.trim() ?? '';
  const told = /^\d{1,9}$/.test(text) ? Number(text) * SECOND : isHttpDate(text) ? Date.parse(text) - now.getTime() : undefined;
  return told === undefined || Number.isNaN(told) ? undefined : Math.min(RETRY_AFTER_MS.max, Math.max(RETRY_AFTER_MS.min, told));
}

const isHttpDate = (text: string): boolean => /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? .{10,40}$/.test(text);
