import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { EventData } from '@millrace/contracts/define';
import { ImportWanted } from '@millrace/contracts/imports';
import { eventually } from '@millrace/testing/eventually';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { aPeer, aService, type StartedService } from '@millrace/testing/service';
import { service as definition } from './main.ts';

type Wanted = EventData<typeof ImportWanted>;

let database: Awaited<ReturnType<typeof aDatabase>>;
let nats: Awaited<ReturnType<typeof aNatsServer>>;
let peer: Awaited<ReturnType<typeof aPeer>>;
let service: StartedService;
let client: pg.Client;
let streamUid: string;

beforeAll(async () => {
  [database, nats] = await Promise.all([aDatabase(), aNatsServer()]);
  service = await aService(definition as never, { DATABASE_URL: database.url, NATS_URL: nats.url });
  peer = await aPeer(nats.url);
  client = new pg.Client({ connectionString: database.url, options: '-c search_path=import_scheduler' });
  await client.connect();
});
afterAll(async () => {
  await client.end();
  await service.stop();
  await peer.close();
  await nats.stop();
  await database.drop();
});
beforeEach(() => {
  streamUid = randomUUID();
});

const aTag = (given: Partial<Wanted['tags'][number]> = {}): Wanted['tags'][number] => ({
  tag: 'latest',
  from: 'registry.example.test/team/app:latest',
  generation: 1,
  due: true,
  failing: false,
  insecure: false,
  scheduled: false,
  importMode: 'Legacy',
  referencePolicy: 'Source',
  ...given,
});

/** Tells what a stream wants, and waits until it is kept. */
async function tell(version: number, tags: Wanted['tags'], given: Partial<Wanted> = {}): Promise<void> {
  const id = randomUUID();
  const fact = { namespace: 'demo', stream: 'app', streamUid, resourceVersion: String(version), gone: false, tags, ...given };
  await peer.tell(ImportWanted, fact, { id });
  await eventually(async () => {
    const { rows } = await client.query("SELECT event_id FROM fact_position WHERE event = 'import.wanted'");
    expect(rows).toEqual([{ event_id: id }]);
  });
}

const kept = async () =>
  (
    await client.query(
      `SELECT tag, source, generation, attempts, CASE WHEN next_attempt_at <= now() THEN 'now' WHEN next_attempt_at IS NULL THEN 'never' ELSE 'later' END AS due
         FROM wanted_tag JOIN wanted_stream USING (stream_uid) WHERE namespace = 'demo' AND name = 'app' ORDER BY tag`,
    )
  ).rows as unknown[];
const failed = () =>
  client.query(`UPDATE wanted_tag SET attempts = 3, next_attempt_at = now() + interval '1 hour' WHERE stream_uid = $1`, [streamUid]);
const from = 'registry.example.test/team/app:latest';

describe('what a stream wants', () => {
  it('is kept as the newest fact says, and what is due is due at once', async () => {
    await tell(1, [aTag(), aTag({ tag: 'old' })]);
    await tell(2, [aTag(), aTag({ tag: 'v1', due: false })]);

    expect(await kept()).toEqual([
      { tag: 'latest', source: from, generation: '1', attempts: 0, due: 'now' },
      { tag: 'v1', source: from, generation: '1', attempts: 0, due: 'never' },
    ]);
  });

  it('is not changed by a fact that is older than what is known', async () => {
    await tell(7, [aTag()]);
    await tell(6, [aTag({ generation: 9, from: 'elsewhere.example.test/a/b:1' })]);

    expect(await kept()).toEqual([{ tag: 'latest', source: from, generation: '1', attempts: 0, due: 'now' }]);
  });

  it.each([
    ['keeps its next attempt when its failure is recorded in the stream', { due: false, failing: true, generation: 2 }, 3, 'later'],
    ['keeps it when the same fact comes again', {}, 3, 'later'],
    ['is tried at once when somebody asks for it again', { generation: 2 }, 0, 'now'],
    ['is not tried again when something else has moved the tag', { due: false, generation: 2 }, 3, 'never'],
    ['is not tried again when the tag has another source by now', { due: false, failing: true, from: 'a.example.test/b:1' }, 3, 'never'],
  ])('after failures it %s', async (_title, given, attempts, due) => {
    await tell(1, [aTag()]);
    await failed();
    await tell(2, [aTag(given)]);

    expect(await kept()).toMatchObject([{ attempts, due }]);
  });

  it('is nothing when the stream is deleted, or another of its name takes its place', async () => {
    await tell(1, [aTag()]);
    const other = randomUUID();
    await tell(3, [aTag({ tag: 'other' })], { streamUid: other });
    const replaced = await kept();
    await tell(4, [], { streamUid: other, gone: true });

    expect(replaced).toMatchObject([{ tag: 'other' }]);
    expect(await kept()).toEqual([]);
  });
});
