import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Streams, their tags with history, images, and the change feed. */
export class StreamsTagsImages1763690000000 implements MigrationInterface {
  name = 'StreamsTagsImages1763690000000';

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement);
  }

  async down(): Promise<void> {
    throw new Error('migrations go forward only');
  }
}

const STATEMENTS = [
  // Each commit makes a new version of this one row: with room on the page the old one is reused at once.
  `CREATE TABLE revision (
    single boolean PRIMARY KEY DEFAULT true CONSTRAINT revision_single CHECK (single),
    value bigint NOT NULL,
    pruned bigint NOT NULL DEFAULT 0
  ) WITH (fillfactor = 10)`,
  `INSERT INTO revision (value) VALUES (1)`,
  `COMMENT ON COLUMN revision.value IS 'The newest number that was handed out'`,
  `COMMENT ON COLUMN revision.pruned IS 'Changes up to here are no longer known'`,

  `CREATE TABLE stream (
    uid uuid PRIMARY KEY,
    namespace text NOT NULL,
    name text NOT NULL,
    created timestamptz NOT NULL,
    generation bigint NOT NULL,
    resource_version bigint NOT NULL DEFAULT 0,
    labels jsonb,
    annotations jsonb,
    metadata jsonb,
    spec jsonb NOT NULL,
    CONSTRAINT stream_name UNIQUE (namespace, name)
  ) WITH (fillfactor = 70)`,
  `COMMENT ON COLUMN stream.generation IS 'Counts changes of the spec'`,
  `COMMENT ON COLUMN stream.resource_version IS 'Set just before commit, by changes.ts'`,
  `COMMENT ON COLUMN stream.metadata IS 'What else of metadata a client may set: ownerReferences, finalizers'`,
  `COMMENT ON COLUMN stream.spec IS 'ImageStreamSpec in stored form: defaults filled in, tags sorted by name'`,

  `CREATE TABLE tag (
    stream_uid uuid NOT NULL CONSTRAINT tag_of_stream REFERENCES stream (uid) ON DELETE CASCADE,
    name text NOT NULL,
    items bigint NOT NULL DEFAULT 0,
    top_position numeric,
    image text,
    reference text,
    created timestamptz,
    generation bigint,
    conditions jsonb,
    moves bigint NOT NULL DEFAULT 0,
    last_move text,
    marks jsonb,
    PRIMARY KEY (stream_uid, name)
  ) WITH (fillfactor = 70)`,
  `COMMENT ON COLUMN tag.items IS 'How many history items there are'`,
  `COMMENT ON COLUMN tag.top_position IS 'Which of them is the newest; null where there is none'`,
  `COMMENT ON COLUMN tag.image IS 'Copied from the newest item, as the next three'`,
  `COMMENT ON COLUMN tag.moves IS 'Counts tag.moved: the generation of the last one'`,
  `COMMENT ON COLUMN tag.last_move IS 'The last tag.moved, as JSON, without the labels: they are the image’s'`,
  `COMMENT ON COLUMN tag.marks IS 'The newest that each registry told, by its name'`,

  `CREATE TABLE tag_item (
    stream_uid uuid NOT NULL,
    tag text NOT NULL,
    position numeric NOT NULL,
    image text NOT NULL,
    reference text NOT NULL,
    created timestamptz NOT NULL,
    generation bigint NOT NULL,
    source text,
    observed_at text COLLATE "C",
    cause text,
    PRIMARY KEY (stream_uid, tag, position),
    CONSTRAINT tag_item_of_tag FOREIGN KEY (stream_uid, tag) REFERENCES tag (stream_uid, name) ON DELETE CASCADE
  )`,
  `CREATE UNIQUE INDEX tag_item_cause ON tag_item (stream_uid, tag, cause) WHERE cause IS NOT NULL`,
  `CREATE INDEX tag_item_observed ON tag_item (stream_uid, tag, source, observed_at) WHERE source IS NOT NULL`,
  `CREATE INDEX tag_item_image ON tag_item (image)`,
  `COMMENT ON COLUMN tag_item.image IS 'Image name, a digest; empty for an external pull spec'`,
  `COMMENT ON COLUMN tag_item.reference IS 'Pull spec'`,
  `COMMENT ON COLUMN tag_item.source IS 'The registry that told it'`,
  `COMMENT ON COLUMN tag_item.observed_at IS 'By that registry’s clock, in a form that sorts'`,
  `COMMENT ON COLUMN tag_item.cause IS 'The same for every repeat of what led to it'`,

  // The version is set just before commit: with room on the page that costs no second index entry.
  `CREATE TABLE image (
    name text PRIMARY KEY,
    uid uuid NOT NULL,
    resource_version bigint NOT NULL DEFAULT 0,
    created timestamptz NOT NULL,
    labels jsonb,
    annotations jsonb,
    reference text NOT NULL,
    document text NOT NULL
  ) WITH (fillfactor = 50)`,
  // Compressing tens of kilobytes per push is slower than writing them.
  `ALTER TABLE image ALTER COLUMN document SET STORAGE EXTERNAL`,
  `COMMENT ON COLUMN image.resource_version IS 'Set just before commit, by changes.ts'`,
  `COMMENT ON COLUMN image.reference IS 'Pull spec first recorded'`,
  `COMMENT ON COLUMN image.document IS 'The Image as JSON, without metadata and dockerImageReference'`,

  `CREATE TABLE image_child (
    parent text NOT NULL CONSTRAINT image_child_of_image REFERENCES image (name) ON DELETE CASCADE,
    child text NOT NULL,
    PRIMARY KEY (parent, child)
  )`,
  `CREATE INDEX image_child_child ON image_child (child)`,

  `CREATE TABLE change (
    revision bigint PRIMARY KEY,
    resource text NOT NULL,
    namespace text NOT NULL,
    name text NOT NULL,
    uid uuid NOT NULL,
    type text NOT NULL CONSTRAINT change_type CHECK (type IN ('ADDED', 'MODIFIED', 'DELETED')),
    object text,
    recorded timestamptz NOT NULL DEFAULT now()
  )`,
  `COMMENT ON COLUMN change.resource IS 'Plural name of the resource'`,
  `COMMENT ON COLUMN change.namespace IS 'Empty for a resource without namespaces'`,
  `COMMENT ON COLUMN change.object IS 'The last state of a deleted object, as JSON; of others it is in their own row'`,
];
