import { Column, Entity, Index, PrimaryColumn, Unique } from 'typeorm';

/* Objects of clusters that follow tags, and the tags that they follow. */

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
