import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { PullSecrets } from '@millrace/contracts/requests';
import { OperatorCredentialsFile } from '@millrace/platform/operator-credentials';
import { PullCredentials } from '@millrace/platform/pull-credentials';
import { Sealing } from '@millrace/platform/sealing';
import { eventually } from '@millrace/testing/eventually';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { aPeer } from '@millrace/testing/service';
import { aSecretsKey } from './testbed.ts';
import { aTagStore, type TagStoreObjectsBed } from './testbed-objects.ts';

const key = aSecretsKey();
const sealing = new Sealing({ SECRETS_KEY: [Buffer.from(key, 'base64')] });
const base64 = (text: string): string => Buffer.from(text).toString('base64');
const PASSWORD = 'hunter2-hunter2';
const CONFIG_JSON = 'kubernetes.io/dockerconfigjson';

let store: TagStoreObjectsBed;
let nats: Awaited<ReturnType<typeof aNatsServer>>;
let peer: Awaited<ReturnType<typeof aPeer>>;
let carried: string[];
const stops: (() => Promise<void>)[] = [];
beforeAll(async () => {
  nats = await aNatsServer();
  store = await aTagStore(await aDatabase(), nats, { SECRETS_KEY: key });
  // By another name than tag-store's, so that what is asked goes over NATS although both are in one process.
  peer = await aPeer(nats.url.replace('127.0.0.1', 'localhost'));
  peer.bus.nats.subscribe('>', { callback: (_error, message) => void carried.push(`${message.subject} ${message.string()}`) });
});
beforeEach(() => (carried = []));
afterAll(async () => {
  for (const stop of stops) await stop();
  await peer.close();
  await store.stop();
});

const aPullSecret = (name: string, registries: Record<string, string>, metadata: object = {}) => {
  const auths = Object.fromEntries(Object.entries(registries).map(([at, username]) => [at, { username, password: PASSWORD }]));
  return { metadata: { name, ...metadata }, type: CONFIG_JSON, data: { '.dockerconfigjson': base64(JSON.stringify({ auths })) } };
};
const made = async (namespace: string, secret: object) =>
  expect((await store.create(namespace, 'secrets', { kind: 'Secret', apiVersion: 'v1', ...secret })).code).toBe(201);
const questions = () => carried.filter((line) => line.startsWith(`${PullSecrets.subject} `)).length;

/** Asks as import-scheduler does; `operator` is what the operator's config.json holds. */
async function anAsker(operator?: object, opens = sealing) {
  const logged: string[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => void logged.push(line) });
  const directory = mkdtempSync(join(tmpdir(), 'operator-'));
  const file = join(directory, 'config.json');
  if (operator) writeFileSync(file, JSON.stringify({ auths: operator }));
  const asker = new PullCredentials(peer.bus, opens, log, new OperatorCredentialsFile(operator ? file : '', log));
  stops.push(async () => {
    await asker.stop();
    rmSync(directory, { recursive: true });
  });
  await asker.start();
  await peer.bus.check();
  const users = async (namespace: string, image: string) =>
    (await asker.of(namespace, image)).candidates.map(({ credential }) => credential.username);
  return { asker, users, logged };
}

