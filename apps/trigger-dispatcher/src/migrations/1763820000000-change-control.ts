import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * What triggers remember of changes that may not fire at once, and when they are looked at again; and the tags that workloads would follow were
 * their triggers not paused: what was written before is among them when it is written again.
 */
export class ChangeControl1763820000000 implements MigrationInterface {
  name = 'ChangeControl1763820000000';

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement);
  }

  async down(): Promise<void> {
    throw new Error('migrations go forward only');
  }
}

const STATEMENTS = [
  `ALTER TABLE trigger ADD COLUMN control jsonb, ADD COLUMN look_at timestamptz`,
  `CREATE INDEX trigger_due ON trigger (look_at) WHERE look_at IS NOT NULL`,
  `COMMENT ON COLUMN trigger.held IS 'The newest tag.moved that may not fire yet, as JSON'`,
  `COMMENT ON COLUMN trigger.control IS 'ControlMemory; null while nothing has ever held a change back'`,
  `COMMENT ON COLUMN trigger.look_at IS 'When it is decided about again; null where nothing changes by time'`,

  `CREATE TABLE paused_tag (
    workload_uid uuid NOT NULL CONSTRAINT paused_tag_of_workload REFERENCES workload (uid) ON DELETE CASCADE,
    namespace text NOT NULL,
    stream text NOT NULL,
    tag text NOT NULL,
    PRIMARY KEY (workload_uid, namespace, stream, tag)
  )`,
  `CREATE INDEX paused_tag_of ON paused_tag (namespace, stream, tag)`,
];
