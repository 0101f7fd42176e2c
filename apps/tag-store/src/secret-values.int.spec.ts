import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sealedValueOf, SecretValues } from '@millrace/contracts/requests';
import { Sealing } from '@millrace/platform/sealing';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { aPeer } from '@millrace/testing/service';
import { aSecretsKey } from './testbed.ts';
import { aTagStore, type TagStoreObjectsBed } from './testbed-objects.ts';

const key = aSecretsKey();
const sealing = new Sealing({ SECRETS_KEY: [Buffer.from(key, 'base64')] });

let store: TagStoreObjectsBed;
let peer: Awaited<ReturnType<typeof aPeer>>;
let carried: string[] = [];
beforeAll(async () => {
  const nats = await aNatsServer();
  store = await aTagStore(await aDatabase(), nats, { SECRETS_KEY: key });
  // By another name than tag-store's, so that what is asked goes over NATS although both are in one process.
  peer = await aPeer(nats.url.replace('127.0.0.1', 'localhost'));
  peer.bus.nats.subscribe('>', { callback: (_error, message) => void carried.push(message.string()) });
});
afterAll(async () => {
  await peer.close();
  await store.stop();
});

const made = async (namespace: string, name: string, stringData: Record<string, string>) => {
  const annotations = { 'kubectl.kubernetes.io/last-applied-configuration': JSON.stringify(stringData) };
  const secret = { kind: 'Secret', apiVersion: 'v1', metadata: { name, annotations }, stringData };
  expect((await store.create(namespace, 'secrets', secret)).code).toBe(201);
};
const asked = async (namespace: string, ...keys: [name: string, key: string][]) => {
  const named = keys.map(([name, of]) => ({ name, key: of }));
  const { values } = await peer.ask(SecretValues, { namespace, keys: named });
  return values.map((value, i) => {
    if (value.kind !== 'sealed') return value.reason;
    const opened = sealing.open(Buffer.from(value.sealed, 'base64'), sealedValueOf(namespace, named[i] ?? { name: '', key: '' }));
    return Buffer.from((opened as { value: string }).value, 'base64').toString();
  });
};

describe('values of secrets', () => {
  it('are those that are asked for, in the order of the question', async () => {
    await made('values', 'ci', { token: 'hunter2', user: 'ada', 'tls.crt': 'PEM' });

    expect(await asked('values', ['ci', 'user'], ['ci', 'token'], ['ci', 'tls.crt'])).toEqual(['ada', 'hunter2', 'PEM']);
  });

  it('that are not there say what is missing', async () => {
    await made('missing', 'ci', { token: 'hunter2' });

    expect(
      await asked(
        'missing',
        ['ci', 'tokn'],
        ['cd', 'token'],
        ['ci', 'toString'],
        ['ci', 'kubectl.kubernetes.io/last-applied-configuration'],
      ),
    ).toEqual([
      'secret ci has no key tokn',
      'there is no secret cd in namespace missing',
      'secret ci has no key toString',
      'secret ci has no key kubectl.kubernetes.io/last-applied-configuration',
    ]);
  });

  it('of another namespace are not there', async () => {
    await made('here', 'ci', { token: 'hunter2' });

    expect(await asked('there', ['ci', 'token'])).toEqual(['there is no secret ci in namespace there']);
  });

  it('cross NATS sealed, each by itself and bound to what was asked for', async () => {
    await made('sealed', 'ci', { token: 'hunter2-hunter2', other: 'hunter3-hunter3' });
    carried = [];
    const { values } = await peer.ask(SecretValues, { namespace: 'sealed', keys: [{ name: 'ci', key: 'token' }] });
    await peer.bus.check();

    const [value] = values;
    const bytes = Buffer.from(value?.kind === 'sealed' ? value.sealed : '', 'base64');
    expect(sealing.open(bytes, 'sealed/ci/token')).toEqual({ value: Buffer.from('hunter2-hunter2').toString('base64') });
    for (const other of ['sealed/ci/other', 'here/ci/token']) expect(() => sealing.open(bytes, other)).toThrow('another object');
    for (const secret of ['hunter2', 'hunter3'])
      for (const text of [secret, Buffer.from(`${secret}-${secret}`).toString('base64')]) expect(carried.join('\n')).not.toContain(text);
    expect(carried.join('\n')).toContain('"kind":"sealed"');
  });

  it('that are too long for a token, key or certificate are not told', async () => {
    await made('long', 'big', { data: 'x'.repeat(70_000) });

    expect(await asked('long', ['big', 'data'])).toEqual(['data of secret big is longer than 64 kB']);
  });
});
