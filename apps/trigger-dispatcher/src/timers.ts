import { Injectable } from '@nestjs/common';
import { pause } from '@millrace/platform/backoff';
import type { Worker } from '@millrace/platform/service';
import { Retention } from './retention.ts';

const EVERY_MS = 60_000;

/** What is done by the clock; the retries of deliveries have their own. */
@Injectable()
export class Timers implements Worker {
  private readonly stopping = new AbortController();
  private running: Promise<void> = Promise.resolve();

  constructor(private readonly retention: Retention) {}

  start(): void {
    this.running = this.run();
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  private async run(): Promise<void> {
    const { signal } = this.stopping;
    while (!signal.aborted) {
      await this.retention.clean(signal);
      await pause(EVERY_MS, signal);
    }
  }
}
