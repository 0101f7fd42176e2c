import { Inject, Injectable } from '@nestjs/common';
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { METRICS } from '@millrace/platform/health';
import { PushQueue } from './push-queue.ts';
import type { KnownRegistry } from './registries.ts';

/** What this service counts and times. */
@Injectable()
export class Measures {
  /** `accepted` or `hinted`, `repeated`, `quarantined`, `malformed`, `refused` (nobody we know), `busy`, or why an event was ignored. */
  private readonly notified: Counter<'registry' | 'dialect' | 'outcome'>;
  /** From the arrival of a push until the mapping is committed, in seconds. */
  readonly mapped: Histogram<'registry'>;
  readonly attempts: Counter<'registry' | 'outcome'>;

  constructor(@Inject(METRICS) metrics: Registry, queue: PushQueue) {
    const registers = [metrics];
    this.notified = new Counter({
      name: 'millrace_notifications_total',
      help: 'Events that registries told, by registry, its dialect and what became of them',
      labelNames: ['registry', 'dialect', 'outcome'],
      registers,
    });
    this.attempts = new Counter({
      name: 'millrace_mapping_attempts_total',
      help: 'Attempts to describe a pushed image, by registry and outcome',
      labelNames: ['registry', 'outcome'],
      registers,
    });
    this.mapped = new Histogram({
      name: 'millrace_mapping_seconds',
      help: 'From the arrival of a push until its mapping was committed',
      labelNames: ['registry'],
      buckets: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 600],
      registers,
    });
    const oldest = new Gauge({
      name: 'millrace_pushes_oldest_waiting_seconds',
      help: 'Age of the oldest push that waits to become a mapping',
      labelNames: ['registry'],
      registers,
    });
    new Gauge({
      name: 'millrace_pushes_waiting',
      help: 'Pushes that wait to become a mapping',
      labelNames: ['registry'],
      registers,
      async collect() {
        this.reset();
        oldest.reset();
        for (const one of await queue.waiting().catch(() => [])) {
          this.set({ registry: one.registry }, one.count);
          oldest.set({ registry: one.registry }, one.oldest);
        }
      },
    });
  }

  /** Of nobody we know, the name is not kept: there are too many. */
  count(registry: KnownRegistry | undefined, outcome: string, events = 1): void {
    if (events) this.notified.inc({ registry: registry?.name ?? '', dialect: registry?.dialect.name ?? '', outcome }, events);
  }
}
