import { Check, Column, Entity, Index, PrimaryColumn, Unique } from 'typeorm';
import type { Circuit } from '@millrace/domain/circuit';
import type { TriggerSpec } from '@millrace/domain/image-trigger';
import type { ControlMemory } from '@millrace/domain/pending-change';
import { TriggersDeliveries1763700000000 } from './migrations/1763700000000-triggers-deliveries.ts';
import { Workloads1763790000000 } from './migrations/1763790000000-workloads.ts';
import { WebhookFindings1763800000000 } from './migrations/1763800000000-webhook-findings.ts';
import { EndpointsAttempts1763810000000 } from './migrations/1763810000000-endpoints-attempts.ts';
import { ChangeControl1763820000000 } from './migrations/1763820000000-change-control.ts';
import { FanOuts1763830000000 } from './migrations/1763830000000-fan-outs.ts';
import { LessWritten1763860000000 } from './migrations/1763860000000-less-written.ts';
import { webhookKey } from './webhook-secrets.ts';

/*
 * The rows of trigger-dispatcher. Who writes several of them in one transaction takes them in this order, so that no two writers
 * wait for each other in a circle: fact_position, fan_out, trigger (by uid), webhook, followed_tag (by name), workload (by uid),
 * firing, delivery, attempt, outbox, and last revision. Several webhooks are taken by trigger and name.
 */

/** The one counter of resourceVersions; see changes.ts for the promise that it carries. */
@Entity('revision')
@Check('revision_single', 'single')
export class RevisionRow {
  @PrimaryColumn({ type: 'boolean', default: true, primaryKeyConstraintName: 'revision_pkey' })
  single!: boolean;
  @Column({ type: 'bigint', comment: 'The newest number that was handed out' })
  value!: string;
  @Column({ type: 'bigint', default: 0, comment: 'Changes up to here are no longer known' })
  pruned!: string;
}

/** The change feed of triggers and workloads: one row per changed object and transaction. */
@Entity('change')
export class ChangeRow {
  @PrimaryColumn({ type: 'bigint', primaryKeyConstraintName: 'change_pkey' })
  revision!: string;
  @Column({ type: 'text' })
  namespace!: string;
  @Column({ type: 'text' })
  name!: string;
  @Column({ type: 'text' })
  type!: 'ADDED' | 'MODIFIED' | 'DELETED';
  @Column({ type: 'text', default: 'imagetriggers' })
  resource!: string;
  @Column({
    type: 'text',
    nullable: true,
    comment: 'As clients read it; its last state where it was deleted. Null: as trigger has it, while resource_version is this revision',
  })
  object!: string | null;
  @Column({ name: 'old_labels', type: 'jsonb', nullable: true, comment: 'What it was selected by before' })
  oldLabels!: Record<string, string> | null;
  @Column({ type: 'timestamptz', default: () => 'now()' })
  recorded!: Date;
}

/** Where a tag stood, as a trigger's status tells it. */
export interface Standing {
  streamUid?: string;
  generation: number;
  image?: string;
  at: string;
}

@Entity('trigger')
@Unique('trigger_name', ['namespace', 'name'])
@Index('trigger_from', ['fromNamespace', 'fromStream', 'fromTag', 'uid'])
@Index('trigger_due', ['lookAt'], { where: 'look_at IS NOT NULL' })
export class TriggerRow {
  @PrimaryColumn({ type: 'uuid', primaryKeyConstraintName: 'trigger_pkey' })
  uid!: string;
  @Column({ type: 'text' })
  namespace!: string;
  @Column({ type: 'text' })
  name!: string;
  @Column({ type: 'timestamptz' })
  created!: Date;
  @Column({ type: 'bigint' })
  generation!: string;
  @Column({ name: 'resource_version', type: 'bigint' })
  resourceVersion!: string;
  @Column({ type: 'jsonb', nullable: true })
  labels!: Record<string, string> | null;
  @Column({ type: 'jsonb', nullable: true })
  annotations!: Record<string, string> | null;
  @Column({ type: 'jsonb', comment: 'TriggerSpec: complete, credentials masked' })
  spec!: TriggerSpec;
  @Column({ name: 'from_namespace', type: 'text' })
  fromNamespace!: string;
  @Column({ name: 'from_stream', type: 'text' })
  fromStream!: string;
  @Column({ name: 'from_tag', type: 'text' })
  fromTag!: string;
  @Column({ type: 'jsonb', nullable: true, comment: 'Where the tag stood when the trigger began to follow it' })
  baseline!: Standing | null;
  @Column({ name: 'last_triggered', type: 'jsonb', nullable: true })
  lastTriggered!: Standing | null;
  @Column({ type: 'text', nullable: true, comment: 'The newest tag.moved that may not fire yet, as JSON' })
  held!: string | null;
  @Column({ type: 'jsonb', nullable: true, comment: 'ControlMemory; null while nothing has ever held a change back' })
  control!: ControlMemory | null;
  @Column({
    name: 'look_at',
    type: 'timestamptz',
    nullable: true,
    comment: 'When it is decided about again; null where nothing changes by time',
  })
  lookAt!: Date | null;
  @Column({
    name: 'begun_after',
    type: 'bigint',
    default: 0,
    comment: 'The newest fan-out when it began to follow its tag: none up to it is for this trigger',
  })
  begunAfter!: string;
}

