import { Injectable } from '@nestjs/common';
import type { Ask, ObjectAnswer, ObjectQuestion } from '@millrace/contracts/requests';
import { Deliveries as Resource, fieldsOf } from '@millrace/contracts/resources';
import type { Circuit } from '@millrace/domain/circuit';
import { TRIGGER_API_VERSION, TRIGGER_GROUP } from '@millrace/domain/image-trigger';
import { conflict, methodNotAllowed, notFound, StatusError, success } from '@millrace/domain/status';
import { exactField, parseFieldSelector, parseLabelSelector } from '@millrace/domain/selectors';
import { Store, type Tx } from '@millrace/platform/store';
import { Changes } from './changes.ts';
import { Deliveries } from './deliveries.ts';
import { readContinue, Where, writeContinue } from './selection.ts';
import { ATTEMPTS, attemptObject } from './attempts.ts';
import { Endpoints } from './endpoints.ts';
import type { AttemptRow, DeliveryRow, DeliveryState } from './delivery-tables.ts';
import { wholeSeconds } from './trigger-record.ts';
import { withoutQuery } from './webhook.ts';

const RESOURCE = { group: TRIGGER_GROUP, resource: 'deliveries' };
/** A list without a limit is cut here and can be continued: there may be millions. */
const PAGE_MAX = 5_000;

interface Row extends Omit<DeliveryRow, 'state'> {
  state: DeliveryState | 'parked';
  kind: string;
  fromNamespace: string;
  stream: string;
  tag: string;
  generation: string;
  image: string;
  url: string | null;
  circuit: Circuit | null;
  probeAt: Date | null;
}

/** What waits for a webhook that is disabled is parked, and says so by the webhook: there may be many. */
export const STATE = `CASE WHEN d.finished_at IS NULL AND w.disabled_at IS NOT NULL THEN 'parked' ELSE d.state END`;

const COLUMNS = `d.name, d.uid, d.version, d.firing_id AS "firingId", d.webhook, d.namespace, d.trigger_uid AS "triggerUid", d.trigger_name AS "triggerName",
  d.host, ${STATE} AS state, d.attempts, d.started_at AS "startedAt", d.next_attempt_at AS "nextAttemptAt", d.claimed_by AS "claimedBy", d.last_attempt_at AS "lastAttemptAt",
  d.last_status AS "lastStatus", d.last_error AS "lastError", d.last_ms AS "lastMs", d.last_answer AS "lastAnswer", d.created, d.finished_at AS "finishedAt",
  f.kind, f.namespace AS "fromNamespace", f.stream, f.tag, f.generation, f.image, w.url, w.circuit, w.probe_at AS "probeAt"`;
export const FROM = `FROM delivery d JOIN firing f ON f.id = d.firing_id LEFT JOIN webhook w ON w.trigger_uid = d.trigger_uid AND w.name = d.webhook`;
export const LABELS: Record<string, string> = { trigger: 'd.trigger_name', webhook: 'd.webhook', state: STATE };
/** Beside name and namespace; see Deliveries in the contracts. */
const FIELDS: Record<string, string> = {
  'spec.trigger.name': 'd.trigger_name',
  'spec.webhook': 'd.webhook',
  'spec.host': 'd.host',
  'spec.id': 'd.firing_id',
  'spec.image': 'f.image',
  'spec.from.namespace': 'f.namespace',
  'spec.from.name': `(f.stream || ':' || f.tag)`,
  'status.state': STATE,
};

/** Deliveries as objects of the API: look at them, cancel one, have one made again. */
@Injectable()
export class DeliveryObjects {
  constructor(
    private readonly store: Store,
    private readonly changes: Changes,
    private readonly deliveries: Deliveries,
    private readonly endpoints: Endpoints,
  ) {}

  async answer(question: ObjectQuestion): Promise<ObjectAnswer> {
    if (question.verb === 'get') return this.get(question);
    if (question.verb === 'list') return this.list(question);
    if (question.verb === 'delete') return this.cancel(question);
    if (question.verb === 'create' && question.subresource === 'replay') return this.replay(question);
    throw new StatusError(methodNotAllowed());
  }

