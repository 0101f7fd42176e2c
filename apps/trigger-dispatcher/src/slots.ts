/**
 * Shares the calls that may be in flight among hosts, so that a host that hangs never takes them all: each host has a bound of
 * its own; a host whose last call got no answer is down to one call at a time, and all such hosts together to half of the calls.
 */
export class Slots {
  private readonly inFlight = new Map<string, number>();
  /** Hosts that did not answer last; in the order in which they had their last turn. */
  private readonly struggling = new Set<string>();
  private taken = 0;

  constructor(
    private readonly total: number,
    private readonly perHost: number,
  ) {}

  get free(): number {
    return this.total - this.taken;
  }

  get inUse(): number {
    return this.taken;
  }

  /** How many more calls a host may have, for hosts that may not have `perHost`. */
  limits(): Record<string, number> {
    const limits: Record<string, number> = {};
    for (const [host, calls] of this.inFlight) limits[host] = Math.max(0, this.perHost - calls);
    let left = Math.max(1, Math.floor(this.total / 2)) - [...this.struggling].filter((host) => this.inFlight.has(host)).length;
    for (const host of this.struggling) limits[host] = this.inFlight.has(host) || left-- <= 0 ? 0 : 1;
    return limits;
  }

  take(host: string): void {
    this.taken++;
    this.inFlight.set(host, (this.inFlight.get(host) ?? 0) + 1);
    if (this.struggling.delete(host)) this.struggling.add(host);
  }

  release(host: string, answered: boolean): void {
    this.taken--;
    const calls = (this.inFlight.get(host) ?? 1) - 1;
    if (calls) this.inFlight.set(host, calls);
    else this.inFlight.delete(host);
    if (answered) this.struggling.delete(host);
    else this.struggling.add(host);
    // Hosts that are never called again are forgotten.
    if (this.struggling.size > 10_000) for (const oldest of this.struggling) if (this.struggling.delete(oldest)) break;
  }
}
