import { Inject, Injectable } from '@nestjs/common';
import { Lease } from '@millrace/platform/lease';
import type { Log } from '@millrace/platform/log';
import { CONFIG, LOG } from '@millrace/platform/service';
import { Store, type Tx } from '@millrace/platform/store';
import { Changes } from './changes.ts';
import type { DispatcherConfig } from './config.ts';
import { Endpoints } from './endpoints.ts';
import { FollowedTags } from './followed-tags.ts';

/** How much goes at once, so that no statement holds much for long. */
const ROWS = 5_000;
/** A watcher that was away for longer lists again. */
const CHANGES_MINUTES = 60;

/**
 * Forgets what is over: deliveries with their attempts, what fired, tags that nobody follows, changes that no watcher asks for any more; and finds
 * deliveries that were forgotten by mistake.
 */
@Injectable()
export class Retention {
  constructor(
    private readonly store: Store,
    private readonly lease: Lease,
    private readonly changes: Changes,
    private readonly endpoints: Endpoints,
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
        (tx) =>
          tx.run(
            `DELETE FROM delivery WHERE name IN (SELECT name FROM delivery WHERE finished_at < ${old} AND state <> 'dead' LIMIT ${ROWS})`,
            hours,
          ),
        signal,
      );
      const letters = await this.deadLetters(signal);
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
      const healed = await this.endpoints.heal();
      if (deliveries || letters || firings || tags || changes || healed)
        this.log.info({ deliveries, letters, firings, tags, changes, healed }, 'retention.cleaned');
    } catch (error) {
      if (!signal.aborted) this.log.warn({ err: error }, 'retention.failed');
    }
  }

  /** Deliveries that were given up, and those that wait for a webhook that has been disabled for as long. */
  private async deadLetters(signal: AbortSignal): Promise<number> {
    const hours = [this.config.DEAD_LETTER_RETENTION_HOURS];
    const old = 'now() - make_interval(hours => $1)';
    const dead = `SELECT name FROM delivery WHERE finished_at < ${old} AND state = 'dead' LIMIT ${ROWS}`;
    const parked = `SELECT d.name FROM webhook w JOIN delivery d ON d.trigger_uid = w.trigger_uid AND d.webhook = w.name AND d.finished_at IS NULL
      WHERE w.disabled_at < ${old} AND d.created < ${old} LIMIT ${ROWS}`;
    let letters = 0;
    for (const which of [dead, parked])
      letters += await this.inParts((tx) => tx.run(`DELETE FROM delivery WHERE name IN (${which})`, hours), signal);
    return letters;
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
