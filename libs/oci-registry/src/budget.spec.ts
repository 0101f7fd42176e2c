import { describe, expect, it } from 'vitest';
import { Budget, type Cost, type Purpose } from './budget.ts';

const hour = 3_600_000;
const hub = (remaining: number) => ({ 'ratelimit-limit': '100;w=21600', 'ratelimit-remaining': `${remaining};w=21600` });
const github = (remaining: number, reset: number) => ({
  'x-ratelimit-limit': '60',
  'x-ratelimit-remaining': String(remaining),
  'x-ratelimit-reset': String(reset),
});

/** A request of this cost that was answered so. */
function exchange(budget: Budget, cost: Cost, now: number, headers: Record<string, string>, status = 200): void {
  budget.spend(cost, now);
  budget.answered(cost, { status, headers }, status === 429, now);
}

describe('a budget', () => {
  it('of a registry that says nothing lets everything go', () => {
    const budget = new Budget();
    for (let n = 0; n < 1_000; n++) exchange(budget, 'manifest', n, {});

    expect(budget.waitMs('check', 'manifest', 1_000)).toBe(0);
    expect(budget.state(1_000)).toEqual({});
  });

  it.each<[number, Purpose, Cost, number]>([
    [60, 'check', 'manifest', 0],
    [13, 'check', 'manifest', 0],
    [12, 'check', 'manifest', 30_000],
    [12, 'check', 'manifest-head', 30_000],
    [12, 'check', 'other', 0],
    [12, 'import', 'manifest', 0],
    [1, 'import', 'manifest', 0],
    [0, 'import', 'manifest', 30_000],
    [0, 'import', 'other', 0],
  ])('with %i of 60 left lets a(n) %s of a %s wait %i ms', (remaining, purpose, cost, wait) => {
    const budget = new Budget();
    exchange(budget, 'manifest', 0, github(remaining, 30));

    expect(budget.waitMs(purpose, cost, 0)).toBe(wait);
  });

  it('is whole again when the window has passed', () => {
    const budget = new Budget();
    exchange(budget, 'manifest', 0, github(0, 30));

    expect(budget.state(0)).toEqual({ limit: 60, remaining: 0, resetsAt: 30_000 });
    expect(budget.waitMs('check', 'manifest', 29_999)).toBe(1);
    expect(budget.waitMs('check', 'manifest', 30_000)).toBe(0);
    expect(budget.state(30_000)).toEqual({});
  });

  it('without a time of reset lets one request go for each place that a sliding window frees', () => {
    const budget = new Budget();
    exchange(budget, 'manifest', 0, hub(20));

    expect(budget.waitMs('check', 'manifest', 0)).toBe((6 * hour) / 100);
    expect(budget.waitMs('check', 'manifest', 200_000)).toBe(16_000);
    expect(budget.waitMs('check', 'manifest', 216_000)).toBe(0);
  });

  it('counts what checks have under way', () => {
    const budget = new Budget();
    exchange(budget, 'manifest', 0, github(14, 30));

    budget.spend('manifest', 0);
    expect(budget.waitMs('check', 'manifest', 0)).toBe(0);
    budget.spend('manifest', 0);
    expect(budget.waitMs('check', 'manifest', 0)).toBe(30_000);
    expect(budget.waitMs('import', 'manifest', 0)).toBe(0);
    budget.failed('manifest');
    expect(budget.waitMs('check', 'manifest', 0)).toBe(0);
  });

  it.each<[string, number, Record<string, string>, number]>([
    ['429 with Retry-After', 429, { 'retry-after': '120' }, 120_000],
    ['429 with the time of reset', 429, github(0, 40), 40_000],
    ['429 alone', 429, {}, 2_000],
    ['503 with Retry-After', 503, { 'retry-after': '7' }, 7_000],
    ['503 alone', 503, {}, 0],
    ['404 with Retry-After', 404, { 'retry-after': '7' }, 0],
    ['429 with ten years', 429, { 'retry-after': '315360000' }, 6 * hour],
  ])('after %s leaves the registry alone', (_title, status, headers, wait) => {
    const budget = new Budget();
    exchange(budget, 'manifest-head', 0, headers, status);

    for (const purpose of ['check', 'import'] as const) expect(budget.waitMs(purpose, 'other', 0)).toBe(wait);
  });

  it('leaves it alone ever longer while it refuses without saying until when, and as before once it has answered', () => {
    const budget = new Budget();
    const waits: number[] = [];
    let now = 0;
    for (let n = 0; n < 10; n++) {
      exchange(budget, 'manifest', now, {}, 429);
      waits.push(budget.waitMs('import', 'manifest', now));
      now += waits.at(-1) ?? 0;
    }
    expect(waits).toEqual([2, 4, 8, 16, 32, 64, 128, 256, 300, 300].map((s) => s * 1000));

    exchange(budget, 'manifest', now, {});
    exchange(budget, 'manifest', now, {}, 429);
    expect(budget.waitMs('import', 'manifest', now)).toBe(2_000);
  });

  it('learns that HEAD costs nothing, and lets checks go then', () => {
    const budget = new Budget();
    exchange(budget, 'manifest', 0, hub(15));
    expect(budget.waitMs('check', 'manifest-head', 0)).toBeGreaterThan(0);

    for (let n = 0; n < 9; n++) exchange(budget, 'manifest-head', 0, hub(15));

    expect(budget.state(0)).toMatchObject({ countsHeads: false });
    expect(budget.waitMs('check', 'manifest-head', 0)).toBe(0);
    expect(budget.waitMs('check', 'manifest', 0)).toBeGreaterThan(0);
  });

  it('learns that HEAD costs, also from answers out of order', () => {
    const budget = new Budget({ countsHeads: false });

    for (const remaining of [59, 57, 58, 56, 53, 54, 55, 52, 51]) exchange(budget, 'manifest-head', 0, github(remaining, 3_600));

    expect(budget.state(0)).toMatchObject({ countsHeads: true });
  });
});
