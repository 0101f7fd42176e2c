import { describe, expect, it } from 'vitest';
import { isNewer, respecified, type TagState } from './workload.ts';

const state = (generation: number, streamUid = 'a', second = generation): TagState => ({
  streamUid,
  generation,
  movedAt: new Date(Date.UTC(2026, 10, 20, 9, 0, second)).toISOString(),
});

describe('whether what is told of a tag is newer than what is known', () => {
  it.each<[string, TagState | undefined, TagState, boolean, boolean]>([
    ['of a tag of which nothing is known', undefined, state(1), true, true],
    ['the next move', state(1), state(2), true, true],
    ['a move before it', state(3), state(2), false, false],
    ['the same move, of which only the pull spec can be news', state(2), state(2), false, true],
    ['a move of the stream that was made in its place', state(9), state(1, 'b', 10), true, true],
    ['a move of the stream that was there before', state(1, 'b', 10), state(9), false, false],
  ])('%s', (_title, known, told, move, pullSpec) => {
    expect(isNewer(known, told, { repeats: true })).toBe(move);
    expect(isNewer(known, told, { repeats: false })).toBe(pullSpec);
  });
});

describe('whether a write is another generation', () => {
  const object = (over: object = {}) => ({
    metadata: { annotations: { a: '1' } },
    spec: { replicas: 1 },
    status: { replicas: 1 },
    ...over,
  });

  it.each<[string, string, object, boolean]>([
    ['another spec is', 'StatefulSet', { spec: { replicas: 2 } }, true],
    ['another status is not', 'StatefulSet', { status: {} }, false],
    ['another annotation is not', 'StatefulSet', { metadata: { annotations: { a: '2' } } }, false],
    ['another annotation of a Deployment is', 'Deployment', { metadata: { annotations: { a: '2' } } }, true],
    ['another label of a Deployment is not', 'Deployment', { metadata: { annotations: { a: '1' }, labels: { b: '1' } } }, false],
  ])('%s', (_title, kind, over, expected) => {
    expect(respecified(kind, object(), object(over))).toBe(expected);
  });
});
