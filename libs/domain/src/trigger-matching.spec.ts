import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decideBaseline, decideFiring, type Decision, firingId, missedBefore, type Move, type TriggerState } from './trigger-matching.ts';

const at = (second: number): string => new Date(Date.UTC(2026, 10, 20, 9, 0, second)).toISOString();
const move = (generation: number, streamUid = 'a', second = generation): Move => ({ streamUid, generation, movedAt: at(second) });
const state = (over: Partial<TriggerState> = {}): TriggerState => ({ planned: [], ...over });
const isNew = (given: TriggerState, moved: Move): boolean => decideFiring(given, moved).kind === 'new';

describe('whether a move is news', () => {
  it.each<[string, TriggerState, Move, Decision]>([
    ['the first move of a tag that had never moved is', state(), move(1), { kind: 'new' }],
    ['the next move is', state({ planned: [move(4)] }), move(5), { kind: 'new' }],
    ['a repeat is not', state({ planned: [move(5)] }), move(5), { kind: 'ignore', reason: 'already-planned' }],
    ['a late one is not', state({ planned: [move(5)] }), move(3), { kind: 'ignore', reason: 'already-planned' }],
    ['after a gap the newest is', state({ planned: [move(2)] }), move(6), { kind: 'new' }],
    [
      'of two positions of a stream the newer counts',
      state({ planned: [move(2), move(5)] }),
      move(4),
      { kind: 'ignore', reason: 'already-planned' },
    ],
    ['a stream that was made again counts anew', state({ planned: [move(9, 'a', 9)] }), move(1, 'b', 10), { kind: 'new' }],
    [
      'a repeat from the stream before it is not',
      state({ planned: [move(1, 'b', 10)] }),
      move(9, 'a', 9),
      { kind: 'ignore', reason: 'of-an-older-stream' },
    ],
    [
      'a known repeat from the stream before it is not either',
      state({ planned: [move(9, 'a', 9), move(1, 'b', 10)] }),
      move(9, 'a', 9),
      { kind: 'ignore', reason: 'already-planned' },
    ],
    ['a move takes the place of the one that waits', state({ pending: move(5) }), move(6), { kind: 'new' }],
    ['a repeat of the one that waits is not', state({ pending: move(5) }), move(5), { kind: 'ignore', reason: 'already-pending' }],
    ['a move before the one that waits is not', state({ pending: move(5) }), move(4), { kind: 'ignore', reason: 'already-pending' }],
    [
      'a move that waits, of the stream made again, is not replaced by one of the older',
      state({ planned: [move(8, 'a', 8)], pending: move(1, 'b', 10) }),
      move(9, 'a', 9),
      { kind: 'ignore', reason: 'of-an-older-stream' },
    ],
    ['what was refused is not', state({ planned: [move(3)], settled: move(5) }), move(5), { kind: 'ignore', reason: 'already-settled' }],
    ['what comes after it is', state({ planned: [move(3)], settled: move(5) }), move(6), { kind: 'new' }],
    [
      'what has fired is not, also where something waits',
      state({ planned: [move(5)], pending: move(6) }),
      move(5),
      { kind: 'ignore', reason: 'already-planned' },
    ],
  ])('%s', (_title, given, moved, decision) => {
    expect(decideFiring(given, moved)).toEqual(decision);
  });

  it.each<[string, Move[], Move, ReturnType<typeof missedBefore>]>([
    ['the next has missed nothing', [move(4)], move(5), undefined],
    ['after a gap it tells what was missed', [move(2)], move(6), { first: 3, last: 5 }],
    ['one missed move is first and last', [move(2)], move(4), { first: 3, last: 3 }],
    ['a gap at the start counts from 1', [], move(3), { first: 1, last: 2 }],
    ['another stream counts for itself', [move(9, 'a')], move(1, 'b', 10), undefined],
  ])('of a move that fires: %s', (_title, planned, moved, missed) => {
    expect(missedBefore(planned, moved)).toEqual(missed);
  });

  it('fires each generation at most once and never backwards, whatever order and repeats the moves come in', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 20 })), (generations) => {
        let planned: Move[] = [];
        const fired: number[] = [];
        for (const generation of generations) {
          if (!isNew(state({ planned }), move(generation))) continue;
          fired.push(generation);
          planned = [move(generation)];
        }

        expect(fired).toEqual([...new Set(fired)].sort((a, b) => a - b));
        expect(fired.at(-1) ?? 0).toBe(Math.max(0, ...generations));
      }),
    );
  });

  it('what fired and what was missed together are every move', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: 1, max: 30 }), { minLength: 1 }), (heard) => {
        let planned: Move[] = [];
        const told: number[] = [];
        for (const generation of heard.toSorted((a, b) => a - b)) {
          if (!isNew(state({ planned }), move(generation))) continue;
          for (let n = missedBefore(planned, move(generation))?.first ?? generation; n <= generation; n++) told.push(n);
          planned = [move(generation)];
        }

        expect(told).toEqual(Array.from({ length: Math.max(...heard) }, (_, i) => i + 1));
      }),
    );
  });
});

describe('where a trigger begins', () => {
  it.each([
    [{ fireOnCreate: false }, move(3), 'wait'],
    [{ fireOnCreate: true }, move(3), 'decide'],
    [{ fireOnCreate: true }, null, 'wait'],
    [{ fireOnCreate: false }, null, 'wait'],
  ])('%j at %j: %s', (trigger, current, kind) => {
    expect(decideBaseline(trigger, current)).toBe(kind);
  });
});

describe('the id of a firing', () => {
  it('is made of trigger, stream object, tag and generation, so that every repeat has the same', () => {
    expect(firingId('t', '1.2', move(7, 's'))).toBe('t.s.1.2.7');
  });
});
