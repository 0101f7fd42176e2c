import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What is known of a webhook beside what was written: what its Secrets lack, and its public keys. */
export class WebhookFindings1763800000000 implements MigrationInterface {
  name = 'WebhookFindings1763800000000';

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement);
  }

  async down(): Promise<void> {
    throw new Error('migrations go forward only');
  }
}

const STATEMENTS = [
  `ALTER TABLE webhook ADD COLUMN findings jsonb`,
  `COMMENT ON COLUMN webhook.findings IS 'What its Secrets lack, and its public keys'`,
  `CREATE INDEX webhook_problem ON webhook (trigger_uid, name) WHERE (findings -> 'problem') IS NOT NULL`,
];
