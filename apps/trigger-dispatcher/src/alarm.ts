import { Injectable } from '@nestjs/common';
import { Bell } from '@millrace/platform/backoff';

/** What is further off is found by whoever looks by then. */
const SOON_MS = 60_000;

/** Wakes whoever decides about what is due, on time: one timer, for the first of all times. */
@Injectable()
export class Alarm {
  readonly bell = new Bell();
  private timer: NodeJS.Timeout | undefined;
  private ringsAt = Number.POSITIVE_INFINITY;

  set(at: Date, now: Date): void {
    const inMs = Math.max(0, at.getTime() - now.getTime()) + 1;
    // Counted on the clock that nobody sets.
    const ringsAt = performance.now() + inMs;
    if (inMs > SOON_MS || ringsAt >= this.ringsAt) return;
    clearTimeout(this.timer);
    this.ringsAt = ringsAt;
    this.timer = setTimeout(() => {
      this.ringsAt = Number.POSITIVE_INFINITY;
      this.bell.ring();
    }, inMs).unref();
  }
}
