import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Namespaces that were made, and the secrets of namespaces. */
export class NamespacesSecrets1763690100000 implements MigrationInterface {
  name = 'NamespacesSecrets1763690100000';

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement);
  }

  async down(): Promise<void> {
    throw new Error('migrations go forward only');
  }
}

const STATEMENTS = [
  `CREATE TABLE namespace (
    uid uuid PRIMARY KEY,
    name text NOT NULL CONSTRAINT namespace_name UNIQUE,
    created timestamptz NOT NULL,
    resource_version bigint NOT NULL DEFAULT 0,
    labels jsonb,
    annotations jsonb
  )`,
  `COMMENT ON COLUMN namespace.resource_version IS 'Set just before commit, by changes.ts'`,
  // The one that is always there, and the one in which the administrator's kubeconfig begins.
  `INSERT INTO namespace (uid, name, created, resource_version)
    SELECT md5('namespace/' || name)::uuid, name, now(), 1 FROM unnest(ARRAY['default', 'demo']) AS name`,

  `CREATE TABLE secret (
    uid uuid PRIMARY KEY,
    namespace text NOT NULL,
    name text NOT NULL,
    created timestamptz NOT NULL,
    resource_version bigint NOT NULL DEFAULT 0,
    labels jsonb,
    annotations jsonb,
    type text NOT NULL,
    sealed bytea NOT NULL,
    CONSTRAINT secret_name UNIQUE (namespace, name)
  )`,
  `COMMENT ON COLUMN secret.resource_version IS 'Set just before commit, by changes.ts'`,
  `COMMENT ON COLUMN secret.sealed IS 'data, encrypted; see secrets.ts'`,

  // A namespace is there when somebody made it, and while something is in it.
  `CREATE VIEW known_namespace AS
    SELECT uid, name, created, resource_version, labels, annotations, true AS made FROM namespace
    UNION ALL
    SELECT md5('namespace/' || namespace)::uuid, namespace, min(created), 1, NULL, NULL, false
      FROM (SELECT namespace, created FROM stream UNION ALL SELECT namespace, created FROM secret) AS held
     WHERE NOT EXISTS (SELECT FROM namespace WHERE name = held.namespace)
     GROUP BY namespace`,
];