/** A move of a tag that more follow than one transaction is for: on its way to them, in parts. */
@Entity('fan_out')
@Index('fan_out_of_tag', ['followers', 'namespace', 'stream', 'tag', 'id'])
export class FanOutRow {
  @PrimaryColumn({ type: 'bigint', primaryKeyConstraintName: 'fan_out_pkey', generated: 'identity', generatedIdentity: 'ALWAYS' })
  id!: string;
  @Column({ type: 'text', comment: 'triggers or workloads' })
  followers!: 'triggers' | 'workloads';
  @Column({ type: 'text' })
  namespace!: string;
  @Column({ type: 'text' })
  stream!: string;
  @Column({ type: 'text' })
  tag!: string;
  @Column({ type: 'text', comment: 'tag.moved or pullspec.changed' })
  event!: string;
  @Column({ name: 'event_id', type: 'text' })
  eventId!: string;
  @Column({ type: 'text', comment: 'The move, JSON' })
  move!: string;
  @Column({ type: 'text' })
  traceparent!: string;
  @Column({ type: 'uuid', nullable: true, comment: 'Followers up to this uid have it' })
  after!: string | null;
  @Column({ type: 'integer', default: 0, comment: 'How many followers have it' })
  brought!: number;
  @Column({ type: 'timestamptz', default: () => 'now()' })
  created!: Date;
}

/** How far a trigger is with one stream object. */
@Entity('trigger_tag')
export class TriggerTagRow {
  @PrimaryColumn({ name: 'trigger_uid', type: 'uuid', primaryKeyConstraintName: 'trigger_tag_pkey' })
  triggerUid!: string;
  @PrimaryColumn({ name: 'stream_uid', type: 'text', primaryKeyConstraintName: 'trigger_tag_pkey' })
  streamUid!: string;
  @Column({ type: 'bigint', comment: 'Moves of the tag up to here have fired, or came before the trigger' })
  generation!: string;
  @Column({ name: 'moved_at', type: 'text' })
  movedAt!: string;
}

/** What is known of a webhook beside what was written. */
export interface Findings {
  /** Why it cannot be called: a Secret that is not there, or does not hold what it should. */
  problem?: string;
  /** What receivers verify with, the present one first. */
  publicKeys?: string[];
}

