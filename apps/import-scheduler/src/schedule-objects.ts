import { Injectable } from '@nestjs/common';
import type { Ask, ObjectAnswer, ObjectQuestion } from '@millrace/contracts/requests';
import { ScheduledImports as Resource } from '@millrace/contracts/resources';
import { formatInterval } from '@millrace/domain/interval';
import { type LabelRequirement, parseFieldSelector, parseLabelSelector } from '@millrace/domain/selectors';
import { badRequest, methodNotAllowed, notFound, StatusError } from '@millrace/domain/status';
import { Bus } from '@millrace/platform/bus';
import { Clock } from '@millrace/platform/clock';
import { Store, type Tx } from '@millrace/platform/store';
import { CheckQueue } from './check-queue.ts';
import { SCHEDULE_BELL, Schedule } from './schedule.ts';

interface Row {
  id: string;
  host: string;
  repository: string;
  reference: string;
  source: string | null;
  insecure: boolean;
  importMode: string;
  credentials: string;
  intervalMs: number | null;
  following: number;
  state: string;
  digest: string | null;
  failures: number;
  reason: string | null;
  announcedDigest: string | null;
  nextCheckAt: Date;
  checkedAt: Date | null;
  changedAt: Date | null;
  created: Date;
  version: string;
}

const PAGE_MAX = 5_000;
/** Of those that follow, as many are named. */
const NAMED_MAX = 200;
/** What is due for longer is late: a hundredth of the usual interval. */
const LATE_MS = 9_000;

/** `$1` is the time. */
const STATE = `CASE WHEN s.claimed_by IS NOT NULL THEN 'checking' WHEN s.refused THEN 'refused' WHEN s.failures > 0 THEN 'failing' WHEN s.announced THEN 'awaited'
  WHEN s.next_check_at < to_timestamp($1::float8 / 1000) - interval '${LATE_MS} milliseconds' THEN 'late'
  WHEN s.next_check_at <= to_timestamp($1::float8 / 1000) THEN 'due' ELSE 'scheduled' END`;
const SELECTED = `SELECT s.id, s.host, s.repository, s.reference, s.insecure, s.import_mode AS "importMode", s.credentials, s.digest, s.failures, s.reason,
  s.announced_digest AS "announcedDigest", s.next_check_at AS "nextCheckAt", s.checked_at AS "checkedAt", s.changed_at AS "changedAt", s.created,
  s.xmin::text AS version, ${STATE} AS state, f.* FROM scheduled_import s CROSS JOIN LATERAL (
    SELECT count(*)::int AS following, min(t.interval_ms)::float8 AS "intervalMs", min(w.source) AS source
      FROM scheduled_tag t JOIN wanted_tag w USING (stream_uid, tag) WHERE t.import_id = s.id) f`;
/** What a label selector may ask for. */
const LABELS: Record<string, (values: string) => string> = {
  registry: (values) => `replace(s.host, ':', '_') = ANY (${values})`,
  state: (values) => `${STATE} = ANY (${values})`,
  namespace: (values) => `EXISTS (SELECT 1 FROM scheduled_tag t WHERE t.import_id = s.id AND t.namespace = ANY (${values}))`,
};

/** What is looked at from time to time, as objects that an operator can list, look at, and have looked at now. */
@Injectable()
export class ScheduleObjects {
  constructor(
    private readonly store: Store,
    private readonly bus: Bus,
    private readonly clock: Clock,
    private readonly queue: CheckQueue,
    private readonly schedule: Schedule,
  ) {}

  async answer(question: ObjectQuestion): Promise<ObjectAnswer> {
    const { verb, subresource } = question;
    if (verb === 'get' && !subresource) return { kind: 'object', code: 200, object: await this.get(this.store, question.name) };
    if (verb === 'list' && !subresource) return this.list(question);
    if (verb === 'create' && subresource === 'check') return this.check(question);
    throw new StatusError(methodNotAllowed());
  }

  private async get(on: Pick<Tx, 'query'>, name: string): Promise<object> {
    const id = idOf(name);
    const [row] = id === undefined ? [] : await on.query<Row>(`${SELECTED} WHERE s.id = $2`, [this.clock.now().getTime(), id]);
    if (!row) throw new StatusError(notFound(Resource, name));
    const tags = await on.query<{ namespace: string; name: string; interval_ms: number; problem: string | null }>(
      `SELECT t.namespace, w.name || ':' || t.tag AS name, t.interval_ms::float8, t.problem FROM scheduled_tag t JOIN wanted_stream w USING (stream_uid)
        WHERE t.import_id = $1 ORDER BY t.namespace, w.name, t.tag LIMIT ${NAMED_MAX}`,
      [row.id],
    );
    const named = tags.map(({ interval_ms, problem, ...tag }) => ({
      ...tag,
      interval: formatInterval(interval_ms),
      ...(problem ? { problem } : {}),
    }));
    const object = objectOf(row);
    return { ...object, status: { ...object.status, tags: named } };
  }

