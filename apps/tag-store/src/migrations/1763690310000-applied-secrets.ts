import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What `kubectl apply` kept of secrets lay beside them in the clear; the next apply brings it again, and then it is sealed. */
export class AppliedSecrets1763690310000 implements MigrationInterface {
  name = 'AppliedSecrets1763690310000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`UPDATE secret SET annotations = annotations - 'kubectl.kubernetes.io/last-applied-configuration'`);
  }

  async down(): Promise<void> {
    throw new Error('migrations go forward only');
  }
}
