import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Moves on their way to many followers, and indexes that find the followers of a tag from any one on. */
export class FanOuts1763830000000 implements MigrationInterface {
  name = 'FanOuts1763830000000';

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement);
  }

  async down(): Promise<void> {
    throw new Error('migrations go forward only');
  }
}

const STATEMENTS = [
  `CREATE TABLE fan_out (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    followers text NOT NULL CONSTRAINT fan_out_followers CHECK (followers IN ('triggers', 'workloads')),
    namespace text NOT NULL,
    stream text NOT NULL,
    tag text NOT NULL,
    event text NOT NULL,
    event_id text NOT NULL,
    move text NOT NULL,
    traceparent text NOT NULL,
    after uuid,
    brought integer NOT NULL DEFAULT 0,
    created timestamptz NOT NULL DEFAULT now()
  ) WITH (fillfactor = 70)`,
  `CREATE INDEX fan_out_of_tag ON fan_out (followers, namespace, stream, tag, id)`,
  `COMMENT ON COLUMN fan_out.followers IS 'triggers or workloads'`,
  `COMMENT ON COLUMN fan_out.event IS 'tag.moved or pullspec.changed'`,
  `COMMENT ON COLUMN fan_out.move IS 'The move, JSON'`,
  `COMMENT ON COLUMN fan_out.after IS 'Followers up to this uid have it'`,
  `COMMENT ON COLUMN fan_out.brought IS 'How many followers have it'`,

  `ALTER TABLE trigger ADD COLUMN begun_after bigint NOT NULL DEFAULT 0`,
  `COMMENT ON COLUMN trigger.begun_after IS 'The newest fan-out when it began to follow its tag: none up to it is for this trigger'`,

  `DROP INDEX trigger_from`,
  `CREATE INDEX trigger_from ON trigger (from_namespace, from_stream, from_tag, uid)`,
  `DROP INDEX workload_tag_followers`,
  `CREATE INDEX workload_tag_followers ON workload_tag (namespace, stream, tag, workload_uid)`,

  `ALTER TABLE followed_tag ADD COLUMN noted timestamptz NOT NULL DEFAULT now()`,
  `COMMENT ON COLUMN followed_tag.noted IS 'When a workload last began to follow it, within an hour'`,

  `COMMENT ON COLUMN firing.event IS 'The CloudEvent as webhooks get it, JSON; empty where the trigger has none'`,
];
