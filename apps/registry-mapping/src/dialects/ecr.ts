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
  RepositoryName,
  TagName,
  textField,
} from './dialect.ts';

/* AWS ECR through an EventBridge rule and an API destination, which sends the event as it is. */

const Action = z.object({
  id: EventId,
  time: Instant,
  account: z.string().regex(/^\d{12}$/, 'must be an account number'),
  region: z.string().regex(/^[a-z]{2}(-[a-z]+)+-\d{1,2}$/, 'must be a region such as eu-west-1'),
  detail: z.object({
    'action-type': z.literal('PUSH'),
    'repository-name': RepositoryName,
    'image-tag': TagName,
    'image-digest': Maybe(Digest),
    'manifest-media-type': Maybe(z.string().max(255)),
  }),
});

export const ecr: Dialect = {
  name: 'ecr',
  proofs: ['header', 'path'],
  header: 'x-api-key',
  describes: true,
  read: (payload) => {
    if (field(payload, 'detail-type') !== undefined && field(payload, 'detail-type') !== 'ECR Image Action')
      return [ignored('other-event')];
    const action = textField(payload, 'detail', 'action-type');
    if (action === 'DELETE') return [ignored('delete')];
    if (action !== '' && (action !== 'PUSH' || textField(payload, 'detail', 'result') !== 'SUCCESS')) return [ignored('other-event')];
    if (field(payload, 'detail', 'image-digest') !== undefined && textField(payload, 'detail', 'image-tag') === '')
      return [ignored('by-digest')];
    const parsed = Action.safeParse(payload);
    if (!parsed.success) return [malformed(parsed.error, payload, textField(payload, 'id'))];
    const { id, time, account, region, detail } = parsed.data;
    return [
      pushed({
        eventId: id,
        host: `${account}.dkr.ecr.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}`,
        repository: detail['repository-name'],
        tag: detail['image-tag'],
        digest: detail['image-digest'],
        mediaType: detail['manifest-media-type'],
        occurredAt: time,
      }),
    ];
  },
};
