import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Which events were told as hints, so that a repeat is told no more. */
export class Hints1764115200000 implements MigrationInterface {
  name = 'Hints1764115200000';

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement);
  }

  async down(): Promise<void> {
    throw new Error('migrations go forward only');
  }
}

const STATEMENTS = [
  `CREATE TABLE hint (
    registry text NOT NULL,
    event_id text NOT NULL,
    received timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (registry, event_id)
  )`,
  `CREATE INDEX hint_received ON hint (received)`,
  `COMMENT ON COLUMN hint.event_id IS 'The registry’s own id of the event, or one made of what identifies the push'`,
];
