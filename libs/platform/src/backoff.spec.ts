import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { inRounds } from './backoff.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Works until the rounds are over, of which those that are false reject; resolves to how long it waited after them. */
async function waits(...rounds: boolean[]): Promise<number[]> {
  const over = new AbortController();
  const waited: number[] = [];
  const working = inRounds(
    over.signal,
    (_error, waitMs) => waited.push(waitMs),
    async () => {
      if (!rounds.shift()) throw new Error('away');
      if (!rounds.length) over.abort();
    },
  );
  await vi.runAllTimersAsync();
  await working;
  return waited;
}

describe('work in rounds', () => {
  it('waits longer after each failure in a row, five seconds at most', async () => {
    const rounds = [...Array<boolean>(8).fill(false), true];

    expect(await waits(...rounds)).toEqual([100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
  });

  it('waits shortly again after a round that did not fail', async () => {
    expect(await waits(false, false, true, false, true)).toEqual([100, 200, 100]);
  });

  it('ends in the middle of a wait when it is to stop', async () => {
    const over = new AbortController();
    const rounds: string[] = [];
    const working = inRounds(
      over.signal,
      () => setTimeout(() => over.abort(), 1),
      async () => {
        rounds.push('failed');
        throw new Error('away');
      },
    );

    await vi.advanceTimersByTimeAsync(1);
    await working;

    expect(rounds).toEqual(['failed']);
  });

  it('does not tell of a round that fails when it is to stop', async () => {
    const over = new AbortController();
    const told: unknown[] = [];

    await inRounds(
      over.signal,
      (error) => told.push(error),
      async () => {
        over.abort();
        throw new Error('cut short');
      },
    );

    expect(told).toEqual([]);
  });
});
