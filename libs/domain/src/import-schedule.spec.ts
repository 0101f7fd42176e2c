import { describe, expect, it } from 'vitest';
import { HOUR, MINUTE, SECOND } from './interval.ts';
import {
  afterCheck,
  backlogShift,
  fractionOf,
  intervalOf,
  INTERVAL_ANNOTATION,
  intervalProblem,
  intervalWarnings,
  isScheduled,
  nextPlace,
  onHint,
  type CheckContext,
  type CheckOutcome,
  type HintedCheck,
} from './import-schedule.ts';

const A = `sha256:${'a'.repeat(64)}`;
const B = `sha256:${'b'.repeat(64)}`;
const NOW = Date.parse('2026-01-02T03:04:05Z');

describe('the interval of a tag', () => {
  const limits = { defaultMs: 15 * MINUTE, minimumMs: MINUTE };
  it.each<[{ tag?: string; stream?: string }, number, string | undefined]>([
    [{}, 15 * MINUTE, undefined],
    [{ stream: '1h' }, HOUR, undefined],
    [{ tag: '5m', stream: '1h' }, 5 * MINUTE, undefined],
    [{ tag: '1m' }, MINUTE, undefined],
    [{ tag: '10s' }, MINUTE, 'millrace.dev/import-interval: "10s" is less than the 1m that is allowed'],
    [{ tag: 'often' }, 15 * MINUTE, 'millrace.dev/import-interval: "often" is no interval such as 5m, 1h30m or 1d, and is ignored'],
    [{ tag: '0s' }, 15 * MINUTE, 'millrace.dev/import-interval: "0s" is no interval such as 5m, 1h30m or 1d, and is ignored'],
    [{ stream: '31d' }, 15 * MINUTE, 'millrace.dev/import-interval: "31d" is more than the 30d that are allowed, and is ignored'],
  ])('annotated %j it is %i ms', (annotated, intervalMs, problem) => {
    expect(intervalOf(annotated, limits)).toEqual({ intervalMs, ...(problem ? { problem } : {}) });
  });

  it.each<[string, Parameters<typeof intervalWarnings>[0], number]>([
    ['a stream', { metadata: { annotations: { [INTERVAL_ANNOTATION]: 'often' } } }, 1],
    [
      'a tag of a stream',
      { metadata: {}, spec: { tags: [{ annotations: { [INTERVAL_ANNOTATION]: 'often' } }, { annotations: null }] } },
      1,
    ],
    ['an imagestreamtag', { metadata: {}, tag: { annotations: { [INTERVAL_ANNOTATION]: '5m', other: 'often' } } }, 0],
    ['an imagetag', { metadata: {}, spec: { annotations: { [INTERVAL_ANNOTATION]: '0s' } } }, 1],
    [
      'several tags with the same',
      { metadata: {}, spec: { tags: ['x', 'x', '1h'].map((text) => ({ annotations: { [INTERVAL_ANNOTATION]: text } })) } },
      1,
    ],
  ])('of %s is warned about where it cannot be used', (_title, object, warnings) => {
    expect(intervalWarnings(object)).toHaveLength(warnings);
  });

  it('a long bad text is not repeated whole', () => {
    expect(intervalProblem('x'.repeat(10_000))?.length).toBeLessThan(200);
  });
});

describe('a tag is looked at by the schedule', () => {
  const image = (name: string) => ({ kind: 'DockerImage', name });
  it.each<[string, Parameters<typeof isScheduled>[0], boolean, boolean]>([
    ['a scheduled tag', { from: image('e.io/a/b:1'), importPolicy: { scheduled: true } }, true, true],
    ['one that is not scheduled', { from: image('e.io/a/b:1'), importPolicy: {} }, false, false],
    ['a reference', { from: image('e.io/a/b:1'), reference: true, importPolicy: { scheduled: true } }, false, false],
    ['an alias', { from: { kind: 'ImageStreamTag', name: 'b:1' }, importPolicy: { scheduled: true } }, false, false],
    ['a name that is no pull spec', { from: image('E//x'), importPolicy: { scheduled: true } }, false, false],
    ['a digest that was never found', { from: image(`e.io/a/b@${A}`), importPolicy: { scheduled: true } }, false, true],
    ['a digest that was found', { from: image(`e.io/a/b@${A}`), importPolicy: { scheduled: true } }, true, false],
    ['a tag without a source', { importPolicy: { scheduled: true } }, false, false],
  ])('%s', (_title, tag, imported, scheduled) => {
    expect(isScheduled(tag, imported)).toBe(scheduled);
  });
});

