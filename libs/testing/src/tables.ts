import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Store, type StoreOptions } from '@millrace/platform/store';
import { aDatabase } from './servers.ts';

/**
 * Holds a service's tables against its committed dump, which shows in a diff what a migration does, and against its entities.
 * `own` names what TypeORM cannot say, such as foreign keys without relations: the migrations' own.
 */
export function describeTables(
  database: Pick<StoreOptions, 'schema' | 'entities' | 'migrations'>,
  dumpFile: URL,
  own: readonly string[],
): void {
  describe('the tables', () => {
    let server: Awaited<ReturnType<typeof aDatabase>>;
    let store: Store;

    beforeAll(async () => {
      server = await aDatabase();
      store = new Store({ ...database, url: server.url, poolSize: 4 });
      await store.open();
    });
    afterAll(async () => {
      await store.close();
      await server.drop();
    });

    it('are, once migrated, what schema.sql says (UPDATE_SCHEMA=1 writes it anew)', async () => {
      const dump = await dumpSchema(store, database.schema);
      if (process.env['UPDATE_SCHEMA']) writeFileSync(dumpFile, dump);

      expect(dump).toBe(readFileSync(dumpFile, 'utf8'));
    });

    it('have the columns that the entities say', async () => {
      const { upQueries } = await store.dataSource.driver.createSchemaBuilder().log();

      const wanted = upQueries
        .map((one) => one.query)
        .filter((query) => !own.some((name) => new RegExp(`DROP (INDEX .*|CONSTRAINT ")${name}"`).test(query)));
      expect(wanted).toEqual([]);
    });
  });
}

/** Tables, constraints and indexes in a form that reads and compares well; Postgres' own tools are not needed. */
async function dumpSchema(of: Store, schema: string): Promise<string> {
  const columns = await of.query<{ table: string; definition: string }>(
    `SELECT c.relname AS table, string_agg(format('  %s %s%s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
              CASE WHEN a.attcollation <> t.typcollation THEN format(' COLLATE "%s"', l.collname) ELSE '' END,
              CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END,
              CASE WHEN a.attidentity <> '' THEN ' GENERATED ALWAYS AS IDENTITY' WHEN d.adbin IS NOT NULL THEN ' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid) ELSE '' END
            ), E',\n' ORDER BY a.attnum) || coalesce(E'\n) WITH (' || array_to_string(c.reloptions, ', '), E'\n') || ');' AS definition
       FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped JOIN pg_type t ON t.oid = a.atttypid
       LEFT JOIN pg_collation l ON l.oid = a.attcollation LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
      WHERE c.relnamespace = $1::regnamespace AND c.relkind = 'r' GROUP BY c.oid ORDER BY c.relname`,
    [schema],
  );
  const storage = await of.query<{ line: string }>(
    `SELECT format('ALTER TABLE %s ALTER COLUMN %s SET STORAGE EXTERNAL;', c.relname, a.attname) AS line
       FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.relnamespace = $1::regnamespace AND c.relkind = 'r' AND a.attstorage = 'e' ORDER BY 1`,
    [schema],
  );
  const constraints = await of.query<{ line: string }>(
    `SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s;', c.relname, n.conname, pg_get_constraintdef(n.oid)) AS line
       FROM pg_constraint n JOIN pg_class c ON c.oid = n.conrelid WHERE c.relnamespace = $1::regnamespace AND n.contype IN ('p', 'u', 'f', 'c') ORDER BY c.relname, n.contype DESC, n.conname`,
    [schema],
  );
  const indexes = await of.query<{ line: string }>(
    `SELECT replace(indexdef, $1 || '.', '') || ';' AS line FROM pg_indexes i WHERE schemaname = $1
        AND NOT EXISTS (SELECT 1 FROM pg_constraint n WHERE n.conname = i.indexname AND n.connamespace = $1::regnamespace) ORDER BY tablename, indexname`,
    [schema],
  );
  return [
    '-- The schema as its migrations make it; written by tables.int.spec.ts, not by hand.',
    ...columns.map(({ table, definition }) => `CREATE TABLE ${table} (\n${definition}`),
    storage.map((row) => row.line).join('\n'),
    constraints.map((row) => row.line).join('\n'),
    `${indexes.map((row) => row.line).join('\n')}\n`,
  ].join('\n\n');
}
