import { Inject, Injectable } from '@nestjs/common';
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { AfterCheck } from '@millrace/domain/import-schedule';
import { Clock } from '@millrace/platform/clock';
import { METRICS } from '@millrace/platform/health';
import { CheckQueue } from './check-queue.ts';

/** What an operator sees of the schedule. */
@Injectable()
export class ScheduleMeasures {
  private readonly checks: Counter<'outcome'>;
  private readonly imports: Counter<'outcome'>;
  private readonly late: Histogram;

  constructor(@Inject(METRICS) metrics: Registry, queue: CheckQueue, clock: Clock) {
    const registers = [metrics];
    this.checks = new Counter({
      name: 'millrace_scheduled_checks_total',
      help: 'Looks at references that scheduled tags follow, by what came of them',
      labelNames: ['outcome'],
      registers,
    });
    this.imports = new Counter({
      name: 'millrace_scheduled_imports_total',
      help: 'Tags that were imported because what they follow had changed, or failed',
      labelNames: ['outcome'],
      registers,
    });
    this.late = new Histogram({
      name: 'millrace_scheduled_check_late_seconds',
      help: 'From the moment at which a check was due until it was begun',
      buckets: [0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 900],
      registers,
    });
    const overdue = new Gauge({
      name: 'millrace_scheduled_checks_overdue_seconds',
      help: 'How long the check that is due longest has been due',
      registers,
    });
    new Gauge({
      name: 'millrace_scheduled_references',
      help: 'References that scheduled tags follow, by state',
      labelNames: ['state'],
      registers,
      async collect() {
        this.reset();
        const states = await queue.states().catch(() => []);
        for (const { state, count } of states) this.set({ state }, count);
        const due = await queue.nextDue().catch(() => undefined);
        overdue.set(due === undefined ? 0 : Math.max(0, (clock.now().getTime() - due) / 1_000));
      },
    });
  }

  begun(lateMs: number): void {
    this.late.observe(Math.max(0, lateMs) / 1_000);
  }

  checked(step: AfterCheck): void {
    this.checks.inc({ outcome: step.kind });
  }

  imported(outcome: 'found' | 'failed', tags: number): void {
    this.imports.inc({ outcome }, tags);
  }
}