/** Where a trigger's webhook is sent, how fast, and what is known of the receiver. */
@Entity('webhook')
@Index('webhook_due', ['dueAt'], { where: 'due_at IS NOT NULL' })
@Index('webhook_failing', ['circuit'], { where: "circuit <> 'closed' OR disabled_at IS NOT NULL OR gone_at IS NOT NULL" })
@Index('webhook_problem', ['triggerUid', 'name'], { where: "(findings -> 'problem') IS NOT NULL" })
export class WebhookRow {
  @PrimaryColumn({ name: 'trigger_uid', type: 'uuid', primaryKeyConstraintName: 'webhook_pkey' })
  triggerUid!: string;
  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'webhook_pkey' })
  name!: string;
  @Column({ type: 'text' })
  url!: string;
  @Column({ type: 'text' })
  host!: string;
  @Column({ name: 'timeout_seconds', type: 'integer' })
  timeoutSeconds!: number;
  @Column({ type: 'bytea', comment: 'Secret and headers, encrypted; see sealing.ts' })
  sealed!: Buffer;
  @Column({
    name: 'gone_at',
    type: 'timestamptz',
    nullable: true,
    comment: 'When it answered 410: no more deliveries are made for it until it is changed',
  })
  goneAt!: Date | null;
  @Column({ type: 'jsonb', nullable: true, comment: 'What its Secrets lack, and its public keys' })
  findings!: Findings | null;
  @Column({ type: 'boolean', default: false, comment: 'A delivery waits until the one before it was delivered or is over' })
  ordered!: boolean;
  @Column({ type: 'integer', nullable: true })
  parallel!: number | null;
  @Column({ name: 'rate_calls', type: 'integer', nullable: true })
  rateCalls!: number | null;
  @Column({ name: 'rate_ms', type: 'integer', nullable: true })
  rateMs!: number | null;
  @Column({
    name: 'paced_until',
    type: 'timestamptz',
    nullable: true,
    comment: 'Its rate: when the calls that were made would be over, were they spread evenly',
  })
  pacedUntil!: Date | null;
  @Column({
    name: 'due_at',
    type: 'timestamptz',
    nullable: true,
    comment: 'When to look for deliveries to be made; null while none is known to wait',
  })
  dueAt!: Date | null;
  @Column({ type: 'text', default: 'closed' })
  circuit!: Circuit;
  @Column({ type: 'integer', default: 0, comment: 'In a row, since the last success' })
  failures!: number;
  @Column({ name: 'failing_ms', type: 'bigint', default: 0, comment: 'Probes and the waits between them, added up' })
  failingMs!: string;
  @Column({ name: 'failing_since', type: 'timestamptz', nullable: true })
  failingSince!: Date | null;
  @Column({ name: 'failing_reason', type: 'text', nullable: true })
  failingReason!: string | null;
  @Column({
    name: 'probe_at',
    type: 'timestamptz',
    nullable: true,
    comment: 'While the circuit is open: when the oldest delivery is tried next',
  })
  probeAt!: Date | null;
  @Column({
    name: 'disabled_at',
    type: 'timestamptz',
    nullable: true,
    comment: 'When it had failed for too long: what waits for it is kept, and not sent',
  })
  disabledAt!: Date | null;
}

/** One move of a tag that fired one trigger. */
@Entity('firing')
@Index('firing_created', ['created'])
export class FiringRow {
  @PrimaryColumn({
    type: 'text',
    primaryKeyConstraintName: 'firing_pkey',
    comment: 'Trigger, stream object, tag and generation: one move fires once',
  })
  id!: string;
  @Column({ name: 'trigger_uid', type: 'uuid' })
  triggerUid!: string;
  @Column({ type: 'text' })
  kind!: string;
  @Column({ type: 'text', comment: 'Of the stream' })
  namespace!: string;
  @Column({ type: 'text' })
  stream!: string;
  @Column({ type: 'text' })
  tag!: string;
  @Column({ type: 'bigint' })
  generation!: string;
  @Column({ type: 'text' })
  image!: string;
  @Column({ type: 'text', comment: 'The CloudEvent as webhooks get it, JSON; empty where the trigger has none' })
  event!: string;
  @Column({ type: 'text' })
  traceparent!: string;
  @Column({ type: 'timestamptz' })
  created!: Date;
}

/** pending: not tried yet; gone: the receiver answered 410; dead: given up. */
export type DeliveryState = 'pending' | 'retrying' | 'delivered' | 'gone' | 'dead' | 'canceled';

