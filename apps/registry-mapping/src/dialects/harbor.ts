import { z } from 'zod';
import { cloudEventsIn, isCloudEvent } from './cloudevents.ts';
import {
  type Dialect,
  Digest,
  Epoch,
  field,
  ignored,
  madeId,
  malformed,
  Maybe,
  type Outcome,
  PullSpec,
  pushed,
  Remark,
  RepositoryName,
  TagName,
  tagOrDigest,
  textField,
} from './dialect.ts';

/* Harbor's webhooks of both payload formats. The default one has no id: repository, tag, digest and second identify the push. */

const Resources = z.object({
  resources: z.array(z.unknown()).max(1_000),
  repository: z.object({ repo_full_name: RepositoryName }),
});
const Resource = z.object({ tag: TagName, digest: Digest, resource_url: Maybe(PullSpec) });
const Told = z.object({ type: z.string(), occur_at: Epoch, operator: Remark });

const IGNORED: Record<string, Outcome> = {
  PULL_ARTIFACT: ignored('pull'),
  DELETE_ARTIFACT: ignored('delete'),
  'harbor.artifact.pulled': ignored('pull'),
  'harbor.artifact.deleted': ignored('delete'),
};

export const harbor: Dialect = {
  name: 'harbor',
  proofs: ['header', 'path'],
  header: 'authorization',
  describes: true,
  read: (payload, headers) => {
    if (!isCloudEvent(payload, headers)) return readDefault(payload);
    return cloudEventsIn(payload, headers).flatMap((one) => {
      if ('outcome' in one) return [one.outcome];
      const { id, type, time, data, attributes } = one.event;
      if (type !== 'harbor.artifact.pushed') return [IGNORED[type] ?? ignored('other-event')];
      return outcomesOf(data, attributes, { occurredAt: time, actor: Remark.parse(field(attributes, 'operator')), eventId: id });
    });
  },
};

function readDefault(payload: unknown): Outcome[] {
  const type = textField(payload, 'type');
  // Harbor 1.x called it pushImage.
  if (type !== '' && type !== 'PUSH_ARTIFACT' && type !== 'pushImage')
    return [(Object.hasOwn(IGNORED, type) && IGNORED[type]) || ignored('other-event')];
  const told = Told.safeParse(payload);
  if (!told.success) return [malformed(told.error, payload)];
  return outcomesOf(field(payload, 'event_data'), payload, { occurredAt: told.data.occur_at, actor: told.data.operator });
}

function outcomesOf(data: unknown, event: unknown, of: { occurredAt?: string; actor?: string; eventId?: string }): Outcome[] {
  const parsed = Resources.safeParse(data);
  if (!parsed.success) return [malformed(parsed.error, event, of.eventId)];
  const { resources, repository } = parsed.data;
  return resources.map((one, index): Outcome => {
    // A push without a tag is told with the digest in its place.
    if (!tagOrDigest(textField(one, 'tag')).tag && field(one, 'digest') !== undefined) return ignored('by-digest');
    const resource = Resource.safeParse(one);
    if (!resource.success) return malformed(resource.error, event, of.eventId);
    const { tag, digest, resource_url: url } = resource.data;
    return pushed({
      ...of,
      eventId:
        of.eventId === undefined ? madeId(`${repository.repo_full_name}:${tag}`, digest, of.occurredAt ?? '') : nth(of.eventId, index),
      host: url?.host,
      repository: repository.repo_full_name,
      tag,
      digest,
    });
  });
}

/** An event of several resources has one id. */
const nth = (eventId: string, index: number): string => (index === 0 ? eventId : madeId(`${eventId}.${index + 1}`));
