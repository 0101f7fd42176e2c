import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Claimed } from './outcomes.ts';
import { Ready, roomBeside } from './ready.ts';
import { Slots } from './slots.ts';

const always = () => true;

function holding(...names: string[]): Ready {
  const ready = new Ready();
  names.forEach((name, i) => ready.add({ name, host: name.charAt(0) } as Claimed, i));
  return ready;
}

function drained(ready: Ready, hasRoom: (host: string) => boolean = always, only?: string): string[] {
  const names: string[] = [];
  for (let next = ready.next(hasRoom, only); next; next = ready.next(hasRoom, only)) names.push(next.name);
  return names;
}

describe('deliveries in hand', () => {
  it('go out in the order in which they came, hosts in turns', () => {
    expect(drained(holding('a1', 'a2', 'a3', 'b1', 'c1', 'b2'))).toEqual(['a1', 'b1', 'c1', 'a2', 'b2', 'a3']);
  });

  it('wait for a host that has no room, and for that alone', () => {
    const ready = holding('a1', 'b1', 'a2', 'b2');

    expect(drained(ready, (host) => host !== 'a')).toEqual(['b1', 'b2']);
    expect([...ready.counts()]).toEqual([['a', 2]]);
  });

  it('of one host can be asked for', () => {
    const ready = holding('a1', 'b1', 'b2');

    expect(drained(ready, always, 'b')).toEqual(['b1', 'b2']);
    expect(drained(ready, always, 'c')).toEqual([]);
    expect(ready.size).toBe(1);
  });

  it('are taken out by what they are, or by when they came', () => {
    const ready = holding('a1', 'a2', 'b1', 'b2');

    expect(ready.take(({ name }, since) => name === 'a1' || since >= 3).map(({ name }) => name)).toEqual(['a1', 'b2']);
    expect(drained(ready)).toEqual(['a2', 'b1']);
  });

  it('take no slot from others, but what is left of their host', () => {
    const slots = new Slots(8, 4);
    for (const host of ['a', 'a', 'a', 'b']) slots.take(host, false, 0);
    const ready = holding('a1', 'a2', 'a3', 'a4', 'a5', 'b1');

    expect(roomBeside(ready, slots, { all: 0, perHost: 0 }, 0)).toMatchObject({ free: 4, perHost: 4, hosts: { a: 0, b: 2 } });
  });

  it('count against what may be in hand', () => {
    const slots = new Slots(8, 4);
    for (const host of ['a', 'a', 'b']) slots.take(host, false, 0);
    const ready = holding('a1', 'a2', 'c1');

    expect(roomBeside(ready, slots, { all: 10, perHost: 6 }, 0)).toMatchObject({ free: 5 + 7, perHost: 10, hosts: { a: 6, b: 9, c: 9 } });
    expect(roomBeside(ready, slots, { all: 2, perHost: 6 }, 0)).toMatchObject({ free: 5 });
  });

  it('come out once each, whatever is asked', () => {
    const names = fc.uniqueArray(fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.nat(99)).map(([host, n]) => `${host}${n}`));
    fc.assert(
      fc.property(names, fc.array(fc.constantFrom('a', 'b', 'c')), (all, asked) => {
        const ready = holding(...all);
        const out = asked.flatMap((host, i) => {
          if (i % 3 === 0) return ready.take(({ name }) => name === `${host}7`).map(({ name }) => name);
          const next = ready.next((one) => i % 2 === 0 || one === host, i % 3 === 1 ? host : undefined);
          return next ? [next.name] : [];
        });

        expect(ready.size).toBe(all.length - out.length);
        expect([...out, ...drained(ready)].toSorted()).toEqual(all.toSorted());
      }),
    );
  });
});
