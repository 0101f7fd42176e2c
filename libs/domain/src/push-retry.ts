/**
 * What becomes of a push whose image could not be described: it is tried again, or it is put aside for a person to look at. Until one
 * of the two has ended it, later pushes of the same tag wait.
 */

/** `code` is the registry client's word for what went wrong; absent for an error that is not the registry's. */
export interface PushFailure {
  code?: string;
  message: string;
  /** How long the registry asks to be left alone, in milliseconds. */
  retryAfterMs?: number;
}

export type AfterFailure =
  /** `outage`: it is the registry that fails, not this push: whatever else waits for it may go on once it answers again. */
  { kind: 'retry'; delayMs: number; reason: string; outage: boolean } | { kind: 'quarantine'; reason: string };

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 600_000;
const GIVE_UP_AFTER_MS = 24 * 3_600_000;
/** A registry on eventually consistent storage may know a manifest a moment later than it told of it. */
const GONE_DELAYS_MS = [250, 1_000, 3_000];
const UNEXPECTED_ATTEMPTS_MAX = 5;

/** The content itself is what is wrong: it stays so. */
const LASTING = new Set(['digest-mismatch', 'unsupported-manifest', 'malformed', 'too-large', 'invalid-reference']);
const OUTAGES = new Set(['unreachable', 'timeout', 'circuit-open', 'server-error', 'tls', 'plain-http']);

/** `attempts` counts the one that failed; `ageMs` is since the push was told, or was last replayed. */
export function afterFailure(failure: PushFailure, attempts: number, ageMs: number): AfterFailure {
  const { code, message } = failure;
  if (code === 'not-found') {
    const delayMs = GONE_DELAYS_MS[attempts - 1];
    return delayMs === undefined
      ? { kind: 'quarantine', reason: `manifest is gone: ${message}` }
      : { kind: 'retry', delayMs, reason: message, outage: false };
  }
  if (code !== undefined && LASTING.has(code)) return { kind: 'quarantine', reason: message };
  if (code === undefined && attempts >= UNEXPECTED_ATTEMPTS_MAX)
    return { kind: 'quarantine', reason: `given up after ${attempts} attempts: ${message}` };
  if (ageMs >= GIVE_UP_AFTER_MS) return { kind: 'quarantine', reason: `given up after ${GIVE_UP_AFTER_MS / 3_600_000} hours: ${message}` };

  // What a wrong password or a blocked address needs is an operator; until then it is asked ever more rarely.
  const backoff = FIRST_DELAY_MS * 2 ** Math.min(attempts - 1, 20);
  const delayMs = Math.min(LONGEST_DELAY_MS, Math.max(backoff, failure.retryAfterMs ?? 0));
  return { kind: 'retry', delayMs, reason: message, outage: code !== undefined && OUTAGES.has(code) };
}
