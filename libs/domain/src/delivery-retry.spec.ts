import { describe, expect, it } from 'vitest';
import { type AttemptOutcome, nextStep } from './delivery-retry.ts';

const START = new Date('2026-11-20T09:00:00Z');
const HOUR = 3_600_000;
const context = (attempts: number, afterMs = 0, random = 0.5) => ({
  attempts,
  firstAttemptAt: START,
  now: new Date(START.getTime() + afterMs),
  random,
});
const answered = (status: number, retryAfter?: string): AttemptOutcome => ({
  kind: 'answered',
  status,
  ...(retryAfter ? { retryAfter } : {}),
});
const failed: AttemptOutcome = { kind: 'failed', error: 'connect ECONNREFUSED 192.0.2.1:443' };

/** Milliseconds until the next attempt; the kind where there is none. */
function wait(outcome: AttemptOutcome, attempts = 1, afterMs = 0, random = 0.5): number | string {
  const step = nextStep(outcome, context(attempts, afterMs, random));
  return step.kind === 'retry' ? step.at.getTime() - START.getTime() - afterMs : step.kind;
}

describe('what becomes of an attempt', () => {
  it.each([
    [200, 'delivered'],
    [201, 'delivered'],
    [202, 'delivered'],
    [204, 'delivered'],
    [299, 'delivered'],
    [410, 'gone'],
    [100, 'retry'],
    [301, 'retry'],
    [302, 'retry'],
    [304, 'retry'],
    [307, 'retry'],
    [400, 'retry'],
    [401, 'retry'],
    [404, 'retry'],
    [413, 'retry'],
    [429, 'retry'],
    [500, 'retry'],
    [502, 'retry'],
    [503, 'retry'],
    [504, 'retry'],
  ])('%i: %s', (status, kind) => {
    expect(nextStep(answered(status), context(1)).kind).toBe(kind);
  });

  it('a call without an answer is tried again, with the reason', () => {
    expect(nextStep(failed, context(1))).toMatchObject({ kind: 'retry', reason: 'connect ECONNREFUSED 192.0.2.1:443' });
  });

  it('a redirect says that it is not followed', () => {
    expect(nextStep(answered(302), context(1))).toMatchObject({ reason: 'answered 302: redirects are not followed' });
  });
});

describe('the time between attempts', () => {
  it.each([
    [1, 1_000],
    [2, 5_000],
    [3, 30_000],
    [4, 120_000],
    [5, 600_000],
    [6, 1_800_000],
    [7, HOUR],
    [12, 6 * HOUR],
    [13, 6 * HOUR],
    [500, 6 * HOUR],
  ])('after attempt %i is %i ms', (attempts, ms) => {
    expect(wait(failed, attempts)).toBe(ms);
  });

  it.each([
    [0, 900],
    [0.25, 950],
    [0.999, 1_100],
  ])('jitter of %d makes of the first second %i ms', (random, ms) => {
    expect(wait(failed, 1, 0, random)).toBe(ms);
  });

  it.each([0, 0.5, 0.9999])('with jitter %d, attempts go on for a day and end with one at its very end', (random) => {
    let attempts = 0;
    let at = 0;
    for (;;) {
      attempts++;
      const ms = wait(failed, attempts, at, random);
      if (typeof ms === 'string') {
        expect(ms).toBe('dead');
        break;
      }
      expect(ms).toBeGreaterThan(0);
      at += ms;
    }

    expect(at).toBe(24 * HOUR);
    expect(attempts).toBeGreaterThanOrEqual(12);
    expect(attempts).toBeLessThanOrEqual(16);
  });

  it('a success after the day is a success', () => {
    expect(wait(answered(200), 20, 48 * HOUR)).toBe('delivered');
  });
});

describe('Retry-After', () => {
  it.each([
    ['of a 429 in seconds is obeyed', answered(429, '7'), 7_000],
    ['of a 503 in seconds is obeyed', answered(503, '120'), 120_000],
    ['as a date is obeyed', answered(503, 'Fri, 20 Nov 2026 09:01:30 GMT'), 90_000],
    ['of nothing is one second', answered(429, '0'), 1_000],
    ['as a date in the past is one second', answered(503, 'Fri, 20 Nov 2026 08:00:00 GMT'), 1_000],
    ['of a week is six hours', answered(429, '604800'), 6 * HOUR],
    ['of 500 is not looked at', answered(500, '120'), 1_000],
    ['of 410 is not looked at', answered(410, '120'), 'gone'],
    ['that says nothing readable is as none', answered(429, 'soon'), 1_000],
    ['negative is as none', answered(429, '-5'), 1_000],
    ['with a fraction is as none', answered(429, '1.5'), 1_000],
    ['that is endless is as none', answered(429, '9'.repeat(400)), 1_000],
    ['that only begins like a date is as none', answered(503, 'Mon, whenever it suits'), 1_000],
  ])('%s', (_title, outcome, ms) => {
    expect(wait(outcome)).toBe(ms);
  });

  it('does not reach beyond the day', () => {
    expect(wait(answered(503, '3600'), 9, 23.5 * HOUR)).toBe(0.5 * HOUR);
  });
});
