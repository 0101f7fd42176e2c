import { Check, Column, Entity, Index, PrimaryColumn, Unique } from 'typeorm';
import type { TriggerSpec } from '@millrace/domain/image-trigger';
import type { ControlMemory } from '@millrace/domain/pending-change';
import { AttemptRow, DeliveryRow, FiringRow, WebhookRow } from './delivery-tables.ts';
import { TriggersDeliveries1763700000000 } from './migrations/1763700000000-triggers-deliveries.ts';
import { Workloads1763790000000 } from './migrations/1763790000000-workloads.ts';
import { WebhookFindings1763800000000 } from './migrations/1763800000000-webhook-findings.ts';
import { EndpointsAttempts1763810000000 } from './migrations/1763810000000-endpoints-attempts.ts';
import { ChangeControl1763820000000 } from './migrations/1763820000000-change-control.ts';
import { FanOuts1763830000000 } from './migrations/1763830000000-fan-outs.ts';
import { LessWritten1763860000000 } from './migrations/1763860000000-less-written.ts';
import { LastAttempt1763870000000 } from './migrations/1763870000000-last-attempt.ts';
import { webhookKey } from './webhook-secrets.ts';
import { FollowedTagRow, PausedTagRow, WorkloadRow, WorkloadTagRow } from './workload-tables.ts';

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
    LastAttempt1763870000000,
  ],
};
