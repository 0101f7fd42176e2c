import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Outbox } from './outbox.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Waits for at most 20 facts to be waiting, 500 ms at most; `over` is when it is over, by a clock that stands at 0. */
function calm(waiting: () => number | undefined) {
  const outbox = new Outbox();
  outbox.onBacklog(waiting);
  const stopping = new AbortController();
  const begun = performance.now();
  const over = outbox.calm(20, 500, stopping.signal).then(() => performance.now() - begun);
  return { outbox, stopping, over };
}

describe('who lets the facts of others go first', () => {
  it.each([
    ['few wait', 20],
    ['another instance publishes', undefined],
  ])('waits for nothing where %s', async (_where, waiting) => {
    expect(await calm(() => waiting).over).toBe(0);
  });

  it('waits until few enough are left', async () => {
    let waiting = 30;
    const { outbox, over } = calm(() => waiting);

    for (waiting of [25, 20]) {
      outbox.published();
      await vi.advanceTimersByTimeAsync(100);
    }

    expect(await over).toBe(100);
  });

  it('waits no longer than it said where nothing is published', async () => {
    const { over } = calm(() => 30);

    await vi.advanceTimersByTimeAsync(10_000);

    expect(await over).toBe(500);
  });

  it('waits no longer than it said where as many are told as are published', async () => {
    const { outbox, over } = calm(() => 30);

    for (let i = 0; i < 100; i++) {
      await vi.advanceTimersByTimeAsync(100);
      outbox.published();
    }

    expect(await over).toBe(500);
  });

  it('waits no longer when it is to stop', async () => {
    const { stopping, over } = calm(() => 30);

    await vi.advanceTimersByTimeAsync(100);
    stopping.abort();

    expect(await over).toBe(100);
  });
});
