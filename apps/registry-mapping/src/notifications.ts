import { Injectable } from '@nestjs/common';
import type { Ask, ObjectAnswer, ObjectQuestion } from '@millrace/contracts/requests';
import { RegistryNotifications as Resource } from '@millrace/contracts/resources';
import { type LabelRequirement, matchesLabels, parseFieldSelector, parseLabelSelector } from '@millrace/domain/selectors';
import { badRequest, conflict, methodNotAllowed, notFound, StatusError, success } from '@millrace/domain/status';
import { type DeadFact, DeadFacts } from '@millrace/platform/dead-facts';
import { Store, type Tx } from '@millrace/platform/store';
import { answerOf } from '@millrace/platform/refusals';
import { MappingWorkers } from './mapping-workers.ts';
import type { PushRow } from './tables.ts';

/** Where a name leads: `n-12` to a push, `f-12` to a fact that the platform put aside before it came to be one. */
type Named = { kind: 'push' | 'fact'; id: string };
type Row = Omit<PushRow, 'body' | 'claimedBy'> & { uid: string; version: string; body?: string | null };

const PAGE_MAX = 5_000;
const API_VERSION = `${Resource.group}/${Resource.version}`;
const LABELS: Record<string, string> = { state: 'state', registry: 'registry' };
const FACTS_AT_ONCE = 500;
/** The version is that of the row itself: every write gives it another one. */
const COLUMNS = `id, registry, event_id AS "eventId", repository, tag, digest, media_type AS "mediaType", occurred_at AS "occurredAt", actor, origin,
  traceparent, state, reason, attempts, next_attempt_at AS "nextAttemptAt", received, since, ended,
  md5('push ' || id || registry || event_id)::uuid::text AS uid, xmin::text AS version`;

/** What registries told, as objects that an operator can list, look at, replay and drop. */
@Injectable()
export class Notifications {
  constructor(
    private readonly store: Store,
    private readonly facts: DeadFacts,
    private readonly workers: MappingWorkers,
  ) {}

  /** A refusal is an answer too. */
  async answer(question: ObjectQuestion): Promise<ObjectAnswer> {
    return answerOf(() => this.dispatch(question));
  }

  private dispatch(question: ObjectQuestion): Promise<ObjectAnswer> {
    const { verb, subresource } = question;
    if (question.resource === Resource.resource) {
      if (verb === 'get' && !subresource) return this.get(question);
      if (verb === 'list' && !subresource) return this.list(question);
      if (verb === 'delete' && !subresource) return this.drop(question);
      if (verb === 'create' && subresource === 'replay') return this.replay(question);
    }
    throw new StatusError(methodNotAllowed());
  }

  private async get({ name }: Ask<'get'>): Promise<ObjectAnswer> {
    const named = readName(name);
    if (named?.kind === 'fact') return one(200, factObject(await this.fact(name, named)));
    return one(200, pushObject(await this.row(this.store, name)));
  }

  /** Newest first, then facts, oldest first; without their bodies, which may be long. */
  private async list(question: Ask<'list'>): Promise<ObjectAnswer> {
    const limit = Math.min(question.limit ?? PAGE_MAX, PAGE_MAX);
    const after = question.continue === undefined ? undefined : readName(question.continue);
    if (question.continue !== undefined && !after)
      throw new StatusError(badRequest('continue key is not valid: begin the list again without it'));
    const labels = parseLabelSelector(question.labelSelector ?? '');
    const fields = parseFieldSelector(question.fieldSelector ?? '', ['metadata.name']);
    const takes = (name: string) => fields.every(({ kind, value }) => (name === value) === (kind === 'is'));

    const named = fields.find(({ kind }) => kind === 'is')?.value;
    const rows = after?.kind === 'fact' ? [] : await this.rows(labels, { before: after?.id, named, limit: limit + 1 });
    const items: { metadata: { name: string } }[] = rows.map((row) => pushObject(row)).filter(({ metadata }) => takes(metadata.name));
    for await (const fact of this.everyFact(after?.kind === 'fact' ? after.id : '0')) {
      if (items.length > limit) break;
      const object = factObject({ ...fact, body: undefined });
      if (matchesLabels(labels, object.metadata.labels) && takes(object.metadata.name)) items.push(object);
    }
    const page = items.slice(0, limit);
    const [now] = await this.store.query<{ version: string }>('SELECT pg_snapshot_xmax(pg_current_snapshot())::text AS version');
    return {
      kind: 'list',
      items: page,
      resourceVersion: now?.version ?? '0',
      ...(items.length > limit ? { continue: page.at(-1)?.metadata.name } : {}),
    };
  }

