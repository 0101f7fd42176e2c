import { Check, Column, Entity, Index, PrimaryColumn, Unique } from 'typeorm';
import type { TagEventCondition } from '@millrace/domain/image-stream';
import type { ServiceAccount } from '@millrace/domain/service-account';
import type { SourceMark } from '@millrace/domain/tag-history';
import { StreamsTagsImages1763690000000 } from './migrations/1763690000000-streams-tags-images.ts';
import { NamespacesSecrets1763690100000 } from './migrations/1763690100000-namespaces-secrets.ts';
import { AppliedSecrets1763690310000 } from './migrations/1763690310000-applied-secrets.ts';
import { ServiceAccounts1763690300000 } from './migrations/1763690300000-service-accounts.ts';
import { TagChanges1763840000000 } from './migrations/1763840000000-tag-changes.ts';

/*
 * The rows of tag-store. Who writes several of them in one transaction takes them in this order, so that no two writers wait
 * for each other in a circle: fact_position, stream (by namespace and name), image (by name), tag, tag_change, outbox, secret, service_account, namespace,
 * and last revision.
 * What a client wrote is kept as text where it may hold a NUL character, which jsonb refuses.
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

@Entity('stream')
@Unique('stream_name', ['namespace', 'name'])
export class StreamRow {
  @PrimaryColumn({ type: 'uuid', primaryKeyConstraintName: 'stream_pkey' })
  uid!: string;
  @Column({ type: 'text' })
  namespace!: string;
  @Column({ type: 'text' })
  name!: string;
  @Column({ type: 'timestamptz' })
  created!: Date;
  @Column({ type: 'bigint', comment: 'Counts changes of the spec' })
  generation!: string;
  @Column({ name: 'resource_version', type: 'bigint', default: 0, comment: 'Set just before commit, by changes.ts' })
  resourceVersion!: string;
  @Column({ type: 'jsonb', nullable: true })
  labels!: Record<string, string> | null;
  @Column({ type: 'jsonb', nullable: true })
  annotations!: Record<string, string> | null;
  @Column({ type: 'jsonb', nullable: true, comment: 'What else of metadata a client may set: ownerReferences, finalizers' })
  metadata!: Record<string, unknown> | null;
  @Column({ type: 'jsonb', comment: 'ImageStreamSpec in stored form: defaults filled in, tags sorted by name' })
  spec!: unknown;
}

/**
 * What a tag is now. A stream shows it where it has items or conditions; the row outlives the tag's deletion, because the count
 * of its moves goes on and what its registries told before stays known.
 */
@Entity('tag')
@Index('tag_look_at', ['lookAt'], { where: 'look_at IS NOT NULL' })
@Index('tag_looked_at', ['lookedAt'], { where: 'look_at IS NOT NULL' })
@Index('tag_controlled', ['streamUid'], { where: 'control IS NOT NULL' })
export class TagRow {
  @PrimaryColumn({ name: 'stream_uid', type: 'uuid', primaryKeyConstraintName: 'tag_pkey' })
  streamUid!: string;
  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'tag_pkey' })
  name!: string;
  @Column({ type: 'bigint', default: 0, comment: 'How many history items there are' })
  items!: string;
  @Column({ name: 'top_position', type: 'numeric', nullable: true, comment: 'Which of them is the newest; null where there is none' })
  topPosition!: string | null;
  @Column({ type: 'text', nullable: true, comment: 'Copied from the newest item, as the next three' })
  image!: string | null;
  @Column({ type: 'text', nullable: true })
  reference!: string | null;
  @Column({ type: 'timestamptz', nullable: true })
  created!: Date | null;
  @Column({ type: 'bigint', nullable: true })
  generation!: string | null;
  @Column({ type: 'jsonb', nullable: true })
  conditions!: TagEventCondition[] | null;
  @Column({ type: 'bigint', default: 0, comment: 'Counts tag.moved: the generation of the last one' })
  moves!: string;
  @Column({
    name: 'last_move',
    type: 'text',
    nullable: true,
    comment: 'The last tag.moved, as JSON, without the labels: they are the image’s',
  })
  lastMove!: string | null;
  @Column({ type: 'jsonb', nullable: true, comment: 'The newest that each registry told, by its name' })
  marks!: Record<string, SourceMark> | null;
  @Column({
    type: 'text',
    nullable: true,
    comment: 'TagControlStatus as JSON: what waits and what was decided; null where the spec holds nothing back',
  })
  control!: string | null;
  @Column({ name: 'look_at', type: 'timestamptz', nullable: true, comment: 'When time alone may change the decision' })
  lookAt!: Date | null;
  @Column({
    name: 'looked_at',
    type: 'timestamptz',
    nullable: true,
    comment: 'When it was made; one of the future was made before the clock was set back',
  })
  lookedAt!: Date | null;
}

