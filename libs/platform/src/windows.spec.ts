import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { scheduleProblem, windowAt } from './windows.ts';

const OFFICE = { schedule: '0 9 * * 1-5', timeZone: 'Europe/Berlin', duration: '8h' };
const NIGHT = { schedule: '30 2 * * *', timeZone: 'Europe/Berlin', duration: '1h' };

describe('a window', () => {
  it.each([
    ['opens at its time', [OFFICE], '2026-11-26T08:00:00Z', { open: true }],
    ['is shut before', [OFFICE], '2026-11-26T07:59:59Z', { open: false, opensAt: new Date('2026-11-26T08:00:00Z') }],
    ['is open for its duration', [OFFICE], '2026-11-26T15:59:59Z', { open: true }],
    ['shuts after it', [OFFICE], '2026-11-26T16:00:00Z', { open: false, opensAt: new Date('2026-11-27T08:00:00Z') }],
    ['opens by the clock of its zone in summer', [OFFICE], '2026-07-01T07:00:00Z', { open: true }],
    ['that falls into an hour which is left out opens after it', [NIGHT], '2026-03-29T01:10:00Z', { open: true }],
    ['is open where one of several is', [OFFICE, NIGHT], '2026-11-26T01:31:00Z', { open: true }],
    [
      'opens when the first of several does',
      [OFFICE, NIGHT],
      '2026-11-26T17:00:00Z',
      { open: false, opensAt: new Date('2026-11-27T01:30:00Z') },
    ],
    ['that nobody can read never opens', [{ schedule: 'noon', duration: '1h' }], '2026-11-26T12:00:00Z', { open: false }],
    ['is in UTC where no zone is named', [{ schedule: '0 9 * * *', duration: '1h' }], '2026-11-26T09:30:00Z', { open: true }],
  ])('%s', (_, windows, now, expected) => {
    expect(windowAt(windows, new Date(now))).toEqual(expected);
  });

  it('is the same in whatever order its times are asked about', () => {
    const from = Date.parse('2026-03-27T00:00:00Z');
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 5 * 24 * 60 * 60_000 }), { maxLength: 30 }), (times) => {
        const at = (ms: number) => [ms, windowAt([OFFICE, NIGHT], new Date(from + ms))] as const;
        const asked = new Map(times.map(at));

        expect(new Map(times.toSorted((a, b) => b - a).map(at))).toEqual(asked);
      }),
    );
  });

  it.each([
    ['0 9 * * 1-5', 'Europe/Berlin', undefined],
    ['*/5 * * * *', 'UTC', undefined],
    ['* * * *', 'UTC', 'must be five fields of cron'],
    ['0 * * * * *', 'UTC', 'must be five fields of cron'],
    ['99 * * * *', 'UTC', 'cannot be read'],
    ['0 0 31 2 *', 'UTC', 'never comes'],
    ['0 9 * * *', 'Mars/Olympus', '"Mars/Olympus" is no time zone'],
  ])('with schedule %j in %s: %s', (schedule, zone, problem) => {
    if (problem === undefined) expect(scheduleProblem(schedule, zone)).toBeUndefined();
    else expect(scheduleProblem(schedule, zone)).toContain(problem);
  });
});
