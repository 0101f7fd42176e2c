import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ObjectAnswer, ObjectQuestion } from '@millrace/contracts/requests';
import type { Resource } from '@millrace/contracts/resources';
import { StatusError, type Status } from '@millrace/domain/status';
import { Bell, pause } from '@millrace/platform/backoff';
import type { Log } from '@millrace/platform/log';
import type { Objects } from './objects.ts';
import { attributesOf, type Attributes } from './selector.ts';

/** The longest a change is waited for in one question. An owner that is killed meanwhile is noticed this late, and a little. */
const POLL_MS = 8_000;
const POLL_GRACE_MS = 4_000;
const BATCH = 500;
/** How long an owner may be away before those who follow are sent away, to start over. */
const OWNER_AWAY_MS = 30_000;
/** How long the feed is followed when nobody listens any more: clients that come back find what they missed. */
const LINGER_MS = 30_000;
/** After so much of what may be kept, those who read get a moment to catch up; who does not is left behind. */
const PACE_SHARE = 4;
const PACE_MS = 250;

export type ChangeType = 'ADDED' | 'MODIFIED' | 'DELETED';

/** One change of an object, rendered once for everybody who listens. */
export interface Told {
  readonly type: ChangeType;
  readonly version: bigint;
  readonly attributes: Attributes;
  /** The object as JSON, complete with kind and apiVersion. */
  readonly json: Buffer;
  /** The event in the forms that were asked for so far; absent where only one watch gets it. */
  readonly lines?: Map<string, Buffer>;
}

/** Who hears of changes; it takes them from the follower at its own pace. */
export interface Listener {
  /** True while it has to wait for its client. */
  readonly behind: boolean;
  /** There is more to take. */
  told(): void;
  /** Nothing more will come: the owner refuses to go on, or it has been away for long. */
  ended(refusal?: Status): void;
}

/**
 * Follows the changes of one resource while anybody listens, and keeps the last of them, up to `keepBytes`, for all who listen: they are asked for
 * and rendered once. Changes have places that count up without a gap.
 */
export class Follower {
  private readonly listeners = new Set<Listener>();
  private readonly caughtUp = new Bell();
  private kept: Told[] = [];
  private keptBytes = 0;
  private firstPlace = 0;
  private before = 0n;
  private version = 0n;
  private opening: Promise<void> | undefined;
  private running: AbortController | undefined;
  private leaving: NodeJS.Timeout | undefined;

  constructor(
    private readonly resource: Resource,
    private readonly objects: Pick<Objects, 'ask'>,
    private readonly keepBytes: number,
    private readonly log: Log,
  ) {}

  /** Everything up to here has been told. */
  get position(): bigint {
    return this.version;
  }

  /** The place of the change that comes next. */
  get end(): number {
    return this.firstPlace + this.kept.length;
  }

  /** The change at a place; undefined where it has not come yet, or is not kept any more. */
  at(place: number): Told | undefined {
    return this.kept[place - this.firstPlace];
  }

  /** Whether the change at a place can still be had, now or when it comes. */
  holds(place: number): boolean {
    return place >= this.firstPlace;
  }

  /** The place of the first change above a version; undefined where some of those are not kept. */
  after(version: bigint): number | undefined {
    if (version < this.before) return undefined;
    const index = this.kept.findLastIndex((told) => told.version <= version);
    return this.firstPlace + index + 1;
  }

  /** Adds a line that was rendered to what its change is kept as. */
  keepLine(told: Told, form: string, line: Buffer): void {
    told.lines?.set(form, line);
    this.keptBytes += line.length;
  }

  /** @throws StatusError where the owner cannot say now where it stands */
  async join(listener: Listener): Promise<void> {
    clearTimeout(this.leaving);
    this.listeners.add(listener);
    try {
      await (this.opening ??= this.open());
    } catch (error) {
      this.leave(listener);
      throw error;
    }
  }

  leave(listener: Listener): void {
    this.listeners.delete(listener);
    this.caughtUp.ring();
    if (this.listeners.size) return;
    clearTimeout(this.leaving);
    this.leaving = setTimeout(() => this.stop(), LINGER_MS).unref();
  }

  /** The listener can take more. */
  ready(): void {
    this.caughtUp.ring();
  }

  /** What has changed after a version, for one who is further behind than what is kept; and how far that goes. */
  async changesAfter(version: bigint, namespace?: string): Promise<{ changes: Told[]; version: bigint }> {
    const answer = await this.ask(version, 0, namespace);
    return { changes: answer.changes.map((change) => asTold(this.resource, change)), version: BigInt(answer.resourceVersion) };
  }

