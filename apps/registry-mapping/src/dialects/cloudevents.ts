import { z } from 'zod';
import {
  type Dialect,
  EventId,
  field,
  type Headers,
  ignored,
  Instant,
  malformed,
  Maybe,
  type Outcome,
  PullSpec,
  pushed,
  Remark,
} from './dialect.ts';

/*
 * CloudEvents 1.0 over HTTP or NATS: structured (the event is the body), in batches (a list of them), or binary (attributes in `ce-` headers,
 * the body is the data). Any event whose data has `image`, or whose subject is a pull spec, is a push of it.
 */

const CloudEvent = z.object({
  id: EventId,
  type: z.string().min(1).max(255),
  time: Maybe(Instant),
  subject: Maybe(z.string().max(1024)),
  data: z.unknown().optional(),
});
export type CloudEvent = z.infer<typeof CloudEvent> & { attributes: unknown };

/** The events of a notification, or why one of them is none. */
export function cloudEventsIn(payload: unknown, headers: Headers): ({ event: CloudEvent } | { outcome: Outcome })[] {
  if (headers['ce-type'] !== undefined) {
    const attributes = Object.fromEntries(
      Object.entries(headers).flatMap(([name, value]) => (name.startsWith('ce-') ? [[name.slice(3), value]] : [])),
    );
    return [cloudEvent({ ...attributes, data: payload })];
  }
  return Array.isArray(payload) ? payload.map(cloudEvent) : [cloudEvent(payload)];
}

/** Whether a payload, or what its headers say, is a CloudEvent at all. */
export const isCloudEvent = (payload: unknown, headers: Headers): boolean =>
  headers['ce-type'] !== undefined || field(payload, 'specversion') !== undefined;

function cloudEvent(attributes: unknown): { event: CloudEvent } | { outcome: Outcome } {
  const parsed = CloudEvent.safeParse(attributes);
  if (parsed.success) return { event: { ...parsed.data, attributes } };
  return { outcome: malformed(parsed.error, attributes) };
}

const Data = z.object({ image: PullSpec, actor: Remark });

export const cloudevents: Dialect = {
  name: 'cloudevents',
  proofs: ['signature', 'oidc', 'header', 'path'],
  signature: { scheme: 'standard-webhooks' },
  describes: true,
  read: (payload, headers) => cloudEventsIn(payload, headers).map((one) => ('outcome' in one ? one.outcome : outcomeOf(one.event))),
};

function outcomeOf({ id, time, subject, data, attributes }: CloudEvent): Outcome {
  const image = field(data, 'image') ?? subject;
  if (image === undefined) return ignored('other-event');
  const parsed = Data.safeParse({ image, actor: field(data, 'actor') });
  if (!parsed.success) return malformed(parsed.error, attributes, id);
  return pushed({ eventId: id, ...parsed.data.image, occurredAt: time, actor: parsed.data.actor });
}