describe('places in the period', () => {
  const keys = Array.from({ length: 10_000 }, (_, n) => `quay.io/team/app-${n % 100}:${n}`);

  it('are spread evenly', () => {
    const tenths = Array.from({ length: 10 }, () => 0);
    for (const key of keys) tenths[Math.floor(fractionOf(key) * 10)]! += 1;

    for (const count of tenths) expect(count).toBeGreaterThan(900);
    for (const count of tenths) expect(count).toBeLessThan(1_100);
  });

  it('a check made in time comes round exactly one interval later', () => {
    for (const key of keys.slice(0, 100)) {
      const at = nextPlace(key, 15 * MINUTE, NOW);

      expect(nextPlace(key, 15 * MINUTE, at)).toBe(at + 15 * MINUTE);
      expect(nextPlace(key, 15 * MINUTE, at + SECOND)).toBe(at + 15 * MINUTE);
    }
  });

  it('a check made at any time comes back to its place, between a quarter and one and a quarter intervals later', () => {
    for (const [n, key] of keys.slice(0, 500).entries()) {
      const now = NOW + n * 7_919;
      const wait = nextPlace(key, 15 * MINUTE, now) - now;

      expect(wait).toBeGreaterThanOrEqual(15 * MINUTE * 0.25);
      expect(wait).toBeLessThanOrEqual(15 * MINUTE * 1.25);
      expect((now + wait) % (15 * MINUTE)).toBe(Math.floor(fractionOf(key) * 15 * MINUTE));
    }
  });
});

describe('a backlog', () => {
  it.each<[string, number | undefined, number]>([
    ['nothing due', undefined, 0],
    ['due later', NOW + MINUTE, 0],
    ['a little late', NOW - 5 * SECOND, 0],
    ['after an hour of silence', NOW - HOUR, HOUR],
  ])('%s: all of it moves by as much as the oldest is late', (_title, oldest, shift) => {
    expect(backlogShift(oldest, NOW)).toBe(shift);
  });
});

const key = 'quay.io/team/app:1';
const context = (over: Partial<CheckContext> = {}): CheckContext => ({
  ...{ key, intervalMs: 15 * MINUTE, refusedIntervalMs: 6 * HOUR, failures: 0, digest: A, now: NOW },
  ...over,
});
const served = (digest: string): CheckOutcome => ({ kind: 'served', digest });
const failed = (code: string, retryAfterMs?: number): CheckOutcome => ({ kind: 'failed', code, retryAfterMs });
const inTurn = nextPlace(key, 15 * MINUTE, NOW);

describe('after a look', () => {
  it('the same digest changes nothing, and comes round in its turn', () => {
    expect(afterCheck(served(A), context())).toEqual({ kind: 'unchanged', at: inTurn, awaited: false });
  });

  it.each([B, undefined])('another digest than %s is imported', (digest) => {
    expect(afterCheck(served(A), context({ digest }))).toEqual({ kind: 'changed', at: inTurn, awaited: false });
  });

  it('success ends the failures at once', () => {
    expect(afterCheck(served(A), context({ failures: 12 }))).toEqual({ kind: 'unchanged', at: inTurn, awaited: false });
  });

  it.each(['unreachable', 'timeout', 'server-error', 'rate-limited', 'malformed', 'circuit-open', 'whatever'])(
    '%s: ever more rarely, an hour apart at most, a tenth more or less',
    (code) => {
      const waits = [1, 2, 3, 4, 7, 8, 100].map((attempt) => afterCheck(failed(code), context({ failures: attempt - 1 })).at - NOW);

      const planned = [30, 60, 120, 240, 1_920, 3_600, 3_600].map((seconds) => seconds * SECOND);
      for (const [n, wait] of waits.entries()) expect(Math.abs(wait - planned[n]!)).toBeLessThanOrEqual(planned[n]! / 10);
    },
  );

  it('a short interval is not made longer by the first failure than by a tenth', () => {
    expect(afterCheck(failed('timeout'), context({ intervalMs: 10 * SECOND })).at - NOW).toBeLessThanOrEqual(11 * SECOND);
  });

  it.each<[number, number]>([
    [120 * SECOND, 120 * SECOND],
    [48 * HOUR, 6 * HOUR],
  ])('a registry that asks for %i ms gets %i', (asked, given) => {
    expect(afterCheck(failed('rate-limited', asked), context()).at - NOW).toBe(given);
  });

  it('who follows is told of a stumbling registry at the third failure in a row', () => {
    const told = [0, 1, 2, 3].map((failures) => afterCheck(failed('unreachable'), context({ failures })));

    expect(told.map((step) => step.kind === 'failing' && step.tell)).toEqual([false, false, true, true]);
  });

  it.each([
    'unauthorized',
    'credentials-missing',
    'credentials-refused',
    'forbidden',
    'not-found',
    'tls',
    'plain-http',
    'blocked-address',
    'unsupported-manifest',
  ])('%s is told at once, looked at again in turn, and then at long intervals', (code) => {
    expect(afterCheck(failed(code), context())).toEqual({ kind: 'refused', at: inTurn, failures: 1, awaited: false, tell: true });
    for (const failures of [1, 2, 50]) expect(afterCheck(failed(code), context({ failures })).at).toBe(nextPlace(key, 6 * HOUR, NOW));
  });

  it('what was not sent to keep within limits is no failure, and comes a little after the time that they allow', () => {
    const step = afterCheck({ kind: 'unsent', waitMs: HOUR }, context({ failures: 2, announced: { looks: 3 } }));

    expect(step).toMatchObject({ kind: 'unsent', awaited: true });
    expect(step.at - NOW).toBeGreaterThanOrEqual(HOUR);
    expect(step.at - NOW).toBeLessThanOrEqual(HOUR + MINUTE);
  });

  it('an interval that is longer than that of refusals stays', () => {
    expect(afterCheck(failed('not-found'), context({ failures: 5, intervalMs: 24 * HOUR })).at).toBe(nextPlace(key, 24 * HOUR, NOW));
  });
});

