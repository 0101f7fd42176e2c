import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Workloads that follow tags, what is known of the tags, and the resource that a change is of. */
export class Workloads1763790000000 implements MigrationInterface {
  name = 'Workloads1763790000000';

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement);
  }

  async down(): Promise<void> {
    throw new Error('migrations go forward only');
  }
}

const STATEMENTS = [
  `ALTER TABLE change ADD COLUMN resource text NOT NULL DEFAULT 'imagetriggers'`,

  `CREATE TABLE workload (
    uid uuid PRIMARY KEY,
    resource text NOT NULL,
    namespace text NOT NULL,
    name text NOT NULL,
    created timestamptz NOT NULL,
    generation bigint NOT NULL,
    resource_version bigint NOT NULL,
    labels jsonb,
    object text NOT NULL,
    problem text,
    CONSTRAINT workload_name UNIQUE (resource, namespace, name)
  ) WITH (fillfactor = 70)`,
  `COMMENT ON COLUMN workload.resource IS 'Plural, as in the path'`,
  `COMMENT ON COLUMN workload.object IS 'JSON as it was sent, with its images resolved, without what stands in the other columns'`,
  `COMMENT ON COLUMN workload.problem IS 'Why its triggers, or some of them, do nothing'`,

  `CREATE TABLE followed_tag (
    namespace text NOT NULL,
    stream text NOT NULL,
    tag text NOT NULL,
    stream_uid text,
    generation bigint,
    moved_at text,
    move text,
    PRIMARY KEY (namespace, stream, tag)
  ) WITH (fillfactor = 70)`,
  `COMMENT ON COLUMN followed_tag.stream_uid IS 'Null while nothing was heard of the tag'`,
  `COMMENT ON COLUMN followed_tag.move IS 'The last tag.moved with what to pull now, as JSON; null while the tag means nothing'`,

  `CREATE TABLE workload_tag (
    workload_uid uuid NOT NULL CONSTRAINT workload_tag_of_workload REFERENCES workload (uid) ON DELETE CASCADE,
    namespace text NOT NULL,
    stream text NOT NULL,
    tag text NOT NULL,
    PRIMARY KEY (workload_uid, namespace, stream, tag)
  )`,
  `CREATE INDEX workload_tag_followers ON workload_tag (namespace, stream, tag)`,
];