describe('what an image is fetched with', () => {
  it('is every secret for registries of the namespace, the longest path first, and then the operator’s', async () => {
    await made('order', aPullSecret('a', { 'q.io': 'host', 'q.io/team': 'path' }));
    await made('order', {
      metadata: { name: 'b' },
      type: 'kubernetes.io/dockercfg',
      stringData: { '.dockercfg': '{"q.io":{"username":"second"}}' },
    });
    await made('order', {
      metadata: { name: 'c', annotations: { 'millrace.dev/registry': 'q.io/team/app' } },
      type: 'kubernetes.io/basic-auth',
      stringData: { username: 'annotated', password: PASSWORD },
    });
    await made('order', aPullSecret('excluded', { 'q.io': 'no' }, { annotations: { 'openshift.io/image.excludeSecret': 'true' } }));
    await made('order', { metadata: { name: 'opaque' }, type: 'Opaque', stringData: { username: 'no', password: 'no' } });
    await made('elsewhere', aPullSecret('d', { 'q.io': 'no' }));
    const { users } = await anAsker({ 'q.io': { username: 'operator' } });

    expect(await users('order', 'q.io/team/app:1')).toEqual(['annotated', 'path', 'host', 'second', 'operator']);
    expect(await users('order', 'other.io/team/app:1')).toEqual([]);
    expect(await users('nobody-made-this', 'q.io/team/app:1')).toEqual(['operator']);
  });

  it('is asked for once, and again when a secret has changed; no password crosses NATS', async () => {
    await made('kept', aPullSecret('s', { 'q.io': 'one' }));
    const { users } = await anAsker();

    await Promise.all(Array.from({ length: 1_000 }, (_, i) => users('kept', `q.io/team/app${i}`)));
    await eventually(() => expect(questions()).toBe(1));
    await store.update('kept', 'secrets', 's', { kind: 'Secret', apiVersion: 'v1', ...aPullSecret('s', { 'q.io': 'two' }) });
    await eventually(async () => expect(await users('kept', 'q.io/a')).toEqual(['two']));
    await store.remove('kept', 'secrets', 's');
    await eventually(async () => expect(await users('kept', 'q.io/a')).toEqual([]));

    for (const text of [PASSWORD, base64(PASSWORD)])
      expect(carried.filter((line) => !line.includes('"verb"')).join('\n')).not.toContain(text);
  });

  it('is answered without secrets while nothing of the namespace has changed', async () => {
    await made('revised', aPullSecret('s', { 'q.io': 'u' }));
    const first = await peer.ask(PullSecrets, { namespace: 'revised' });

    await made('revised-not', aPullSecret('s', { 'q.io': 'u' }));
    await made('revised', { metadata: { name: 'opaque' }, type: 'Opaque', stringData: { a: 'b' } });

    expect(first.secrets).toEqual([expect.objectContaining({ name: 's', type: CONFIG_JSON, keyId: sealing.keyId, registries: [] })]);
    expect(await peer.ask(PullSecrets, { namespace: 'revised', known: first.revision })).toEqual({ revision: first.revision });
    await made('revised', aPullSecret('another', { 'r.io': 'u' }));
    expect((await peer.ask(PullSecrets, { namespace: 'revised', known: first.revision })).secrets).toHaveLength(2);
  });

  it('is the rest where a secret is broken, which is logged by its name', async () => {
    await made('broken', {
      metadata: { name: 'bad' },
      type: CONFIG_JSON,
      stringData: { '.dockerconfigjson': `{"auths":{"q.io":{"auth":"${base64(PASSWORD)}"}}}` },
    });
    await made('broken', aPullSecret('good', { 'q.io': 'u' }));
    const { asker, logged } = await anAsker();

    const { candidates, broken } = await asker.of('broken', 'q.io/a');

    expect(candidates.map(({ secret }) => secret)).toEqual(['good']);
    expect(broken).toEqual([{ secret: 'bad', reason: expect.stringMatching(/^unable to parse auth field/) }]);
    expect(logged.map((line) => JSON.parse(line) as object)).toEqual([
      expect.objectContaining({ msg: 'pull-secret.broken', namespace: 'broken', name: 'bad' }),
    ]);
    for (const text of [PASSWORD, base64(PASSWORD)]) expect(logged.join()).not.toContain(text);
  });

  it('is nothing where the key of the secrets is another, and the missing key is named', async () => {
    await made('foreign', aPullSecret('s', { 'q.io': 'u' }));
    const { asker } = await anAsker(undefined, new Sealing({ SECRETS_KEY: [Buffer.alloc(32, 1)] }));

    const { candidates, broken } = await asker.of('foreign', 'q.io/a');

    expect(candidates).toEqual([]);
    expect(broken).toEqual([{ secret: 's', reason: expect.stringContaining(`under key ${sealing.keyId}, and given are`) }]);
  });
});
