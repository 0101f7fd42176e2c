import { describe, expect, it } from 'vitest';
import { FreshFacts } from './fresh-facts.ts';
import type { Waiting } from './outbox.ts';

const fact = (id: number, bytes = 10): Waiting => ({
  id: String(id),
  event: 'tag.moved',
  stream: 'MILLRACE_EVENTS',
  headers: {},
  facts: [{ subject: 'millrace.v1.tag.moved.a', id: `e${id}`, begin: '' }],
  end: Buffer.alloc(bytes),
});
const ids = (facts: readonly Waiting[]) => facts.map(({ id }) => Number(id));
const looks = (fresh: FreshFacts, lastId: number, ...snapshots: [oldest: bigint, next: bigint][]) => {
  for (const [oldest, next] of snapshots) fresh.looked([], { oldest, next, lastId, complete: true });
};

/** Knows that everything up to `id` is out. */
function upTo(id: number): FreshFacts {
  const fresh = new FreshFacts();
  looks(fresh, id, [10n, 10n], [10n, 10n], [10n, 10n]);
  return fresh;
}

describe('facts on their way out', () => {
  it('are given out in the order of their ids, whatever the order of the commits', () => {
    const fresh = upTo(3);
    fresh.add([fact(5)]);
    expect([ids(fresh.take(10, 1_000)), fresh.incomplete]).toEqual([[], true]);
    fresh.add([fact(4)]);
    expect([ids(fresh.take(10, 1_000)), fresh.incomplete]).toEqual([[4, 5], false]);
  });

  it('are given out only after the outbox has been looked into', () => {
    const fresh = new FreshFacts();
    fresh.add([fact(1)]);
    expect([ids(fresh.take(10, 1_000)), fresh.incomplete]).toEqual([[], true]);
  });

  it('wait behind a missing id until every transaction that can own it has ended', () => {
    const fresh = upTo(3);
    fresh.add([fact(5)]);
    looks(fresh, 5, [10n, 12n], [10n, 12n], [11n, 14n]);
    fresh.add([fact(6)]);
    expect(ids(fresh.take(10, 1_000))).toEqual([]);
    looks(fresh, 6, [12n, 14n]);
    expect(ids(fresh.take(10, 1_000))).toEqual([6]);
  });

  it('know nothing new from a look that could not read everything', () => {
    const fresh = new FreshFacts();
    for (let i = 0; i < 5; i++) fresh.looked([fact(i + 1)], { oldest: 20n, next: 20n, lastId: 5, complete: false });
    fresh.add([fact(6)]);
    expect(ids(fresh.take(10, 1_000))).toEqual([]);
  });

  it('are not given out again when they were read from the outbox, before or after this instance heard of its own commit', () => {
    const fresh = upTo(3);
    fresh.add([fact(4)]);
    fresh.looked([fact(4), fact(5)], { oldest: 10n, next: 10n, lastId: 5, complete: true });
    fresh.add([fact(5), fact(6)]);
    expect(ids(fresh.take(10, 1_000))).toEqual([6]);
  });

  it('are bounded by number and by bytes, but one is always given out', () => {
    const fresh = upTo(0);
    fresh.add([fact(1, 500), fact(2), fact(3), fact(4)]);
    expect(ids(fresh.take(10, 100))).toEqual([1]);
    expect(ids(fresh.take(2, 100))).toEqual([2, 3]);
  });

  it('are counted, and bounded, each by itself where a row holds several', () => {
    const fresh = upTo(0);
    const three = { ...fact(1, 100), facts: ['a', 'b', 'c'].map((id) => ({ subject: 's', id, begin: 'begin' })) };
    fresh.add([three, { ...three, id: '2' }, fact(3)]);
    expect(fresh.size).toBe(7);
    expect(ids(fresh.take(5, 10_000))).toEqual([1]);
    expect(ids(fresh.take(10, 320))).toEqual([2]);
    expect([fresh.size, ids(fresh.take(10, 320)), fresh.size]).toEqual([1, [3], 0]);
  });

  it('are left to the outbox where they are too many to be kept', () => {
    const fresh = upTo(0);
    fresh.add([fact(1, 20 * 1024 * 1024), fact(2, 20 * 1024 * 1024)]);
    expect([fresh.crowded, ids(fresh.take(10, 1_000)), ids(fresh.take(10, 1_000)), fresh.crowded]).toEqual([true, [1], [], false]);
  });

  it('are forgotten, with all that was known of ids, when the outbox has to be read anew', () => {
    const fresh = upTo(3);
    fresh.add([fact(4)]);
    fresh.clear();
    fresh.add([fact(4)]);
    expect(ids(fresh.take(10, 1_000))).toEqual([]);
  });
});
