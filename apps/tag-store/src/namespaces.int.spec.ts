import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { ADMIN, aTagStore, DRY, type Json, type TagStoreObjectsBed } from './testbed-objects.ts';

let store: TagStoreObjectsBed;
beforeAll(async () => {
  store = await aTagStore(await aDatabase(), await aNatsServer());
});
afterAll(() => store.stop());

const make = (name: string, more: object = {}) =>
  store.create('', 'namespaces', { kind: 'Namespace', apiVersion: 'v1', metadata: { name, ...more } });
const names = async (more: object = {}): Promise<string[]> =>
  (await store.list('', 'namespaces', more)).body.items.map((one: Json) => one.metadata.name);
const changes = async (resource: string, since: string, more: object = {}) =>
  ((await store.ask({ verb: 'changes', resource, since, waitMs: 0, limit: 99, ...more })) as Json).changes as Json[];

describe('a namespace', () => {
  it('that was made is there until it is deleted', async () => {
    const made = await make('team', { labels: { a: 'b' } });

    expect(made).toMatchObject({
      code: 201,
      body: {
        kind: 'Namespace',
        apiVersion: 'v1',
        metadata: { name: 'team', labels: { a: 'b', 'kubernetes.io/metadata.name': 'team' } },
        spec: { finalizers: ['kubernetes'] },
        status: { phase: 'Active' },
      },
    });
    expect((await store.get('', 'namespaces', 'team')).body).toEqual(made.body);
    expect((await make('team')).body).toMatchObject({ code: 409, message: 'namespaces "team" already exists' });
    expect((await store.remove('', 'namespaces', 'team')).body).toMatchObject({
      status: 'Success',
      details: { name: 'team', kind: 'namespaces', uid: made.body.metadata.uid },
    });
    expect((await store.get('', 'namespaces', 'team')).body).toMatchObject({ code: 404, message: 'namespaces "team" not found' });
  });

  it('with a name that is none is refused', async () => {
    expect((await make('No_Name')).body).toMatchObject({ code: 422, details: { kind: 'Namespace', causes: [{ field: 'metadata.name' }] } });
    expect((await make('')).code).toBe(422);
  });

  it('is there while a stream or secret is in it', async () => {
    await store.create('of-stream', 'imagestreams', { metadata: { name: 's' } });
    await store.create('of-secret', 'secrets', { metadata: { name: 's' } });

    expect(await names()).toEqual(expect.arrayContaining(['default', 'of-secret', 'of-stream']));
    expect((await make('of-stream')).code).toBe(409);
    await store.remove('of-stream', 'imagestreams', 's');
    await store.remove('of-secret', 'secrets', 's');
    expect(await names()).not.toEqual(expect.arrayContaining(['of-stream']));
    expect((await store.get('', 'namespaces', 'of-secret')).code).toBe(404);
  });

  it('that is there only for what is in it can be changed, and stays then', async () => {
    await store.create('grown', 'imagestreams', { metadata: { name: 's' } });
    const before = (await store.get('', 'namespaces', 'grown')).body;

    const { body } = await store.update('', 'namespaces', 'grown', {
      ...before,
      metadata: { ...before.metadata, annotations: { note: 'x' } },
    });
    await store.remove('grown', 'imagestreams', 's');

    expect(body.metadata).toMatchObject({
      uid: before.metadata.uid,
      creationTimestamp: before.metadata.creationTimestamp,
      annotations: { note: 'x' },
    });
    expect((await store.get('', 'namespaces', 'grown')).body).toEqual(body);
  });

  it('changes in labels and annotations; who is behind is told so', async () => {
    const made = (await make('changing')).body;

    const { body } = await store.update('', 'namespaces', 'changing', { ...made, metadata: { ...made.metadata, labels: { a: 'b' } } });
    const stale = await store.update('', 'namespaces', 'changing', { ...made, metadata: { ...made.metadata, labels: {} } });
    const blind = await store.update('', 'namespaces', 'changing', { metadata: { name: 'changing', labels: { c: 'd' } } });

    expect(body.metadata.labels).toEqual({ a: 'b', 'kubernetes.io/metadata.name': 'changing' });
    expect(stale.code).toBe(409);
    expect(blind.body.metadata.labels).toEqual({ c: 'd', 'kubernetes.io/metadata.name': 'changing' });
    expect(await names({ labelSelector: 'c=d' })).toEqual(['changing']);
    expect(await names({ fieldSelector: 'metadata.name=changing' })).toEqual(['changing']);
    expect((await store.update('', 'namespaces', 'never', { metadata: { name: 'never' } })).code).toBe(404);
  });

  it('is told to who watches, also as a project', async () => {
    const { resourceVersion } = (await store.list('', 'namespaces')).body;
    await make('seen');
    await store.remove('', 'namespaces', 'seen');

    const told = await changes('namespaces', resourceVersion);
    expect(told.map(({ type, object }) => `${type} ${object.kind} ${object.metadata.name}`)).toEqual([
      'ADDED Namespace seen',
      'DELETED Namespace seen',
    ]);
    expect((await changes('projects', resourceVersion))[0].object).toMatchObject({
      kind: 'Project',
      apiVersion: 'project.openshift.io/v1',
    });
  });
});

