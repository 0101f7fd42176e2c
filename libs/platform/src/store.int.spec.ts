import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { RepositoryPushed } from '@millrace/contracts/events';
import { aDatabase } from '@millrace/testing/servers';
import { Store, type Tx } from './store.ts';

let database: Awaited<ReturnType<typeof aDatabase>>;
let store: Store;
let woken = 0;

beforeAll(async () => {
  database = await aDatabase();
  store = new Store({ url: database.url, schema: 'spec', poolSize: 2, entities: [], migrations: [] });
  store.outbox.onWake(() => woken++);
  await store.open();
  await store.query('CREATE TABLE thing (name text PRIMARY KEY)');
});
beforeEach(async () => {
  await store.query('TRUNCATE thing, outbox');
  woken = 0;
});
afterAll(async () => {
  await store.close();
  await database.drop();
});

const PUSH = { id: 'p', host: 'r', repository: 'web', tags: [], registry: 'r', eventId: 'e', observedAt: '2026-01-01T00:00:00Z' };

const add = (tx: Pick<Tx, 'query'>, name: string) => tx.query<{ name: string }>('INSERT INTO thing VALUES ($1) RETURNING name', [name]);
const names = async () => (await store.query<{ name: string }>('SELECT name FROM thing ORDER BY name')).map(({ name }) => name);
const told = () => store.query('SELECT 1 FROM outbox');

/** A write with everything that comes with its commit. */
async function everything(tx: Tx, done: string[]): Promise<unknown> {
  tx.send('INSERT INTO thing VALUES ($1)', ['sent']);
  tx.last(
    () => ({ sql: `INSERT INTO thing VALUES ('last') RETURNING name`, parameters: [] }),
    () => done.push('answered'),
  );
  tx.afterCommit(() => done.push('after'));
  tx.publishLater(RepositoryPushed, PUSH, { id: PUSH.id });
  return add(tx, 'written');
}

describe('a write', () => {
  it('that is none of a dry run keeps and tells everything', async () => {
    const done: string[] = [];

    expect(await store.write(false, (tx) => everything(tx, done))).toEqual([{ name: 'written' }]);

    expect(await names()).toEqual(['last', 'sent', 'written']);
    expect(done).toEqual(['answered', 'after']);
    expect([await told(), woken]).toEqual([[expect.anything()], 1]);
  });

  it('of a dry run answers the same, and keeps and tells nothing', async () => {
    const done: string[] = [];

    expect(await store.write(true, (tx) => everything(tx, done))).toEqual([{ name: 'written' }]);

    expect([await names(), done, await told(), woken]).toEqual([[], [], [], 0]);
  });

  it.each<[why: string, work: (tx: Tx) => Promise<unknown>, problem: string]>([
    ['the work refuses it', () => Promise.reject(new Error('refused')), 'refused'],
    ['a statement fails that nobody waits for', async (tx) => tx.send(`INSERT INTO thing VALUES ('there')`), 'duplicate key'],
    ['a statement has failed, whatever the work makes of that', (tx) => add(tx, 'there').catch(() => []), 'duplicate key'],
    ['a condition does not hold', async (tx) => tx.require(Promise.reject(new Error('does not hold'))), 'does not hold'],
  ])('fails in a dry run as it does otherwise when %s', async (_why, work, problem) => {
    await add(store, 'there');

    for (const dryRun of [false, true]) await expect(store.write(dryRun, work)).rejects.toThrow(problem);

    expect(await names()).toEqual(['there']);
  });
});