  /** In the order of their ids. */
  private async list(question: Ask<'list'>): Promise<ObjectAnswer> {
    const limit = Math.min(question.limit ?? PAGE_MAX, PAGE_MAX);
    const after = question.continue === undefined ? '0' : idOf(question.continue);
    if (after === undefined) throw new StatusError(badRequest('continue key is not valid: begin the list again without it'));
    const parameters: unknown[] = [this.clock.now().getTime(), limit + 1, after];
    const given = (value: unknown) => `$${parameters.push(value)}`;
    const conditions = ['s.id > $3::bigint'];
    for (const requirement of parseLabelSelector(question.labelSelector ?? '')) conditions.push(conditionOf(requirement, given));
    for (const { kind, value } of parseFieldSelector(question.fieldSelector ?? '', ['metadata.name']))
      conditions.push(`(s.id = ${given(idOf(value) ?? '0')}::bigint) = ${kind === 'is'}`);
    const rows = await this.store.query<Row>(`${SELECTED} WHERE ${conditions.join(' AND ')} ORDER BY s.id LIMIT $2`, parameters);
    const page = rows.slice(0, limit).map(objectOf);
    const [now] = await this.store.query<{ version: string }>('SELECT pg_snapshot_xmax(pg_current_snapshot())::text AS version');
    return {
      kind: 'list',
      items: page,
      resourceVersion: now?.version ?? '0',
      ...(rows.length > limit ? { continue: page.at(-1)?.metadata.name } : {}),
    };
  }

  /** Has it looked at at once. */
  private async check({ name = '', dryRun }: Ask<'create'>): Promise<ObjectAnswer> {
    const object = await this.store.transaction(async (tx) => {
      await this.get(tx, name);
      if (!dryRun) await this.queue.wake(tx, idOf(name) ?? '0');
      tx.afterCommit(() => {
        this.schedule.wake();
        this.bus.nudge(SCHEDULE_BELL);
      });
      return this.get(tx, name);
    });
    return { kind: 'object', code: 201, object };
  }
}

function conditionOf(requirement: LabelRequirement, given: (value: unknown) => string): string {
  const label = Object.hasOwn(LABELS, requirement.key) ? LABELS[requirement.key] : undefined;
  switch (requirement.kind) {
    case 'in':
      return label ? label(`${given(requirement.values)}::text[]`) : 'false';
    case 'notIn':
      return label ? `NOT ${label(`${given(requirement.values)}::text[]`)}` : 'true';
    case 'exists':
      return label ? 'true' : 'false';
    case 'absent':
      return label ? 'false' : 'true';
    case 'above':
    case 'below':
      return 'false';
  }
}

const idOf = (name: string): string | undefined => /^i-([1-9]\d{0,17})$/.exec(name)?.[1];
const inSeconds = (date: Date): string => date.toISOString().replace(/\.\d+Z$/, 'Z');

function objectOf(row: Row) {
  const separator = row.reference.includes(':') ? '@' : ':';
  return {
    apiVersion: `${Resource.group}/${Resource.version}`,
    kind: Resource.kind,
    metadata: {
      name: `i-${row.id}`,
      resourceVersion: row.version,
      creationTimestamp: inSeconds(row.created),
      // A colon is no part of a label.
      labels: { registry: row.host.replace(':', '_'), state: row.state },
    },
    spec: {
      reference: row.source ?? `${row.host}/${row.repository}${separator}${row.reference}`,
      insecure: row.insecure,
      importMode: row.importMode,
      // Which ones is told apart, not what they are.
      credentials: row.credentials || 'none',
      ...(row.intervalMs === null ? {} : { interval: formatInterval(row.intervalMs) }),
    },
    status: {
      state: row.state,
      following: row.following,
      failures: row.failures,
      ...(row.reason === null ? {} : { reason: row.reason }),
      ...(row.digest === null ? {} : { digest: row.digest }),
      ...(row.announcedDigest === null ? {} : { announcedDigest: row.announcedDigest }),
      ...(row.checkedAt ? { lastCheckAt: row.checkedAt.toISOString() } : {}),
      ...(row.changedAt ? { lastChangeAt: row.changedAt.toISOString() } : {}),
      nextCheckAt: row.nextCheckAt.toISOString(),
    },
  };
}
