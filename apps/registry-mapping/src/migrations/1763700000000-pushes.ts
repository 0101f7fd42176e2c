import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What registries told, from its arrival until it has become a mapping or a person has dealt with it. */
export class Pushes1763700000000 implements MigrationInterface {
  name = 'Pushes1763700000000';

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement);
  }

  async down(): Promise<void> {
    throw new Error('migrations go forward only');
  }
}

const STATEMENTS = [
  `CREATE TABLE push (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    registry text NOT NULL,
    event_id text NOT NULL,
    repository text NOT NULL DEFAULT '',
    tag text NOT NULL DEFAULT '',
    digest text NOT NULL DEFAULT '',
    media_type text NOT NULL DEFAULT '',
    occurred_at text NOT NULL DEFAULT '',
    actor text,
    origin text,
    traceparent text NOT NULL,
    state text NOT NULL CONSTRAINT push_state CHECK (state IN ('pending', 'mapped', 'quarantined')),
    reason text,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    claimed_by integer,
    received timestamptz NOT NULL DEFAULT now(),
    since timestamptz NOT NULL DEFAULT now(),
    ended timestamptz,
    body text,
    CONSTRAINT push_event UNIQUE (registry, event_id)
  ) WITH (fillfactor = 70)`,
  `CREATE INDEX push_order ON push (registry, repository, tag, id) WHERE state = 'pending'`,
  `CREATE INDEX push_due ON push (registry, next_attempt_at, id) WHERE state = 'pending' AND claimed_by IS NULL AND next_attempt_at IS NOT NULL`,
  `CREATE INDEX push_claimed ON push (claimed_by) WHERE state = 'pending' AND claimed_by IS NOT NULL`,
  `CREATE INDEX push_mapped ON push (ended) WHERE state = 'mapped'`,
  `CREATE INDEX push_listed ON push (state, id) WHERE state <> 'mapped'`,
  `COMMENT ON COLUMN push.event_id IS 'The registry’s own id of the event; made from the content where it gave no usable one'`,
  `COMMENT ON COLUMN push.occurred_at IS 'By the registry’s clock, RFC 3339 as it wrote it'`,
  `COMMENT ON COLUMN push.origin IS 'Which process of the registry told it, and under which host name it was pushed to, as JSON'`,
  `COMMENT ON COLUMN push.next_attempt_at IS 'Null while an earlier push of the same tag has not ended'`,
  `COMMENT ON COLUMN push.claimed_by IS 'Instance that looks it up now; see Lease'`,
  `COMMENT ON COLUMN push.since IS 'When it was told, or replayed: it is given up a day after that'`,
  `COMMENT ON COLUMN push.body IS 'What was told, where it could not be read'`,
];
