import { Column, Entity, ForeignKey, Index, PrimaryColumn, PrimaryGeneratedColumn, Unique } from 'typeorm';

/** A reference that is looked at from time to time: one look serves every tag that follows it with the same credentials, in the same way. */
@Entity('scheduled_import')
@Unique('scheduled_import_key', ['host', 'repository', 'reference', 'insecure', 'importMode', 'credentials'])
@Index('scheduled_import_due', ['nextCheckAt'], { where: `((claimed_by IS NULL) AND (NOT woken))` })
@Index('scheduled_import_woken', ['nextCheckAt'], { where: `((claimed_by IS NULL) AND woken)` })
@Index('scheduled_import_claimed', ['claimedBy'], { where: `(claimed_by IS NOT NULL)` })
@Index('scheduled_import_failing', ['id'], { where: `(failures > 0)` })
export class ScheduledImportRow {
  @PrimaryGeneratedColumn('identity', { type: 'bigint', generatedIdentity: 'ALWAYS', primaryKeyConstraintName: 'scheduled_import_pkey' })
  id!: string;
  @Column({ type: 'text', comment: 'As it is contacted' })
  host!: string;
  @Column({ type: 'text' })
  repository!: string;
  @Column({ type: 'text', comment: 'A tag or a digest' })
  reference!: string;
  @Column({ type: 'boolean' })
  insecure!: boolean;
  @Column({ name: 'import_mode', type: 'text' })
  importMode!: string;
  @Column({ type: 'text', comment: 'What they come to, hashed; empty: none' })
  credentials!: string;
  @Column({ type: 'text', nullable: true, comment: 'Served last; null where some tag that follows may not have it' })
  digest!: string | null;
  @Column({ type: 'integer', default: 0 })
  failures!: number;
  @Column({ type: 'boolean', default: false })
  refused!: boolean;
  @Column({ type: 'text', nullable: true })
  reason!: string | null;
  @Column({ type: 'text', nullable: true, comment: 'The failure that those who follow were told of' })
  told!: string | null;
  @Column({ type: 'boolean', default: false })
  announced!: boolean;
  @Column({ name: 'announced_digest', type: 'text', nullable: true })
  announcedDigest!: string | null;
  @Column({ type: 'integer', default: 0, comment: 'For what was announced' })
  looks!: number;
  @Column({ type: 'boolean', default: false, comment: 'Goes before those whose turn it is' })
  woken!: boolean;
  @Column({ type: 'bigint', default: 0, comment: 'Counts changes from outside, so that a check under way does not undo them' })
  touched!: string;
  @Column({ name: 'next_check_at', type: 'timestamptz' })
  nextCheckAt!: Date;
  @Column({ name: 'claimed_by', type: 'integer', nullable: true, comment: 'Instance that looks at it now; see Lease' })
  claimedBy!: number | null;
  @Column({ name: 'checked_at', type: 'timestamptz', nullable: true })
  checkedAt!: Date | null;
  @Column({ name: 'changed_at', type: 'timestamptz', nullable: true, comment: 'When it was last seen to be another' })
  changedAt!: Date | null;
  @Column({ type: 'timestamptz' })
  created!: Date;
}

/** A tag that follows such a reference. */
@Entity('scheduled_tag')
@Index('scheduled_tag_following', ['importId'])
@Index('scheduled_tag_in', ['namespace'])
@Index('scheduled_tag_unseated', ['namespace'], { where: `(import_id IS NULL)` })
@ForeignKey('WantedTagRow', ['streamUid', 'tag'], ['streamUid', 'tag'], { name: 'scheduled_tag_of_wanted', onDelete: 'CASCADE' })
export class ScheduledTagRow {
  @PrimaryColumn({ name: 'stream_uid', type: 'uuid', primaryKeyConstraintName: 'scheduled_tag_pkey' })
  streamUid!: string;
  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'scheduled_tag_pkey' })
  tag!: string;
  @Column({ type: 'text' })
  namespace!: string;
  @Column({ name: 'import_id', type: 'bigint', nullable: true, comment: 'The check that serves it; null until its credentials are known' })
  @ForeignKey(() => ScheduledImportRow, { name: 'scheduled_tag_of_import' })
  importId!: string | null;
  @Column({ type: 'boolean', default: false, comment: 'What serves it next is looked at at once' })
  woken!: boolean;
  @Column({ name: 'interval_ms', type: 'bigint' })
  intervalMs!: string;
  @Column({ type: 'text', nullable: true, comment: 'Why the interval is not the one that is annotated' })
  problem!: string | null;
  @Column({
    type: 'text',
    nullable: true,
    comment: 'What was served when it was last imported; null where that is not known, or it failed since',
  })
  digest!: string | null;
  @Column({ type: 'text', nullable: true, comment: 'What was made of it' })
  image!: string | null;
}
