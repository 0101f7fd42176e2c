/** Waits, or returns early when the signal aborts. Never throws. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done, { once: true });
  });
}

/** Lets others have the thread: for work of many milliseconds that others should not wait for. */
export const breathe = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A bell that one loop waits on and anybody may ring; a ring while nobody waits is not lost. */
export class Bell {
  private rung = false;
  private wake: (() => void) | undefined;

  ring(): void {
    this.rung = true;
    this.wake?.();
  }

  /** Resolves at the next ring, or at once after one that nobody heard, or after `ms`. */
  async wait(ms: number, signal?: AbortSignal): Promise<void> {
    if (!this.rung && !signal?.aborted) {
      await new Promise<void>((resolve) => {
        const finish = () => {
          clearTimeout(timer);
          signal?.removeEventListener('abort', finish);
          resolve();
        };
        const timer = setTimeout(finish, ms);
        this.wake = finish;
        signal?.addEventListener('abort', finish, { once: true });
      });
    }
    this.wake = undefined;
    this.rung = false;
  }
}

/** How long to wait after so many failures before: 100 ms, each time twice as long, 5 s at most. */
export const growingMs = (failures: number): number => Math.min(5_000, 100 * 2 ** failures);

/**
 * Does `round` again and again until the signal aborts; what it has begun it ends. After one that rejects it says so to `waiting` and waits,
 * longer each time until one does not.
 */
export async function inRounds(
  signal: AbortSignal,
  waiting: (error: unknown, waitMs: number) => void,
  round: () => Promise<void>,
): Promise<void> {
  for (let failures = 0; !signal.aborted;) {
    try {
      await round();
      failures = 0;
    } catch (error) {
      if (signal.aborted) return;
      const waitMs = growingMs(failures++);
      waiting(error, waitMs);
      await pause(waitMs, signal);
    }
  }
}
