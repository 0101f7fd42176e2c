import { createHash } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { fromToken } from '@millrace/contracts/define';
import { MappingPublished, MappingSubmitted } from '@millrace/contracts/events';
import { readSubmittedMapping } from '@millrace/domain/submitted-mapping';
import type { Fact, FactBatch } from '@millrace/platform/facts';
import type { Log } from '@millrace/platform/log';
import { LOG } from '@millrace/platform/service';
import { Store } from '@millrace/platform/store';
import { currentTrace, freshTrace } from '@millrace/platform/trace';
import { NATS_SOURCE } from './config.ts';
import { type Outcome, pushesIn } from './dialects.ts';
import { MappingWorkers } from './mapping-workers.ts';
import { Measures } from './measures.ts';
import { type NewPush, PushQueue } from './push-queue.ts';

/** The body of a notification, as far as it was read. */
export type NotificationBody = { kind: 'complete'; bytes: Buffer } | { kind: 'too-large'; size: number; limit: number; sha256: string };

/** What registries tell, over HTTP or NATS, is stored here; whoever told it may forget it then. */
@Injectable()
export class RegistryMapping {
  constructor(
    private readonly store: Store,
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

    const { claimed, waiting, quarantined, repeated } = await this.queue.add(registry, pushes, this.workers.capacity(registry));
    this.workers.take(registry, claimed);
    if (waiting) this.workers.wake(registry);
    const count = (outcome: string, events: number) => events && this.measures.notified.inc({ registry, outcome }, events);
    count('accepted', claimed.length + waiting);
    count('quarantined', quarantined);
    count('repeated', repeated);
    if (quarantined) for (const push of pushes) if (push.quarantined) this.tellQuarantined(registry, push);
  }

  /** Mappings that a registry offers on NATS: all of a batch in one transaction, as they came. */
  async submit(batch: FactBatch<typeof MappingSubmitted>): Promise<void> {
    const read = batch.facts.map((fact) => ({ fact, mapping: readSubmittedMapping(fact.data, addressOf(fact.subject)) }));
    const unusable = read.flatMap(({ fact, mapping }) => (mapping.kind === 'unusable' ? [unusableFact(fact, mapping.reason)] : []));
    await this.store.transaction(async (tx) => {
      for (const { fact, mapping } of read) {
        if (mapping.kind === 'unusable') continue;
        const { namespace, stream, tag, image } = mapping;
        const id = `${NATS_SOURCE}.${fact.id}`;
        const source = { registry: NATS_SOURCE, eventId: fact.id, observedAt: fact.time.toISOString() };
        tx.publishLater(
          MappingPublished,
          { id, namespace, stream, tag, createStream: true, image, children: [], source },
          { id, traceparent: fact.traceparent },
        );
      }
      await this.queue.addQuarantined(tx, NATS_SOURCE, unusable);
      await batch.settle(tx);
    });
    this.measures.notified.inc({ registry: NATS_SOURCE, outcome: 'accepted' }, read.length - unusable.length);
    this.measures.notified.inc({ registry: NATS_SOURCE, outcome: 'quarantined' }, unusable.length);
    for (const push of unusable) this.tellQuarantined(NATS_SOURCE, push);
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

/** Namespace and stream of `millrace.v1.mapping.submitted.<namespace>.<stream>`. */
function addressOf(subject: string): { namespace: string; stream: string } {
  const [namespace = '', stream = '', ...more] = subject.slice(MappingSubmitted.subject.length + 1).split('.');
  return { namespace: read(namespace), stream: more.length ? '' : read(stream) };
}

function read(token: string): string {
  try {
    return fromToken(token);
  } catch {
    return '';
  }
}

function unusableFact(fact: Fact<typeof MappingSubmitted>, reason: string): NewPush {
  const { data, id, subject, time, traceparent } = fact;
  const { namespace, stream } = addressOf(subject);
  const eventId = id.length <= 200 && !id.includes('\0') ? id : createHash('sha256').update(id).digest('hex');
  return {
    eventId,
    repository: `${namespace}/${stream}`.replaceAll('\0', '\uFFFD'),
    tag: (data.tag ?? '').slice(0, 200).replaceAll('\0', '\uFFFD'),
    digest: (data.image?.metadata.name ?? '').slice(0, 200).replaceAll('\0', '\uFFFD'),
    mediaType: '',
    occurredAt: time.toISOString(),
    traceparent,
    quarantined: { reason: reason.replaceAll('\0', '\uFFFD'), body: JSON.stringify(data).replaceAll('\0', '\uFFFD') },
  };
}
