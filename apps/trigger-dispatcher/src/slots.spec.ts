import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Slots } from './slots.ts';

const taken = (slots: Slots, ...hosts: string[]): Slots => {
  for (const host of hosts) slots.take(host);
  return slots;
};

describe('slots', () => {
  it('a host that answers may have up to its bound', () => {
    const slots = taken(new Slots(10, 3), 'a', 'a', 'b');

    expect(slots.free).toBe(7);
    expect(slots.limits()).toEqual({ a: 1, b: 2 });
  });

  it('a host that is full gets no more', () => {
    expect(taken(new Slots(10, 2), 'a', 'a').limits()).toEqual({ a: 0 });
  });

  it('a host that did not answer gets one call at a time, until it answers', () => {
    const slots = taken(new Slots(10, 3), 'a');

    slots.release('a', false);
    expect(slots.limits()).toEqual({ a: 1 });
    slots.take('a');
    expect(slots.limits()).toEqual({ a: 0 });
    slots.release('a', true);
    expect(slots.limits()).toEqual({});
  });

  it('hosts that do not answer share half of the calls, and take turns', () => {
    const slots = new Slots(4, 2);
    for (const host of ['a', 'b', 'c', 'd']) {
      slots.take(host);
      slots.release(host, false);
    }

    expect(slots.limits()).toEqual({ a: 1, b: 1, c: 0, d: 0 });
    slots.take('a');
    expect(slots.limits()).toEqual({ a: 0, b: 1, c: 0, d: 0 });
    slots.release('a', false);
    expect(slots.limits()).toEqual({ a: 0, b: 1, c: 1, d: 0 });
  });

  it('one slot in all is enough for a host that does not answer', () => {
    const slots = taken(new Slots(1, 8), 'a');
    slots.release('a', false);

    expect(slots.limits()).toEqual({ a: 1 });
  });

  it('what is taken and released comes out even, whatever the order', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.boolean()), { maxLength: 50 }), (calls) => {
        const slots = taken(new Slots(100, 8), ...calls.map(([host]) => host));
        for (const [host, answered] of calls) slots.release(host, answered);

        expect(slots.free).toBe(100);
        expect(Object.values(slots.limits()).every((limit) => limit === 1 || limit === 0)).toBe(true);
      }),
    );
  });
});
