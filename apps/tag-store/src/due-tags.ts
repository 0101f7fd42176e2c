import { Inject, Injectable } from '@nestjs/common';
import { Gauge, type Registry } from 'prom-client';
import { inRounds, pause } from '@millrace/platform/backoff';
import { Clock } from '@millrace/platform/clock';
import { METRICS } from '@millrace/platform/health';
import type { Log } from '@millrace/platform/log';
import { CONFIG, LOG, type Worker } from '@millrace/platform/service';
import { isTransient, Store } from '@millrace/platform/store';
import type { LockedStream } from './stream-rows.ts';
import { Tags } from './tags.ts';

const POLL_MS = 1_000;
/** What is due and somebody else has in hand is looked at again after this. */
const PASSED_OVER_MS = 100;
/** Tags that are decided about in one transaction. */
const TAGS_AT_ONCE = 100;
/** A decision this far in the future was made before the clock was set back; clocks of instances differ by less. */
const AHEAD_MS = 60_000;
/** When a tag is looked at again that could not be decided about. */
const AGAIN_MS = 60_000;
const FORGET_EVERY_MS = 10 * 60_000;
const FORGOTTEN_AT_ONCE = 10_000;

type Due = LockedStream & { tags: string[] };

/**
 * Looks at tags for which time alone may change the decision: an age, a window, a deadline, the end of a hold. Instances share the work by the locks of
 * streams: one that somebody else writes is passed over until the next look. Nothing is lost with an instance, since what is due stands in the row.
 */
@Injectable()
export class DueTags implements Worker {
  private readonly stopping = new AbortController();
  private running: Promise<void> = Promise.resolve();
  private forgotAt = -Infinity;

  constructor(
    private readonly store: Store,
    private readonly tags: Tags,
    private readonly clock: Clock,
    @Inject(CONFIG) private readonly config: { EVENT_RETENTION_HOURS: number },
    @Inject(LOG) private readonly log: Log,
    @Inject(METRICS) metrics: Registry,
  ) {
    new Gauge({
      name: 'millrace_tag_changes_waiting',
      help: 'Images that tags were given and do not point at yet',
      registers: [metrics],
      async collect() {
        const [row] = await store.query<{ n: string }>('SELECT count(*) AS n FROM tag_change WHERE outcome IS NULL').catch(() => []);
        this.set(Number(row?.n ?? Number.NaN));
      },
    });
  }

  start(): void {
    this.running = this.run();
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  private run(): Promise<void> {
    const { signal } = this.stopping;
    const waiting = (err: unknown, waitMs: number) => this.log.warn({ err, waitMs }, 'due-tags.waiting');
    return inRounds(signal, waiting, async () => {
      const untilDue = await this.untilDue();
      if (untilDue === 0 && (await this.look())) return;
      if (performance.now() - this.forgotAt >= FORGET_EVERY_MS) await this.forget();
      await pause(untilDue || PASSED_OVER_MS, signal);
    });
  }

  /** Decides about what is due now, as far as nobody else does; resolves to how many tags that were. */
  async look(): Promise<number> {
    try {
      return await this.decide(TAGS_AT_ONCE);
    } catch (error) {
      if (isTransient(error)) throw error;
      this.log.error({ err: error }, 'due-tags.failed');
      return this.decideAlone();
    }
  }

  /** One tag that cannot be decided about does not keep the others waiting. */
  private async decideAlone(): Promise<number> {
    const now = this.clock.now();
    const due = await this.store.query<{ stream_uid: string; name: string }>(`SELECT stream_uid, name FROM (${DUE}) AS due`, [
      ...this.dueAt(now),
      TAGS_AT_ONCE,
    ]);
    for (const { stream_uid: uid, name } of due) {
      try {
        await this.decide(1, { uid, name });
      } catch (error) {
        if (isTransient(error)) throw error;
        this.log.error({ err: error, streamUid: uid, tag: name }, 'due-tags.failed');
        await this.store.query('UPDATE tag SET look_at = $3, looked_at = $4 WHERE stream_uid = $1 AND name = $2', [
          ...[uid, name, new Date(now.getTime() + AGAIN_MS), now],
        ]);
      }
    }
    return due.length;
  }

  private async decide(limit: number, only?: { uid: string; name: string }): Promise<number> {
    return this.store.transaction(async (tx) => {
      const streams = await tx.query<Due>(
        `SELECT s.uid, s.namespace, s.name, s.generation::int, s.spec, due.tags
           FROM (SELECT stream_uid, array_agg(name ORDER BY name) AS tags FROM (${DUE}) AS one
                  WHERE $4::uuid IS NULL OR (stream_uid = $4 AND name = $5) GROUP BY stream_uid) AS due
           JOIN stream s ON s.uid = due.stream_uid
          ORDER BY s.namespace, s.name FOR NO KEY UPDATE OF s SKIP LOCKED`,
        [...this.dueAt(this.clock.now()), only ? TAGS_AT_ONCE : limit, only?.uid ?? null, only?.name ?? null],
      );
      const tags = streams.flatMap(({ tags: names, ...stream }) => names.map((tag) => ({ stream, tag })));
      await this.tags.settle(tx, { tags });
      return tags.length;
    });
  }

  /** Decisions that are due by now, and those that were made later than they can have been. */
  private dueAt(now: Date): [Date, Date] {
    return [now, new Date(now.getTime() + AHEAD_MS)];
  }

  /** How long until something is due; others may make something due sooner, so not for long. */
  private async untilDue(): Promise<number> {
    const [row] = await this.store.query<{ next: Date | null; looked: Date | null }>(
      `SELECT (SELECT min(look_at) FROM tag WHERE look_at IS NOT NULL) AS next, (SELECT max(looked_at) FROM tag WHERE look_at IS NOT NULL) AS looked`,
    );
    const [now, ahead] = this.dueAt(this.clock.now());
    if (!row?.next) return POLL_MS;
    if (row.looked && row.looked > ahead) return 0;
    return Math.min(POLL_MS, Math.max(0, row.next.getTime() - now.getTime()));
  }

  /** What was decided so long ago that no fact about it comes again. */
  async forget(): Promise<void> {
    this.forgotAt = performance.now();
    const before = new Date(this.clock.now().getTime() - this.config.EVENT_RETENTION_HOURS * 3_600_000);
    for (let gone = FORGOTTEN_AT_ONCE; gone === FORGOTTEN_AT_ONCE && !this.stopping.signal.aborted;)
      gone = await this.store.transaction((tx) =>
        tx.run(
          `DELETE FROM tag_change WHERE ctid IN (
             SELECT ctid FROM tag_change WHERE outcome IS NOT NULL AND decided < $1 ORDER BY decided LIMIT ${FORGOTTEN_AT_ONCE})`,
          [before],
        ),
      );
  }
}

const DUE = `(SELECT stream_uid, name FROM tag WHERE look_at IS NOT NULL AND look_at <= $1 ORDER BY look_at LIMIT $3)
             UNION (SELECT stream_uid, name FROM tag WHERE look_at IS NOT NULL AND looked_at > $2 ORDER BY looked_at LIMIT $3)`;
