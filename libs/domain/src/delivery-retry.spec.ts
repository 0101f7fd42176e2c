import { describe, expect, it } from 'vitest';
import { type AttemptContext, type AttemptOutcome, LONGEST_WAIT_MS, nextStep } from './delivery-retry.ts';

const NOW = new Date('2026-11-20T09:00:00Z');
const HOUR = 3_600_000;
const GIVE_UP_MS = 72 * HOUR;
const context = (over: Partial<AttemptContext> = {}): AttemptContext => ({
  ...{ tries: 1, spentMs: 0, ms: 0, giveUpMs: GIVE_UP_MS, now: NOW, random: 0.5 },
  ...over,
});
const answered = (status: number, retryAfter?: string): AttemptOutcome => ({
  kind: 'answered',
  status,
  ...(retryAfter ? { retryAfter } : {}),
});
const failed: AttemptOutcome = { kind: 'failed', error: 'connect ECONNREFUSED 192.0.2.1:443' };

/** Milliseconds until the next attempt; the kind where there is none. */
function wait(outcome: AttemptOutcome, over: Partial<AttemptContext> = {}): number | string {
  const step = nextStep(outcome, context(over));
  return step.kind === 'retry' ? step.delayMs : step.kind;
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
    expect(nextStep(answered(status), context()).kind).toBe(kind);
  });

  it('a call without an answer is tried again, with the reason', () => {
    expect(nextStep(failed, context())).toMatchObject({ kind: 'retry', reason: 'connect ECONNREFUSED 192.0.2.1:443' });
  });

  it('a redirect says that it is not followed', () => {
    expect(nextStep(answered(302), context())).toMatchObject({ reason: 'answered 302: redirects are not followed' });
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
  ])('after try %i is %i ms', (tries, ms) => {
    expect(wait(failed, { tries })).toBe(ms);
  });

  it.each([
    [0, 900],
    [0.25, 950],
    [0.999, 1_100],
  ])('jitter of %d makes of the first second %i ms', (random, ms) => {
    expect(wait(failed, { random })).toBe(ms);
  });

  it.each([
    [24, 12, 16],
    [72, 20, 26],
  ])('tries and waits of a delivery add up to the %i hours that it has, and end with a try at their very end', (hours, least, most) => {
    for (const random of [0, 0.5, 0.9999]) {
      let tries = 0;
      let spentMs = 0;
      for (;;) {
        tries++;
        const step = nextStep(failed, context({ tries, spentMs, random, giveUpMs: hours * HOUR }));
        if (step.kind !== 'retry') {
          expect(step.kind).toBe('dead');
          break;
        }
        expect(step.delayMs).toBeGreaterThan(0);
        expect(step.delayMs).toBeLessThan(LONGEST_WAIT_MS);
        spentMs = step.spentMs;
      }

      expect(spentMs).toBe(hours * HOUR);
      expect(tries).toBeGreaterThanOrEqual(least);
      expect(tries).toBeLessThanOrEqual(most);
    }
  });

  it('what the call itself took counts too', () => {
    expect(nextStep(failed, context({ spentMs: HOUR, ms: 15_000 }))).toMatchObject({ spentMs: HOUR + 15_000 + 1_000 });
    expect(wait(failed, { spentMs: GIVE_UP_MS - 15_000, ms: 15_000 })).toBe('dead');
  });

  it('a success after all that is a success', () => {
    expect(wait(answered(200), { tries: 40, spentMs: 2 * GIVE_UP_MS })).toBe('delivered');
  });

  it('a clock that jumps makes no delivery older: only waits that were given count', () => {
    for (const now of [new Date('1970-01-01T00:00:00Z'), new Date('2099-01-01T00:00:00Z')])
      expect(nextStep(failed, context({ tries: 2, spentMs: 1_000, now }))).toMatchObject({ kind: 'retry', delayMs: 5_000, spentMs: 6_000 });
  });
});

describe('while the circuit of its endpoint is open', () => {
  it.each([
    ['it waits for the next probe', { probeInMs: 40_000 }, 40_000],
    ['it is not given up, however long', { probeInMs: 600_000, tries: 40, spentMs: 2 * GIVE_UP_MS }, 600_000],
  ])('%s', (_title, over, ms) => {
    expect(wait(failed, over)).toBe(ms);
  });

  it('it uses up neither tries nor time', () => {
    expect(nextStep(failed, context({ tries: 6, spentMs: HOUR, ms: 15_000, probeInMs: 5_000 }))).toMatchObject({ tries: 5, spentMs: HOUR });
  });

  it('410 is the end all the same', () => {
    expect(wait(answered(410), { probeInMs: 5_000 })).toBe('gone');
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

  it('does not reach beyond the time that a delivery has', () => {
    expect(wait(answered(503, '3600'), { tries: 9, spentMs: GIVE_UP_MS - 0.5 * HOUR })).toBe(0.5 * HOUR);
  });
});
