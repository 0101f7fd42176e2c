import { describe, expect, it } from 'vitest';
import { readRateLimit, retryAfter } from './rate-limit.ts';

const now = Date.parse('2026-11-21T12:00:00Z');
const inSeconds = (s: number) => String(now / 1000 + s);

describe('the limits that an answer tells', () => {
  it.each<[string, Record<string, string>, object | undefined]>([
    [
      'Docker Hub',
      { 'ratelimit-limit': '100;w=21600', 'ratelimit-remaining': '76;w=21600', 'docker-ratelimit-source': '192.0.2.1' },
      { limit: 100, remaining: 76, windowMs: 21_600_000 },
    ],
    [
      'an early draft',
      { 'ratelimit-limit': '10', 'ratelimit-remaining': '0', 'ratelimit-reset': '50' },
      { limit: 10, remaining: 0, resetsInMs: 50_000 },
    ],
    [
      'several windows',
      { 'ratelimit-limit': '10, 10;w=1, 50;w=60', 'ratelimit-remaining': '9' },
      { limit: 10, remaining: 9, windowMs: 1_000 },
    ],
    ['a draft with one header', { ratelimit: 'limit=100, remaining=50, reset=5' }, { limit: 100, remaining: 50, resetsInMs: 5_000 }],
    [
      'the latest draft',
      { ratelimit: '"default";r=50;t=30', 'ratelimit-policy': '"default";q=100;w=60' },
      { limit: 100, remaining: 50, windowMs: 60_000, resetsInMs: 30_000 },
    ],
    [
      'GitHub',
      { 'x-ratelimit-limit': '5000', 'x-ratelimit-remaining': '4999', 'x-ratelimit-reset': inSeconds(90) },
      { limit: 5_000, remaining: 4_999, resetsInMs: 90_000 },
    ],
    ['a reset in seconds', { 'x-ratelimit-remaining': '1', 'x-ratelimit-reset': '7' }, { remaining: 1, resetsInMs: 7_000 }],
    ['a reset that has passed', { 'x-ratelimit-remaining': '1', 'x-ratelimit-reset': inSeconds(-5) }, { remaining: 1, resetsInMs: 0 }],
    ['no number', { 'ratelimit-remaining': 'plenty', 'ratelimit-limit': '100' }, undefined],
    ['a limit alone', { 'ratelimit-limit': '100;w=21600' }, undefined],
    ['nothing', {}, undefined],
  ])('are read from %s', (_title, headers, expected) => {
    const read = readRateLimit(headers, now);

    expect(read && JSON.parse(JSON.stringify(read))).toEqual(expected);
  });

  it.each([
    ['0', 0],
    ['120', 120_000],
    [' 7 ', 7_000],
    ['Sat, 21 Nov 2026 12:01:30 GMT', 90_000],
    ['Sat, 21 Nov 2026 11:00:00 GMT', 0],
    ['soon', undefined],
    ['', undefined],
    [undefined, undefined],
  ])('Retry-After %j is %s ms', (header, ms) => {
    expect(retryAfter(header, now)).toBe(ms);
  });
});
