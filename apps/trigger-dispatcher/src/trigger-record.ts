import { isDeepStrictEqual } from 'node:util';
import { type Circuit, stateOfWebhook } from '@millrace/domain/circuit';
import { TRIGGER_API_VERSION, TRIGGER_GROUP } from '@millrace/domain/image-trigger';
import { notFound, StatusError } from '@millrace/domain/status';
import { isSigned, MASK } from '@millrace/domain/trigger-webhook';
import type { ControlMemory, MovedTo, PendingChange } from '@millrace/domain/pending-change';
import type { Move, Planned } from '@millrace/domain/trigger-matching';
import type { TagMoved } from '@millrace/contracts/events';
import type { Tx } from '@millrace/platform/store';
import type { Change } from './changes.ts';
import type { Findings } from './delivery-tables.ts';
import type { Standing, TriggerRow } from './tables.ts';

export const TRIGGERS = { group: TRIGGER_GROUP, resource: 'imagetriggers' };

/** A trigger with everything that its rules and its readers need; one row of {@link TRIGGER_COLUMNS}. */
export interface TriggerRecord extends Omit<TriggerRow, 'held' | 'baseline' | 'lastTriggered' | 'begunAfter'> {
  baseline: Standing | null;
  lastTriggered: TriggerRow['lastTriggered'];
  /** Absent from a fresh one. */
  held: string | null;
  planned: Planned[] | null;
  /** What is wrong with its webhooks, by their names. */
  impaired: Record<string, Impairment> | null;
  /** What is known of webhooks, of those of which something is. */
  findings: Record<string, Findings> | null;
}

/** What is needed of a trigger to bring a move to it; one row of {@link FOLLOWER_COLUMNS}. */
export type Follower = Pick<
  TriggerRecord,
  'uid' | 'namespace' | 'name' | 'labels' | 'spec' | 'baseline' | 'lastTriggered' | 'held' | 'control' | 'lookAt' | 'planned'
>;

/** A webhook that is not called as things come. */
export interface Impairment {
  circuit: Circuit;
  /** When it answered 410. */
  gone: string | null;
  disabled: string | null;
  failingSince: string | null;
  reason: string | null;
}

/** Of a trigger `t`. */
export const IMPAIRED = `(SELECT json_object_agg(w.name, json_build_object('circuit', w.circuit, 'gone', w.gone_at, 'disabled', w.disabled_at,
    'failingSince', w.failing_since, 'reason', w.failing_reason))
  FROM webhook w WHERE w.trigger_uid = t.uid AND (w.gone_at IS NOT NULL OR w.circuit = 'open' OR w.disabled_at IS NOT NULL))`;

/** For `SELECT … FROM trigger t`. */
export const FOLLOWER_COLUMNS = `t.uid, t.namespace, t.name, t.labels, t.spec, t.baseline, t.last_triggered AS "lastTriggered", t.held, t.control, t.look_at AS "lookAt",
  (SELECT json_agg(json_build_object('streamUid', s.stream_uid, 'generation', s.generation, 'movedAt', s.moved_at)) FROM trigger_tag s WHERE s.trigger_uid = t.uid) AS planned`;

/** The same for all of it. */
export const TRIGGER_COLUMNS = `${FOLLOWER_COLUMNS}, t.created, t.generation, t.resource_version AS "resourceVersion", t.annotations,
  t.from_namespace AS "fromNamespace", t.from_stream AS "fromStream", t.from_tag AS "fromTag",
  ${IMPAIRED} AS impaired,
  (SELECT json_object_agg(w.name, w.findings) FROM webhook w WHERE w.trigger_uid = t.uid AND w.findings IS NOT NULL) AS findings`;

/** Throws StatusError 404. With `lock` it is locked until the transaction ends. */
export async function triggerNamed(
  on: Pick<Tx, 'query'>,
  { namespace = '', name = '' }: { namespace?: string; name?: string },
  { lock }: { lock: boolean },
): Promise<TriggerRecord> {
  const sql = `SELECT ${TRIGGER_COLUMNS} FROM trigger t WHERE t.namespace = $1 AND t.name = $2 ${lock ? 'FOR UPDATE OF t' : ''}`;
  const [row] = await on.query<TriggerRecord>(sql, [namespace, name]);
  if (!row) throw new StatusError(notFound(TRIGGERS, name));
  return row;
}

/** A move that may not fire yet: with the trace it belongs to. */
export interface HeldMove {
  move: TagMoved;
  traceparent: string;
}

export const heldBy = (trigger: Pick<TriggerRecord, 'held'>): HeldMove | undefined =>
  trigger.held ? (JSON.parse(trigger.held) as HeldMove) : undefined;

export const positionOf = ({ streamUid, generation, movedAt }: TagMoved): Move => ({ streamUid, generation, movedAt });

export const movedTo = (move: TagMoved): MovedTo => ({ ...positionOf(move), image: move.current.image });

/**
 * What the trigger keeps in mind. `held` has the move that waits; where a program that knows no more than that wrote it, the change is as old as the
 * move, and the rest of what was known of it is gone.
 */
export function memoryOf(trigger: Pick<TriggerRecord, 'control' | 'held'>): ControlMemory {
  const { pending, ...rest } = trigger.control ?? {};
  const held = heldBy(trigger);
  if (!held) return rest;
  const { move } = held;
  if (pending?.streamUid === move.streamUid && pending.generation === move.generation) return { ...rest, pending };
  const known: PendingChange = {
    ...movedTo(move),
    since: move.movedAt,
    first: { generation: move.generation, since: move.movedAt },
    ...{ between: [], beyond: 0, verdicts: [], blockers: [], waitedFor: [] },
  };
  return { ...rest, pending: known };
}

