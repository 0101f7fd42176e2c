import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The feed of changes need not keep how a trigger looked that has only got further with its tag. */
export class LessWritten1763860000000 implements MigrationInterface {
  name = 'LessWritten1763860000000';

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement);
  }

  async down(): Promise<void> {
    throw new Error('migrations go forward only');
  }
}

const STATEMENTS = [
  `ALTER TABLE change ALTER COLUMN object DROP NOT NULL`,
  `COMMENT ON COLUMN change.object IS 'As clients read it; its last state where it was deleted. Null: as trigger has it, while resource_version is this revision'`,
];
