import { randomUUID } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { ImportCompleted, type ImportedTag } from '@millrace/contracts/imports';
import { afterCheck, type CheckContext } from '@millrace/domain/import-schedule';
import type { Candidate } from '@millrace/domain/keyring';
import { Bell, growingMs, inRounds, pause } from '@millrace/platform/backoff';
import { Bus } from '@millrace/platform/bus';
import { Clock } from '@millrace/platform/clock';
import { Lease } from '@millrace/platform/lease';
import type { Log } from '@millrace/platform/log';
import { PullCredentials } from '@millrace/platform/pull-credentials';
import { CONFIG, LOG, type Worker } from '@millrace/platform/service';
import { isTransient, Store, type Tx } from '@millrace/platform/store';
import { freshTrace, withTrace } from '@millrace/platform/trace';
import { CheckQueue, type ClaimedCheck, type MadeCheck } from './check-queue.ts';
import type { ImportSchedulerConfig } from './config.ts';
import { checkKey, fingerprintOf, Followers } from './followers.ts';
import { parts } from './import-workers.ts';
import { type Looked, OutsideImages, type Wanted } from './outside-images.ts';
import { ScheduleMeasures } from './schedule-measures.ts';

export const SCHEDULE_BELL = 'import-scheduler.schedule';
const POLL_MS = 500;
/** Claims of killed instances, secrets that have come. */
const SWEEP_MS = 15_000;
/** Checks that are claimed at once. */
const CLAIM_MAX = 128;
/** Checks whose outcomes are written in one statement. */
const WRITE_MAX = 500;
/** How long an outcome waits for others to be written with; the check is claimed until then. */
const WRITE_AFTER_MS = 50;
/** Streams that are told of one change in one transaction: each gets the whole image. */
const FOLLOWERS_AT_ONCE = 200;
/** Until tag-store answers again with the secrets of a namespace. */
const CREDENTIALS_RETRY_MS = 5_000;

interface Follower extends Wanted {
  streamUid: string;
  tag: string;
  stream: string;
  generation: string | null;
  referencePolicy: string;
  /** That was made of what was served when it was last imported. */
  image: string | null;
}

interface Found {
  outcome: Looked;
  result: ImportedTag['result'];
}

/**
 * Looks at what scheduled tags follow, each reference in its turn, and has what changed imported for all that follow it. Instances share
 * the work by claiming checks; a claim counts as long as its instance lives.
 */
@Injectable()
export class Schedule implements Worker {
  private readonly stopping = new AbortController();
  private readonly inFlight = new Set<Promise<void>>();
  /** Rung when a check has ended. */
  private readonly freed = new Bell();
  private ready: ClaimedCheck[] = [];
  private made: MadeCheck[] = [];
  private writing: Promise<void> | undefined;
  private running: Promise<void> = Promise.resolve();
  private sweptAt = -Infinity;

  constructor(
    private readonly store: Store,
    private readonly bus: Bus,
    private readonly lease: Lease,
    private readonly clock: Clock,
    private readonly queue: CheckQueue,
    private readonly followers: Followers,
    private readonly credentials: PullCredentials,
    private readonly images: OutsideImages,
    private readonly measures: ScheduleMeasures,
    @Inject(CONFIG)
    private readonly config: Pick<
      ImportSchedulerConfig,
      'IMPORT_SCHEDULE' | 'IMPORT_CHECKS_IN_FLIGHT' | 'IMPORT_REFUSED_INTERVAL_SECONDS' | 'STOP_TIMEOUT_MS'
    >,
    @Inject(LOG) private readonly log: Log,
  ) {}

  start(): void {
    if (!this.config.IMPORT_SCHEDULE) return;
    this.bus.onNudge(SCHEDULE_BELL, () => this.wake());
    this.running = this.run();
  }

