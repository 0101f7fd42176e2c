import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What is looked at from time to time, and the tags that follow it. */
export class Schedule1763720000000 implements MigrationInterface {
  name = 'Schedule1763720000000';

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement);
  }

  async down(): Promise<void> {
    throw new Error('migrations go forward only');
  }
}

const STATEMENTS = [
  `CREATE TABLE scheduled_import (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host text NOT NULL,
    repository text NOT NULL,
    reference text NOT NULL,
    insecure boolean NOT NULL,
    import_mode text NOT NULL,
    credentials text NOT NULL,
    digest text,
    failures integer NOT NULL DEFAULT 0,
    refused boolean NOT NULL DEFAULT false,
    reason text,
    told text,
    announced boolean NOT NULL DEFAULT false,
    announced_digest text,
    looks integer NOT NULL DEFAULT 0,
    woken boolean NOT NULL DEFAULT false,
    touched bigint NOT NULL DEFAULT 0,
    next_check_at timestamptz NOT NULL,
    claimed_by integer,
    checked_at timestamptz,
    changed_at timestamptz,
    created timestamptz NOT NULL,
    CONSTRAINT scheduled_import_key UNIQUE (host, repository, reference, insecure, import_mode, credentials)
  ) WITH (fillfactor = 70)`,
  `CREATE TABLE scheduled_tag (
    stream_uid uuid NOT NULL,
    tag text NOT NULL,
    namespace text NOT NULL,
    import_id bigint CONSTRAINT scheduled_tag_of_import REFERENCES scheduled_import,
    woken boolean NOT NULL DEFAULT false,
    interval_ms bigint NOT NULL,
    problem text,
    digest text,
    image text,
    PRIMARY KEY (stream_uid, tag),
    CONSTRAINT scheduled_tag_of_wanted FOREIGN KEY (stream_uid, tag) REFERENCES wanted_tag ON DELETE CASCADE
  ) WITH (fillfactor = 70)`,
  `CREATE INDEX scheduled_import_due ON scheduled_import (next_check_at) WHERE claimed_by IS NULL AND NOT woken`,
  `CREATE INDEX scheduled_import_woken ON scheduled_import (next_check_at) WHERE claimed_by IS NULL AND woken`,
  `CREATE INDEX scheduled_import_claimed ON scheduled_import (claimed_by) WHERE claimed_by IS NOT NULL`,
  `CREATE INDEX scheduled_import_failing ON scheduled_import (id) WHERE failures > 0`,
  `CREATE INDEX scheduled_tag_following ON scheduled_tag (import_id)`,
  `CREATE INDEX scheduled_tag_in ON scheduled_tag (namespace)`,
  `CREATE INDEX scheduled_tag_unseated ON scheduled_tag (namespace) WHERE import_id IS NULL`,
  `COMMENT ON COLUMN scheduled_import.host IS 'As it is contacted'`,
  `COMMENT ON COLUMN scheduled_import.reference IS 'A tag or a digest'`,
  `COMMENT ON COLUMN scheduled_import.credentials IS 'What they come to, hashed; empty: none'`,
  `COMMENT ON COLUMN scheduled_import.digest IS 'Served last; null where some tag that follows may not have it'`,
  `COMMENT ON COLUMN scheduled_import.told IS 'The failure that those who follow were told of'`,
  `COMMENT ON COLUMN scheduled_import.looks IS 'For what was announced'`,
  `COMMENT ON COLUMN scheduled_import.woken IS 'Goes before those whose turn it is'`,
  `COMMENT ON COLUMN scheduled_import.touched IS 'Counts changes from outside, so that a check under way does not undo them'`,
  `COMMENT ON COLUMN scheduled_import.claimed_by IS 'Instance that looks at it now; see Lease'`,
  `COMMENT ON COLUMN scheduled_import.changed_at IS 'When it was last seen to be another'`,
  `COMMENT ON COLUMN scheduled_tag.import_id IS 'The check that serves it; null until its credentials are known'`,
  `COMMENT ON COLUMN scheduled_tag.woken IS 'What serves it next is looked at at once'`,
  `COMMENT ON COLUMN scheduled_tag.problem IS 'Why the interval is not the one that is annotated'`,
  `COMMENT ON COLUMN scheduled_tag.digest IS 'What was served when it was last imported; null where that is not known, or it failed since'`,
  `COMMENT ON COLUMN scheduled_tag.image IS 'What was made of it'`,
];
