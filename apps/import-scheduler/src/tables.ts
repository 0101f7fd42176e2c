import { Column, Entity, ForeignKey, Index, PrimaryColumn, Unique } from 'typeorm';
import { WantedImports1763710000000 } from './migrations/1763710000000-wanted-imports.ts';

/** A stream that takes images from registries, as it last said. Whoever imports for it claims this row. */
@Entity('wanted_stream')
@Unique('wanted_stream_name', ['namespace', 'name'])
@Index('wanted_stream_due', ['repositoryNextAttemptAt'], { where: `(repository_next_attempt_at IS NOT NULL)` })
@Index('wanted_stream_claimed', ['claimedBy'], { where: `(claimed_by IS NOT NULL)` })
export class WantedStreamRow {
  @PrimaryColumn({ name: 'stream_uid', type: 'uuid', primaryKeyConstraintName: 'wanted_stream_pkey' })
  streamUid!: string;
  @Column({ type: 'text' })
  namespace!: string;
  @Column({ type: 'text' })
  name!: string;
  @Column({ name: 'resource_version', type: 'bigint', comment: 'Of the newest fact: an older one changes nothing' })
  resourceVersion!: string;
  @Column({ type: 'text', nullable: true, comment: 'Pull spec of a repository that is wanted as a whole' })
  repository!: string | null;
  @Column({ name: 'repository_insecure', type: 'boolean', default: false })
  repositoryInsecure!: boolean;
  @Column({ name: 'repository_attempts', type: 'integer', default: 0 })
  repositoryAttempts!: number;
  @Column({ name: 'repository_next_attempt_at', type: 'timestamptz', nullable: true, comment: 'Null: it need not be imported' })
  repositoryNextAttemptAt!: Date | null;
  @Column({ name: 'claimed_by', type: 'integer', nullable: true, comment: 'Instance that imports for the stream now; see Lease' })
  claimedBy!: number | null;
}

/** A tag of such a stream, as its spec says. */
@Entity('wanted_tag')
@Index('wanted_tag_due', ['nextAttemptAt'], { where: `(next_attempt_at IS NOT NULL)` })
export class WantedTagRow {
  @PrimaryColumn({ name: 'stream_uid', type: 'uuid', primaryKeyConstraintName: 'wanted_tag_pkey' })
  @ForeignKey(() => WantedStreamRow, { name: 'wanted_tag_of_stream', onDelete: 'CASCADE' })
  streamUid!: string;
  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'wanted_tag_pkey' })
  tag!: string;
  @Column({ type: 'text', comment: 'Pull spec, as it was written' })
  source!: string;
  @Column({ type: 'bigint', nullable: true, comment: 'Of the spec tag' })
  generation!: string | null;
  @Column({ type: 'boolean' })
  insecure!: boolean;
  @Column({ type: 'boolean' })
  scheduled!: boolean;
  @Column({ name: 'import_mode', type: 'text' })
  importMode!: string;
  @Column({ name: 'reference_policy', type: 'text' })
  referencePolicy!: string;
  @Column({ name: 'prefer_arch', type: 'text', nullable: true })
  preferArch!: string | null;
  @Column({ name: 'prefer_os', type: 'text', nullable: true })
  preferOs!: string | null;
  @Column({ type: 'integer', default: 0, comment: 'Failed ones since it became due' })
  attempts!: number;
  @Column({ name: 'next_attempt_at', type: 'timestamptz', nullable: true, comment: 'Null: it need not be imported' })
  nextAttemptAt!: Date | null;
}

/** What a Store of this service is opened with. */
export const database = {
  schema: 'import_scheduler',
  entities: [WantedStreamRow, WantedTagRow],
  migrations: [WantedImports1763710000000],
};