/** One item of a tag's history; the newest has the highest position. Late ones find a place between two others, hence numeric. */
@Entity('tag_item')
@Index('tag_item_cause', ['streamUid', 'tag', 'cause'], { unique: true, where: 'cause IS NOT NULL' })
@Index('tag_item_observed', ['streamUid', 'tag', 'source', 'observedAt'], { where: 'source IS NOT NULL' })
@Index('tag_item_image', ['image'])
export class TagItemRow {
  @PrimaryColumn({ name: 'stream_uid', type: 'uuid', primaryKeyConstraintName: 'tag_item_pkey' })
  streamUid!: string;
  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'tag_item_pkey' })
  tag!: string;
  @PrimaryColumn({ type: 'numeric', primaryKeyConstraintName: 'tag_item_pkey' })
  position!: string;
  @Column({ type: 'text', comment: 'Image name, a digest; empty for an external pull spec' })
  image!: string;
  @Column({ type: 'text', comment: 'Pull spec' })
  reference!: string;
  @Column({ type: 'timestamptz' })
  created!: Date;
  @Column({ type: 'bigint' })
  generation!: string;
  @Column({ type: 'text', nullable: true, comment: 'The registry that told it' })
  source!: string | null;
  @Column({ name: 'observed_at', type: 'text', collation: 'C', nullable: true, comment: 'By that registry’s clock, in a form that sorts' })
  observedAt!: string | null;
  @Column({ type: 'text', nullable: true, comment: 'The same for every repeat of what led to it' })
  cause!: string | null;
}

/**
 * A change of a tag that did not take effect when it came, because the spec holds changes back: the newest has the highest position. What was decided
 * stays for as long as facts are repeated, so that a repeat changes nothing.
 */
@Entity('tag_change')
@Index('tag_change_cause', ['streamUid', 'tag', 'cause'], { unique: true })
@Index('tag_change_observed', ['streamUid', 'tag', 'source', 'observedAt'], { where: 'source IS NOT NULL' })
@Index('tag_change_waiting', ['streamUid', 'tag', 'position'], { where: 'outcome IS NULL' })
@Index('tag_change_decided', ['decided'], { where: 'outcome IS NOT NULL' })
export class TagChangeRow {
  @PrimaryColumn({ name: 'stream_uid', type: 'uuid', primaryKeyConstraintName: 'tag_change_pkey' })
  streamUid!: string;
  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'tag_change_pkey' })
  tag!: string;
  @PrimaryColumn({ type: 'numeric', primaryKeyConstraintName: 'tag_change_pkey' })
  position!: string;
  @Column({ type: 'text', comment: 'Image name, a digest; empty for an external pull spec' })
  image!: string;
  @Column({ type: 'text', comment: 'Pull spec' })
  reference!: string;
  @Column({ type: 'timestamptz' })
  created!: Date;
  @Column({ type: 'bigint' })
  generation!: string;
  @Column({ type: 'text', nullable: true, comment: 'The registry that told it' })
  source!: string | null;
  @Column({ name: 'observed_at', type: 'text', collation: 'C', nullable: true, comment: 'By that registry’s clock, in a form that sorts' })
  observedAt!: string | null;
  @Column({ type: 'text', comment: 'The same for every repeat of what led to it' })
  cause!: string;
  @Column({ type: 'text', comment: 'As JSON, what its tag.moved will tell: the cause, and labels where they came with it' })
  brought!: string;
  @Column({ type: 'text', nullable: true })
  traceparent!: string | null;
  @Column({ type: 'timestamptz', comment: 'When it came, by our own clock' })
  since!: Date;
  @Column({ type: 'text', nullable: true, comment: 'What people said about it, as JSON' })
  verdicts!: string | null;
  @Column({ type: 'text', nullable: true, comment: 'Null while it waits; then taken, superseded, refused or dropped' })
  outcome!: string | null;
  @Column({ type: 'timestamptz', nullable: true })
  decided!: Date | null;
}

/** An immutable image. Only reference, labels and annotations ever change. */
@Entity('image')
export class ImageRow {
  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'image_pkey' })
  name!: string;
  @Column({ type: 'uuid' })
  uid!: string;
  @Column({ name: 'resource_version', type: 'bigint', default: 0, comment: 'Set just before commit, by changes.ts' })
  resourceVersion!: string;
  @Column({ type: 'timestamptz' })
  created!: Date;
  @Column({ type: 'jsonb', nullable: true })
  labels!: Record<string, string> | null;
  @Column({ type: 'jsonb', nullable: true })
  annotations!: Record<string, string> | null;
  @Column({ type: 'text', comment: 'Pull spec first recorded' })
  reference!: string;
  @Column({ type: 'text', comment: 'The Image as JSON, without metadata and dockerImageReference' })
  document!: string;
}