describe('what was announced and is not served yet', () => {
  it.each<[string, CheckOutcome, string | undefined]>([
    ['still the old digest', served(A), B],
    ['nothing there yet', failed('not-found'), B],
    ['no word which digest, and nothing new', served(A), undefined],
  ])('%s: is looked for a minute long', (_title, outcome, digest) => {
    const waits = [];
    let now = NOW;
    for (let looks = 0; ; looks++) {
      const step = afterCheck(outcome, context({ now, announced: { digest, looks } }));
      if (!step.awaited) break;
      waits.push((step.at - now) / SECOND);
      now = step.at;
    }

    expect(waits).toEqual([1, 2, 4, 8, 15, 30]);
    expect(now).toBe(NOW + MINUTE);
  });

  it('is not looked for when it is there', () => {
    expect(afterCheck(served(B), context({ announced: { digest: B, looks: 2 } }))).toMatchObject({ kind: 'changed', awaited: false });
    expect(afterCheck(served(B), context({ announced: { looks: 2 } }))).toMatchObject({ kind: 'changed', awaited: false });
  });

  it('what came in between is imported meanwhile', () => {
    const C = `sha256:${'c'.repeat(64)}`;

    expect(afterCheck(served(B), context({ announced: { digest: C, looks: 0 } }))).toMatchObject({ kind: 'changed', awaited: true });
  });

  it('a registry that asks to be left alone is', () => {
    const step = afterCheck(failed('rate-limited', MINUTE), context({ announced: { digest: B, looks: 0 } }));

    expect(step).toMatchObject({ at: NOW + MINUTE, awaited: false });
  });
});

describe('a hint', () => {
  const check = (over: Partial<HintedCheck> = {}): HintedCheck => ({ digest: A, woken: false, failing: false, ...over });
  const look = (announced?: { digest?: string; looks: number }, at = NOW) => ({ kind: 'look', at, ...(announced ? { announced } : {}) });
  const known = { kind: 'known' };

  it.each<[string, HintedCheck, { digest?: string; tagged: boolean }, object]>([
    ['of a new digest', check(), { digest: B, tagged: true }, look({ digest: B, looks: 0 })],
    ['of the digest that is served', check(), { digest: A, tagged: true }, known],
    [
      'of the digest that was served before it failed',
      check({ failing: true }),
      { digest: A, tagged: true },
      look({ digest: A, looks: 0 }),
    ],
    ['repeated before the look', check({ woken: true, announced: { digest: B, looks: 0 } }), { digest: B, tagged: true }, known],
    ['repeated while it is awaited', check({ announced: { digest: B, looks: 3 } }), { digest: B, tagged: true }, known],
    [
      'of a third digest',
      check({ announced: { digest: B, looks: 3 } }),
      { digest: `${B}c`, tagged: true },
      look({ digest: `${B}c`, looks: 0 }),
    ],
    ['without a digest', check(), { tagged: true }, look({ looks: 0 })],
    ['without a digest, repeated', check({ woken: true, announced: { looks: 0 } }), { tagged: true }, known],
    ['without a digest, while one is awaited', check({ announced: { digest: B, looks: 1 } }), { tagged: true }, known],
    ['of the repository as a whole', check(), { digest: B, tagged: false }, look()],
    ['of the repository, repeated', check({ woken: true }), { digest: B, tagged: false }, known],
    ['without a digest, just after a change', check({ changedAt: NOW - 2 * SECOND }), { tagged: true }, look(undefined, NOW + 8 * SECOND)],
    ['without a digest, long after a change', check({ changedAt: NOW - MINUTE }), { tagged: true }, look({ looks: 0 })],
  ])('%s', (_title, hinted, hint, expected) => {
    expect(onHint(hinted, hint, NOW)).toEqual(expected);
  });
});
