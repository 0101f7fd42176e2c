import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Store } from '@millrace/platform/store';
import { dumpSchema } from '@millrace/testing/schema';
import { aDatabase } from '@millrace/testing/servers';
import { database } from './tables.ts';

const DUMP = new URL('./schema.sql', import.meta.url);

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

describe('the tables', () => {
  it('are, once migrated, what schema.sql says (UPDATE_SCHEMA=1 writes it anew)', async () => {
    const dump = await dumpSchema(store, database.schema);
    if (process.env['UPDATE_SCHEMA']) writeFileSync(DUMP, dump);

    expect(dump).toBe(readFileSync(DUMP, 'utf8'));
  });

  it('have the columns that the entities say', async () => {
    const { upQueries } = await store.dataSource.driver.createSchemaBuilder().log();

    expect(upQueries.map((one) => one.query)).toEqual([]);
  });
});
