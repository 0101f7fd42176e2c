/** A call under way. */
export interface Slot {
  readonly host: string;
  readonly startedAt: number;
  /** Its endpoint has failed before. */
  readonly failing: boolean;
}

/** Receivers that are well answer in less; one that takes longer is not given a second call meanwhile. */
export const PROMPT_MS = 250;

/**
 * Shares the calls that may be in flight, so that receivers that hang never take them all: each host has a bound of its own; a host with a call that
 * takes long gets no further one until that is over; and calls that take long, or go to endpoints that fail, are at most half of all.
 */
export class Slots {
  private readonly inFlight = new Map<string, Set<Slot>>();
  private taken = 0;

  constructor(
    private readonly total: number,
    readonly perHost: number,
  ) {}

  get free(): number {
    return this.total - this.taken;
  }

  /** Whether a host may have a call now. */
  hasRoom(host: string, now: number): boolean {
    if (this.free <= 0) return false;
    const calls = this.inFlight.get(host);
    if (!calls) return true;
    for (const call of calls) if (isLate(call, now)) return false;
    return calls.size < this.perHost;
  }

  /**
   * How many more calls a host may have, for hosts that may not have `perHost` and `ahead`, which may wait there; and how many calls endpoints that
   * fail may have.
   */
  limits(now: number, ahead = 0): { hosts: Record<string, number>; failing: number } {
    const hosts: Record<string, number> = {};
    let failing = Math.max(1, Math.floor(this.total / 2));
    for (const [host, calls] of this.inFlight) {
      let slow = false;
      for (const call of calls) {
        const late = isLate(call, now);
        slow ||= late;
        if (late || call.failing) failing--;
      }
      hosts[host] = slow ? 0 : Math.max(0, this.perHost + ahead - calls.size);
    }
    return { hosts, failing: Math.max(0, failing) };
  }

  take(host: string, failing: boolean, now: number): Slot {
    const slot = { host, failing, startedAt: now };
    this.taken++;
    const calls = this.inFlight.get(host);
    if (calls) calls.add(slot);
    else this.inFlight.set(host, new Set([slot]));
    return slot;
  }

  release(slot: Slot): void {
    const calls = this.inFlight.get(slot.host);
    if (!calls?.delete(slot)) return;
    this.taken--;
    if (!calls.size) this.inFlight.delete(slot.host);
  }
}

const isLate = ({ startedAt }: Slot, now: number): boolean => now - startedAt > PROMPT_MS;