/** An index and one of its platform images. */
@Entity('image_child')
@Index('image_child_child', ['child'])
export class ImageChildRow {
  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'image_child_pkey' })
  parent!: string;
  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'image_child_pkey' })
  child!: string;
}

/** A namespace that somebody made; the view known_namespace has those too that are there because something is in them. */
@Entity('namespace')
@Unique('namespace_name', ['name'])
export class NamespaceRow {
  @PrimaryColumn({ type: 'uuid', primaryKeyConstraintName: 'namespace_pkey' })
  uid!: string;
  @Column({ type: 'text' })
  name!: string;
  @Column({ type: 'timestamptz' })
  created!: Date;
  @Column({ name: 'resource_version', type: 'bigint', default: 0, comment: 'Set just before commit, by changes.ts' })
  resourceVersion!: string;
  @Column({ type: 'jsonb', nullable: true })
  labels!: Record<string, string> | null;
  @Column({ type: 'jsonb', nullable: true })
  annotations!: Record<string, string> | null;
}

@Entity('secret')
@Unique('secret_name', ['namespace', 'name'])
export class SecretRow {
  @PrimaryColumn({ type: 'uuid', primaryKeyConstraintName: 'secret_pkey' })
  uid!: string;
  @Column({ type: 'text' })
  namespace!: string;
  @Column({ type: 'text' })
  name!: string;
  @Column({ type: 'timestamptz' })
  created!: Date;
  @Column({ name: 'resource_version', type: 'bigint', default: 0, comment: 'Set just before commit, by changes.ts' })
  resourceVersion!: string;
  @Column({ type: 'jsonb', nullable: true })
  labels!: Record<string, string> | null;
  @Column({ type: 'jsonb', nullable: true })
  annotations!: Record<string, string> | null;
  @Column({ type: 'text' })
  type!: string;
  @Column({ type: 'bytea', comment: 'data, encrypted; see secrets.ts' })
  sealed!: Buffer;
}

/** A service account that was made or changed; the view known_service_account has those too that every namespace is given. */
@Entity('service_account')
@Unique('service_account_name', ['namespace', 'name'])
export class ServiceAccountRow {
  @PrimaryColumn({ type: 'uuid', primaryKeyConstraintName: 'service_account_pkey' })
  uid!: string;
  @Column({ type: 'text' })
  namespace!: string;
  @Column({ type: 'text' })
  name!: string;
  @Column({ type: 'timestamptz' })
  created!: Date;
  @Column({ name: 'resource_version', type: 'bigint', default: 0, comment: 'Set just before commit, by changes.ts' })
  resourceVersion!: string;
  @Column({ type: 'jsonb', nullable: true })
  labels!: Record<string, string> | null;
  @Column({ type: 'jsonb', nullable: true })
  annotations!: Record<string, string> | null;
  @Column({ type: 'jsonb', comment: 'ServiceAccount as JSON, without metadata' })
  content!: Omit<ServiceAccount, 'metadata'>;
}

/** The change feed: one row per changed object and transaction. */
@Entity('change')
export class ChangeRow {
  @PrimaryColumn({ type: 'bigint', primaryKeyConstraintName: 'change_pkey' })
  revision!: string;
  @Column({ type: 'text', comment: 'Plural name of the resource' })
  resource!: string;
  @Column({ type: 'text', comment: 'Empty for a resource without namespaces' })
  namespace!: string;
  @Column({ type: 'text' })
  name!: string;
  @Column({ type: 'uuid' })
  uid!: string;
  @Column({ type: 'text' })
  type!: 'ADDED' | 'MODIFIED' | 'DELETED';
  @Column({ type: 'text', nullable: true, comment: 'The last state of a deleted object, as JSON; of others it is in their own row' })
  object!: string | null;
  @Column({ type: 'timestamptz', default: () => 'now()' })
  recorded!: Date;
}

/** The secrets, for who brings them under another key. */
export const sealedTable = { table: 'secret', key: ['uid'], belongsTo: ([uid = '']: readonly string[]) => uid };

/** What a Store of this service is opened with. */
export const database = {
  schema: 'tag_store',
  entities: [
    RevisionRow,
    StreamRow,
    TagRow,
    TagItemRow,
    TagChangeRow,
    ImageRow,
    ImageChildRow,
    NamespaceRow,
    SecretRow,
    ServiceAccountRow,
    ChangeRow,
  ],
  migrations: [
    StreamsTagsImages1763690000000,
    NamespacesSecrets1763690100000,
    ServiceAccounts1763690300000,
    AppliedSecrets1763690310000,
    TagChanges1763840000000,
  ],
};
