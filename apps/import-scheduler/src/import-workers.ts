import { randomInt, randomUUID } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { ImportCompleted, type ImportedTag } from '@millrace/contracts/imports';
import { RegistryAllowList } from '@millrace/domain/allowed-registries';
import { tryParseReference } from '@millrace/domain/image-reference';
import { afterFailedImport, type NextAttempt } from '@millrace/domain/import-failure';
import { tagOfRepository, tagsOfRepository } from '@millrace/domain/import-plan';
import { forbidden } from '@millrace/domain/status';
import { Bell, pause } from '@millrace/platform/backoff';
import { Lease } from '@millrace/platform/lease';
import type { Log } from '@millrace/platform/log';
import { CONFIG, LOG, type Worker } from '@millrace/platform/service';
import { isTransient, Store } from '@millrace/platform/store';
import type { ImportSchedulerConfig } from './config.ts';
import { ImageLookups, isReachedInsecurely, type LookedAt, type LookFor, resultOf } from './image-lookups.ts';
import { type Attempted, type ClaimedStream, type DueTag, ImportQueue } from './import-queue.ts';
import type { Failed } from './registry-failures.ts';
import { RegistryPool } from './registry-pool.ts';
import { SETTLE_MS, WantedImports } from './wanted-imports.ts';

const POLL_MS = 1_000;
const SWEEP_MS = 1_000;
/** What one fact holds at most, unless one image alone is more. */
const FACT_BYTES = 1024 * 1024;
/** How long an import that failed for a reason of ours, such as a tag-store that is away, waits. */
const UNEXPECTED_MS = 5_000;

/** A tag that was looked at in the background. */
interface Done {
  due: DueTag;
  seen: LookedAt;
}

