import type { Claimed } from './outcomes.ts';

interface Waiting {
  delivery: Claimed;
  since: number;
}

/**
 * Deliveries that are claimed and wait for a call to end, so that none has to be looked for when one does. Those of a host go out in the order in
 * which they came, hosts in turns.
 */
export class Ready {
  private readonly hosts = new Map<string, Waiting[]>();
  private all = 0;

  get size(): number {
    return this.all;
  }

  add(delivery: Claimed, now: number): void {
    const waiting = this.hosts.get(delivery.host);
    if (waiting) waiting.push({ delivery, since: now });
    else this.hosts.set(delivery.host, [{ delivery, since: now }]);
    this.all++;
  }

  /** How many wait, by host. */
  *counts(): Iterable<[host: string, waiting: number]> {
    for (const [host, waiting] of this.hosts) yield [host, waiting.length];
  }

  /** Takes the next one, of `only` where that is given, of a host that has room. */
  next(hasRoom: (host: string) => boolean, only?: string): Claimed | undefined {
    const hosts = only === undefined ? this.hosts.keys() : this.hosts.has(only) ? [only] : [];
    for (const host of hosts) {
      if (!hasRoom(host)) continue;
      const waiting = this.hosts.get(host) ?? [];
      const first = waiting.shift();
      // It is another's turn.
      this.hosts.delete(host);
      if (waiting.length) this.hosts.set(host, waiting);
      if (first) this.all--;
      return first?.delivery;
    }
    return undefined;
  }

  /** Takes out those that are meant. */
  take(which: (delivery: Claimed, since: number) => boolean): Claimed[] {
    const taken: Claimed[] = [];
    for (const [host, waiting] of this.hosts) {
      const kept = waiting.filter(({ delivery, since }) => !which(delivery, since));
      if (kept.length === waiting.length) continue;
      taken.push(...waiting.filter((one) => !kept.includes(one)).map(({ delivery }) => delivery));
      if (kept.length) this.hosts.set(host, kept);
      else this.hosts.delete(host);
    }
    this.all -= taken.length;
    return taken;
  }
}
