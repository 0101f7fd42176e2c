import { describe, expect, it } from 'vitest';
import { formatInterval, HOUR, MINUTE, parseInterval, SECOND } from './interval.ts';

describe('an interval', () => {
  it.each<[string, number | undefined]>([
    ['90s', 90 * SECOND],
    ['15m', 15 * MINUTE],
    ['1h30m', 90 * MINUTE],
    [' 1d ', 24 * HOUR],
    ['1d2h3m4s', 24 * HOUR + 2 * HOUR + 3 * MINUTE + 4 * SECOND],
    ['0s', 0],
    ['', undefined],
    ['15', undefined],
    ['m', undefined],
    ['-5m', undefined],
    ['5m1h', undefined],
    ['1.5h', undefined],
    ['often', undefined],
  ])('%j is read as %s milliseconds', (text, ms) => {
    expect(parseInterval(text)).toBe(ms);
  });

  it.each(['30s', '15m', '1h30m', '1d', '1d2h3m4s'])('%s is written as it is read', (text) => {
    expect(formatInterval(parseInterval(text) ?? 0)).toBe(text);
  });
});
