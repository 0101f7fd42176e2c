import { Inject, Injectable } from '@nestjs/common';
import type { Ask, ObjectAnswer } from '@millrace/contracts/requests';
import { DeliveryReplay, readReplay, type ReplaySelection } from '@millrace/domain/delivery-replay';
import { TRIGGER_API_VERSION, TRIGGER_GROUP } from '@millrace/domain/image-trigger';
import { invalid, malformed, methodNotAllowed, StatusError } from '@millrace/domain/status';
import { randomSuffix } from '@millrace/platform/generated-names';
import type { Log } from '@millrace/platform/log';
import { LOG } from '@millrace/platform/service';
import { Store } from '@millrace/platform/store';
import { Deliveries } from './deliveries.ts';
import { FROM, LABELS, replayDeliveries, STATE } from './delivery-objects.ts';
import { type EndpointKey, Endpoints } from './endpoints.ts';
import { Where } from './selection.ts';

/** Rows that one transaction has locked at most. */
const AT_ONCE = 1_000;

interface Found extends EndpointKey {
  name: string;
  created: Date;
  position: string;
}

/** Has many deliveries made again. Each goes out under the id that it had, in the order in which they fired, at the pace of its webhook. */
@Injectable()
export class Replays {
  constructor(
    private readonly store: Store,
    private readonly endpoints: Endpoints,
    private readonly deliveries: Deliveries,
    @Inject(LOG) private readonly log: Log,
  ) {}

  async answer(question: Ask<'create'> | { verb: string }): Promise<ObjectAnswer> {
    if (question.verb !== 'create') throw new StatusError(methodNotAllowed());
    const { namespace = '', object, dryRun, user } = question as Ask<'create'>;
    const { data, error } = DeliveryReplay.safeParse(object ?? {});
    if (!data) throw new StatusError(malformed('DeliveryReplay', error));
    const read = readReplay(data, new Date());
    if ('errors' in read) throw new StatusError(invalid(TRIGGER_GROUP, 'DeliveryReplay', data.metadata?.name ?? '', read.errors));
    const matched = await this.count(namespace, read.selection);
    const { replayed, last } = dryRun ? { replayed: 0 } : await this.replay(namespace, read.selection);
    if (replayed) this.log.info({ namespace, ...data.spec, replayed, matched, user: user.name }, 'deliveries.replayed');
    const name = data.metadata?.name || `${data.metadata?.generateName || 'replay-'}${randomSuffix()}`;
    const status = {
      matched,
      replayed,
      remaining: Math.max(0, matched - replayed),
      ...(last ? { lastFiredAt: last.toISOString() } : {}),
    };
    return {
      kind: 'object',
      code: 201,
      object: {
        apiVersion: TRIGGER_API_VERSION,
        kind: 'DeliveryReplay',
        metadata: { ...data.metadata, name, namespace, creationTimestamp: new Date().toISOString().replace(/\.\d+Z$/, 'Z') },
        spec: data.spec ?? {},
        status,
      },
    };
  }

  private async count(namespace: string, selection: ReplaySelection): Promise<number> {
    const where = chosen(namespace, selection);
    const [row] = await this.store.query<{ n: string }>(`SELECT count(*) AS n ${FROM} ${where.sql}`, where.parameters);
    return Number(row?.n ?? 0);
  }

  /**
   * In parts, each in a transaction of its own: what was replayed by those before stays so. All are due at one time, the earliest; then their order
   * is that in which they fired.
   */
  private async replay(namespace: string, selection: ReplaySelection): Promise<{ replayed: number; last?: Date }> {
    let replayed = 0;
    let last: Found | undefined;
    for (let part = AT_ONCE; part === AT_ONCE && replayed < selection.limit;) {
      const where = chosen(namespace, selection);
      if (last) where.add(`(d.created, d.position) > (${where.value(last.created)}, ${where.value(last.position)})`);
      const limit = Math.min(AT_ONCE, selection.limit - replayed);
      const found = await this.store.query<Found>(
        `SELECT d.name, d.created, d.position, d.trigger_uid AS "triggerUid", d.webhook ${FROM} ${where.sql} ORDER BY d.created, d.position LIMIT ${where.value(limit)}`,
        where.parameters,
      );
      part = found.length;
      if (!part) break;
      const keys = [...new Map(found.map(({ triggerUid, webhook }) => [`${triggerUid}/${webhook}`, { triggerUid, webhook }])).values()];
      const again = await this.store.transaction(async (tx) => {
        await this.endpoints.replayed(tx, keys);
        return replayDeliveries(
          tx,
          found.map(({ name }) => name),
        );
      });
      this.deliveries.made(again);
      replayed += again;
      last = found.at(-1);
    }
    return { replayed, ...(last ? { last: last.created } : {}) };
  }
}

/** Not those that are being delivered right now, and those whose webhook is no longer there. */
function chosen(namespace: string, { trigger, webhook, names, labelSelector, states, since, until }: ReplaySelection): Where {
  const where = new Where();
  where.select(
    { namespace, ...(labelSelector ? { labelSelector } : {}) },
    { namespace: 'd.namespace', name: 'd.name' },
    (key) => LABELS[key] ?? 'NULL::text',
  );
  where.add('d.claimed_by IS NULL');
  where.add('w.name IS NOT NULL');
  where.add(`${STATE} = ANY(${where.value(states)})`);
  if (states.every((state) => state === 'dead' || state === 'gone')) where.add(`d.state IN ('dead', 'gone')`);
  if (trigger) where.add(`d.trigger_name = ${where.value(trigger)}`);
  if (webhook) where.add(`d.webhook = ${where.value(webhook)}`);
  if (names) where.add(`d.name = ANY(${where.value(names)})`);
  if (since) where.add(`d.created >= ${where.value(since)}`);
  if (until) where.add(`d.created < ${where.value(until)}`);
  return where;
}
