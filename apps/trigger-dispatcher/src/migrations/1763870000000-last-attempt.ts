import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The last attempt of a delivery is kept with it: of most it is the only one. */
export class LastAttempt1763870000000 implements MigrationInterface {
  name = 'LastAttempt1763870000000';

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement);
  }

  async down(): Promise<void> {
    throw new Error('migrations go forward only');
  }
}

const STATEMENTS = [
  `ALTER TABLE delivery ADD last_request text, ADD last_headers text, ADD last_outcome text, ADD last_next_at timestamptz`,
  `COMMENT ON COLUMN delivery.last_request IS 'As attempt.request'`,
  `COMMENT ON COLUMN delivery.last_headers IS 'As attempt.headers'`,
  `COMMENT ON COLUMN delivery.last_outcome IS 'Null where its last attempt is in the table of attempts, as those before it are'`,
];
