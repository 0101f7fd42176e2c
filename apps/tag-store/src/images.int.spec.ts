import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { aTagStore, DRY, type TagStoreObjectsBed } from './testbed-objects.ts';

let store: TagStoreObjectsBed;
beforeAll(async () => {
  store = await aTagStore(await aDatabase(), await aNatsServer());
});
afterAll(() => store.stop());

const digestOf = (text: string): string => `sha256:${createHash('sha256').update(text).digest('hex')}`;
const [A, B, C] = ['a', 'b', 'c'].map((letter) => `sha256:${letter.repeat(64)}`) as [string, string, string];
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const CONFIG = 'application/vnd.oci.image.config.v1+json';
const INDEX = 'application/vnd.oci.image.index.v1+json';
const an = (name: string, more: object = {}) => ({ metadata: { name }, dockerImageReference: `e.io/a/b@${name}`, ...more });
const layered = (name: string, ...layers: string[]) =>
  an(name, {
    dockerImageMetadata: { Id: `config of ${layers.join()}` },
    dockerImageLayers: layers.map((layer) => ({ name: layer, size: 7, mediaType: 'gzip' })),
    dockerImageManifestMediaType: MANIFEST,
  });
const index = (name: string, ...children: string[]) =>
  an(name, {
    dockerImageManifestMediaType: INDEX,
    dockerImageManifests: children.map((digest) => ({ digest, mediaType: MANIFEST, manifestSize: 9, architecture: 'amd64', os: 'linux' })),
  });

describe('an update of an image', () => {
  it('takes a manifest that is the image’s own, and no other', async () => {
    const manifest = '{"schemaVersion":2}';
    const name = digestOf(manifest);
    const made = (await store.create('', 'images', an(name))).body;

    const wrong = await store.update('', 'images', name, { ...made, dockerImageManifest: '{}' });
    const right = await store.update('', 'images', name, { ...made, dockerImageManifest: manifest });

    expect(wrong.body).toEqual(made);
    expect(right.body.dockerImageManifest).toBe(manifest);
  });

  it('restores what the image holds, and is told to who watches', async () => {
    const name = digestOf('immutable');
    const made = (await store.create('', 'images', layered(name, 'base'))).body;
    const { resourceVersion } = made.metadata;

    const { body } = await store.update('', 'images', name, {
      ...made,
      metadata: { ...made.metadata, labels: { a: 'b' } },
      dockerImageReference: 'e.io/moved',
      dockerImageLayers: [],
      dockerImageMetadata: { Id: 'other' },
    });

    expect(body).toMatchObject({
      metadata: { labels: { a: 'b' } },
      dockerImageReference: 'e.io/moved',
      dockerImageLayers: [{ name: 'base' }],
    });
    expect(body.dockerImageMetadata.Id).toBe('config of base');
    expect(await store.ask({ verb: 'changes', resource: 'images', since: resourceVersion, waitMs: 0, limit: 9 })).toMatchObject({
      changes: [{ type: 'MODIFIED', object: { kind: 'Image', metadata: { name, labels: { a: 'b' } } } }],
    });
  });
});

