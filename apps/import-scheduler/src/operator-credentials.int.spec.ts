import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { PULL_SECRETS_BELL, PullSecrets } from '@millrace/contracts/requests';
import { Bus } from '@millrace/platform/bus';
import { PullCredentials } from '@millrace/platform/pull-credentials';
import { Sealing } from '@millrace/platform/sealing';
import { eventually } from '@millrace/testing/eventually';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { aPeer, aService, type StartedService } from '@millrace/testing/service';
import { service } from './main.ts';

const key = randomBytes(32);
const directory = mkdtempSync(join(tmpdir(), 'operator-'));
const file = join(directory, 'config.json');
const write = (username: string) => writeFileSync(file, JSON.stringify({ auths: { 'q.io': { username, password: 'hunter2-hunter2' } } }));

let nats: Awaited<ReturnType<typeof aNatsServer>>;
let database: Awaited<ReturnType<typeof aDatabase>>;
let peer: Awaited<ReturnType<typeof aPeer>>;
let scheduler: StartedService;

beforeAll(async () => {
  [nats, database] = await Promise.all([aNatsServer(), aDatabase()]);
  peer = await aPeer(nats.url);
  write('operator');
  const env = { DATABASE_URL: database.url, NATS_URL: nats.url, SECRETS_KEY: key.toString('base64'), REGISTRY_AUTH_FILE: file };
  scheduler = await aService(service as never, env);
});
afterAll(async () => {
  await scheduler.stop();
  await nats.stop();
  await database.drop();
  rmSync(directory, { recursive: true, force: true });
});

it('the operator’s credentials come after those of the namespace, are the new ones without a restart, and both outlast tag-store', async () => {
  const config = Buffer.from(JSON.stringify({ auths: { 'q.io': { username: 'team', password: 'p' } } })).toString('base64');
  const sealed = new Sealing({ SECRETS_KEY: [key] }).seal({ '.dockerconfigjson': config }, 'uid').toString('base64');
  peer.answer(PullSecrets, () =>
    Promise.resolve({
      revision: '1',
      secrets: [{ name: 's', uid: 'uid', resourceVersion: '1', type: 'kubernetes.io/dockerconfigjson', registries: [], sealed }],
    }),
  );
  await peer.bus.check();
  const users = async () =>
    (await scheduler.app.get(PullCredentials).of('demo', 'q.io/team/app')).candidates.map(({ credential }) => credential.username);

  expect(await users()).toEqual(['team', 'operator']);
  write('another');
  await eventually(async () => expect(await users()).toEqual(['team', 'another']));

  // tag-store goes away, and a bell is rung: what it told last is used on.
  await peer.close();
  scheduler.app.get(Bus).nudge(PULL_SECRETS_BELL);
  await eventually(async () => {
    expect(await users()).toEqual(['team', 'another']);
    expect(scheduler.lines('pull-secrets.not-answered')).toHaveLength(1);
  });
  expect(scheduler.logged.join()).not.toContain('hunter2');
});
