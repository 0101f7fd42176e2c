import { Column, Entity, Index, PrimaryColumn, Unique } from 'typeorm';
import type { Circuit } from '@millrace/domain/circuit';

/* What is called when a trigger fires, and each call that is made. */

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
  @Column({ name: 'last_request', type: 'text', nullable: true, comment: 'As attempt.request' })
  lastRequest!: string | null;
  @Column({ name: 'last_headers', type: 'text', nullable: true, comment: 'As attempt.headers' })
  lastHeaders!: string | null;
  @Column({
    name: 'last_outcome',
    type: 'text',
    nullable: true,
    comment: 'Null where its last attempt is in the table of attempts, as those before it are',
  })
  lastOutcome!: string | null;
  @Column({ name: 'last_next_at', type: 'timestamptz', nullable: true })
  lastNextAt!: Date | null;
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

/** One call that was made for a delivery, before its last one: what was sent, what came back, what followed. */
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
