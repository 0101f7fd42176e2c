import { Inject, Injectable } from '@nestjs/common';
import { FollowedHosts } from '@millrace/contracts/requests';
import { isDockerHub } from '@millrace/domain/image-reference';
import { Bus } from '@millrace/platform/bus';
import type { Log } from '@millrace/platform/log';
import { LOG } from '@millrace/platform/service';

/** So long a registry counts as followed: an unwanted hint does no harm. */
const FOLLOWED_MS = 300_000;
/** And so long as not followed: somebody may have just begun. Whatever comes meanwhile costs no question. */
const UNFOLLOWED_MS = 1_000;
const ASK_MS = 2_000;

/** Of which registries some tag is followed, as import-scheduler says. While it does not say, all of them are. */
@Injectable()
export class Followed {
  private hosts: ReadonlySet<string> | undefined;
  private askedAt = -Infinity;
  private asking: Promise<void> | undefined;

  constructor(
    private readonly bus: Bus,
    @Inject(LOG) private readonly log: Log,
  ) {}

  /** Whether a hint about a host may be of use to somebody. */
  async has(host: string): Promise<boolean> {
    const known = this.hosts?.has(host);
    if (performance.now() - this.askedAt > (known ? FOLLOWED_MS : UNFOLLOWED_MS))
      await (this.asking ??= this.ask().finally(() => (this.asking = undefined)));
    return this.hosts?.has(host) ?? true;
  }

  private async ask(): Promise<void> {
    try {
      const { hosts } = await this.bus.ask(FollowedHosts, {}, { timeoutMs: ASK_MS });
      this.hosts = new Set(hosts.map((host) => (isDockerHub(host) ? 'docker.io' : host.toLowerCase())));
    } catch (error) {
      if (this.hosts) this.log.warn({ reason: (error as Error).message }, 'followed.unknown');
      this.hosts = undefined;
    }
    this.askedAt = performance.now();
  }
}
