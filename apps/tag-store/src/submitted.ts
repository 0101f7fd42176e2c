import { type EventData, fromToken } from '@millrace/contracts/define';
import { type MappingPublished, MappingSubmitted, NATS_SOURCE } from '@millrace/contracts/events';
import { badRequest, type Status } from '@millrace/domain/status';
import { readSubmittedMapping } from '@millrace/domain/submitted-mapping';
import type { Fact } from '@millrace/platform/facts';

/** What a registry published to NATS itself, as registry-mapping would have told it; or why it cannot be used. */
export function published(fact: Fact<typeof MappingSubmitted>): EventData<typeof MappingPublished> | Status {
  const read = readSubmittedMapping(fact.data, addressOf(fact.subject));
  if (read.kind === 'unusable') return badRequest(read.reason);
  const { namespace, stream, tag, image } = read;
  const source = { registry: NATS_SOURCE, eventId: fact.id, observedAt: fact.time.toISOString() };
  return { id: `${NATS_SOURCE}.${fact.id}`, namespace, stream, tag, createStream: true, image, children: [], source };
}

/** Namespace and stream of `millrace.v1.mapping.submitted.<namespace>.<stream>`. */
function addressOf(subject: string): { namespace: string; stream: string } {
  const [namespace = '', stream = '', ...more] = subject.slice(MappingSubmitted.subject.length + 1).split('.');
  return { namespace: textOf(namespace), stream: more.length ? '' : textOf(stream) };
}

function textOf(token: string): string {
  try {
    return fromToken(token);
  } catch {
    return '';
  }
}
