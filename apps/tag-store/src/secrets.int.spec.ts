import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Sealing } from '@millrace/platform/sealing';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { aTagStore, DRY, type TagStoreObjectsBed } from './testbed-objects.ts';

let store: TagStoreObjectsBed;
beforeAll(async () => {
  store = await aTagStore(await aDatabase(), await aNatsServer());
});
afterAll(() => store.stop());

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const PASSWORD = 'hunter2-hunter2';
const AUTHS = JSON.stringify({ auths: { 'e.io': { username: 'u', password: PASSWORD } } });
const PULL = 'kubernetes.io/dockerconfigjson';
const a = (name: string, more: object = {}) => ({ kind: 'Secret', apiVersion: 'v1', metadata: { name }, ...more });
const aPullSecret = (name: string, metadata: object = {}) =>
  a(name, { metadata: { name, ...metadata }, type: PULL, data: { '.dockerconfigjson': base64(AUTHS) } });

describe('a secret', () => {
  it('is kept and answered as it was sent, with its text in data', async () => {
    const made = await store.create('kept', 'secrets', a('s', { data: { a: base64('1') }, stringData: { b: '2' } }));

    expect(made).toMatchObject({ code: 201, body: { kind: 'Secret', apiVersion: 'v1', metadata: { name: 's', namespace: 'kept' } } });
    expect(made.body).toMatchObject({ type: 'Opaque', data: { a: base64('1'), b: base64('2') } });
    expect(made.body.stringData).toBeUndefined();
    expect((await store.get('kept', 'secrets', 's')).body).toEqual(made.body);
    expect((await store.create('kept', 'secrets', a('s'))).body).toMatchObject({ code: 409, message: 'secrets "s" already exists' });
    expect((await store.get('kept', 'secrets', 'none')).body).toMatchObject({ code: 404, message: 'secrets "none" not found' });
  });

  it('without data has none, and gets a name where it asks for one', async () => {
    const { body } = await store.create('kept', 'secrets', { metadata: { generateName: 'gen-' }, type: 'Opaque', data: {} });

    expect(body.metadata.name).toMatch(/^gen-.{5}$/);
    expect(Object.keys(body)).toEqual(['kind', 'apiVersion', 'metadata', 'type']);
  });

  it('is read nowhere in the database, not even when it is gone', async () => {
    await store.create('sealed', 'secrets', aPullSecret('s'));
    await store.update('sealed', 'secrets', 's', aPullSecret('s', { labels: { a: 'b' } }));
    await store.create('sealed', 'secrets', aPullSecret('gone'));
    await store.remove('sealed', 'secrets', 'gone');

    const [{ everything }] = (await store.sql(
      `SELECT (SELECT json_agg(encode(sealed, 'escape')) FROM secret)::text || coalesce((SELECT json_agg(change) FROM change)::text, '') AS everything`,
    )) as [{ everything: string }];

    for (const text of [PASSWORD, base64(AUTHS), base64(PASSWORD)]) expect(everything).not.toContain(text);
  });

  it('is not read in what kubectl applied either, which is answered as it was sent', async () => {
    const applied = JSON.stringify({ kind: 'Secret', stringData: { password: PASSWORD } });
    const annotations = { 'kubectl.kubernetes.io/last-applied-configuration': applied, note: 'x' };
    const sent = a('applied', { metadata: { name: 'applied', annotations }, stringData: { password: PASSWORD } });
    const made = await store.create('applied', 'secrets', sent);
    await store.update('applied', 'secrets', 'applied', { ...sent, stringData: { password: `${PASSWORD}2` } });

    const [{ everything }] = (await store.sql(
      `SELECT (SELECT json_agg(secret) FROM secret)::text || coalesce((SELECT json_agg(change) FROM change)::text, '') AS everything`,
    )) as [{ everything: string }];

    expect(made.body.metadata.annotations).toEqual(annotations);
    expect((await store.get('applied', 'secrets', 'applied')).body.metadata.annotations).toEqual(annotations);
    expect(everything).not.toContain(PASSWORD);
    expect(everything).toContain('"note"');
  });

  it('whose key is missing says which, and is set again or deleted', async () => {
    const foreign = new Sealing({ SECRETS_KEY: [Buffer.alloc(32, 7)] });
    const unreadable = async (name: string) => {
      const { uid } = (await store.create('lost', 'secrets', a(name, { stringData: { a: '1' } }))).body.metadata;
      await store.sql('UPDATE secret SET sealed = $2 WHERE uid = $1', [uid, foreign.seal({ a: base64('1') }, uid)]);
    };
    const pull = await store.create('lost', 'secrets', aPullSecret('pull'));
    for (const name of ['set-again', 'gone', 'with-others', 'with-its-namespace']) await unreadable(name);

    expect((await store.get('lost', 'secrets', 'set-again')).body).toMatchObject({
      code: 500,
      message: expect.stringContaining(
        `secret lost/set-again: what is kept cannot be decrypted with this SECRETS_KEY: it was sealed under key ${foreign.keyId}`,
      ),
    });
    expect((await store.list('lost', 'secrets')).code).toBe(500);
    const { items } = (await store.get('lost', 'imagestreams', 'any', { subresource: 'secrets' })).body;
    expect(items.map((one: { metadata: object }) => one.metadata)).toEqual([pull.body.metadata]);
    expect((await store.update('lost', 'secrets', 'set-again', a('set-again', { stringData: { a: '1' } }))).code).toBe(200);
    expect((await store.get('lost', 'secrets', 'set-again')).body.data).toEqual({ a: base64('1') });
    expect((await store.remove('lost', 'secrets', 'gone')).body.status).toBe('Success');
    const some = { verb: 'deletecollection', resource: 'secrets', namespace: 'lost', dryRun: false, user: { name: 'x', groups: [] } };
    expect((await store.reply({ ...some, fieldSelector: 'metadata.name=with-others' })).body.items).toHaveLength(1);
    expect((await store.remove('', 'namespaces', 'lost')).body.status).toBe('Success');
  });

  it('changes, but for its type; without a version the last writer wins', async () => {
    const made = (await store.create('changed', 'secrets', a('s', { data: { a: base64('1') } }))).body;

    const first = await store.update('changed', 'secrets', 's', { ...made, data: { b: base64('2') } });
    const stale = await store.update('changed', 'secrets', 's', { ...made, data: { c: base64('3') } });
    const blind = await store.update('changed', 'secrets', 's', a('s', { stringData: { d: '4' } }));
    const same = await store.update('changed', 'secrets', 's', a('s', { stringData: { d: '4' } }));

    expect(first.body.data).toEqual({ b: base64('2') });
    expect(Number(first.body.metadata.resourceVersion)).toBeGreaterThan(Number(made.metadata.resourceVersion));
    expect(stale.code).toBe(409);
    expect(blind.body.data).toEqual({ d: base64('4') });
    expect(same.body).toEqual(blind.body);
    expect((await store.update('changed', 'secrets', 's', { ...made, metadata: { name: 's' }, type: 'other' })).body.message).toBe(
      'Secret "s" is invalid: type: Invalid value: "other": field is immutable',
    );
  });

  it('that is wrong is refused without a word of what is in it', async () => {
    const { body } = await store.create('wrong', 'secrets', a('s', { type: PULL, stringData: { '.dockerconfigjson': PASSWORD } }));
    const unreadable = await store.create('wrong', 'secrets', a('s', { data: { a: `${PASSWORD}?` } }));

    expect(body).toMatchObject({
      code: 422,
      reason: 'Invalid',
      details: { kind: 'Secret', causes: [{ field: 'data[.dockerconfigjson]' }] },
    });
    expect(unreadable.code).toBe(400);
    expect(JSON.stringify([body, unreadable.body])).not.toContain(PASSWORD);
  });

  it('goes by name, by selection, or not at all in a rehearsal', async () => {
    for (const [name, team] of ['a', 'b', 'b'].entries())
      await store.create('going', 'secrets', a(`s${name}`, { metadata: { name: `s${name}`, labels: { team } } }));
    const names = async () =>
      (await store.list('going', 'secrets')).body.items.map((one: { metadata: { name: string } }) => one.metadata.name);
    const deletion = { verb: 'deletecollection', resource: 'secrets', namespace: 'going', dryRun: false, user: { name: 'x', groups: [] } };

    await store.remove('going', 'secrets', 's0', DRY);
    expect(await names()).toEqual(['s0', 's1', 's2']);
    const gone = await store.remove('going', 'secrets', 's0');
    expect(gone.body).toMatchObject({ status: 'Success', details: { name: 's0', kind: 'secrets', uid: expect.any(String) } });
    expect((await store.remove('going', 'secrets', 's1', { preconditions: { uid: 'other' } })).code).toBe(409);
    await store.reply({ ...deletion, labelSelector: 'team=b' });
    expect(await names()).toEqual([]);
  });

  it('is selected by its type', async () => {
    await store.create('typed', 'secrets', a('opaque'));
    await store.create('typed', 'secrets', aPullSecret('pull'));

    const { body } = await store.list('typed', 'secrets', { fieldSelector: `type=${PULL}` });

    expect(body.items).toHaveLength(1);
  });
});