  /** Finishes the checks that are under way, and gives back those that are not begun. */
  async stop(): Promise<void> {
    this.stopping.abort();
    this.wake();
    await this.running;
    const bound = new AbortController();
    await Promise.race([this.settled().then(() => bound.abort()), pause(this.config.STOP_TIMEOUT_MS / 2, bound.signal)]);
  }

  /** There may be something to do sooner than it seemed. */
  wake(): void {
    this.followers.bell.ring();
  }

  private async run(): Promise<void> {
    const { signal } = this.stopping;
    const waiting = (err: unknown, waitMs: number) => this.log.warn({ err, waitMs }, 'schedule.waiting');
    await inRounds(signal, waiting, async () => {
      await this.round();
      await this.followers.bell.wait(POLL_MS, signal);
    });
    await this.queue.release(this.ready.splice(0)).catch(() => undefined);
  }

  /** Begins every check that is due now; resolves when the last of them is under way. */
  async round(): Promise<void> {
    if (performance.now() - this.sweptAt >= SWEEP_MS) await this.sweep();
    while ((await this.followers.seat()) > 0);
    await this.spread();
    while (!this.stopping.signal.aborted) {
      if (this.ready.length < this.config.IMPORT_CHECKS_IN_FLIGHT && !(await this.claim()) && !this.ready.length) return;
      while (this.ready.length && this.inFlight.size < this.config.IMPORT_CHECKS_IN_FLIGHT) this.begin(this.ready.shift() as ClaimedCheck);
      if (this.inFlight.size >= this.config.IMPORT_CHECKS_IN_FLIGHT) await this.freed.wait(POLL_MS);
    }
  }

  /** Resolves when nothing is under way any more, and all of it is written down. */
  async settled(): Promise<void> {
    while (this.inFlight.size || this.writing) await Promise.allSettled([...this.inFlight, this.writing]);
  }

  async sweep(): Promise<void> {
    this.sweptAt = performance.now();
    const freed = await this.queue.freeClaims();
    if (freed) this.log.warn({ checks: freed }, 'schedule.taken-over');
    await this.followers.offerSecrets();
  }

  private async spread(): Promise<void> {
    const moved = await this.queue.spreadBacklog();
    if (moved) this.log.warn({ checks: moved }, 'schedule.backlog');
  }

  private async claim(): Promise<boolean> {
    const claimed = await this.queue.claim(await this.lease.instance(), CLAIM_MAX);
    const orphans = claimed.filter(({ source }) => source === null);
    if (orphans.length) await this.queue.forget(orphans);
    this.ready.push(...claimed.filter(({ source }) => source !== null));
    return claimed.length > 0;
  }

  private begin(check: ClaimedCheck): void {
    this.measures.begun(check.lateMs);
    const work = withTrace(freshTrace(), () => this.look(check))
      .catch(async (error: unknown) => {
        this.log.error({ err: error, ...named(check) }, 'check.failed');
        // Backed off like any failure: what is due at once would fail at once.
        await this.finish(check, { kind: 'failed', code: 'unexpected', reason: (error as Error).message });
      })
      .finally(() => {
        this.inFlight.delete(work);
        this.freed.ring();
      });
    this.inFlight.add(work);
  }

  private async look(check: ClaimedCheck): Promise<void> {
    const candidates = await this.candidatesOf(check);
    if (candidates === 'unknown') return this.finish(check, { kind: 'unsent', waitMs: CREDENTIALS_RETRY_MS });
    if (fingerprintOf(candidates) !== check.credentials) {
      await this.followers.unseat(check.namespace ?? '', check.id, true);
      return this.queue.release([check]);
    }
    const outcome = await this.images.head(lookedFor(check), check.digest ?? undefined);
    // The service stops: another instance looks.
    if (outcome.kind === 'failed' && outcome.code === 'closed') return this.queue.release([check]);
    const step = afterCheck(outcome, this.contextOf(check));
    // Why it failed is found out by trying the import, which says more than a HEAD, and may even succeed.
    const failure =
      outcome.kind === 'failed' && (step.kind === 'failing' || step.kind === 'refused') && step.tell && check.told !== outcome.code;
    return step.kind === 'changed' || failure ? this.import(check, outcome) : this.finish(check, outcome);
  }

