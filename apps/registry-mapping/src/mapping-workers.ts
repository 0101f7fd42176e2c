import { Inject, Injectable } from '@nestjs/common';
import { MappingPublished } from '@millrace/contracts/events';
import { afterFailure } from '@millrace/domain/push-retry';
import type { Image } from '@millrace/domain/image';
import { streamOfRepository } from '@millrace/domain/repository-layout';
import { RegistryError } from '@millrace/oci-registry/error';
import { type DescribedImage, describeImage } from '@millrace/oci-registry/image';
import { Bell, inRounds, pause } from '@millrace/platform/backoff';
import { Lease } from '@millrace/platform/lease';
import type { Log } from '@millrace/platform/log';
import { CONFIG, LOG, type Worker } from '@millrace/platform/service';
import { isTransient, Store } from '@millrace/platform/store';
import { withTrace } from '@millrace/platform/trace';
import type { RegistryMappingConfig } from './config.ts';
import { Measures } from './measures.ts';
import { type ClaimedPush, type NewPush, PushQueue } from './push-queue.ts';
import { type MappedRegistry, Registries } from './registries.ts';

const POLL_MS = 1_000;
const SWEEP_MS = 500;
const REMEMBERED = 1_000;

/** What a look into the registry brought. */
type Look = { described: DescribedImage } | { error: unknown };

/** The work on one registry's pushes: bounded, and of no consequence to the other registries. */
interface Lane {
  registry: MappedRegistry;
  bell: Bell;
  inFlight: Set<Promise<void>>;
  /** An image that is, or was, looked at before its push was stored. */
  foresight?: { eventId: string; underWay: boolean; look: Promise<Look> };
  /** Event ids of the last pushes that were foreseen: a registry that repeats one does not make us look again. */
  foreseen: Set<string>;
  /** More was due than could be taken. */
  more: boolean;
  /** When the next retry is due, by the clock of `performance`. */
  retryAt: number;
  /** The registry's last attempt failed in a way that says more about the registry than about the push. */
  outage: boolean;
}

