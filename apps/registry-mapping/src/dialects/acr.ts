import { z } from 'zod';
import {
  type Dialect,
  Digest,
  EventId,
  field,
  ignored,
  Instant,
  malformed,
  Maybe,
  pushed,
  Remark,
  RepositoryName,
  TagName,
  textField,
} from './dialect.ts';

/* Azure Container Registry: one event of Distribution's shape, without an envelope. */

const Pushed = z.object({
  action: z.literal('push'),
  id: EventId,
  timestamp: Instant,
  target: z.object({ repository: RepositoryName, tag: TagName, digest: Maybe(Digest), mediaType: Remark }),
  request: z.object({ host: Remark }).optional().catch(undefined),
});
const IGNORED = {
  ping: ignored('ping'),
  delete: ignored('delete'),
  chart_push: ignored('no-image'),
  chart_delete: ignored('delete'),
} as const;

export const acr: Dialect = {
  name: 'acr',
  proofs: ['header', 'path'],
  describes: true,
  read: (payload) => {
    const action = textField(payload, 'action');
    if (action !== '' && action !== 'push')
      return [Object.hasOwn(IGNORED, action) ? IGNORED[action as keyof typeof IGNORED] : ignored('other-event')];
    if (field(payload, 'target', 'digest') !== undefined && textField(payload, 'target', 'tag') === '') return [ignored('by-digest')];
    const parsed = Pushed.safeParse(payload);
    if (!parsed.success) return [malformed(parsed.error, payload, textField(payload, 'id'))];
    const { id, timestamp, target, request } = parsed.data;
    return [pushed({ eventId: id, host: request?.host, ...target, occurredAt: timestamp })];
  },
};