describe('a signature', () => {
  const image = digestOf('signed');
  const a = (name: string, more: object = {}) => ({
    metadata: { name: `${image}@${name}` },
    type: 'AtomicImageV1',
    content: 'YWJj',
    ...more,
  });

  it('becomes a part of its image, without what its maker claims, and can be taken away again', async () => {
    const before = (await store.create('', 'images', an(image))).body;

    const made = await store.create('', 'imagesignatures', a('one', { imageIdentity: 'forged' }));
    const signed = (await store.get('', 'images', image)).body;

    expect(made).toMatchObject({ code: 201, body: { kind: 'ImageSignature', apiVersion: 'image.openshift.io/v1', type: 'AtomicImageV1' } });
    expect(Object.keys(made.body)).toEqual(['kind', 'apiVersion', 'metadata', 'type', 'content']);
    expect(signed.signatures).toEqual([
      {
        metadata: { name: `${image}@one`, uid: expect.any(String), creationTimestamp: expect.any(String) },
        type: 'AtomicImageV1',
        content: 'YWJj',
      },
    ]);
    expect(Number(signed.metadata.resourceVersion)).toBeGreaterThan(Number(before.metadata.resourceVersion));

    expect((await store.remove('', 'imagesignatures', `${image}@one`)).body).toEqual({
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Success',
    });
    expect((await store.get('', 'images', image)).body.signatures).toBeUndefined();
  });

  it('is refused twice, without its image, and by a name that is none', async () => {
    await store.create('', 'imagesignatures', a('twice'));

    expect((await store.create('', 'imagesignatures', a('other'))).body.message).toBe(
      `imageSignatures.image.openshift.io "${image}@other" already exists`,
    );
    expect((await store.create('', 'imagesignatures', { ...a('x'), metadata: { name: `${C}@x` } })).body).toMatchObject({
      code: 404,
      message: `images.image.openshift.io "${C}" not found`,
    });
    expect((await store.create('', 'imagesignatures', { ...a('x'), content: '?' })).code).toBe(400);
    expect((await store.create('', 'imagesignatures', { ...a('x'), metadata: { name: 'nosep' } })).body.message).toContain(
      'metadata.name: Invalid value: "nosep": name must be of format <imageName>@<signatureName>',
    );
    expect((await store.remove('', 'imagesignatures', `${image}@none`)).body).toMatchObject({
      code: 404,
      message: `imageSignatures.image.openshift.io "${image}@none" not found`,
    });
    expect((await store.remove('', 'imagesignatures', 'nosep')).code).toBe(400);
  });

  it('in a rehearsal is made and not kept', async () => {
    const before = (await store.get('', 'images', image)).body;

    expect((await store.create('', 'imagesignatures', a('dry', { content: 'ZGVm' }), DRY)).code).toBe(201);

    expect((await store.get('', 'images', image)).body).toEqual(before);
  });

  it('is kept by an update of its image that brings what was found out about it', async () => {
    const current = (await store.get('', 'images', image)).body;
    const conditions = ['Trusted', 'ForImage'].map((type) => ({
      type,
      status: 'True',
      lastProbeTime: '2026-01-01T00:00:00Z',
      lastTransitionTime: null,
    }));
    const found = { ...current, signatures: [{ ...current.signatures[0], conditions, imageIdentity: 'e.io/a' }] };

    expect((await store.update('', 'images', image, found)).body.signatures[0]).toMatchObject({ conditions, imageIdentity: 'e.io/a' });
  });
});

describe('the layers of a stream', () => {
  it('are those of its whole history, with an index’s platform images', async () => {
    await store.create('layers', 'imagestreams', { metadata: { name: 's' } });
    await store.push('layers', 's', 'old', layered(A, 'base', 'one'));
    await store.create('', 'images', layered(B, 'base', 'two'));
    await store.push('layers', 's', 'old', index(C, B, A));
    const stream = (await store.get('layers', 'imagestreams', 's')).body;

    const { code, body } = await store.get('layers', 'imagestreams', 's', { subresource: 'layers' });

    expect(code).toBe(200);
    expect(body).toEqual({
      kind: 'ImageStreamLayers',
      apiVersion: 'image.openshift.io/v1',
      metadata: stream.metadata,
      blobs: {
        base: { size: 7, mediaType: 'gzip' },
        one: { size: 7, mediaType: 'gzip' },
        two: { size: 7, mediaType: 'gzip' },
        'config of base,one': { size: null, mediaType: CONFIG },
        'config of base,two': { size: null, mediaType: CONFIG },
        [A]: { size: null, mediaType: MANIFEST },
        [B]: { size: null, mediaType: MANIFEST },
        [C]: { size: null, mediaType: INDEX },
      },
      images: {
        [A]: { imageMissing: false, layers: ['base', 'one'], config: 'config of base,one' },
        [B]: { imageMissing: false, layers: ['base', 'two'], config: 'config of base,two' },
        [C]: { imageMissing: false, layers: null, config: null, manifests: [B, A] },
      },
    });
  });

  it('say which image is gone, and are not there without the stream', async () => {
    await store.remove('', 'images', A);

    expect((await store.get('layers', 'imagestreams', 's', { subresource: 'layers' })).body.images[A]).toEqual({
      imageMissing: true,
      layers: null,
      config: null,
    });
    expect((await store.get('layers', 'imagestreams', 'none', { subresource: 'layers' })).body).toMatchObject({
      code: 404,
      message: 'imagestreams.image.openshift.io "none" not found',
    });
  });

  it('do not count an external pull spec, which has no image', async () => {
    const tags = [{ name: 'x', reference: true, from: { kind: 'DockerImage', name: 'e.io/x' } }];
    await store.create('layers', 'imagestreams', { metadata: { name: 'external' }, spec: { tags } });

    expect((await store.get('layers', 'imagestreams', 'external', { subresource: 'layers' })).body).toMatchObject({
      blobs: {},
      images: {},
    });
  });

  it('of an index that was pushed by itself lead to its platform images by digest', async () => {
    await store.create('layers', 'imagestreams', { metadata: { name: 'multi' } });
    await store.create('', 'images', layered(digestOf('child'), 'base'));
    await store.push('layers', 'multi', 'latest', index(digestOf('index'), digestOf('child')));

    expect((await store.get('layers', 'imagestreamimages', `multi@${digestOf('child')}`)).code).toBe(200);
  });
});
