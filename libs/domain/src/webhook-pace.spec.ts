import { describe, expect, it } from 'vitest';
import { completePace, rateOf, validatePace } from './webhook-pace.ts';

describe('the pace of a webhook', () => {
  it.each([
    [{}, {}],
    [{ ordered: false }, {}],
    [
      { ordered: true, parallel: 2 },
      { ordered: true, parallel: 2 },
    ],
    [{ rate: { calls: 10, per: '60s' } }, { rate: { calls: 10, per: '1m' } }],
  ])('%j is kept as %j', (written, kept) => {
    expect(completePace(written)).toEqual(kept);
  });

  it('is read in milliseconds', () => {
    expect(rateOf({ rate: { calls: 10, per: '1m' } })).toEqual({ calls: 10, perMs: 60_000 });
    expect(rateOf({})).toBeUndefined();
  });

  it.each([
    [{ parallel: 0 }, 'w.parallel'],
    [{ parallel: 1_001 }, 'w.parallel'],
    [{ rate: {} }, 'w.rate.calls, w.rate.per'],
    [{ rate: { calls: 0, per: '1s' } }, 'w.rate.calls'],
    [{ rate: { calls: 10_001, per: '1s' } }, 'w.rate.calls'],
    [{ rate: { calls: 1, per: 'often' } }, 'w.rate.per'],
    [{ rate: { calls: 1, per: '0s' } }, 'w.rate.per'],
    [{ rate: { calls: 1, per: '2d' } }, 'w.rate.per'],
    [{ rate: { calls: 1, per: '1d' }, parallel: 1, ordered: true }, ''],
  ])('of %j is wrong in: %s', (written, fields) => {
    expect(
      validatePace(written, 'w')
        .map(({ field }) => field)
        .join(', '),
    ).toBe(fields);
  });
});