  /** With its attempts, which lists leave out. */
  private async get(question: Ask<'get'>): Promise<ObjectAnswer> {
    const row = await this.read(this.store, question);
    const attempts = await this.store.query<AttemptRow>(ATTEMPTS, [row.name]);
    return { kind: 'object', code: 200, object: deliveryObject(row, attempts) };
  }

  /** Newest first. */
  private async list(question: Ask<'list'>): Promise<ObjectAnswer> {
    const from = readContinue(question.continue);
    const limit = Math.min(question.limit ?? PAGE_MAX, PAGE_MAX);
    const where = new Where();
    where.select(question, { namespace: 'd.namespace', name: 'd.name', fields: FIELDS }, (key) => LABELS[key] ?? 'NULL::text');
    for (const condition of byState(question)) where.add(condition);
    if (from) where.add(`(d.created, d.name) < (${where.value(from.after[0])}::timestamptz, ${where.value(from.after[1])})`);
    const resourceVersion = from?.resourceVersion ?? (await this.changes.current(this.store));
    const rows = await this.store.query<Row>(
      `SELECT ${COLUMNS} ${FROM} ${where.sql} ORDER BY d.created DESC, d.name DESC LIMIT ${where.value(limit + 1)}`,
      where.parameters,
    );
    const page = rows.slice(0, limit);
    const last = rows.length > limit ? page.at(-1) : undefined;
    return {
      kind: 'list',
      items: page.map((row) => deliveryObject(row)),
      resourceVersion,
      ...(last ? { continue: writeContinue({ resourceVersion, after: [last.created.toISOString(), last.name] }) } : {}),
    };
  }

  /**
   * What waits is canceled and stays to be looked at; what is over is forgotten. The canceled record has a uid of its own, so that
   * a client that waits for the object it deleted sees that that one is gone.
   */
  private async cancel(question: Ask<'delete'>): Promise<ObjectAnswer> {
    const { name, dryRun, preconditions = {} } = question;
    return this.store.write(dryRun, async (tx): Promise<ObjectAnswer> => {
      const { triggerUid, webhook } = await this.read(tx, question);
      await this.endpoints.lock(tx, triggerUid);
      const row = await this.read(tx, question, 'FOR UPDATE OF d');
      if (preconditions.uid && preconditions.uid !== row.uid)
        throw new StatusError(
          conflict(RESOURCE, name, `Precondition failed: UID in precondition: ${preconditions.uid}, UID in object meta: ${row.uid}`),
        );
      if (preconditions.resourceVersion && preconditions.resourceVersion !== row.version)
        throw new StatusError(conflict(RESOURCE, name, 'Precondition failed: it has changed meanwhile'));
      if (row.finishedAt) await tx.run('DELETE FROM delivery WHERE name = $1', [name]);
      else {
        await tx.run(
          `UPDATE delivery SET state = 'canceled', uid = gen_random_uuid(), next_attempt_at = NULL, claimed_by = NULL, finished_at = now(), version = version + 1 WHERE name = $1`,
          [name],
        );
        // Others may have waited for it to be over.
        await this.endpoints.wake(tx, [{ triggerUid, webhook }]);
        tx.afterCommit(() => this.deliveries.made(1));
      }
      return { kind: 'object', code: 200, object: success({ name, group: RESOURCE.group, kind: RESOURCE.resource, uid: row.uid }) };
    });
  }

  /** Due at once, with the same id, and all the time that a fresh one has. */
  private async replay(question: Ask<'create'>): Promise<ObjectAnswer> {
    const name = question.name ?? '';
    const object = await this.store.transaction(async (tx) => {
      const addressed = { namespace: question.namespace, name };
      const { triggerUid, webhook } = await this.read(tx, addressed);
      if (!question.dryRun) await this.endpoints.replayed(tx, [{ triggerUid, webhook }]);
      const row = await this.read(tx, addressed, 'FOR UPDATE OF d');
      if (!row.url) throw new StatusError(conflict(RESOURCE, name, 'its trigger no longer has this webhook'));
      if (row.claimedBy !== null) throw new StatusError(conflict(RESOURCE, name, 'it is being delivered right now'));
      if (!question.dryRun) {
        await replayDeliveries(tx, [name]);
        tx.afterCommit(() => this.deliveries.made(1));
      }
      return deliveryObject(await this.read(tx, addressed));
    });
    return { kind: 'object', code: 201, object };
  }