/** One call of one webhook for one firing. */
@Entity('delivery')
@Unique('delivery_once', ['firingId', 'webhook'])
@Index('delivery_due', ['triggerUid', 'webhook', 'nextAttemptAt', 'position'], {
  where: 'next_attempt_at IS NOT NULL AND claimed_by IS NULL',
})
@Index('delivery_claimed', ['triggerUid', 'webhook'], { where: 'claimed_by IS NOT NULL' })
@Index('delivery_of_trigger', ['triggerUid', 'webhook', 'position'], { where: 'finished_at IS NULL' })
@Index('delivery_failed', ['namespace', 'created', 'name'], { where: "state IN ('dead', 'gone')" })
@Index('delivery_newest', ['namespace', 'created', 'name'])
@Index('delivery_finished', ['finishedAt'], { where: 'finished_at IS NOT NULL' })
export class DeliveryRow {
  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'delivery_pkey', comment: 'The trigger and the beginning of the uid' })
  name!: string;
  @Column({ type: 'uuid' })
  uid!: string;
  @Column({ type: 'bigint', default: 1 })
  version!: string;
  @Column({ name: 'firing_id', type: 'text' })
  firingId!: string;
  @Column({ type: 'text' })
  webhook!: string;
  @Column({ type: 'text' })
  namespace!: string;
  @Column({ name: 'trigger_uid', type: 'uuid' })
  triggerUid!: string;
  @Column({ name: 'trigger_name', type: 'text' })
  triggerName!: string;
  @Column({ type: 'text', comment: 'Host and port of the webhook: what shares of the parallel calls are counted by' })
  host!: string;
  @Column({ type: 'text' })
  state!: DeliveryState;
  @Column({ type: 'integer', default: 0 })
  attempts!: number;
  @Column({ name: 'started_at', type: 'timestamptz', nullable: true, comment: 'First attempt since it was made or replayed' })
  startedAt!: Date | null;
  @Column({ name: 'next_attempt_at', type: 'timestamptz', nullable: true, comment: 'Null when it is over' })
  nextAttemptAt!: Date | null;
  @Column({
    name: 'claimed_by',
    type: 'integer',
    nullable: true,
    comment: 'The instance that is calling the webhook; counts only while that instance lives',
  })
  claimedBy!: number | null;
  @Column({ name: 'last_attempt_at', type: 'timestamptz', nullable: true })
  lastAttemptAt!: Date | null;
  @Column({ name: 'last_status', type: 'integer', nullable: true })
  lastStatus!: number | null;
  @Column({ name: 'last_error', type: 'text', nullable: true })
  lastError!: string | null;
  @Column({ name: 'last_ms', type: 'integer', nullable: true })
  lastMs!: number | null;
  @Column({ name: 'last_answer', type: 'text', nullable: true })
  lastAnswer!: string | null;
  @Column({ type: 'timestamptz' })
  created!: Date;
  @Column({ name: 'finished_at', type: 'timestamptz', nullable: true })
  finishedAt!: Date | null;
  @Column({ type: 'bigint', generated: 'identity', comment: 'Deliveries of one webhook are in the order in which it fired' })
  position!: string;
  @Column({ type: 'integer', default: 0, comment: 'Attempts ever, also before replays' })
  calls!: number;
  @Column({ type: 'integer', default: 0, comment: 'Of its attempts those that count: not those that probed an open circuit' })
  tries!: number;
  @Column({ name: 'spent_ms', type: 'bigint', default: 0, comment: 'What its tries and the waits that were given took' })
  spentMs!: string;
}

/** One call that was made for a delivery: what was sent, what came back, what followed. */
@Entity('attempt')
export class AttemptRow {
  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'attempt_pkey' })
  delivery!: string;
  @PrimaryColumn({
    type: 'integer',
    primaryKeyConstraintName: 'attempt_pkey',
    comment: 'Counts the attempts of the delivery, over its replays',
  })
  number!: number;
  @Column({ type: 'timestamptz' })
  at!: Date;
  @Column({ type: 'integer' })
  ms!: number;
  @Column({ type: 'text', nullable: true, comment: 'Method, URL without its query, headers with credentials masked, size; JSON' })
  request!: string | null;
  @Column({ type: 'integer', nullable: true })
  status!: number | null;
  @Column({ type: 'text', nullable: true, comment: 'Of the answer, those worth having; JSON' })
  headers!: string | null;
  @Column({ type: 'text', nullable: true, comment: 'First 2 kB' })
  answer!: string | null;
  @Column({ type: 'text', nullable: true })
  error!: string | null;
  @Column({ type: 'text' })
  outcome!: string;
  @Column({ name: 'next_at', type: 'timestamptz', nullable: true })
  nextAt!: Date | null;
}

