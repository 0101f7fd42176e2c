import { describe, expect, it } from 'vitest';
import type { NamedTagEventList } from '@millrace/domain/image-stream';
import type { ImageRow, StreamRow } from './tables.ts';
import { asObject, imageView, streamImageView, streamTagView, streamView } from './views.ts';

const A = `sha256:${'a'.repeat(64)}`;
const created = new Date('2026-01-02T03:04:05.678Z');
const registries = { internal: 'int:5000', external: '' };
const streamRow = (more: object = {}): StreamRow => ({
  uid: 'u',
  namespace: 'n',
  name: 's',
  created,
  generation: '3',
  resourceVersion: '7',
  labels: null,
  annotations: null,
  metadata: null,
  spec: { lookupPolicy: { local: false } },
  ...more,
});
const imageRow = (document: object, more: object = {}): ImageRow => ({
  name: A,
  uid: 'i',
  resourceVersion: '5',
  created,
  labels: null,
  annotations: null,
  reference: `e.io/a/b@${A}`,
  document: JSON.stringify(document),
  ...more,
});
const item = (image: string) => ({ created: '2026-01-01T00:00:00Z', dockerImageReference: 'e.io/a/b:1', image, generation: 2 });
const specTag = (more: object = {}) => ({
  name: 'v1',
  annotations: null,
  generation: 1,
  importPolicy: {},
  referencePolicy: { type: 'Source' },
  ...more,
});

describe('a stream', () => {
  it('has only what is always there when it is new', () => {
    expect(asObject('ImageStream', streamView(streamRow(), [], registries))).toEqual({
      kind: 'ImageStream',
      apiVersion: 'image.openshift.io/v1',
      metadata: { name: 's', namespace: 'n', uid: 'u', resourceVersion: '7', generation: 3, creationTimestamp: '2026-01-02T03:04:05Z' },
      spec: { lookupPolicy: { local: false } },
      status: { dockerImageRepository: 'int:5000/n/s' },
    });
  });

  it.each([
    ['the internal registry', { internal: 'int:5000', external: '' }, 'e.io/x', { dockerImageRepository: 'int:5000/n/s' }],
    [
      'both registries',
      { internal: 'int', external: 'ext' },
      'e.io/x',
      { dockerImageRepository: 'int/n/s', publicDockerImageRepository: 'ext/n/s' },
    ],
    ['its own repository', { internal: '', external: '' }, 'e.io/x', { dockerImageRepository: 'e.io/x' }],
    ['nowhere', { internal: '', external: '' }, undefined, { dockerImageRepository: '' }],
  ])('is pulled from %s', (_, hosts, dockerImageRepository, status) => {
    const spec = { lookupPolicy: { local: false }, ...(dockerImageRepository ? { dockerImageRepository } : {}) };
    expect(streamView(streamRow({ spec }), [], hosts).status).toEqual(status);
  });

  it('shows its tags sorted, without items as null, without conditions not at all', () => {
    const condition = { type: 'ImportSuccess', status: 'False', generation: 1 };
    const lists = [
      { tag: 'b', items: null, conditions: [condition] },
      { tag: 'a', items: [item(A)], conditions: null },
    ] as unknown as NamedTagEventList[];
    expect(streamView(streamRow(), lists, registries).status.tags).toEqual([
      { tag: 'a', items: [item(A)] },
      { tag: 'b', items: null, conditions: [condition] },
    ]);
  });

  it('has no version before its first commit, and what else a client set', () => {
    const row = streamRow({ resourceVersion: '0', labels: { a: 'b' }, metadata: { generateName: 'g', finalizers: ['f'] } });
    const { metadata } = streamView(row, [], registries);
    expect(metadata).toMatchObject({ generateName: 'g', labels: { a: 'b' }, finalizers: ['f'] });
    expect(metadata).not.toHaveProperty('resourceVersion');
  });
});

