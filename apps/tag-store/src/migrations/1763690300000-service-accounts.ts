import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Service accounts that somebody made or changed; a view has those too that every namespace is given. */
export class ServiceAccounts1763690300000 implements MigrationInterface {
  name = 'ServiceAccounts1763690300000';

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement);
  }

  async down(): Promise<void> {
    throw new Error('migrations go forward only');
  }
}

const STATEMENTS = [
  `CREATE TABLE service_account (
    uid uuid PRIMARY KEY,
    namespace text NOT NULL,
    name text NOT NULL,
    created timestamptz NOT NULL,
    resource_version bigint NOT NULL DEFAULT 0,
    labels jsonb,
    annotations jsonb,
    content jsonb NOT NULL,
    CONSTRAINT service_account_name UNIQUE (namespace, name)
  )`,
  `COMMENT ON COLUMN service_account.resource_version IS 'Set just before commit, by changes.ts'`,
  `COMMENT ON COLUMN service_account.content IS 'ServiceAccount as JSON, without metadata'`,

  // A namespace is there when somebody made it, and while something is in it.
  `CREATE OR REPLACE VIEW known_namespace AS
    SELECT uid, name, created, resource_version, labels, annotations, true AS made FROM namespace
    UNION ALL
    SELECT md5('namespace/' || namespace)::uuid, namespace, min(created), 1, NULL, NULL, false
      FROM (
        SELECT namespace, created FROM stream UNION ALL SELECT namespace, created FROM secret UNION ALL SELECT namespace, created FROM service_account
      ) AS held
     WHERE NOT EXISTS (SELECT FROM namespace WHERE name = held.namespace)
     GROUP BY namespace`,

  // Until it is changed, what a namespace is given has no row.
  `CREATE VIEW known_service_account AS
    SELECT uid, namespace, name, created, resource_version, labels, annotations, content FROM service_account
    UNION ALL
    SELECT md5('serviceaccount/' || n.name || '/' || given.name)::uuid, n.name, given.name, n.created, 1, NULL, NULL, '{}'
      FROM known_namespace AS n CROSS JOIN unnest(ARRAY['builder', 'default', 'deployer']) AS given (name)
     WHERE NOT EXISTS (SELECT FROM service_account AS own WHERE own.namespace = n.name AND own.name = given.name)`,
];