export const standingOf = (move: TagMoved): Standing => ({
  streamUid: move.streamUid,
  generation: move.generation,
  image: move.current.image || move.current.dockerImageReference,
  at: move.movedAt,
});

export interface TriggerObject {
  apiVersion: string;
  kind: string;
  metadata: Record<string, unknown> & { name: string; namespace: string };
  spec: unknown;
  status: unknown;
}

/** A trigger as clients read it: its secrets never leave; `secretSet` and masked headers say that they are there. */
export function triggerObject(trigger: TriggerRecord, resourceVersion = trigger.resourceVersion): TriggerObject {
  const { spec, impaired, findings } = trigger;
  const generation = Number(trigger.generation);
  return {
    apiVersion: TRIGGER_API_VERSION,
    kind: 'ImageTrigger',
    metadata: {
      name: trigger.name,
      namespace: trigger.namespace,
      uid: trigger.uid,
      ...(resourceVersion ? { resourceVersion } : {}),
      generation,
      creationTimestamp: wholeSeconds(trigger.created),
      ...(trigger.labels ? { labels: trigger.labels } : {}),
      ...(trigger.annotations ? { annotations: trigger.annotations } : {}),
    },
    spec: { ...spec, webhooks: spec.webhooks.map((webhook) => ({ ...webhook, ...(isSigned(webhook) ? { secretSet: true } : {}) })) },
    status: {
      observedGeneration: generation,
      ...controlStatus(trigger),
      ...(trigger.baseline ? { baseline: trigger.baseline } : {}),
      ...(trigger.lastTriggered ? { lastTriggered: trigger.lastTriggered } : {}),
      webhooks: spec.webhooks.map(({ name }) => ({ ...webhookStatus(name, impaired?.[name]), ...findings?.[name] })),
    },
  };
}

function webhookStatus(name: string, impairment: Impairment | undefined): object {
  if (!impairment) return { name, state: 'Active' };
  const { circuit, gone, disabled, failingSince, reason } = impairment;
  const state = stateOfWebhook({ circuit, disabled: disabled !== null, gone: gone !== null });
  const since = state === 'Gone' ? gone : state === 'Disabled' ? disabled : failingSince;
  return { name, state, ...(since ? { since } : {}), ...(reason && state !== 'Gone' ? { reason } : {}) };
}

/** What of the status says what holds changes back, and what was decided. */
function controlStatus(trigger: TriggerRecord): object {
  const memory = memoryOf(trigger);
  const { pending, stopped, decisions } = memory;
  return {
    phase: phaseOf(trigger, memory),
    ...(pending ? { pending: pendingStatus(pending) } : {}),
    ...(trigger.spec.storm && stopped ? { stoppedAt: stopped } : {}),
    ...(decisions?.length ? { decisions } : {}),
  };
}

function phaseOf({ spec, lookAt }: TriggerRecord, { pending, stopped }: ControlMemory): string {
  if (spec.paused) return 'Paused';
  if (spec.storm && stopped) return 'Stopped';
  if (pending) return 'Waiting';
  // A hold that ends by itself is looked at then, and never again.
  if (spec.hold && (!spec.hold.until || lookAt)) return 'Held';
  return spec.dryRun ? 'DryRun' : 'Active';
}

/** `count` is of all that wait; `between` tells the newest of those before the last. */
export function pendingStatus({
  generation,
  image,
  since,
  first,
  between,
  beyond,
  verdicts,
  released,
  blockers,
  lookAt,
}: PendingChange): object {
  return {
    ...{ generation, image, since, first, count: between.length + beyond + 1 },
    ...(between.length ? { between } : {}),
    blockers,
    ...(lookAt ? { lookAt } : {}),
    ...(verdicts.length ? { verdicts } : {}),
    ...(released ? { released } : {}),
  };
}

/** What watches are told of a trigger; `oldLabels` are those that it was selected by before. */
export const triggerChange = (
  trigger: TriggerRecord,
  type: Change['type'],
  oldLabels = type === 'ADDED' ? undefined : trigger.labels,
): Change => ({
  ...trigger,
  resource: 'imagetriggers',
  type,
  object: () => triggerObject(trigger),
  oldLabels,
});

/** The same of one that is further with its tag, and has changed in nothing else. */
export const progressChange = (trigger: Follower): Change => ({
  ...trigger,
  resource: 'imagetriggers',
  type: 'MODIFIED',
  oldLabels: trigger.labels,
  progress: trigger,
});

/** RFC 3339 in whole seconds, as Kubernetes prints times. */
export const wholeSeconds = (at: Date): string => at.toISOString().replace(/\.\d+Z$/, 'Z');

/** Shorter ones are left out only where they are the whole of a text: elsewhere they would blot out words. */
const LONG = 8;

/** Annotations without the secrets: `kubectl apply` keeps a copy of what it sent in one of them. */
export function withoutSecrets(annotations: Record<string, string>, secrets: readonly string[]): Record<string, string> {
  const long = secrets.filter((secret) => secret.length >= LONG);
  const without = (text: string) => (secrets.includes(text) ? MASK : long.reduce((left, secret) => left.replaceAll(secret, MASK), text));
  const inside = (value: unknown): unknown => {
    if (typeof value === 'string') return without(value);
    if (Array.isArray(value)) return value.map(inside);
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, inside(one)]));
  };
  return Object.fromEntries(
    Object.entries(annotations).map(([key, text]) => {
      try {
        const copy: unknown = JSON.parse(text);
        const safe = inside(copy);
        return [key, isDeepStrictEqual(copy, safe) ? text : `${JSON.stringify(safe)}\n`];
      } catch {
        return [key, without(text)];
      }
    }),
  );
}
