import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What streams take from registries outside, and which of it is due. */
export class WantedImports1763710000000 implements MigrationInterface {
  name = 'WantedImports1763710000000';

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement);
  }

  async down(): Promise<void> {
    throw new Error('migrations go forward only');
  }
}

const STATEMENTS = [
  `CREATE TABLE wanted_stream (
    stream_uid uuid PRIMARY KEY,
    namespace text NOT NULL,
    name text NOT NULL,
    resource_version bigint NOT NULL,
    repository text,
    repository_insecure boolean NOT NULL DEFAULT false,
    repository_attempts integer NOT NULL DEFAULT 0,
    repository_next_attempt_at timestamptz,
    claimed_by integer,
    CONSTRAINT wanted_stream_name UNIQUE (namespace, name)
  ) WITH (fillfactor = 70)`,
  `CREATE TABLE wanted_tag (
    stream_uid uuid NOT NULL CONSTRAINT wanted_tag_of_stream REFERENCES wanted_stream ON DELETE CASCADE,
    tag text NOT NULL,
    source text NOT NULL,
    generation bigint,
    insecure boolean NOT NULL,
    scheduled boolean NOT NULL,
    import_mode text NOT NULL,
    reference_policy text NOT NULL,
    prefer_arch text,
    prefer_os text,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    PRIMARY KEY (stream_uid, tag)
  ) WITH (fillfactor = 70)`,
  `CREATE INDEX wanted_stream_due ON wanted_stream (repository_next_attempt_at) WHERE repository_next_attempt_at IS NOT NULL`,
  `CREATE INDEX wanted_stream_claimed ON wanted_stream (claimed_by) WHERE claimed_by IS NOT NULL`,
  `CREATE INDEX wanted_tag_due ON wanted_tag (next_attempt_at) WHERE next_attempt_at IS NOT NULL`,
  `COMMENT ON COLUMN wanted_stream.resource_version IS 'Of the newest fact: an older one changes nothing'`,
  `COMMENT ON COLUMN wanted_stream.repository IS 'Pull spec of a repository that is wanted as a whole'`,
  `COMMENT ON COLUMN wanted_stream.repository_next_attempt_at IS 'Null: it need not be imported'`,
  `COMMENT ON COLUMN wanted_stream.claimed_by IS 'Instance that imports for the stream now; see Lease'`,
  `COMMENT ON COLUMN wanted_tag.source IS 'Pull spec, as it was written'`,
  `COMMENT ON COLUMN wanted_tag.generation IS 'Of the spec tag'`,
  `COMMENT ON COLUMN wanted_tag.attempts IS 'Failed ones since it became due'`,
  `COMMENT ON COLUMN wanted_tag.next_attempt_at IS 'Null: it need not be imported'`,
];
