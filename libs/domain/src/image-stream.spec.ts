import { describe, expect, it } from 'vitest';
import { NamedTagEventList } from './image-stream.ts';

describe('a history that a client writes', () => {
  it('may leave out what is empty', () => {
    expect(NamedTagEventList.parse({ tag: 'a' })).toEqual({ tag: 'a', items: null });
    expect(NamedTagEventList.parse({ tag: 'a', items: [{ created: '2026-01-02T03:04:05Z' }] }).items).toEqual([
      { created: '2026-01-02T03:04:05Z', dockerImageReference: '', image: '', generation: 0 },
    ]);
  });

  it.each([
    ['2026-01-02T03:04:05.678+02:00', '2026-01-02T01:04:05Z'],
    ['0001-01-01T00:00:00Z', '0001-01-01T00:00:00Z'],
    ['0000-01-01T00:00:00Z', '0001-01-01T00:00:00Z'],
    ['9999-12-31T23:59:59-23:00', '9999-12-31T23:59:59Z'],
  ])('has its time %s in whole seconds of UTC: %s', (created, kept) => {
    expect(NamedTagEventList.parse({ tag: 'a', items: [{ created }] }).items?.[0]?.created).toBe(kept);
  });

  it.each(['yesterday', '2026-01-02', '2026-02-30T00:00:00Z', null])('with the time %j is none', (created) => {
    expect(NamedTagEventList.safeParse({ tag: 'a', items: [{ created }] }).success).toBe(false);
  });
});
