import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Changes of tags that wait because the spec holds them back, and what was decided about them. */
export class TagChanges1763840000000 implements MigrationInterface {
  name = 'TagChanges1763840000000';

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement);
  }

  async down(): Promise<void> {
    throw new Error('migrations go forward only');
  }
}

const STATEMENTS = [
  `ALTER TABLE tag ADD COLUMN control text, ADD COLUMN look_at timestamptz, ADD COLUMN looked_at timestamptz`,
  `COMMENT ON COLUMN tag.control IS 'TagControlStatus as JSON: what waits and what was decided; null where the spec holds nothing back'`,
  `COMMENT ON COLUMN tag.look_at IS 'When time alone may change the decision'`,
  `COMMENT ON COLUMN tag.looked_at IS 'When it was made; one of the future was made before the clock was set back'`,
  `CREATE INDEX tag_look_at ON tag (look_at) WHERE look_at IS NOT NULL`,
  `CREATE INDEX tag_looked_at ON tag (looked_at) WHERE look_at IS NOT NULL`,
  `CREATE INDEX tag_controlled ON tag (stream_uid) WHERE control IS NOT NULL`,

  `CREATE TABLE tag_change (
    stream_uid uuid NOT NULL,
    tag text NOT NULL,
    position numeric NOT NULL,
    image text NOT NULL,
    reference text NOT NULL,
    created timestamptz NOT NULL,
    generation bigint NOT NULL,
    source text,
    observed_at text COLLATE "C",
    cause text NOT NULL,
    brought text NOT NULL,
    traceparent text,
    since timestamptz NOT NULL,
    verdicts text,
    outcome text,
    decided timestamptz,
    CONSTRAINT tag_change_pkey PRIMARY KEY (stream_uid, tag, position),
    CONSTRAINT tag_change_of_tag FOREIGN KEY (stream_uid, tag) REFERENCES tag (stream_uid, name) ON DELETE CASCADE
  )`,
  `COMMENT ON COLUMN tag_change.image IS 'Image name, a digest; empty for an external pull spec'`,
  `COMMENT ON COLUMN tag_change.reference IS 'Pull spec'`,
  `COMMENT ON COLUMN tag_change.source IS 'The registry that told it'`,
  `COMMENT ON COLUMN tag_change.observed_at IS 'By that registry’s clock, in a form that sorts'`,
  `COMMENT ON COLUMN tag_change.cause IS 'The same for every repeat of what led to it'`,
  `COMMENT ON COLUMN tag_change.brought IS 'As JSON, what its tag.moved will tell: the cause, and labels where they came with it'`,
  `COMMENT ON COLUMN tag_change.since IS 'When it came, by our own clock'`,
  `COMMENT ON COLUMN tag_change.verdicts IS 'What people said about it, as JSON'`,
  `COMMENT ON COLUMN tag_change.outcome IS 'Null while it waits; then taken, superseded, refused or dropped'`,
  `CREATE UNIQUE INDEX tag_change_cause ON tag_change (stream_uid, tag, cause)`,
  `CREATE INDEX tag_change_observed ON tag_change (stream_uid, tag, source, observed_at) WHERE source IS NOT NULL`,
  `CREATE INDEX tag_change_waiting ON tag_change (stream_uid, tag, position) WHERE outcome IS NULL`,
  `CREATE INDEX tag_change_decided ON tag_change (decided) WHERE outcome IS NOT NULL`,

  // Streams of which something is held back, for lists of it.
  `CREATE VIEW controlled_stream AS
    SELECT uid, namespace, name, labels FROM stream WHERE uid IN (SELECT stream_uid FROM tag WHERE control IS NOT NULL)`,
];
