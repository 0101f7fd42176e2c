import { z } from 'zod';
import { sortableInstant } from '@millrace/domain/tag-history';
import {
  type Dialect,
  EventId,
  field,
  type Headers,
  ignored,
  Instant,
  madeId,
  malformed,
  Maybe,
  type Outcome,
  pushed,
  Remark,
  RepositoryName,
  TagName,
  textField,
} from './dialect.ts';

/*
 * Sonatype Nexus' repository webhooks. A component is a tag; an asset may be the manifest under a tag, which is all that is told when
 * an existing tag is pushed again.
 */

const Told = z.object({ timestamp: Instant.transform(sortableInstant), initiator: Remark, repositoryName: z.string().max(255) });
const Image = z.object({ name: RepositoryName, version: TagName });
const MANIFEST = /^\/?v2\/(.+)\/manifests\/([^/]+)$/;

export const nexus: Dialect = {
  name: 'nexus',
  proofs: ['signature'],
  signature: { scheme: 'hmac', header: 'x-nexus-webhook-signature', algorithm: 'sha1', prefix: '' },
  describes: false,
  keyInPath: false,
  read: (payload, headers) => [outcomeOf(payload, headers)],
};

function outcomeOf(payload: unknown, headers: Headers): Outcome {
  const thing = field(payload, 'component') ?? field(payload, 'asset');
  if (thing === undefined && field(payload, 'timestamp') !== undefined) return ignored('other-event');
  if (thing !== undefined && textField(thing, 'format') !== 'docker') return ignored('no-image');
  const action = textField(payload, 'action');
  if (action === 'DELETED' || action === 'PURGED') return ignored('delete');
  const image = field(payload, 'component') === undefined ? manifestOf(textField(thing, 'name')) : thing;
  if (image === undefined) return ignored(/\/manifests\//.test(textField(thing, 'name')) ? 'by-digest' : 'blob');

  const deliveryId = Maybe(EventId).parse(headers['x-nexus-webhook-delivery']);
  const told = Told.safeParse(payload);
  const parsed = Image.safeParse(image);
  if (!told.success || !parsed.success) return malformed((told.error ?? parsed.error) as z.ZodError, payload, deliveryId);
  const { timestamp, initiator, repositoryName: key } = told.data;
  const { name: repository, version: tag } = parsed.data;
  const eventId = deliveryId ?? madeId(`${key}/${repository}:${tag}`, timestamp);
  return pushed({ eventId, key, repository, tag, occurredAt: timestamp, actor: initiator });
}

function manifestOf(asset: string): { name?: string; version?: string } | undefined {
  const [, name, version] = MANIFEST.exec(asset) ?? [];
  return version === undefined || version.includes(':') ? undefined : { name, version };
}