  private async *everyFact(after: string): AsyncGenerator<DeadFact> {
    for (;;) {
      const facts = await this.facts.list(after, FACTS_AT_ONCE);
      yield* facts;
      const last = facts.at(-1);
      if (!last || facts.length < FACTS_AT_ONCE) return;
      after = last.id;
    }
  }

  private rows(labels: readonly LabelRequirement[], of: { before?: string; named?: string; limit: number }): Promise<Row[]> {
    const parameters: unknown[] = [of.limit];
    const given = (value: unknown) => `$${parameters.push(value)}`;
    const conditions = labels.map((requirement) => conditionOf(requirement, given));
    if (of.before !== undefined) conditions.push(`id < ${given(of.before)}::bigint`);
    if (of.named !== undefined) conditions.push(`id = ${given(readName(of.named)?.id ?? '0')}::bigint`);
    return this.store.query<Row>(
      `SELECT ${COLUMNS} FROM push ${conditions.length ? `WHERE ${conditions.join(' AND ')}` : ''} ORDER BY id DESC LIMIT $1`,
      parameters,
    );
  }

  /** Forgets it. What is being looked up right now may still become a mapping. */
  private async drop({ name, dryRun, preconditions = {} }: Ask<'delete'>): Promise<ObjectAnswer> {
    const named = readName(name);
    if (named?.kind === 'fact') {
      const fact = await this.fact(name, named);
      check(name, preconditions, { uid: undefined, version: undefined });
      if (!dryRun && !(await this.facts.drop(fact.id))) throw new StatusError(notFound(Resource, name));
      return one(200, success(detailsOf(name)));
    }
    const row = await this.store.write(dryRun, async (tx) => {
      const found = await this.row(tx, name, 'FOR UPDATE');
      check(name, preconditions, found);
      await tx.run('DELETE FROM push WHERE id = $1', [found.id]);
      if (found.state === 'pending') {
        await freeNext(tx, found);
        tx.afterCommit(() => this.workers.wake(found.registry));
      }
      return found;
    });
    return one(200, success({ ...detailsOf(name), uid: row.uid }));
  }

  /** Has it looked up again at once, with a day of its own to succeed in. Repeats of what became a mapping change nothing. */
  private async replay({ name = '', dryRun }: Ask<'create'>): Promise<ObjectAnswer> {
    const named = readName(name);
    if (named?.kind === 'fact') return this.replayFact(name, named, dryRun);
    const object = await this.store.transaction(async (tx) => {
      const row = await this.row(tx, name, 'FOR UPDATE');
      if (!row.digest || !row.tag) throw new StatusError(conflict(Resource, name, 'it names no image that could be looked up; drop it'));
      if (!dryRun)
        await tx.run(
          `UPDATE push SET state = 'pending', attempts = 0, since = now(), next_attempt_at = now(), ended = NULL, reason = NULL
            WHERE id = $1 AND claimed_by IS NULL`,
          [row.id],
        );
      return pushObject(await this.row(tx, name));
    });
    if (!dryRun) this.workers.wake(object.spec.registry);
    return one(201, object);
  }

  private async replayFact(name: string, named: Named, dryRun: boolean): Promise<ObjectAnswer> {
    const fact = await this.fact(name, named);
    if (dryRun) return one(201, factObject(fact));
    try {
      if (!(await this.facts.replay(fact.id))) throw new Error('nothing here acts on facts of this kind any more; drop it');
    } catch (error) {
      throw new StatusError(conflict(Resource, name, `it was refused again: ${(error as Error).message}`), { cause: error });
    }
    return one(201, success(detailsOf(name)));
  }

  private async fact(name: string, { id }: Named): Promise<DeadFact> {
    const fact = await this.facts.get(id);
    if (!fact) throw new StatusError(notFound(Resource, name));
    return fact;
  }

  private async row(on: Pick<Tx, 'query'>, name: string, lock = ''): Promise<Row> {
    const named = readName(name);
    const [row] =
      named?.kind === 'push' ? await on.query<Row>(`SELECT ${COLUMNS}, body FROM push WHERE id = $1 ${lock}`, [named.id]) : [undefined];
    if (!row) throw new StatusError(notFound(Resource, name));
    return row;
  }
}