  private async candidatesOf(check: ClaimedCheck): Promise<readonly Candidate[] | 'unknown'> {
    try {
      return (await this.credentials.of(check.namespace ?? '', check.source ?? '')).candidates;
    } catch (error) {
      this.log.warn({ err: error, namespace: check.namespace }, 'check.credentials-unknown');
      return 'unknown';
    }
  }

  private contextOf(check: ClaimedCheck): CheckContext {
    return {
      key: checkKey(check),
      intervalMs: check.intervalMs ?? 0,
      refusedIntervalMs: this.config.IMPORT_REFUSED_INTERVAL_SECONDS * 1_000,
      failures: check.failures,
      announced: check.announced ? { digest: check.announcedDigest ?? undefined, looks: check.looks } : undefined,
      digest: check.digest ?? undefined,
      now: this.clock.now().getTime(),
    };
  }

  /** Imports for those that follow and do not have what is served, or were told of a failure; each stream is told once. */
  private async import(check: ClaimedCheck, headed: Looked): Promise<void> {
    const served = headed.kind === 'served' ? headed.digest : null;
    const followers = await this.followersOf(check, served);
    if (!followers.length) return this.finish(check, headed);

    const kinds = new Map(followers.map((one) => [kindOf(one), one]));
    const found = new Map<string, Found>();
    for (const [kind, one] of kinds) found.set(kind, await this.images.find(one, served ?? undefined));
    const failure = [...found.values()].find((one) => one.outcome.kind !== 'served')?.outcome;
    const outcome = failure ?? [...found.values()][0]?.outcome ?? headed;
    const step = afterCheck(outcome, this.contextOf(check));
    const mayTell = outcome.kind === 'served' || ((step.kind === 'failing' || step.kind === 'refused') && step.tell);
    if (!mayTell) return this.finish(check, outcome);

    for (let from = 0; from < followers.length; from += FOLLOWERS_AT_ONCE) {
      const part = followers.slice(from, from + FOLLOWERS_AT_ONCE);
      const last = from + FOLLOWERS_AT_ONCE >= followers.length;
      await this.store.transaction(async (tx) => {
        const told = part.flatMap((follower) =>
          [found.get(kindOf(follower))].flatMap((one) => (one ? [{ follower, result: one.result }] : [])),
        );
        await this.tell(
          tx,
          told.filter(({ follower, result }) => isNews(follower, result)),
        );
        await this.remember(tx, outcome.kind === 'served' ? outcome.digest : null, told);
        if (last) await this.queue.finish(tx, [this.madeOf(check, outcome)]);
      });
    }
    this.measures.imported(outcome.kind === 'served' ? 'found' : 'failed', followers.length);
    this.log.info(
      { ...named(check), digest: outcome.kind === 'served' ? outcome.digest : undefined, tags: followers.length, outcome: outcome.kind },
      'check.imported',
    );
  }

  private async tell(tx: Tx, news: readonly { follower: Follower; result: ImportedTag['result'] }[]): Promise<void> {
    const streams = Map.groupBy(news, ({ follower }) => follower.streamUid);
    for (const [streamUid, tags] of streams) {
      const { namespace, stream } = (tags[0] as (typeof tags)[number]).follower;
      for (const part of parts(tags.map(({ follower, result }) => importedTag(follower, result)))) {
        const id = randomUUID();
        tx.publishLater(ImportCompleted, { id, namespace, stream, streamUid, tags: part }, { id });
      }
    }
  }

  private async remember(
    tx: Tx,
    digest: string | null,
    told: readonly { follower: Follower; result: ImportedTag['result'] }[],
  ): Promise<void> {
    await tx.run(
      `UPDATE scheduled_tag t SET digest = $1, image = v.image FROM unnest($2::uuid[], $3::text[], $4::text[]) AS v (stream_uid, tag, image)
        WHERE t.stream_uid = v.stream_uid AND t.tag = v.tag`,
      [
        digest,
        told.map(({ follower }) => follower.streamUid),
        told.map(({ follower }) => follower.tag),
        told.map(({ result }) => (result.kind === 'found' ? result.image.metadata.name : null)),
      ],
    );
  }

