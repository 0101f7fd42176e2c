import { Check, Column, Entity, Index, PrimaryColumn, Unique } from 'typeorm';
import type { TagEventCondition } from '@millrace/domain/image-stream';
import type { ServiceAccount } from '@millrace/domain/service-account';
import type { SourceMark } from '@millrace/domain/tag-history';
import { StreamsTagsImages1763690000000 } from './migrations/1763690000000-streams-tags-images.ts';
import { NamespacesSecrets1763690100000 } from './migrations/1763690100000-namespaces-secrets.ts';
import { ServiceAccounts1763690300000 } from './migrations/1763690300000-service-accounts.ts';

/*
 * The rows of tag-store. Who writes several of them in one transaction takes them in this order, so that no two writers wait
 * for each other in a circle: fact_position, stream (by namespace and name), image (by name), tag, outbox, secret, service_account, namespace,
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

/** What a Store of this service is opened with. */
export const database = {
  schema: 'tag_store',
  entities: [RevisionRow, StreamRow, TagRow, TagItemRow, ImageRow, ImageChildRow, NamespaceRow, SecretRow, ServiceAccountRow, ChangeRow],
  migrations: [StreamsTagsImages1763690000000, NamespacesSecrets1763690100000, ServiceAccounts1763690300000],
};
