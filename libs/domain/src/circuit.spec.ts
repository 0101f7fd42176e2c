import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type EndpointHealth, judge, type Judgement, LONGEST_PROBE_WAIT_MS, OPENS_AFTER, stateOfWebhook } from './circuit.ts';
import type { AttemptOutcome } from './delivery-retry.ts';

const DAY = 86_400_000;
const WELL: EndpointHealth = { circuit: 'closed', failures: 0, failingMs: 0, disabled: false };
const OPEN: EndpointHealth = { circuit: 'open', failures: OPENS_AFTER, failingMs: 60_000, disabled: false };
const about = { disableAfterMs: 5 * DAY, now: new Date('2026-11-20T09:00:00Z'), random: 0.5 };
const answered = (status: number, retryAfter?: string): AttemptOutcome => ({
  kind: 'answered',
  status,
  ...(retryAfter ? { retryAfter } : {}),
});
const silent: AttemptOutcome = { kind: 'failed', error: 'no answer within 15 s' };
const after = (health: EndpointHealth, outcome: AttemptOutcome, probe = health.circuit === 'open', ms = 0): Judgement =>
  judge(health, { outcome, ms, probe }, about);

describe('a circuit', () => {
  it.each([
    ['stays closed on a success', WELL, answered(204), { circuit: 'closed', failures: 0 }],
    ['counts a failure', WELL, answered(500), { circuit: 'closed', failures: 1 }],
    ['counts no answer as a failure', WELL, silent, { circuit: 'closed', failures: 1 }],
    ['counts a redirect as a failure', WELL, answered(302), { circuit: 'closed', failures: 1 }],
    ['counts from none after a success', { ...WELL, failures: 4, failingMs: 9 }, answered(200), { failures: 0, failingMs: 0 }],
    ['opens with the fifth failure in a row', { ...WELL, failures: 4 }, silent, { circuit: 'open', failures: 5, probeInMs: 5_000 }],
    ['drains after a probe that was answered', OPEN, answered(200), { circuit: 'draining', failures: 0, failingMs: 0 }],
    ['stays open after a probe that was not', OPEN, silent, { circuit: 'open', failures: 6, probeInMs: 10_000 }],
    ['goes on draining after one failure', { ...WELL, circuit: 'draining' }, silent, { circuit: 'draining', failures: 1 }],
    ['that drains opens again', { ...WELL, circuit: 'draining', failures: 4 }, silent, { circuit: 'open', failures: 5 }],
    ['goes on draining after a success', { ...WELL, circuit: 'draining' }, answered(200), { circuit: 'draining', failures: 0 }],
    ['is left alone by a message that was refused', { ...WELL, failures: 0 }, answered(422), { circuit: 'closed', failures: 0 }],
    ['drains after a probe whose message was refused: the receiver is there', OPEN, answered(400), { circuit: 'draining', failures: 0 }],
    ['is not concerned by 410', { ...WELL, failures: 2 }, answered(410), { circuit: 'closed', failures: 2 }],
  ] as [string, EndpointHealth, AttemptOutcome, Partial<Judgement>][])('%s', (_title, health, outcome, expected) => {
    expect(after(health, outcome)).toMatchObject(expected);
  });

  it('a call that was under way when it opened neither opens it further nor puts the probe off', () => {
    expect(after(OPEN, silent, false)).toEqual(OPEN);
  });

  it('a call that was under way when it opened, and arrives, is a success', () => {
    expect(after(OPEN, answered(200), false)).toMatchObject({ circuit: 'draining', failures: 0 });
  });

  it.each([
    [5, 5_000],
    [6, 10_000],
    [9, 80_000],
    [12, 600_000],
    [13, 600_000],
    [5_000, 600_000],
  ])('after %i failures the next probe is in %i ms', (failures, ms) => {
    expect(after({ ...OPEN, failures: failures - 1 }, silent).probeInMs).toBe(ms);
  });

  it('a probe waits for as long as it is told to', () => {
    expect(after(OPEN, answered(503, '3600')).probeInMs).toBe(3_600_000);
    expect(after(OPEN, answered(503, '1')).probeInMs).toBe(10_000);
  });
});

describe('an endpoint that fails for days', () => {
  const untilDisabled = (outcome: AttemptOutcome, ms: number): { health: EndpointHealth; calls: number } => {
    let health: EndpointHealth = WELL;
    let calls = 0;
    while (!health.disabled && calls < 10_000) {
      health = after(health, outcome, health.circuit === 'open', ms);
      calls++;
    }
    return { health, calls };
  };

  it.each([0, 15_000])('is disabled when probes of %i ms and the waits between them add up to the limit', (ms) => {
    const { health, calls } = untilDisabled(silent, ms);

    expect(health.failingMs).toBeGreaterThanOrEqual(5 * DAY);
    expect(health.failingMs).toBeLessThan(5 * DAY + LONGEST_PROBE_WAIT_MS);
    expect(calls).toBeGreaterThan(600);
    expect(calls).toBeLessThan(800);
  });

  it('is not after a day, or three', () => {
    const { calls } = untilDisabled(silent, 0);
    let health: EndpointHealth = WELL;
    for (let i = 0; i < (calls * 3) / 5; i++) health = after(health, silent);

    expect(health).toMatchObject({ circuit: 'open', disabled: false });
  });

  it('a clock that jumps disables nothing', () => {
    for (const now of [new Date('1970-01-01T00:00:00Z'), new Date('2099-01-01T00:00:00Z')])
      expect(judge(OPEN, { outcome: silent, ms: 0, probe: true }, { ...about, now })).toMatchObject({ disabled: false, probeInMs: 10_000 });
  });

  it('stays as it is, whatever a late answer says', () => {
    const disabled = { ...OPEN, disabled: true };

    expect(after(disabled, answered(200))).toEqual(disabled);
    expect(after(disabled, silent)).toEqual(disabled);
  });

  it('waits between probes are bounded, whatever the jitter', () => {
    fc.assert(
      fc.property(fc.nat(10_000), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (failures, random) => {
        const { probeInMs = 0 } = judge({ ...OPEN, failures }, { outcome: silent, ms: 0, probe: true }, { ...about, random });

        expect(probeInMs).toBeLessThanOrEqual(LONGEST_PROBE_WAIT_MS);
      }),
    );
  });
});

describe('the state of a webhook', () => {
  it.each([
    ['closed', false, false, 'Active'],
    ['draining', false, false, 'Active'],
    ['open', false, false, 'Failing'],
    ['open', true, false, 'Disabled'],
    ['open', true, true, 'Gone'],
    ['closed', false, true, 'Gone'],
  ] as const)('%s, disabled %s, gone %s: %s', (circuit, disabled, gone, state) => {
    expect(stateOfWebhook({ circuit, disabled, gone })).toBe(state);
  });
});
