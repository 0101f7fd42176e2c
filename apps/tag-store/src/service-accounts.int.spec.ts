import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { aTagStore, DRY, type Json, type TagStoreObjectsBed } from './testbed-objects.ts';

let store: TagStoreObjectsBed;
beforeAll(async () => {
  store = await aTagStore(await aDatabase(), await aNatsServer());
});
afterAll(() => store.stop());

const a = (name: string, more: object = {}) => ({ kind: 'ServiceAccount', apiVersion: 'v1', metadata: { name }, ...more });
const names = async (namespace: string, more: object = {}): Promise<string[]> =>
  (await store.list(namespace, 'serviceaccounts', more)).body.items.map((one: Json) => one.metadata.name);
const version = async (): Promise<string> => (await store.list('x', 'serviceaccounts')).body.resourceVersion;
const told = async (namespace: string, since: string): Promise<[string, string][]> =>
  ((await store.ask({ verb: 'changes', resource: 'serviceaccounts', namespace, since, waitMs: 0, limit: 99 })) as Json).changes.map(
    (one: Json) => [one.type, one.object.metadata.name],
  );

describe('a service account', () => {
  it('that every namespace is given is there without being made, also in one that nobody named yet', async () => {
    const before = await store.get('named-first-here', 'serviceaccounts', 'default');
    await store.create('given', 'imagestreams', { metadata: { name: 's' } });

    expect(before).toMatchObject({
      code: 200,
      body: { kind: 'ServiceAccount', apiVersion: 'v1', metadata: { namespace: 'named-first-here' } },
    });
    expect(await names('given')).toEqual(['builder', 'default', 'deployer']);
    expect((await store.get('given', 'serviceaccounts', 'other')).body).toMatchObject({
      code: 404,
      message: 'serviceaccounts "other" not found',
    });
    expect((await store.create('given', 'serviceaccounts', a('default'))).body).toMatchObject({
      code: 409,
      message: 'serviceaccounts "default" already exists',
    });
    expect((await store.get('', 'namespaces', 'named-first-here')).code).toBe(404);
  });

  it('has one uid, whether its namespace is there or not, and keeps it when it is changed', async () => {
    const before = (await store.get('uid', 'serviceaccounts', 'default')).body;
    await store.create('uid', 'imagestreams', { metadata: { name: 's' } });
    const there = (await store.get('uid', 'serviceaccounts', 'default')).body;
    const changed = (await store.update('uid', 'serviceaccounts', 'default', { ...before, imagePullSecrets: [{ name: 'quay' }] })).body;

    expect([there.metadata.uid, changed.metadata.uid]).toEqual([before.metadata.uid, before.metadata.uid]);
  });

  it('keeps the secrets that are linked to it', async () => {
    const since = await version();
    const before = (await store.get('linked', 'serviceaccounts', 'default')).body;

    const linked = { ...before, secrets: [{ name: 'git' }], imagePullSecrets: [{ name: 'quay' }], automountServiceAccountToken: false };
    const { code, body } = await store.update('linked', 'serviceaccounts', 'default', linked);
    const stale = await store.update('linked', 'serviceaccounts', 'default', { ...before, imagePullSecrets: [] });
    const same = await store.update('linked', 'serviceaccounts', 'default', { ...body, metadata: { name: 'default' } });

    expect({ code, body }).toMatchObject({
      code: 200,
      body: { secrets: [{ name: 'git' }], imagePullSecrets: [{ name: 'quay' }], automountServiceAccountToken: false },
    });
    expect((await store.get('linked', 'serviceaccounts', 'default')).body).toEqual(body);
    expect(stale.code).toBe(409);
    expect(same.body.metadata.resourceVersion).toBe(body.metadata.resourceVersion);
    expect(await told('linked', since)).toEqual([['MODIFIED', 'default']]);
    expect((await store.get('', 'namespaces', 'linked')).code).toBe(200);
  });

  it('of one’s own is made, changed, selected and deleted', async () => {
    const since = await version();
    const made = await store.create('own', 'serviceaccounts', a('robot', { metadata: { name: 'robot', labels: { team: 'a' } } }));
    await store.create('own', 'serviceaccounts', a('rehearsed'), DRY);

    expect(made).toMatchObject({ code: 201, body: { metadata: { name: 'robot', namespace: 'own', labels: { team: 'a' } } } });
    expect(await names('own', { labelSelector: 'team=a' })).toEqual(['robot']);
    expect(await names('own', { fieldSelector: 'metadata.name=robot' })).toEqual(['robot']);
    expect((await store.remove('own', 'serviceaccounts', 'robot')).body).toMatchObject({
      status: 'Success',
      details: { name: 'robot', kind: 'serviceaccounts', uid: made.body.metadata.uid },
    });
    expect(await told('own', since)).toEqual([
      ['ADDED', 'robot'],
      ['DELETED', 'robot'],
    ]);
    expect((await store.create('own', 'serviceaccounts', a('No Name'))).body).toMatchObject({
      code: 422,
      details: { kind: 'ServiceAccount', causes: [{ field: 'metadata.name' }] },
    });
  });

  it('that is given comes back as another when it is deleted, with nothing linked', async () => {
    const before = (await store.get('again', 'serviceaccounts', 'default')).body;
    await store.update('again', 'serviceaccounts', 'default', { ...before, imagePullSecrets: [{ name: 'quay' }] });

    await store.remove('again', 'serviceaccounts', 'default');

    const after = (await store.get('again', 'serviceaccounts', 'default')).body;
    expect(after.imagePullSecrets).toBeUndefined();
    expect(after.metadata.uid).not.toBe(before.metadata.uid);
  });

  it('goes with its namespace', async () => {
    await store.create('gone', 'serviceaccounts', a('robot'));

    await store.remove('', 'namespaces', 'gone');

    expect((await store.get('gone', 'serviceaccounts', 'robot')).code).toBe(404);
    expect((await store.get('', 'namespaces', 'gone')).code).toBe(404);
  });
});
