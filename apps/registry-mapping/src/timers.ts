import { Inject, Injectable } from '@nestjs/common';
import { pause } from '@millrace/platform/backoff';
import { Lease } from '@millrace/platform/lease';
import type { Log } from '@millrace/platform/log';
import { CONFIG, LOG, type Worker } from '@millrace/platform/service';
import { isTransient } from '@millrace/platform/store';
import type { RegistryMappingConfig } from './config.ts';
import { Hints } from './hints.ts';
import { PushQueue } from './push-queue.ts';

const EVERY_MS = 600_000;

/** Forgets, by the clock, pushes that became mappings long ago, and hints; one instance does. */
@Injectable()
export class Timers implements Worker {
  private readonly stopping = new AbortController();
  private running: Promise<void> = Promise.resolve();

  constructor(
    private readonly queue: PushQueue,
    private readonly hints: Hints,
    private readonly lease: Lease,
    @Inject(CONFIG) private readonly config: RegistryMappingConfig,
    @Inject(LOG) private readonly log: Log,
  ) {}

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
      try {
        let rows = (await this.lease.leads('cleaning')) ? 1 : 0;
        while (rows > 0 && !signal.aborted)
          rows = (await this.queue.clean(this.config.MAPPED_RETENTION_HOURS)) + (await this.hints.clean());
      } catch (error) {
        if (!isTransient(error) && !signal.aborted) this.log.warn({ err: error }, 'pushes.not-cleaned');
      }
      await pause(EVERY_MS, signal);
    }
  }
}