  /** Throws StatusError 404. */
  private async read(on: Pick<Tx, 'query'>, { namespace = '', name }: { namespace?: string; name: string }, lock = ''): Promise<Row> {
    const [row] = await on.query<Row>(`SELECT ${COLUMNS} ${FROM} WHERE d.namespace = $1 AND d.name = $2 ${lock}`, [namespace, name]);
    if (!row) throw new StatusError(notFound(RESOURCE, name));
    return row;
  }
}

/** Makes deliveries due again, from the moment the transaction began; their webhooks have been locked and told. Resolves to how many. */
export function replayDeliveries(tx: Tx, names: readonly string[]): Promise<number> {
  return tx.run(
    `UPDATE delivery d SET state = 'pending', attempts = 0, tries = 0, spent_ms = 0, started_at = NULL, next_attempt_at = now(), finished_at = NULL,
            version = version + 1, host = w.host
       FROM webhook w WHERE d.name = ANY($1) AND d.claimed_by IS NULL AND w.trigger_uid = d.trigger_uid AND w.name = d.webhook`,
    [names],
  );
}

/** What Postgres must be told in words that its indexes know, where only some states are asked for. */
function byState({ labelSelector, fieldSelector }: Ask<'list'>): string[] {
  const labels = (labelSelector ? parseLabelSelector(labelSelector) : []).flatMap((one) =>
    one.kind === 'in' && one.key === 'state' ? [one.values] : [],
  );
  const state = exactField(fieldSelector ? parseFieldSelector(fieldSelector, fieldsOf(Resource)) : [], 'status.state');
  return [...labels, ...(state === undefined ? [] : [[state]])].flatMap((states) =>
    states.every((one) => one === 'dead' || one === 'gone')
      ? [`d.state IN ('dead', 'gone')`]
      : states.every((one) => one === 'pending' || one === 'retrying' || one === 'parked')
        ? ['d.finished_at IS NULL']
        : [],
  );
}

function deliveryObject(row: Row, attempts?: readonly AttemptRow[]): unknown {
  const next = nextOf(row);
  return {
    apiVersion: TRIGGER_API_VERSION,
    kind: 'Delivery',
    metadata: {
      name: row.name,
      namespace: row.namespace,
      uid: row.uid,
      resourceVersion: row.version,
      creationTimestamp: wholeSeconds(row.created),
      labels: { trigger: row.triggerName, webhook: row.webhook, state: row.state },
    },
    spec: {
      trigger: { name: row.triggerName, uid: row.triggerUid, kind: row.kind },
      webhook: row.webhook,
      // The path may name a tenant; the query may hold a token.
      ...(row.url ? { url: withoutQuery(row.url) } : {}),
      host: row.host,
      id: row.firingId,
      from: { namespace: row.fromNamespace, name: `${row.stream}:${row.tag}` },
      generation: Number(row.generation),
      image: row.image,
    },
    status: {
      state: row.state,
      attempts: row.attempts,
      ...(row.claimedBy !== null ? { inFlight: true } : {}),
      ...(next ? { nextAttemptAt: next.toISOString() } : {}),
      ...(row.finishedAt === null && row.circuit === 'open' ? { waitsFor: 'the circuit of its webhook, which is open' } : {}),
      ...(row.finishedAt ? { finishedAt: row.finishedAt.toISOString() } : {}),
      ...(row.lastAttemptAt
        ? {
            lastAttempt: {
              at: row.lastAttemptAt.toISOString(),
              milliseconds: row.lastMs,
              ...(row.lastStatus === null ? {} : { status: row.lastStatus }),
              ...(row.lastError === null ? {} : { error: row.lastError }),
              ...(row.lastAnswer === null ? {} : { answer: row.lastAnswer }),
            },
          }
        : {}),
      ...(attempts ? { attemptLog: attempts.map(attemptObject) } : {}),
    },
  };
}

/** Behind an open circuit nothing is tried before it is probed; what is parked has no next attempt. */
function nextOf({ state, nextAttemptAt, circuit, probeAt }: Row): Date | null {
  if (state === 'parked' || !nextAttemptAt) return null;
  return circuit === 'open' && probeAt && probeAt > nextAttemptAt ? probeAt : nextAttemptAt;
}
