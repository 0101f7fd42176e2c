import { Inject, Injectable } from '@nestjs/common';
import { FollowedHosts } from '@millrace/contracts/requests';
import { isDockerHub } from '@millrace/domain/image-reference';
import { pause } from '@millrace/platform/backoff';
import { Bus } from '@millrace/platform/bus';
import type { Log } from '@millrace/platform/log';
import { LOG, type Worker } from '@millrace/platform/service';
import { Registries } from './registries.ts';

/** So long a hint may be thought unwanted although somebody has begun to follow: who begins has looked. */
const EVERY_MS = 30_000;
const ASK_MS = 2_000;

/** Of which registries some tag is followed, as import-scheduler says. While it does not say, all of them are. */
@Injectable()
export class Followed implements Worker {
  private readonly stopping = new AbortController();
  private hosts: ReadonlySet<string> | undefined;
  private running: Promise<void> = Promise.resolve();

  constructor(
    private readonly bus: Bus,
    private readonly registries: Registries,
    @Inject(LOG) private readonly log: Log,
  ) {}

  async start(): Promise<void> {
    if (this.registries.all.every(({ mode }) => mode === 'mapping')) return;
    await this.ask();
    this.running = this.run();
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  /** Whether a hint about a host may be of use to somebody. */
  has(host: string): boolean {
    return this.hosts?.has(host) ?? true;
  }

  private async run(): Promise<void> {
    const { signal } = this.stopping;
    for (;;) {
      await pause(EVERY_MS, signal);
      if (signal.aborted) return;
      await this.ask();
    }
  }

  private async ask(): Promise<void> {
    try {
      const { hosts } = await this.bus.ask(FollowedHosts, {}, { timeoutMs: ASK_MS });
      this.hosts = new Set(hosts.map((host) => (isDockerHub(host) ? 'docker.io' : host.toLowerCase())));
    } catch (error) {
      if (this.hosts) this.log.warn({ reason: (error as Error).message }, 'followed.unknown');
      this.hosts = undefined;
    }
  }
}
