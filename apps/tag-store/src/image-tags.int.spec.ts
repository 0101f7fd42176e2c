import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { aTagStore, type Json, type TagStoreObjectsBed } from './testbed-objects.ts';

const write = { dryRun: false, user: { name: 'admin', groups: ['system:masters'] } };
const A = `sha256:${'a'.repeat(64)}`;
const B = `sha256:${'b'.repeat(64)}`;

let bed: TagStoreObjectsBed;

beforeAll(async () => {
  const [database, nats] = await Promise.all([aDatabase(), aNatsServer()]);
  bed = await aTagStore(database, nats);
});
afterAll(() => bed.stop());

/** Asks as the api would; the answer's code and what the client gets. */
const ask = (question: object) => bed.reply({ resource: 'imagetags', ...question });
const push = (namespace: string, stream: string, tag: string, image: string) =>
  ask({
    verb: 'create',
    resource: 'imagestreammappings',
    namespace,
    object: { metadata: { name: stream }, tag, image: { metadata: { name: image }, dockerImageReference: `e.io/a/b@${image}` } },
    ...write,
  });
const aStream = (namespace: string, name: string, spec: object = {}, metadata: object = {}) =>
  ask({ verb: 'create', resource: 'imagestreams', namespace, object: { metadata: { name, ...metadata }, spec }, ...write });
const get = (namespace: string, name: string, more: object = {}) => ask({ verb: 'get', namespace, name, ...more });
const put = (namespace: string, name: string, object: object, more: object = {}) =>
  ask({ verb: 'update', namespace, name, object: { ...object, metadata: { name, ...(object as Json).metadata } }, ...write, ...more });

describe('an imagetag', () => {
  it('shows the metadata of its stream, its spec, its whole history and its image', async () => {
    await aStream(
      'show',
      's',
      { tags: [{ name: 'v', referencePolicy: { type: 'Local' } }] },
      { labels: { team: 'x' }, annotations: { a: 'b' } },
    );
    for (const image of [A, B]) await push('show', 's', 'v', image);

    const { body } = await get('show', 's:v');

    expect(body).toMatchObject({
      kind: 'ImageTag',
      metadata: { name: 's:v', namespace: 'show', generation: 1, labels: { team: 'x' }, annotations: { a: 'b' } },
      spec: { name: 'v', referencePolicy: { type: 'Local' } },
      status: { tag: 'v', items: [{ image: B }, { image: A }] },
      image: { metadata: { name: B }, dockerImageReference: `registry.test:5000/show/s@${B}` },
    });
    expect((await get('show', 's:v', { historyLimit: 1 })).body.status.items).toHaveLength(1);
  });

  it('has no image where only an external pull spec is known, or where the image is deleted', async () => {
    const reference = { name: 'r', reference: true, from: { kind: 'DockerImage', name: 'e.io/x/y:1' } };
    const gone = `sha256:${'c'.repeat(64)}`;
    await aStream('bare', 's', { tags: [reference] });
    await push('bare', 's', 'p', gone);
    await ask({ verb: 'delete', resource: 'images', name: gone, ...write });

    expect((await get('bare', 's:r')).body).toMatchObject({ status: { items: [{ dockerImageReference: 'e.io/x/y:1' }] }, image: null });
    expect((await get('bare', 's:p')).body).toMatchObject({ spec: null, status: { items: [{ image: gone }] }, image: null });
  });

  it('is listed with all others of its stream, sorted, without images', async () => {
    await aStream('lists', 's', { tags: [{ name: 'z', from: { kind: 'DockerImage', name: 'e.io/x/y' } }] });
    await push('lists', 's', 'a', A);

    const { body } = await ask({ verb: 'list', namespace: 'lists' });

    expect(body.items.map(({ metadata, image }: Json) => [metadata.name, image])).toEqual([
      ['s:a', null],
      ['s:z', null],
    ]);
    expect((await ask({ verb: 'list', namespace: 'lists', fieldSelector: 'metadata.name=s:a' })).body.items).toEqual([]);
  });

  it('is posted, with its stream where that is missing', async () => {
    const object = { metadata: { name: 'new:v' }, spec: { name: 'v', from: { kind: 'DockerImage', name: 'e.io/x/y' } } };
    const created = await ask({ verb: 'create', namespace: 'posts', object, ...write });

    expect(created).toMatchObject({
      code: 201,
      body: { metadata: { name: 'new:v', generation: 1 }, spec: { generation: 1 }, status: null },
    });
    expect((await ask({ verb: 'create', namespace: 'posts', object, ...write })).body.message).toBe(
      'imagetags.image.openshift.io "new:v" already exists',
    );
  });

  it('is put as it was read, with another spec or none; its history stays', async () => {
    await aStream('puts', 's', { tags: [{ name: 'v', from: { kind: 'DockerImage', name: 'e.io/x/y' } }] });
    for (const image of [A, B]) await push('puts', 's', 'v', image);
    const { body } = await get('puts', 's:v');

    const from = { kind: 'ImageStreamImage', name: `s@${A}` };
    const moved = await put('puts', 's:v', { ...body, spec: { ...body.spec, from } });
    expect(moved.body).toMatchObject({ spec: { from, generation: 2 }, status: { items: [{ image: A }, { image: B }, { image: A }] } });
    const bare = await put('puts', 's:v', { ...moved.body, spec: null });
    expect(bare).toMatchObject({ code: 200, body: { spec: null, status: { items: [{ image: A }, { image: B }, { image: A }] } } });
    expect((await put('puts', 's:v', { ...bare.body, status: null })).body.message).toBe(
      'ImageTag.image.openshift.io "s:v" is invalid: status: Invalid value: "": may not update fields other than spec',
    );
  });

  it('is put without a version no matter what, and made where it is missing', async () => {
    const object = { spec: { name: 'v', from: { kind: 'DockerImage', name: 'e.io/x/y' } } };

    expect((await put('blind', 's:v', object)).code).toBe(201);
    expect((await put('blind', 's:v', { ...object, metadata: { resourceVersion: '1' } })).code).toBe(409);
    expect((await put('blind', 's:w', { spec: { ...object.spec, name: 'w' } })).code).toBe(201);
    expect((await put('blind', 's:w', { spec: { ...object.spec, name: 'w' } })).code).toBe(200);
  });

  it('is deleted from spec and history, unless another stream is meant', async () => {
    await aStream('ends', 's');
    await push('ends', 's', 'v', A);
    const remove = (more: object = {}) => ask({ verb: 'delete', namespace: 'ends', name: 's:v', ...write, ...more });

    expect((await remove({ preconditions: { uid: 'other' } })).body.message).toBe(
      'Operation cannot be fulfilled on imagetags.image.openshift.io "s:v": the UID precondition was not met',
    );
    expect((await remove()).body.status).toBe('Success');
    expect((await remove()).body.message).toBe('imagetags.image.openshift.io "s:v" not found');
    expect((await get('ends', 'none:v')).body.message).toBe('imagetags.image.openshift.io "none" not found');
  });
});
