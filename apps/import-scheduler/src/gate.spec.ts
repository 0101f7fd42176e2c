import { describe, expect, it } from 'vitest';
import { Gate } from './gate.ts';

describe('a gate', () => {
  it('lets no more in than there is room, and everybody in the end, in their order', async () => {
    const gate = new Gate(2);
    const log: string[] = [];
    let inside = 0;
    const visit = (name: string) =>
      gate.through(async () => {
        log.push(`${name} ${++inside}`);
        await Promise.resolve();
        inside--;
        return name;
      });

    const left = await Promise.all(['a', 'b', 'c', 'd', 'e'].map(visit));

    expect(left).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(log.map((line) => line[0])).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(log.every((line) => Number(line.slice(2)) <= 2)).toBe(true);
  });

  it('gives the place of one that fails to the next', async () => {
    const gate = new Gate(1);
    const fails = gate.through(() => Promise.reject(new Error('no')));

    await expect(fails).rejects.toThrow('no');
    expect(await gate.through(() => Promise.resolve('in'))).toBe('in');
  });
});
