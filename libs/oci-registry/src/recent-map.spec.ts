import { expect, it } from 'vitest';
import { RecentMap } from './recent-map.ts';

it('what was used longest ago is forgotten for what is new', () => {
  const forgotten: number[] = [];
  const map = new RecentMap<number>(3, (value) => forgotten.push(value));
  map.set('a', 1);
  map.set('b', 2);
  map.set('c', 3);

  map.get('a');
  map.set('d', 4);
  map.set('c', 33);
  map.getOrMake('e', () => 5);

  expect([...map.entries()]).toEqual([
    ['d', 4],
    ['c', 33],
    ['e', 5],
  ]);
  expect(forgotten).toEqual([2, 1]);
});

it('what is kept is not made again', () => {
  const map = new RecentMap<object>(2);
  const made = map.getOrMake('a', () => ({}));

  expect(map.getOrMake('a', () => ({}))).toBe(made);
  map.delete('a');
  expect(map.getOrMake('a', () => ({}))).not.toBe(made);
});