/** Looks up what was pushed, and makes mappings of it: each registry in a lane of its own, the pushes of one tag one after the other. */
@Injectable()
export class MappingWorkers implements Worker {
  private readonly lanes: ReadonlyMap<string, Lane>;
  private readonly stopping = new AbortController();
  private running: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly store: Store,
    private readonly queue: PushQueue,
    private readonly registries: Registries,
    private readonly lease: Lease,
    private readonly measures: Measures,
    @Inject(CONFIG) private readonly config: RegistryMappingConfig,
    @Inject(LOG) private readonly log: Log,
  ) {
    this.lanes = new Map(
      registries.mapped.map((registry) => [
        registry.name,
        {
          registry,
          bell: new Bell(),
          inFlight: new Set(),
          foreseen: new Set(),
          more: false,
          retryAt: Infinity,
          outage: false,
        },
      ]),
    );
  }

  async start(): Promise<void> {
    await this.lease.instance();
    this.running = Promise.all([this.sweep(), ...[...this.lanes.values()].map((lane) => this.follow(lane))]);
  }

  /** Claims no more, and ends what is in flight. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
    await Promise.all([...this.lanes.values()].flatMap((lane) => [...lane.inFlight]));
    await this.registries.close();
  }

  /** In whose name, and how many, pushes of a registry may be claimed right now; undefined where they have to wait. */
  capacity(registry: string): { instance: number; free: number } | undefined {
    const lane = this.lanes.get(registry);
    const instance = this.lease.present;
    const free = lane ? this.config.MAPPINGS_IN_FLIGHT - lane.inFlight.size : 0;
    return instance !== undefined && free > 0 && !this.stopping.signal.aborted ? { instance, free } : undefined;
  }

  /**
   * Looks at an image while its push is being stored, where the registry has nothing else in work: it is claimed right after. One that is not
   * claimed, because another instance has a push of its tag in hand, was looked at for nothing.
   */
  foresee(registry: string, pushes: readonly NewPush[]): void {
    const lane = this.lanes.get(registry);
    const [push, ...more] = pushes;
    if (!lane || !push || more.length || push.quarantined || lane.foreseen.has(push.eventId)) return;
    if (lane.inFlight.size || lane.foresight?.underWay || !this.capacity(registry)) return;
    if (streamOfRepository(push.repository, lane.registry.layout).kind === 'none') return;
    lane.foreseen.add(push.eventId);
    for (const id of lane.foreseen) if (lane.foreseen.size > REMEMBERED) lane.foreseen.delete(id);
    const foresight = { eventId: push.eventId, underWay: true, look: this.look(lane, push) };
    lane.foresight = foresight;
    void foresight.look.then(() => (foresight.underWay = false));
  }

  /** Begins with pushes that were claimed on their way in. */
  take(registry: string, claimed: readonly ClaimedPush[]): void {
    const lane = this.lanes.get(registry);
    if (lane) for (const push of claimed) this.begin(lane, push);
  }

  /** There is something to claim. */
  wake(registry: string): void {
    const lane = this.lanes.get(registry);
    if (!lane) return;
    lane.more = true;
    lane.bell.ring();
  }

  private follow(lane: Lane): Promise<void> {
    const { signal } = this.stopping;
    const waiting = (err: unknown, waitMs: number) =>
      this.log.warn({ err, registry: lane.registry.name, waitMs, transient: isTransient(err) }, 'pushes.waiting');
    return inRounds(signal, waiting, async () => {
      const free = this.config.MAPPINGS_IN_FLIGHT - lane.inFlight.size;
      if (free > 0) {
        lane.more = false;
        lane.retryAt = Infinity;
        const claimed = await this.queue.claim(lane.registry.name, free, await this.lease.instance());
        if (claimed.length === free) lane.more = true;
        for (const push of claimed) this.begin(lane, push);
      }
      await lane.bell.wait(Math.max(0, Math.min(POLL_MS, lane.retryAt - performance.now())), signal);
    });
  }

  private async sweep(): Promise<void> {
    const { signal } = this.stopping;
    while (!signal.aborted) {
      await this.queue.sweep().then(
        (registries) => registries.forEach((registry) => this.wake(registry)),
        (error: unknown) => isTransient(error) || this.log.warn({ err: error }, 'pushes.sweep-failed'),
      );
      await pause(SWEEP_MS, signal);
    }
  }

  private begin(lane: Lane, push: ClaimedPush): void {
    const foresight = lane.foresight?.eventId === push.event_id ? lane.foresight : undefined;
    if (foresight) lane.foresight = undefined;
    const work = withTrace(push.traceparent, () => this.attempt(lane, push, foresight?.look))
      // Only Postgres can be the reason: the claim is free again as soon as it can be told so.
      .catch(async (error: unknown) => {
        this.log.warn({ err: error, ...named(push) }, 'push.interrupted');
        lane.retryAt = Math.min(lane.retryAt, performance.now() + POLL_MS);
        await this.putBack(push);
      })
      .finally(() => {
        lane.inFlight.delete(work);
        if (lane.more || lane.retryAt < Infinity) lane.bell.ring();
      });
    lane.inFlight.add(work);
  }

  /** Until Postgres answers, or the service stops: then the claim goes with the instance. */
  private async putBack(push: ClaimedPush): Promise<void> {
    const { signal } = this.stopping;
    for (let waitMs = 100; !signal.aborted; waitMs = Math.min(5_000, waitMs * 2)) {
      try {
        return await this.queue.release(push);
      } catch {
        await pause(waitMs, signal);
      }
    }
  }

  private async look({ registry }: Lane, { repository, digest }: Pick<NewPush, 'repository' | 'digest'>): Promise<Look> {
    try {
      const described = await describeImage(registry.client, repository, digest, { recordedAs: `${registry.publicHost}/${repository}` });
      return { described };
    } catch (error) {
      return { error };
    }
  }

  private async attempt(lane: Lane, push: ClaimedPush, foreseen?: Promise<Look>): Promise<void> {
    const begun = performance.now();
    const place = streamOfRepository(push.repository, lane.registry.layout);
    if (place.kind === 'none') return this.quarantine(lane, push, place.reason);

    const looked = await (foreseen ?? this.look(lane, push));
    if ('error' in looked) return this.failed(lane, push, looked.error, push.age_ms + performance.now() - begun);
    const { described } = looked;

    const { ended, next } = await this.store.transaction(async (tx) => {
      const outcome = await this.queue.end(tx, push, { state: 'mapped' });
      if (!outcome.ended) return outcome;
      const id = `${push.registry}.${push.event_id}`;
      const mapping = {
        id,
        namespace: place.namespace,
        stream: place.stream,
        tag: push.tag,
        createStream: true,
        // What is optional for those who write an image by hand is always filled in here.
        image: described.image as Image,
        children: described.children as Image[],
        source: {
          registry: push.registry,
          eventId: push.event_id,
          observedAt: push.occurred_at,
          ...(push.actor === null ? {} : { actor: push.actor }),
          repository: push.repository,
        },
      };
      tx.publishLater(MappingPublished, mapping, { id, traceparent: push.traceparent });
      return outcome;
    });
    if (!ended) return this.queue.release(push);
    await this.wakeNext(push, next);

    const seconds = (push.age_ms + performance.now() - begun) / 1000;
    this.measures.attempts.inc({ registry: push.registry, outcome: 'mapped' });
    this.measures.mapped.observe({ registry: push.registry }, seconds);
    const { missingChildren } = described;
    this.log.info(
      {
        ...named(push),
        namespace: place.namespace,
        stream: place.stream,
        children: described.children.length,
        ...(missingChildren.length ? { missingChildren } : {}),
        ms: Math.round(seconds * 10_000) / 10,
      },
      'push.mapped',
    );
    if (lane.outage) await this.recovered(lane);
  }

  private async failed(lane: Lane, push: ClaimedPush, error: unknown, ageMs: number): Promise<void> {
    const { code, retryAfterMs } = error instanceof RegistryError ? error : {};
    // The service is stopping; whoever comes next takes it up.
    if (code === 'closed') return this.queue.release(push);
    if (code === undefined) this.log.error({ err: error, ...named(push) }, 'push.unexpected-error');
    const attempts = push.attempts + 1;
    const next = afterFailure({ code, message: (error as Error).message, retryAfterMs }, attempts, ageMs);
    if (next.kind === 'quarantine') return this.quarantine(lane, push, next.reason);

    lane.outage ||= next.outage;
    await this.queue.retry(push, next.delayMs, next.reason);
    lane.retryAt = Math.min(lane.retryAt, performance.now() + next.delayMs);
    this.measures.attempts.inc({ registry: push.registry, outcome: 'retried' });
    this.log.warn({ ...named(push), reason: next.reason, attempts, delayMs: next.delayMs }, 'push.retrying');
  }

  private async quarantine(lane: Lane, push: ClaimedPush, reason: string): Promise<void> {
    const { ended, next } = await this.store.transaction((tx) => this.queue.end(tx, push, { state: 'quarantined', reason }));
    if (!ended) return this.queue.release(push);
    await this.wakeNext(push, next);
    lane.more ||= next;
    this.measures.attempts.inc({ registry: push.registry, outcome: 'quarantined' });
    this.log.warn({ ...named(push), reason, attempts: push.attempts + 1 }, 'push.quarantined');
  }

  /** The next push of the same tag may have been stored while this one ended. */
  private async wakeNext({ registry, repository, tag }: ClaimedPush, next: boolean): Promise<void> {
    // It has ended, whatever comes of this; a sweep finds what is missed here.
    if (next || (await this.queue.unblock(registry, repository, tag).catch(() => false))) this.wake(registry);
  }

  private async recovered(lane: Lane): Promise<void> {
    lane.outage = false;
    const hastened = await this.queue.hasten(lane.registry.name);
    this.log.info({ registry: lane.registry.name, pushes: hastened }, 'registry.recovered');
    if (hastened) this.wake(lane.registry.name);
  }
}

const named = (push: ClaimedPush) => ({
  registry: push.registry,
  repository: push.repository,
  tag: push.tag,
  digest: push.digest,
  eventId: push.event_id,
});