/** The push that waited for this one of its tag need not wait any more. */
async function freeNext(tx: Tx, { registry, repository, tag }: Row): Promise<void> {
  await tx.run(
    `UPDATE push SET next_attempt_at = now() WHERE next_attempt_at IS NULL AND id =
       (SELECT min(id) FROM push WHERE state = 'pending' AND registry = $1 AND repository = $2 AND tag = $3)`,
    [registry, repository, tag],
  );
}

function conditionOf(requirement: LabelRequirement, given: (value: unknown) => string): string {
  const column = Object.hasOwn(LABELS, requirement.key) ? LABELS[requirement.key] : undefined;
  switch (requirement.kind) {
    case 'in':
      return column ? `${column} = ANY(${given(requirement.values)}::text[])` : 'false';
    case 'notIn':
      return column ? `${column} <> ALL(${given(requirement.values)}::text[])` : 'true';
    case 'exists':
      return column ? 'true' : 'false';
    case 'absent':
      return column ? 'false' : 'true';
    case 'above':
    case 'below':
      return 'false';
  }
}

function readName(name: string): Named | undefined {
  const [, letter, id] = /^([nf])-([1-9]\d{0,17})$/.exec(name) ?? [];
  return id === undefined ? undefined : { kind: letter === 'n' ? 'push' : 'fact', id };
}

function check(
  name: string,
  wanted: { uid?: string; resourceVersion?: string },
  { uid, version }: { uid: string | undefined; version: string | undefined },
): void {
  if (wanted.uid && wanted.uid !== uid)
    throw new StatusError(
      conflict(Resource, name, `Precondition failed: UID in precondition: ${wanted.uid}, UID in object meta: ${uid ?? ''}`),
    );
  if (wanted.resourceVersion && wanted.resourceVersion !== version)
    throw new StatusError(conflict(Resource, name, 'Precondition failed: it has changed meanwhile'));
}

const detailsOf = (name: string) => ({ name, group: Resource.group, kind: Resource.resource });
const one = (code: number, object: object): ObjectAnswer => ({ kind: 'object', code, object });
const inSeconds = (date: Date): string => date.toISOString().replace(/\.\d+Z$/, 'Z');
const orAbsent = <T>(value: T | '' | null | undefined): T | undefined => (value === '' || value === null ? undefined : value);

function pushObject(row: Row) {
  const { host, instance } = (row.origin ? JSON.parse(row.origin) : {}) as { host?: string; instance?: string };
  return {
    apiVersion: API_VERSION,
    kind: Resource.kind,
    metadata: {
      name: `n-${row.id}`,
      uid: row.uid,
      resourceVersion: row.version,
      creationTimestamp: inSeconds(row.received),
      labels: { registry: row.registry, state: row.state },
    },
    spec: {
      registry: row.registry,
      eventId: row.eventId,
      ...(row.repository ? { repository: row.repository } : {}),
      ...(row.tag ? { tag: row.tag } : {}),
      ...(row.digest ? { digest: row.digest, action: 'push' } : {}),
      mediaType: orAbsent(row.mediaType),
      occurredAt: orAbsent(row.occurredAt),
      actor: orAbsent(row.actor),
      host,
      instance,
      receivedAt: row.received.toISOString(),
      traceparent: row.traceparent,
      body: orAbsent(row.body),
    },
    status: {
      state: row.state,
      reason: orAbsent(row.reason),
      attempts: row.attempts,
      nextAttemptAt: row.nextAttemptAt?.toISOString(),
      endedAt: row.ended?.toISOString(),
    },
  };
}

function factObject({ body, ...fact }: Omit<DeadFact, 'body'> & { body?: string }) {
  // Its id begins with the name of the registry that told it.
  const registry = fact.eventId.split('.')[0] ?? '';
  const state = 'quarantined';
  return {
    apiVersion: API_VERSION,
    kind: Resource.kind,
    metadata: { name: `f-${fact.id}`, creationTimestamp: inSeconds(fact.created), labels: { registry, state } as Record<string, string> },
    spec: { registry, eventId: fact.eventId, subject: fact.subject, receivedAt: fact.created.toISOString(), body },
    status: { state, reason: fact.reason, attempts: fact.attempts },
  };
}