  /** Those that follow; with a digest those that do not have it. */
  private followersOf(check: ClaimedCheck, without: string | null): Promise<Follower[]> {
    return this.store.query<Follower>(
      `SELECT t.stream_uid AS "streamUid", t.tag, t.image, s.namespace, s.name AS stream, w.source, w.generation, w.insecure, w.import_mode AS "importMode",
              w.reference_policy AS "referencePolicy", w.prefer_arch AS "preferArch", w.prefer_os AS "preferOs"
         FROM scheduled_tag t JOIN wanted_tag w USING (stream_uid, tag) JOIN wanted_stream s USING (stream_uid)
        WHERE t.import_id = $1 AND ($2::text IS NULL OR t.digest IS DISTINCT FROM $2) ORDER BY t.stream_uid, t.tag`,
      [check.id, without],
    );
  }

  private madeOf(check: ClaimedCheck, outcome: Looked): MadeCheck {
    const step = afterCheck(outcome, this.contextOf(check));
    this.measures.checked(step);
    if (outcome.kind === 'served') return { check, step, digest: outcome.digest, reason: null, told: null };
    if (outcome.kind === 'unsent') return { check, step, digest: undefined, reason: null, told: check.told };
    // Those that were told of a failure are told of the success too, whatever is served then.
    const tells = (step.kind === 'failing' || step.kind === 'refused') && step.tell;
    return {
      check,
      step,
      digest: tells ? null : undefined,
      reason: outcome.reason ?? outcome.code,
      told: tells ? outcome.code : check.told,
    };
  }

  /** Written down with others that end at the same time; the claim is held until then. */
  private finish(check: ClaimedCheck, outcome: Looked): Promise<void> {
    this.made.push(this.madeOf(check, outcome));
    this.writing ??= this.write().finally(() => (this.writing = undefined));
    return Promise.resolve();
  }

  private async write(): Promise<void> {
    while (this.made.length) {
      if (this.made.length < WRITE_MAX) await pause(WRITE_AFTER_MS, this.stopping.signal);
      const part = this.made.splice(0, WRITE_MAX);
      for (let failures = 0; ; failures++) {
        try {
          await this.queue.finish(this.store, part);
          break;
        } catch (error) {
          // An outcome is worth waiting for a Postgres that restarts; without it the check is made again.
          if (!isTransient(error) || failures >= 8) {
            this.log.error({ err: error, checks: part.length }, 'checks.not-recorded');
            await this.queue.release(part.map(({ check }) => check)).catch(() => undefined);
            break;
          }
          await pause(growingMs(failures));
        }
      }
    }
  }
}

const lookedFor = ({ source, namespace, insecure }: ClaimedCheck) => ({ source: source ?? '', namespace: namespace ?? '', insecure });
const named = ({ host, repository, reference }: ClaimedCheck) => ({ host, repository, reference });
/** Followers for which the same is found. */
const kindOf = ({ source, preferArch, preferOs }: Follower): string => JSON.stringify([source, preferArch, preferOs]);

/** What a tag has already is no news: another digest of an index may bring the same image. */
function isNews(follower: Follower, result: ImportedTag['result']): boolean {
  return result.kind === 'failed' || result.image.metadata.name !== follower.image;
}

function importedTag(follower: Follower, result: ImportedTag['result']): ImportedTag {
  const { tag, source, generation, insecure, importMode, referencePolicy } = follower;
  return {
    tag,
    from: source,
    generation: generation === null ? null : Number(generation),
    importPolicy: { ...(insecure ? { insecure } : {}), scheduled: true, importMode },
    referencePolicy: { type: referencePolicy },
    makesTag: false,
    result,
  };
}