/** A workload, DeploymentConfig, BuildConfig or Build, as it was sent, with its images resolved. */
@Entity('workload')
@Unique('workload_name', ['resource', 'namespace', 'name'])
export class WorkloadRow {
  @PrimaryColumn({ type: 'uuid', primaryKeyConstraintName: 'workload_pkey' })
  uid!: string;
  @Column({ type: 'text', comment: 'Plural, as in the path' })
  resource!: string;
  @Column({ type: 'text' })
  namespace!: string;
  @Column({ type: 'text' })
  name!: string;
  @Column({ type: 'timestamptz' })
  created!: Date;
  @Column({ type: 'bigint' })
  generation!: string;
  @Column({ name: 'resource_version', type: 'bigint' })
  resourceVersion!: string;
  @Column({ type: 'jsonb', nullable: true })
  labels!: Record<string, string> | null;
  @Column({ type: 'text', comment: 'JSON as it was sent, with its images resolved, without what stands in the other columns' })
  object!: string;
  @Column({ type: 'text', nullable: true, comment: 'Why its triggers, or some of them, do nothing' })
  problem!: string | null;
}

/** A tag that a workload follows, or did, as it was last heard of. */
@Entity('followed_tag')
export class FollowedTagRow {
  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'followed_tag_pkey' })
  namespace!: string;
  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'followed_tag_pkey' })
  stream!: string;
  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'followed_tag_pkey' })
  tag!: string;
  @Column({ name: 'stream_uid', type: 'text', nullable: true, comment: 'Null while nothing was heard of the tag' })
  streamUid!: string | null;
  @Column({ type: 'bigint', nullable: true })
  generation!: string | null;
  @Column({ name: 'moved_at', type: 'text', nullable: true })
  movedAt!: string | null;
  @Column({ type: 'text', nullable: true, comment: 'The last tag.moved with what to pull now, as JSON; null while the tag means nothing' })
  move!: string | null;
  @Column({ type: 'timestamptz', default: () => 'now()', comment: 'When a workload last began to follow it, within an hour' })
  noted!: Date;
}

/** Which workload follows which tag. */
@Entity('workload_tag')
@Index('workload_tag_followers', ['namespace', 'stream', 'tag', 'workloadUid'])
export class WorkloadTagRow {
  @PrimaryColumn({ name: 'workload_uid', type: 'uuid', primaryKeyConstraintName: 'workload_tag_pkey' })
  workloadUid!: string;
  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'workload_tag_pkey' })
  namespace!: string;
  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'workload_tag_pkey' })
  stream!: string;
  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'workload_tag_pkey' })
  tag!: string;
}

/** Which workload would follow which tag were its trigger not paused: for explanations, so that no move has to look at it. */
@Entity('paused_tag')
@Index('paused_tag_of', ['namespace', 'stream', 'tag'])
export class PausedTagRow {
  @PrimaryColumn({ name: 'workload_uid', type: 'uuid', primaryKeyConstraintName: 'paused_tag_pkey' })
  workloadUid!: string;
  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'paused_tag_pkey' })
  namespace!: string;
  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'paused_tag_pkey' })
  stream!: string;
  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'paused_tag_pkey' })
  tag!: string;
}

/** The webhooks, for who brings what is secret of them under another key. */
export const sealedTable = {
  table: 'webhook',
  key: ['trigger_uid', 'name'],
  belongsTo: ([triggerUid = '', name = '']: readonly string[]) => webhookKey({ triggerUid, name }),
};

/** What a Store of this service is opened with. */
export const database = {
  schema: 'trigger_dispatcher',
  entities: [
    RevisionRow,
    ChangeRow,
    TriggerRow,
    TriggerTagRow,
    FanOutRow,
    WebhookRow,
    FiringRow,
    DeliveryRow,
    AttemptRow,
    WorkloadRow,
    FollowedTagRow,
    WorkloadTagRow,
    PausedTagRow,
  ],
  migrations: [
    TriggersDeliveries1763700000000,
    Workloads1763790000000,
    WebhookFindings1763800000000,
    EndpointsAttempts1763810000000,
    ChangeControl1763820000000,
    FanOuts1763830000000,
    LessWritten1763860000000,
  ],
};
