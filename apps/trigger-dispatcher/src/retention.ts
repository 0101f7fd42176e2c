import { Inject, Injectable } from '@nestjs/common';
import { Lease } from '@millrace/platform/lease';
import type { Log } from '@millrace/platform/log';
import { CONFIG, LOG } from '@millrace/platform/service';
import { Store, type Tx } from '@millrace/platform/store';
import { Changes } from './changes.ts';
import type { DispatcherConfig } from './config.ts';
import { FollowedTags } from './followed-tags.ts';

/** How much goes at once, so that no statement holds much for long. */
const ROWS = 5_000;
/** A watcher that was away for longer lists again. */
const CHANGES_MINUTES = 60;

/** Forgets what is over: deliveries, what fired, tags that nobody follows, changes that no watcher asks for any more. */
@Injectable()
export class Retention {
  constructor(
    private readonly store: Store,
    private readonly lease: Lease,
    private readonly changes: Changes,
    private readonly followedTags: FollowedTags,
    @Inject(CONFIG) private readonly config: DispatcherConfig,
    @Inject(LOG) private readonly log: Log,
  ) {}

  /** One instance of the service does it. Never throws: what is left is taken the next time. */
  async clean(signal: AbortSignal): Promise<void> {
    try {
      if (!(await this.lease.leads('retention'))) return;
      const hours = [this.config.DELIVERY_RETENTION_HOURS];
      const old = 'now() - make_interval(hours => $1)';
      const deliveries = await this.inParts(
        (tx) => tx.run(`DELETE FROM delivery WHERE name IN (SELECT name FROM delivery WHERE finished_at < ${old} LIMIT ${ROWS})`, hours),
        signal,
      );
      // A firing stays as long as one of its deliveries waits or can be looked at.
      const firings = await this.inParts(
        (tx) =>
          tx.run(
            `DELETE FROM firing WHERE id IN (
               SELECT id FROM firing f WHERE created < ${old} AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.firing_id = f.id) LIMIT ${ROWS})`,
            hours,
          ),
        signal,
      );
      const tags = await this.inParts((tx) => this.followedTags.forget(tx, ROWS), signal);
      const changes = await this.changes.prune(CHANGES_MINUTES);
      if (deliveries || firings || tags || changes) this.log.info({ deliveries, firings, tags, changes }, 'retention.cleaned');
    } catch (error) {
      if (!signal.aborted) this.log.warn({ err: error }, 'retention.failed');
    }
  }

  private async inParts(forget: (tx: Tx) => Promise<number>, signal: AbortSignal): Promise<number> {
    let all = 0;
    for (let part = ROWS; part === ROWS && !signal.aborted;) {
      part = await this.store.transaction(forget);
      all += part;
    }
    return all;
  }
}
