import { Check, Column, Entity, Index, PrimaryColumn, PrimaryGeneratedColumn, Unique } from 'typeorm';
import { Pushes1763700000000 } from './migrations/1763700000000-pushes.ts';
import { Hints1764115200000 } from './migrations/1764115200000-hints.ts';

/** One event of a registry: a push of a tag on its way to becoming a mapping, or what could not be read as one. */
@Entity('push')
@Unique('push_event', ['registry', 'eventId'])
@Check('push_state', `state IN ('pending', 'mapped', 'quarantined')`)
@Index('push_order', ['registry', 'repository', 'tag', 'id'], { where: `(state = 'pending'::text)` })
@Index('push_due', ['registry', 'nextAttemptAt', 'id'], {
  where: `((state = 'pending'::text) AND (claimed_by IS NULL) AND (next_attempt_at IS NOT NULL))`,
})
@Index('push_claimed', ['claimedBy'], { where: `((state = 'pending'::text) AND (claimed_by IS NOT NULL))` })
@Index('push_mapped', ['ended'], { where: `(state = 'mapped'::text)` })
@Index('push_listed', ['state', 'id'], { where: `(state <> 'mapped'::text)` })
export class PushRow {
  @PrimaryGeneratedColumn('identity', { type: 'bigint', generatedIdentity: 'ALWAYS', primaryKeyConstraintName: 'push_pkey' })
  id!: string;
  @Column({ type: 'text' })
  registry!: string;
  @Column({
    name: 'event_id',
    type: 'text',
    comment: 'The registry’s own id of the event; made from the content where it gave no usable one',
  })
  eventId!: string;
  @Column({ type: 'text', default: '' })
  repository!: string;
  @Column({ type: 'text', default: '' })
  tag!: string;
  @Column({ type: 'text', default: '' })
  digest!: string;
  @Column({ name: 'media_type', type: 'text', default: '' })
  mediaType!: string;
  @Column({ name: 'occurred_at', type: 'text', default: '', comment: 'By the registry’s clock, RFC 3339 as it wrote it' })
  occurredAt!: string;
  @Column({ type: 'text', nullable: true })
  actor!: string | null;
  @Column({
    type: 'text',
    nullable: true,
    comment: 'Which process of the registry told it, and under which host name it was pushed to, as JSON',
  })
  origin!: string | null;
  @Column({ type: 'text' })
  traceparent!: string;
  @Column({ type: 'text' })
  state!: 'pending' | 'mapped' | 'quarantined';
  @Column({ type: 'text', nullable: true })
  reason!: string | null;
  @Column({ type: 'integer', default: 0 })
  attempts!: number;
  @Column({
    name: 'next_attempt_at',
    type: 'timestamptz',
    nullable: true,
    comment: 'Null while an earlier push of the same tag has not ended',
  })
  nextAttemptAt!: Date | null;
  @Column({ name: 'claimed_by', type: 'integer', nullable: true, comment: 'Instance that looks it up now; see Lease' })
  claimedBy!: number | null;
  @Column({ type: 'timestamptz', default: () => 'now()' })
  received!: Date;
  @Column({ type: 'timestamptz', default: () => 'now()', comment: 'When it was told, or replayed: it is given up a day after that' })
  since!: Date;
  @Column({ type: 'timestamptz', nullable: true })
  ended!: Date | null;
  @Column({ type: 'text', nullable: true, comment: 'What was told, where it could not be read' })
  body!: string | null;
}

/** An event that was told as a hint: a repeat is none. */
@Entity('hint')
@Index('hint_received', ['received'])
export class HintRow {
  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'hint_pkey' })
  registry!: string;
  @PrimaryColumn({
    name: 'event_id',
    type: 'text',
    primaryKeyConstraintName: 'hint_pkey',
    comment: 'The registry’s own id of the event, or one made of what identifies the push',
  })
  eventId!: string;
  @Column({ type: 'timestamptz', default: () => 'now()' })
  received!: Date;
}

/** What a Store of this service is opened with. */
export const database = { schema: 'registry_mapping', entities: [PushRow, HintRow], migrations: [Pushes1763700000000, Hints1764115200000] };
