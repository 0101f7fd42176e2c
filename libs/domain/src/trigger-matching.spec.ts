import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decideBaseline, decideFiring, firingId, type Decision, type Move, type TriggerState } from './trigger-matching.ts';

const at = (second: number): string => new Date(Date.UTC(2026, 10, 20, 9, 0, second)).toISOString();
const move = (generation: number, streamUid = 'a', second = generation): Move => ({ streamUid, generation, movedAt: at(second) });
const state = (over: Partial<TriggerState> = {}): TriggerState => ({ paused: false, planned: [], ...over });

describe('whether a move fires', () => {
  it.each<[string, TriggerState, Move, Decision]>([
    ['the first move of a tag that had never moved fires', state(), move(1), { kind: 'fire' }],
    ['the next move fires', state({ planned: [move(4)] }), move(5), { kind: 'fire' }],
    ['a repeat does nothing', state({ planned: [move(5)] }), move(5), { kind: 'ignore', reason: 'already-planned' }],
    ['a late one does nothing', state({ planned: [move(5)] }), move(3), { kind: 'ignore', reason: 'already-planned' }],
    [
      'after a gap the newest fires and says what was missed',
      state({ planned: [move(2)] }),
      move(6),
      { kind: 'fire', missed: { first: 3, last: 5 } },
    ],
    ['one missed move is first and last', state({ planned: [move(2)] }), move(4), { kind: 'fire', missed: { first: 3, last: 3 } }],
    ['a gap at the start counts from 1', state(), move(3), { kind: 'fire', missed: { first: 1, last: 2 } }],
    ['a stream that was made again counts anew', state({ planned: [move(9, 'a', 9)] }), move(1, 'b', 10), { kind: 'fire' }],
    [
      'a repeat from the stream before it does nothing',
      state({ planned: [move(1, 'b', 10)] }),
      move(9, 'a', 9),
      { kind: 'ignore', reason: 'of-an-older-stream' },
    ],
    [
      'a known repeat from the stream before it does nothing either',
      state({ planned: [move(9, 'a', 9), move(1, 'b', 10)] }),
      move(9, 'a', 9),
      { kind: 'ignore', reason: 'already-planned' },
    ],
    ['a paused trigger holds the move', state({ paused: true, planned: [move(4)] }), move(5), { kind: 'hold', reason: 'paused' }],
    ['a newer move takes the place of the held one', state({ paused: true, held: move(5) }), move(6), { kind: 'hold', reason: 'paused' }],
    [
      'a repeat of the held move changes nothing',
      state({ paused: true, held: move(5) }),
      move(5),
      { kind: 'ignore', reason: 'already-held' },
    ],
    [
      'a move before the held one changes nothing',
      state({ paused: true, held: move(5) }),
      move(4),
      { kind: 'ignore', reason: 'already-held' },
    ],
    [
      'a held move of the stream made again is not replaced by one of the older',
      state({ paused: true, held: move(1, 'b', 10) }),
      move(9, 'a', 9),
      { kind: 'ignore', reason: 'of-an-older-stream' },
    ],
    [
      'a paused trigger does not hold what has fired',
      state({ paused: true, planned: [move(5)] }),
      move(5),
      { kind: 'ignore', reason: 'already-planned' },
    ],
  ])('%s', (_title, given, moved, decision) => {
    expect(decideFiring(given, moved)).toEqual(decision);
  });

  it('fires each generation at most once and never backwards, whatever order and repeats the moves come in', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 20 })), (generations) => {
        let planned: Move[] = [];
        const fired: number[] = [];
        for (const generation of generations) {
          const decision = decideFiring(state({ planned }), move(generation));
          if (decision.kind !== 'fire') continue;
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
          const decision = decideFiring(state({ planned }), move(generation));
          if (decision.kind !== 'fire') continue;
          for (let n = decision.missed?.first ?? generation; n <= generation; n++) told.push(n);
          planned = [move(generation)];
        }

        expect(told).toEqual(Array.from({ length: Math.max(...heard) }, (_, i) => i + 1));
      }),
    );
  });
});

describe('where a trigger begins', () => {
  it.each([
    [{ paused: false, fireOnCreate: false }, move(3), 'wait'],
    [{ paused: false, fireOnCreate: true }, move(3), 'fire'],
    [{ paused: true, fireOnCreate: true }, move(3), 'hold'],
    [{ paused: true, fireOnCreate: false }, move(3), 'wait'],
    [{ paused: false, fireOnCreate: true }, null, 'wait'],
    [{ paused: false, fireOnCreate: false }, null, 'wait'],
  ])('%j at %j: %s', (trigger, current, kind) => {
    expect(decideBaseline(trigger, current).kind).toBe(kind);
  });
});

describe('the id of a firing', () => {
  it('is made of trigger, stream object, tag and generation, so that every repeat has the same', () => {
    expect(firingId('t', '1.2', move(7, 's'))).toBe('t.s.1.2.7');
  });
});
