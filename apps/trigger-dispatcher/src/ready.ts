import type { Share } from './claims.ts';
import type { Claimed } from './outcomes.ts';
import type { Slots } from './slots.ts';

interface Waiting {
  delivery: Claimed;
  since: number;
}

/** Deliveries that may be in hand beyond the calls that may be made. */
export interface Ahead {
  all: number;
  perHost: number;
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
    if (only !== undefined) return this.hosts.has(only) && hasRoom(only) ? this.first(only) : undefined;
    for (const host of this.hosts.keys()) if (hasRoom(host)) return this.first(host);
    return undefined;
  }

  /** It is another host's turn then. */
  private first(host: string): Claimed | undefined {
    const waiting = this.hosts.get(host) ?? [];
    const next = waiting.shift();
    this.hosts.delete(host);
    if (waiting.length) this.hosts.set(host, waiting);
    if (next) this.all--;
    return next?.delivery;
  }

  /** Takes out those that are meant. */
  take(which: (delivery: Claimed, since: number) => boolean): Claimed[] {
    const taken: Claimed[] = [];
    for (const [host, waiting] of this.hosts) {
      const { meant = [], others = [] } = Object.groupBy(waiting, ({ delivery, since }) => (which(delivery, since) ? 'meant' : 'others'));
      taken.push(...meant.map(({ delivery }) => delivery));
      if (others.length) this.hosts.set(host, others);
      else this.hosts.delete(host);
    }
    this.all -= taken.length;
    return taken;
  }
}

/** What may be claimed beside those that are in hand. These take no slot from others: most wait for their host, which is full. */
export function roomBeside(ready: Ready, slots: Slots, ahead: Ahead, now: number): Omit<Share, 'instance'> {
  const perHost = slots.perHost + ahead.perHost;
  const { hosts, failing } = slots.limits(now, ahead.perHost);
  for (const [host, waiting] of ready.counts()) hosts[host] = Math.max(0, (hosts[host] ?? perHost) - waiting);
  return { free: slots.free + Math.max(0, ahead.all - ready.size), perHost, hosts, failing };
}
