import { describe, expect, it } from 'vitest';
import { afterFailure } from './push-retry.ts';

const HOUR = 3_600_000;
const after = (code: string | undefined, attempts: number, ageMs = 0, retryAfterMs?: number) => {
  const next = afterFailure({ code, message: 'GET r/a/b@sha256:1: it failed', retryAfterMs }, attempts, ageMs);
  return next.kind === 'retry' ? next.delayMs : next.reason;
};

describe('a registry that may answer later is asked again', () => {
  it.each([
    'unreachable',
    'timeout',
    'circuit-open',
    'server-error',
    'rate-limited',
    'unauthorized',
    'credentials-refused',
    'forbidden',
    'blocked-address',
    'tls',
  ])('%s: with growing waits, ten minutes at most', (code) => {
    expect([1, 2, 3, 4, 10, 11, 12, 60].map((attempts) => after(code, attempts))).toEqual([
      500, 1_000, 2_000, 4_000, 256_000, 512_000, 600_000, 600_000,
    ]);
  });

  it.each<[number, number, number]>([
    [1, 7_000, 7_000],
    [1, 100, 500],
    [1, 24 * HOUR, 600_000],
    [12, 1_000, 600_000],
  ])('attempt %i, told to wait %i ms: waits %i ms', (attempts, retryAfterMs, delayMs) => {
    expect(after('rate-limited', attempts, 0, retryAfterMs)).toBe(delayMs);
  });

  it('for a day', () => {
    expect(after('unreachable', 100, 24 * HOUR - 1)).toBe(600_000);
    expect(after('unreachable', 100, 24 * HOUR)).toBe('given up after 24 hours: GET r/a/b@sha256:1: it failed');
  });

  it.each<[string | undefined, boolean]>([
    ['unreachable', true],
    ['timeout', true],
    ['server-error', true],
    ['circuit-open', true],
    ['rate-limited', false],
    ['forbidden', false],
    ['not-found', false],
    [undefined, false],
  ])('%s is an outage of the registry: %s', (code, outage) => {
    expect(afterFailure({ code, message: 'it failed' }, 1, 0)).toMatchObject({ kind: 'retry', outage });
  });
});

describe('a manifest that is not there', () => {
  it('is looked for a few times in quick succession, then it is gone', () => {
    expect([1, 2, 3, 4].map((attempts) => after('not-found', attempts))).toEqual([
      250,
      1_000,
      3_000,
      'manifest is gone: GET r/a/b@sha256:1: it failed',
    ]);
  });
});

describe('content that stays as it is', () => {
  it.each(['digest-mismatch', 'unsupported-manifest', 'malformed', 'too-large', 'invalid-reference'])('%s is put aside at once', (code) => {
    expect(after(code, 1)).toBe('GET r/a/b@sha256:1: it failed');
  });
});

describe('an error that is not the registry’s', () => {
  it('is tried five times', () => {
    expect(after(undefined, 4)).toBe(4_000);
    expect(after(undefined, 5)).toBe('given up after 5 attempts: GET r/a/b@sha256:1: it failed');
  });
});