describe('an image', () => {
  it('says what its metadata is, drops what the API does not have and what is empty', () => {
    const view = imageView(
      imageRow({
        dockerImageMetadata: {
          Id: 'c',
          os: 'linux',
          Size: 0,
          Architecture: 'amd64',
          Config: { Healthcheck: {}, Env: [], Cmd: ['run'], Tty: false },
        },
        dockerImageLayers: [],
      }),
    );
    expect(view).toEqual({
      metadata: { name: A, uid: 'i', resourceVersion: '5', creationTimestamp: '2026-01-02T03:04:05Z' },
      dockerImageReference: `e.io/a/b@${A}`,
      dockerImageMetadata: {
        kind: 'DockerImage',
        apiVersion: 'image.openshift.io/1.0',
        Id: 'c',
        Created: null,
        ContainerConfig: {},
        Config: { Cmd: ['run'] },
        Architecture: 'amd64',
      },
      dockerImageMetadataVersion: '1.0',
    });
  });
});

describe('a tag of a stream', () => {
  const image = imageView(imageRow({ dockerImageManifest: '{}', dockerImageConfig: '{}' }, { annotations: { own: '1', both: 'image' } }));
  const streamWith = (spec: object | undefined, items: ReturnType<typeof item>[]) =>
    streamView(
      streamRow({
        labels: { l: '1' },
        annotations: { s: '1' },
        spec: { lookupPolicy: { local: true }, ...(spec ? { tags: [spec] } : {}) },
      }),
      items.length ? [{ tag: 'v1', items }] : [],
      registries,
    );

  it('carries the labels of the stream, the annotations of the tag, and the image without its texts', () => {
    const view = streamTagView(streamWith(specTag({ annotations: { both: 'tag' } }), [item(A)]), 'v1', image);
    expect(view).toMatchObject({
      metadata: {
        name: 's:v1',
        uid: 'u',
        resourceVersion: '7',
        creationTimestamp: '2026-01-01T00:00:00Z',
        labels: { l: '1' },
        annotations: { both: 'tag' },
      },
      generation: 2,
      lookupPolicy: { local: true },
      image: { metadata: { name: A, annotations: { own: '1', both: 'tag' } }, dockerImageReference: 'e.io/a/b:1' },
    });
    expect((view as { image: object }).image).not.toHaveProperty('dockerImageManifest');
    expect((view as { image: object }).image).not.toHaveProperty('dockerImageConfig');
  });

  it.each([
    ['pushed', undefined, [item(A)], { tag: null, generation: 2, image: { metadata: { name: A }, dockerImageReference: 'e.io/a/b:1' } }],
    ['not imported yet', specTag(), [], { tag: specTag(), generation: 0, image: { metadata: {} } }],
    ['a mere reference', specTag(), [item('')], { generation: 0, image: { metadata: {} } }],
    [
      'to be pulled locally',
      specTag({ referencePolicy: { type: 'Local' } }),
      [item(A)],
      { image: { metadata: { name: A }, dockerImageReference: `int:5000/n/s@${A}` } },
    ],
  ])('that is %s', (_, spec, items, expected) => {
    const view = streamTagView(streamWith(spec, items), 'v1') as { image: object };
    expect(view).toMatchObject(expected);
    expect(view.image).toMatchObject({
      dockerImageMetadata: { Id: '', Created: null, ContainerConfig: {} },
      dockerImageMetadataVersion: '1.0',
    });
  });
});

it('an image of a stream keeps the name by which it was asked for, and has no version', () => {
  const view = streamImageView(streamView(streamRow({ annotations: { s: '1' } }), [], registries), 's@aaa', imageView(imageRow({})));
  expect(view).toMatchObject({ image: { metadata: { name: A } } });
  expect((view as { metadata: object }).metadata).toEqual({
    name: 's@aaa',
    namespace: 'n',
    creationTimestamp: '2026-01-02T03:04:05Z',
    annotations: { s: '1' },
  });
});