  stop(): void {
    clearTimeout(this.leaving);
    this.running?.abort();
    this.running = undefined;
    this.opening = undefined;
    this.firstPlace = this.end;
    this.kept = [];
    this.keptBytes = 0;
  }

  private async open(): Promise<void> {
    const running = (this.running = new AbortController());
    try {
      const { resourceVersion } = await this.objects.ask(
        this.resource,
        { verb: 'list', resource: this.resource.resource, limit: 1 },
        'list',
      );
      this.version = this.before = BigInt(resourceVersion || 0);
    } catch (error) {
      if (this.running === running) this.stop();
      throw error;
    }
    void this.run(running.signal);
  }

  private async run(signal: AbortSignal): Promise<void> {
    let awaySince: number | undefined;
    let tries = 0;
    while (!signal.aborted) {
      try {
        const answer = await this.ask(this.version, POLL_MS);
        if (signal.aborted) return;
        awaySince = undefined;
        tries = 0;
        await this.take(answer, signal);
      } catch (error) {
        if (signal.aborted) return;
        const away = error instanceof StatusError && error.status.code === 503;
        awaySince ??= Date.now();
        if (!away || Date.now() > awaySince + OWNER_AWAY_MS) return this.giveUp(error);
        await pause(Math.min(100 * 2 ** tries++, 2_000), signal);
      }
    }
  }

  private async take(answer: Extract<ObjectAnswer, { kind: 'changes' }>, signal: AbortSignal): Promise<void> {
    let unpaced = 0;
    for (const change of answer.changes) {
      const told = { ...asTold(this.resource, change), lines: new Map<string, Buffer>() };
      this.kept.push(told);
      this.keptBytes += told.json.length;
      this.version = told.version;
      unpaced += told.json.length;
      this.forgetOldest();
      if (unpaced < this.keepBytes / PACE_SHARE) continue;
      unpaced = 0;
      this.tell();
      await this.pace(signal);
      if (signal.aborted) return;
    }
    this.version = BigInt(answer.resourceVersion);
    this.tell();
  }

  private tell(): void {
    for (const listener of [...this.listeners]) listener.told();
  }

  /** Until all have taken what there is, and not for long. */
  private async pace(signal: AbortSignal): Promise<void> {
    const until = Date.now() + PACE_MS;
    await nextTurn();
    while (!signal.aborted && [...this.listeners].some(({ behind }) => behind)) {
      const left = until - Date.now();
      if (left <= 0) return;
      await this.caughtUp.wait(left, signal);
    }
  }

  private forgetOldest(): void {
    let gone = 0;
    while (this.keptBytes > this.keepBytes && gone < this.kept.length - 1) {
      const oldest = this.kept[gone++] as Told;
      this.keptBytes -= sizeOf(oldest);
      this.before = oldest.version;
    }
    if (gone) this.kept.splice(0, gone);
    this.firstPlace += gone;
  }

  private giveUp(error: unknown): void {
    this.stop();
    this.log.warn({ err: error, resource: this.resource.resource }, 'watch.feed-lost');
    const refusal = error instanceof StatusError && error.status.code !== 503 ? error.status : undefined;
    for (const listener of [...this.listeners]) listener.ended(refusal);
  }

  private ask(version: bigint, waitMs: number, namespace?: string): Promise<Extract<ObjectAnswer, { kind: 'changes' }>> {
    const { resource } = this.resource;
    const question: ObjectQuestion = { verb: 'changes', resource, namespace, since: String(version), waitMs, limit: BATCH };
    return this.objects.ask(this.resource, question, 'changes', waitMs + POLL_GRACE_MS);
  }
}

export function asTold(resource: Resource, { type, object }: { type: ChangeType; object?: unknown }): Told {
  const { group, version, kind } = resource;
  const shown = object as Record<string, unknown> & { metadata: { resourceVersion?: string } };
  const whole = shown['kind'] ? shown : { kind, apiVersion: group ? `${group}/${version}` : version, ...shown };
  return {
    type,
    version: BigInt(shown.metadata.resourceVersion ?? 0),
    attributes: attributesOf(resource, shown),
    json: Buffer.from(JSON.stringify(whole)),
  };
}

const sizeOf = ({ json, lines }: Told): number => [...(lines?.values() ?? [])].reduce((sum, line) => sum + line.length, json.length);
