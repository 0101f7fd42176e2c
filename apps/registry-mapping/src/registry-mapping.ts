import { createHash } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import type { Log } from '@millrace/platform/log';
import { LOG } from '@millrace/platform/service';
import { currentTrace, freshTrace } from '@millrace/platform/trace';
import { type Outcome, pushesIn } from './dialects.ts';
import { MappingWorkers } from './mapping-workers.ts';
import { Measures } from './measures.ts';
import { type NewPush, PushQueue } from './push-queue.ts';

/** The body of a notification, as far as it was read. */
export type NotificationBody = { kind: 'complete'; bytes: Buffer } | { kind: 'too-large'; size: number; limit: number; sha256: string };

/** What registries tell is stored here; whoever told it may forget it then. */
@Injectable()
export class RegistryMapping {
  constructor(
    private readonly queue: PushQueue,
    private readonly workers: MappingWorkers,
    private readonly measures: Measures,
    @Inject(LOG) private readonly log: Log,
  ) {}

  /** Resolves when everything worth keeping of a notification is committed; what it says of other things than pushes costs no statement. */
  async receive(registry: string, body: NotificationBody): Promise<void> {
    const traceparent = currentTrace() ?? freshTrace();
    const pushes = outcomesOf(body).flatMap((outcome, index) => {
      if (outcome.kind !== 'ignored') return [newPush(outcome, index, traceparent)];
      this.measures.notified.inc({ registry, outcome: outcome.reason });
      return [];
    });
    if (!pushes.length) return;

    this.workers.foresee(registry, pushes);
    const { claimed, waiting, quarantined, repeated } = await this.queue.add(registry, pushes, this.workers.capacity(registry));
    this.workers.take(registry, claimed);
    if (waiting) this.workers.wake(registry);
    const count = (outcome: string, events: number) => events && this.measures.notified.inc({ registry, outcome }, events);
    count('accepted', claimed.length + waiting);
    count('quarantined', quarantined);
    count('repeated', repeated);
    if (quarantined) for (const push of pushes) if (push.quarantined) this.tellQuarantined(registry, push);
  }

  private tellQuarantined(registry: string, { eventId, quarantined }: NewPush): void {
    this.log.warn({ registry, eventId, reason: quarantined?.reason }, 'push.quarantined');
  }
}

type Kept = Exclude<Outcome, { kind: 'ignored' }>;

function outcomesOf(body: NotificationBody): Outcome[] {
  if (body.kind === 'complete') return pushesIn(body.bytes.toString('utf8'));
  const reason = `the notification has ${body.size} bytes, more than the ${body.limit} that are read; its content was not kept`;
  return [{ kind: 'malformed', reason, event: '', eventId: `too-large.${body.sha256}` }];
}

function newPush(outcome: Kept, index: number, traceparent: string): NewPush {
  if (outcome.kind === 'push') {
    const { host, instance, ...push } = outcome.push;
    return { ...push, origin: JSON.stringify({ host, instance }), traceparent };
  }
  // A NUL cannot be stored in a Postgres text; what was told is kept to be looked at.
  const body = (typeof outcome.event === 'string' ? outcome.event : JSON.stringify(outcome.event)).replaceAll('\0', '\uFFFD');
  // Without an id of its own, a repeat is known by its content and its place.
  const eventId = outcome.eventId ?? `unread.${createHash('sha256').update(`${index} ${body}`).digest('hex')}`;
  return { ...nothing, eventId, traceparent, quarantined: { reason: outcome.reason.replaceAll('\0', '\uFFFD'), body } };
}

const nothing = { repository: '', tag: '', digest: '', mediaType: '', occurredAt: '' };