describe('the secrets of a stream', () => {
  it('are those of its namespace that images are pulled with, whether or not the stream is there', async () => {
    await store.create('pulled', 'secrets', aPullSecret('b', { labels: { team: 'x' } }));
    await store.create('pulled', 'secrets', a('a', { type: 'kubernetes.io/dockercfg', stringData: { '.dockercfg': '{}' } }));
    await store.create('pulled', 'secrets', aPullSecret('excluded', { annotations: { 'openshift.io/image.excludeSecret': 'true' } }));
    await store.create('pulled', 'secrets', a('opaque'));
    await store.create('elsewhere', 'secrets', aPullSecret('c'));

    const { body } = await store.get('pulled', 'imagestreams', 'none', { subresource: 'secrets' });
    const selected = await store.get('pulled', 'imagestreams', 'none', { subresource: 'secrets', labelSelector: 'team=x' });

    expect(body).toMatchObject({
      kind: 'SecretList',
      apiVersion: 'image.openshift.io/v1',
      metadata: { resourceVersion: expect.any(String) },
    });
    expect(body.items.map((one: { metadata: { name: string } }) => one.metadata.name)).toEqual(['a', 'b']);
    expect(Object.keys(body.items[0])).toEqual(['metadata', 'data', 'type']);
    expect(selected.body.items).toHaveLength(1);
  });
});