describe('with a deleted namespace', () => {
  it('go its streams and secrets, in parts, and watchers see them go', async () => {
    await make('full');
    for (let i = 0; i < 120; i++) await store.create('full', 'imagestreams', { metadata: { name: `s${i}` } });
    await store.create('full', 'secrets', { metadata: { name: 'creds' } });
    await store.create('beside', 'imagestreams', { metadata: { name: 's' } });
    const { resourceVersion } = (await store.list('', 'namespaces')).body;

    expect((await store.remove('', 'namespaces', 'full')).code).toBe(200);

    const gone = await changes('imagestreams', resourceVersion, { namespace: 'full', limit: 500 });
    expect(gone).toHaveLength(120);
    expect(new Set(gone.map(({ type }) => type))).toEqual(new Set(['DELETED']));
    expect((await store.list('full', 'secrets')).body.items).toEqual([]);
    expect(await names()).toEqual(expect.arrayContaining(['beside']));
    expect(await names()).not.toEqual(expect.arrayContaining(['full']));
  });

  it('goes one that nobody made', async () => {
    await store.create('unmade', 'imagestreams', { metadata: { name: 's' } });

    expect((await store.remove('', 'namespaces', 'unmade')).code).toBe(200);

    expect((await store.get('unmade', 'imagestreams', 's')).code).toBe(404);
    expect((await store.remove('', 'namespaces', 'unmade')).code).toBe(404);
  });

  it('goes nothing when it is a rehearsal, another is meant, or it must stay', async () => {
    await make('staying');
    await store.create('staying', 'imagestreams', { metadata: { name: 's' } });

    expect((await store.remove('', 'namespaces', 'staying', DRY)).code).toBe(200);
    expect((await store.remove('', 'namespaces', 'staying', { preconditions: { uid: 'other' } })).code).toBe(409);
    expect((await store.remove('', 'namespaces', 'default')).body).toMatchObject({
      code: 403,
      message: 'namespaces "default" is forbidden: this namespace may not be deleted',
    });

    expect((await store.get('staying', 'imagestreams', 's')).code).toBe(200);
  });
});

describe('a project', () => {
  const request = (object: object) => store.create('', 'projectrequests', object);

  it('is its namespace under another name', async () => {
    await make('shared');

    expect((await store.get('', 'projects', 'shared')).body).toMatchObject({
      kind: 'Project',
      apiVersion: 'project.openshift.io/v1',
      metadata: (await store.get('', 'namespaces', 'shared')).body.metadata,
      status: { phase: 'Active' },
    });
    expect((await store.list('', 'projects', { fieldSelector: 'metadata.name=shared' })).body.items).toHaveLength(1);
    expect((await store.get('', 'projects', 'never')).body.message).toBe('namespaces "never" not found');
    expect((await store.remove('', 'projects', 'shared')).code).toBe(200);
    expect((await store.get('', 'namespaces', 'shared')).code).toBe(404);
  });

  it('is made on request, for who asks', async () => {
    const { code, body } = await request({ metadata: { name: 'wanted' }, displayName: 'Wanted', description: 'Why' });

    expect(code).toBe(201);
    expect(body).toMatchObject({
      kind: 'Project',
      metadata: {
        name: 'wanted',
        annotations: { 'openshift.io/display-name': 'Wanted', 'openshift.io/description': 'Why', 'openshift.io/requester': ADMIN.name },
      },
    });
    expect((await request({ metadata: { name: 'wanted' } })).body.message).toBe('project.project.openshift.io "wanted" already exists');
    expect((await request({ metadata: { name: 'kube-x' } })).code).toBe(403);
    expect((await request({ metadata: { name: 'x' } })).body).toMatchObject({ code: 422, details: { kind: 'ProjectRequest' } });
    expect((await store.list('', 'projectrequests')).body).toMatchObject({ kind: 'Status', status: 'Success' });
  });

  it('changes in its descriptions only', async () => {
    const made = (await request({ metadata: { name: 'described' } })).body;
    const described = { ...made.metadata.annotations, 'openshift.io/description': 'new' };

    const changed = await store.update('', 'projects', 'described', { ...made, metadata: { ...made.metadata, annotations: described } });
    const labelled = await store.update('', 'projects', 'described', {
      metadata: { name: 'described', annotations: described, labels: { a: 'b' } },
    });

    expect(changed.body.metadata.annotations).toEqual(described);
    expect(labelled.body.message).toBe(
      'Project.project.openshift.io "described" is invalid: metadata.labels[a]: Invalid value: "b": field is immutable, try updating the namespace',
    );
  });
});
