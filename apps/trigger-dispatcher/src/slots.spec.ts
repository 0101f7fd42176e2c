import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PROMPT_MS, Slots } from './slots.ts';

const LATER = PROMPT_MS + 1;

describe('slots', () => {
  it('a host may have up to its bound', () => {
    const slots = new Slots(10, 3);
    for (const host of ['a', 'a', 'b']) slots.take(host, false, 0);

    expect(slots.free).toBe(7);
    expect(slots.limits(0).hosts).toEqual({ a: 1, b: 2 });
  });

  it('what may wait for a host comes on top of its bound', () => {
    const slots = new Slots(10, 3);
    for (const host of ['a', 'a', 'b']) slots.take(host, false, 0);

    expect(slots.limits(0, 5).hosts).toEqual({ a: 6, b: 7 });
    expect(slots.limits(LATER, 5).hosts).toEqual({ a: 0, b: 0 });
  });

  it('a host has room as long as it is not full, none of its calls takes long, and a slot is free', () => {
    const slots = new Slots(3, 2);
    slots.take('a', false, 0);

    expect([slots.hasRoom('a', PROMPT_MS), slots.hasRoom('a', LATER), slots.hasRoom('b', LATER)]).toEqual([true, false, true]);
    slots.take('a', false, LATER);
    expect([slots.hasRoom('a', PROMPT_MS), slots.hasRoom('b', LATER)]).toEqual([false, true]);
    slots.take('c', false, LATER);
    expect(slots.hasRoom('b', LATER)).toBe(false);
  });

  it('a host that is full gets no more', () => {
    const slots = new Slots(10, 2);
    for (const host of ['a', 'a']) slots.take(host, false, 0);

    expect(slots.limits(0).hosts).toEqual({ a: 0 });
  });

  it('a host with a call that takes long gets no further one, until that is over', () => {
    const slots = new Slots(10, 3);
    const slot = slots.take('a', false, 0);

    expect(slots.limits(PROMPT_MS).hosts).toEqual({ a: 2 });
    expect(slots.limits(LATER).hosts).toEqual({ a: 0 });
    slots.release(slot);
    expect(slots.limits(LATER).hosts).toEqual({});
  });

  it('calls that take long, and those to endpoints that fail, are at most half', () => {
    const slots = new Slots(8, 2);
    expect(slots.limits(0).failing).toBe(4);
    slots.take('slow', false, 0);
    slots.take('failing', true, LATER);
    slots.take('well', false, LATER);

    expect(slots.limits(LATER).failing).toBe(2);
  });

  it('one slot in all is enough for an endpoint that fails', () => {
    const slots = new Slots(1, 8);

    expect(slots.limits(0).failing).toBe(1);
    slots.take('a', true, 0);
    expect(slots.limits(0).failing).toBe(0);
  });

  it('a slot is given back once', () => {
    const slots = new Slots(3, 3);
    const slot = slots.take('a', false, 0);
    slots.take('a', false, 0);
    slots.release(slot);
    slots.release(slot);

    expect(slots.free).toBe(2);
  });

  it('what is taken and released comes out even, whatever the order', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.boolean(), fc.nat()), { maxLength: 50 }), (calls) => {
        const slots = new Slots(100, 8);
        const taken = calls.map(([host, failing]) => slots.take(host, failing, 0));
        for (const [, i] of calls.map((call, i) => [call[2], i] as const).toSorted(([a], [b]) => a - b)) slots.release(taken[i] as never);

        expect(slots.free).toBe(100);
        expect(slots.limits(LATER)).toEqual({ hosts: {}, failing: 50 });
      }),
    );
  });
});