/** Imports what the specs of streams want, by itself: as soon as they say so, and again while it fails in a way that may pass. */
@Injectable()
export class ImportWorkers implements Worker {
  private readonly allowed: RegistryAllowList;
  private readonly bell = new Bell();
  private readonly stopping = new AbortController();
  private readonly inFlight = new Set<Promise<void>>();
  private running: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly store: Store,
    private readonly queue: ImportQueue,
    private readonly wanted: WantedImports,
    private readonly lookups: ImageLookups,
    private readonly registries: RegistryPool,
    private readonly lease: Lease,
    @Inject(CONFIG) private readonly config: ImportSchedulerConfig,
    @Inject(LOG) private readonly log: Log,
  ) {
    this.allowed = new RegistryAllowList(config.ALLOWED_REGISTRIES, [config.INTERNAL_REGISTRY_HOST]);
  }

  start(): void {
    if (!this.config.IMPORT_ON_CHANGE) return;
    this.wanted.onChange(() => setTimeout(() => this.bell.ring(), SETTLE_MS));
    this.running = Promise.all([this.follow(), this.sweep()]);
  }

  /** Claims no more, and ends what is in flight. */
  async stop(): Promise<void> {
    this.stopping.abort();
    this.bell.ring();
    await this.running;
    await Promise.all(this.inFlight);
    await this.registries.close();
  }

  private async follow(): Promise<void> {
    const { signal } = this.stopping;
    while (!signal.aborted) {
      const free = this.config.IMPORTS_IN_FLIGHT - this.inFlight.size;
      const claimed = free > 0 ? await this.claim(free) : [];
      for (const stream of claimed) {
        const work = this.importFor(stream).finally(() => {
          this.inFlight.delete(work);
          this.bell.ring();
        });
        this.inFlight.add(work);
      }
      if (!claimed.length) await this.bell.wait(POLL_MS, signal);
    }
  }

  private async claim(limit: number): Promise<ClaimedStream[]> {
    try {
      return await this.queue.claim(limit, await this.lease.instance());
    } catch (error) {
      if (!this.stopping.signal.aborted && !isTransient(error)) this.log.error({ err: error }, 'imports.not-claimed');
      return [];
    }
  }

  private async importFor(claimed: ClaimedStream): Promise<void> {
    const { namespace, name: stream } = claimed;
    try {
      const due = await this.queue.dueTags(claimed, this.config.IMPORT_IMAGES_MAX);
      const by = { namespace, until: performance.now() + this.config.IMPORT_WITHIN_MS };
      const [seen, repository] = await Promise.all([this.lookAtTags(due, by), this.lookAtRepository(claimed, due, by)]);
      const done = due.flatMap((one, i): Done[] => (seen[i] ? [{ due: one, seen: seen[i] }] : []));
      await this.finish(claimed, done, repository);
      const failed = done.flatMap(({ due: { tag }, seen: one }) => (one.kind === 'failed' ? [{ tag, reason: one.status.message }] : []));
      this.log.info({ namespace, stream, tags: done.length, repository: claimed.repository ?? undefined, failed }, 'import.completed');
    } catch (error) {
      if (!isTransient(error)) this.log.warn({ err: error, namespace, stream, waitMs: UNEXPECTED_MS }, 'import.failed');
      // Held meanwhile, so that it is not tried again at once.
      await pause(UNEXPECTED_MS, this.stopping.signal);
      await this.queue.release(claimed).catch(() => undefined);
    }
  }

  private async lookAtTags(due: readonly DueTag[], by: LookFor): Promise<LookedAt[]> {
    const refused = due.map(({ source, insecure }) => this.refusal(source, insecure));
    const looked = await this.lookups.look(
      due
        .filter((_, i) => !refused[i])
        .map((tag) => ({
          pullSpec: tag.source,
          insecure: tag.insecure,
          importMode: tag.import_mode,
          preferred: { ...(tag.prefer_arch ? { architecture: tag.prefer_arch } : {}), ...(tag.prefer_os ? { os: tag.prefer_os } : {}) },
          includeManifest: false,
        })),
      by,
    );
    const next = looked.values();
    return refused.map((failed) => failed ?? (next.next().value as LookedAt));
  }

  /** What the stream was written with before there was a list, or while it was another, is not asked for. */
  private refusal(pullSpec: string, insecure: boolean): Failed | undefined {
    const reference = tryParseReference(pullSpec);
    const why = reference && this.allowed.refusal(reference, insecure ? 'any' : 'secure');
    return why
      ? { kind: 'failed', status: forbidden({ group: 'image.openshift.io', resource: 'dockerimage' }, pullSpec, why), passes: false }
      : undefined;
  }

  /** Of a repository that is wanted as a whole: its first tags, or why they are not known. */
  private async lookAtRepository(
    { repository, repository_insecure }: ClaimedStream,
    due: readonly DueTag[],
    by: LookFor,
  ): Promise<ImportedTag[] | Failed | undefined> {
    if (!repository) return undefined;
    const insecure =
      repository_insecure ||
      isReachedInsecurely(
        repository,
        due.map(({ source, insecure: is }) => ({ pullSpec: source, insecure: is })),
      );
    const refused = this.refusal(repository, insecure);
    if (refused) return refused;
    const listed = await this.lookups.tagsOf(repository, insecure, by);
    if (listed.kind === 'failed') return listed;
    const { tags } = tagsOfRepository(listed.tags, this.config.IMPORT_TAGS_PER_REPOSITORY);
    const importMode = this.config.IMPORT_MODE;
    const wanted = tags.map((tag) => ({
      pullSpec: tagOfRepository(repository, tag),
      insecure,
      importMode,
      preferred: {},
      includeManifest: false,
    }));
    const seen = await this.lookups.look(wanted, by);
    return tags.map((tag, i) => ({
      tag,
      from: tagOfRepository(repository, tag),
      generation: null,
      importPolicy: { ...(repository_insecure ? { insecure: true } : {}), importMode },
      referencePolicy: { type: 'Source' },
      makesTag: false,
      result: resultOf(seen[i] as LookedAt),
    }));
  }

  /** Tells what was found, and when what was not is tried again, in one transaction. */
  private async finish(claimed: ClaimedStream, done: readonly Done[], repository: ImportedTag[] | Failed | undefined): Promise<void> {
    const attempts = done.map(({ due, seen }) => ({ due, ...attempted(seen, due.attempts) }));
    const whole = repository && (Array.isArray(repository) ? { failed: false } : attempted(repository, claimed.repository_attempts));
    await this.store.transaction(async (tx) => {
      if (!(await this.queue.finish(tx, claimed, { tags: attempts, repository: whole }))) return;
      const tags = [...(Array.isArray(repository) ? repository : []), ...done.map(({ due, seen }) => importedTag(due, seen))];
      // Told even where the repository was not found: the stream learns that it was looked for.
      for (const part of parts(tags, repository ? 1 : 0)) this.tell(tx, claimed, part);
    });
  }

  private tell(
    tx: Parameters<Parameters<Store['transaction']>[0]>[0],
    { namespace, name, stream_uid, repository }: ClaimedStream,
    tags: ImportedTag[],
  ): void {
    const id = randomUUID();
    tx.publishLater(
      ImportCompleted,
      { id, namespace, stream: name, streamUid: stream_uid, ...(repository ? { repository } : {}), tags },
      { id },
    );
  }

  private async sweep(): Promise<void> {
    const { signal } = this.stopping;
    while (!signal.aborted) {
      const freed = await this.queue.sweep().catch(() => 0);
      if (freed) this.bell.ring();
      await pause(SWEEP_MS, signal);
    }
  }
}

function attempted(seen: LookedAt | Failed, attempts: number): Attempted {
  if (seen.kind === 'found') return { failed: false };
  const next: NextAttempt = afterFailedImport(seen, attempts + 1, randomInt(1_000) / 1_000);
  return { failed: true, ...(next.kind === 'retry' ? { inMs: next.inMs } : {}) };
}

function importedTag({ tag, source, generation, insecure, scheduled, import_mode, reference_policy }: DueTag, seen: LookedAt): ImportedTag {
  return {
    tag,
    from: source,
    generation: generation === null ? null : Number(generation),
    importPolicy: { ...(insecure ? { insecure } : {}), ...(scheduled ? { scheduled } : {}), importMode: import_mode },
    referencePolicy: { type: reference_policy },
    makesTag: false,
    result: resultOf(seen),
  };
}

/** In their order, each of a size that NATS carries; at least as many as asked for. */
export function parts(tags: readonly ImportedTag[], least = 0): ImportedTag[][] {
  const all: ImportedTag[][] = [];
  let bytes = 0;
  for (const tag of tags) {
    const size = JSON.stringify(tag).length;
    const last = all.at(-1);
    if (last && bytes + size <= FACT_BYTES) last.push(tag);
    else all.push([tag]);
    bytes = last && bytes + size <= FACT_BYTES ? bytes + size : size;
  }
  return all.length >= least ? all : [[]];
}
