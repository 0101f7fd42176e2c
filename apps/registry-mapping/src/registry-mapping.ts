import { createHash } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import type { Log } from '@millrace/platform/log';
import { LOG } from '@millrace/platform/service';
import { currentTrace, freshTrace } from '@millrace/platform/trace';
import { outcomesIn } from './dialects.ts';
import type { Headers, Outcome, Push } from './dialects/dialect.ts';
import { Hints } from './hints.ts';
import { MappingWorkers } from './mapping-workers.ts';
import { Measures } from './measures.ts';
import { type NewPush, PushQueue } from './push-queue.ts';
import type { KnownRegistry } from './registries.ts';

/** The body of a notification, as far as it was read. */
export type NotificationBody = { kind: 'complete'; bytes: Buffer } | { kind: 'too-large'; size: number; limit: number; sha256: string };

/** What registries tell is stored here; whoever told it may forget it then. */
@Injectable()
export class RegistryMapping {
  constructor(
    private readonly queue: PushQueue,
    private readonly workers: MappingWorkers,
    private readonly hints: Hints,
    private readonly measures: Measures,
    @Inject(LOG) private readonly log: Log,
  ) {}

  /** Resolves when everything worth keeping of a notification is committed; what it says of other things than pushes costs no statement. */
  async receive(registry: KnownRegistry, body: NotificationBody, headers: Headers): Promise<void> {
    const outcomes = outcomesOf(registry, body, headers);
    for (const outcome of outcomes) if (outcome.kind === 'ignored') this.measures.count(registry, outcome.reason);
    if (registry.mode === 'mapping') return this.keep(registry, outcomes);

    for (const outcome of outcomes) if (outcome.kind === 'malformed') this.tellMalformed(registry, outcome);
    await this.hints.tell(
      registry,
      outcomes.flatMap((outcome) => (outcome.kind === 'push' ? [outcome.push] : [])),
    );
  }

  /** Pushes wait to be looked up; what could not be read is kept with the reason. */
  private async keep(registry: KnownRegistry, outcomes: readonly Outcome[]): Promise<void> {
    const traceparent = currentTrace() ?? freshTrace();
    const pushes = outcomes.flatMap((outcome, index) => {
      if (outcome.kind === 'ignored') return [];
      if (outcome.kind === 'malformed' || outcome.push.tag !== undefined) return [newPush(outcome, index, traceparent)];
      this.measures.count(registry, 'by-digest');
      return [];
    });
    if (!pushes.length) return;

    const { name } = registry;
    this.workers.foresee(name, pushes);
    const { claimed, waiting, quarantined, repeated } = await this.queue.add(name, pushes, this.workers.capacity(name));
    this.workers.take(name, claimed);
    if (waiting) this.workers.wake(name);
    this.measures.count(registry, 'accepted', claimed.length + waiting);
    this.measures.count(registry, 'quarantined', quarantined);
    this.measures.count(registry, 'repeated', repeated);
    if (quarantined) for (const push of pushes) if (push.quarantined) this.tellQuarantined(name, push);
  }

  private tellQuarantined(registry: string, { eventId, quarantined }: NewPush): void {
    this.log.warn({ registry, eventId, reason: quarantined?.reason }, 'push.quarantined');
  }

  /** A hint that cannot be read is not kept: polling finds what it was about. */
  private tellMalformed(registry: KnownRegistry, { reason, eventId }: Malformed): void {
    this.measures.count(registry, 'malformed');
    this.log.warn({ registry: registry.name, dialect: registry.dialect.name, eventId, reason: reason.slice(0, 500) }, 'hint.malformed');
  }
}

type Malformed = Extract<Outcome, { kind: 'malformed' }>;
type Kept = Exclude<Outcome, { kind: 'ignored' }>;

function outcomesOf({ dialect }: KnownRegistry, body: NotificationBody, headers: Headers): Outcome[] {
  if (body.kind === 'complete') return outcomesIn(dialect, body.bytes.toString('utf8'), headers);
  const reason = `the notification has ${body.size} bytes, more than the ${body.limit} that are read; its content was not kept`;
  return [{ kind: 'malformed', reason, event: '', eventId: `too-large.${body.sha256}` }];
}

function newPush(outcome: Kept, index: number, traceparent: string): NewPush {
  const missing = outcome.kind === 'push' ? missingIn(outcome.push) : undefined;
  if (outcome.kind === 'push' && !missing) {
    const {
      eventId = '',
      repository,
      tag = '',
      digest = '',
      mediaType = '',
      occurredAt = '',
      actor,
      host,
      pushedTo,
      instance,
    } = outcome.push;
    const origin = JSON.stringify({ host: pushedTo ?? host, instance });
    return { eventId, repository, tag, digest, mediaType, occurredAt, actor, origin, traceparent };
  }
  const { reason, event, eventId } =
    outcome.kind === 'push' ? { reason: `${missing ?? ''} is not told`, event: outcome.push, eventId: outcome.push.eventId } : outcome;
  // A NUL cannot be stored in a Postgres text; what was told is kept to be looked at.
  const body = (typeof event === 'string' ? event : jsonOf(event)).replaceAll('\0', '\uFFFD');
  // Without an id of its own, a repeat is known by its content and its place.
  const id = eventId ?? `unread.${createHash('sha256').update(`${index} ${body}`).digest('hex')}`;
  return { ...nothing, eventId: id, traceparent, quarantined: { reason: reason.replaceAll('\0', '\uFFFD'), body } };
}

/** The first thing that a mapping needs and a push lacks. */
const missingIn = (push: Push): string | undefined =>
  (['eventId', 'digest', 'occurredAt'] as const).find((part) => push[part] === undefined);

/** Something nested too deeply to be written again is not kept. */
function jsonOf(event: unknown): string {
  try {
    return JSON.stringify(event) ?? '';
  } catch {
    return '';
  }
}

const nothing = { repository: '', tag: '', digest: '', mediaType: '', occurredAt: '' };
