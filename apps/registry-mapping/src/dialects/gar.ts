import { z } from 'zod';
import { type Dialect, EventId, ignored, Instant, malformed, Maybe, type Outcome, PullSpec, pushed } from './dialect.ts';

/* Google Artifact Registry (and Container Registry before it): the topic `gcr`, pushed by Pub/Sub with a token of its service account. */

const Envelope = z.object({
  message: z.object({ messageId: EventId, publishTime: Maybe(Instant), data: z.base64() }),
});
const Told = z.object({ action: z.string(), tag: PullSpec.optional(), digest: Maybe(PullSpec) });

export const gar: Dialect = {
  name: 'gar',
  proofs: ['oidc', 'path'],
  describes: true,
  read: (payload): Outcome[] => {
    const envelope = Envelope.safeParse(payload);
    if (!envelope.success) return [malformed(envelope.error, payload)];
    const { messageId: eventId, publishTime: occurredAt, data } = envelope.data.message;
    const told = Told.safeParse(jsonIn(data));
    if (!told.success) return [malformed(told.error, payload, eventId)];
    const { action, tag, digest } = told.data;
    if (action === 'DELETE') return [ignored('delete')];
    if (action !== 'INSERT') return [ignored('other-event')];
    if (!tag) return [ignored('by-digest')];
    return [pushed({ eventId, ...tag, digest: digest?.digest, occurredAt })];
  },
};

function jsonIn(base64: string): unknown {
  try {
    return JSON.parse(Buffer.from(base64, 'base64').toString('utf8'));
  } catch {
    return undefined;
  }
}
