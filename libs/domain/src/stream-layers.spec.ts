import { describe, expect, it } from 'vitest';
import { type LayeredImage, streamLayers } from './stream-layers.ts';

const DOCKER = 'application/vnd.docker.distribution.manifest.v2+json';
const DOCKER_CONFIG = 'application/vnd.docker.container.image.v1+json';
const OCI = 'application/vnd.oci.image.manifest.v1+json';
const INDEX = 'application/vnd.oci.image.index.v1+json';

const anImage = (layers: string[], more: Partial<LayeredImage> = {}): LayeredImage => ({
  dockerImageMetadata: { Id: `config of ${layers.join()}` },
  dockerImageLayers: layers.map((name) => ({ name, size: 7, mediaType: 'gzip' })),
  dockerImageManifestMediaType: DOCKER,
  ...more,
});
const anIndex = (...digests: string[]): LayeredImage => ({
  dockerImageMetadata: { Id: 'index' },
  dockerImageManifests: digests.map((digest) => ({ digest, mediaType: OCI, manifestSize: 1, architecture: 'amd64', os: 'linux' })),
  dockerImageManifestMediaType: INDEX,
});

describe('the layers of a stream', () => {
  it('are none where there is no history', () => {
    expect(streamLayers([], new Map())).toEqual({ blobs: {}, images: {} });
  });

  it('are those of all images of the history, once each, with their manifests and configs', () => {
    const images = new Map([
      ['new', anImage(['base', 'b'])],
      ['old', anImage(['base', 'a'], { dockerImageManifestMediaType: OCI })],
    ]);

    expect(streamLayers(['new', 'old', 'new'], images)).toEqual({
      blobs: {
        a: { size: 7, mediaType: 'gzip' },
        b: { size: 7, mediaType: 'gzip' },
        base: { size: 7, mediaType: 'gzip' },
        'config of base,a': { size: null, mediaType: 'application/vnd.oci.image.config.v1+json' },
        'config of base,b': { size: null, mediaType: DOCKER_CONFIG },
        new: { size: null, mediaType: DOCKER },
        old: { size: null, mediaType: OCI },
      },
      images: {
        new: { imageMissing: false, layers: ['base', 'b'], config: 'config of base,b' },
        old: { imageMissing: false, layers: ['base', 'a'], config: 'config of base,a' },
      },
    });
  });

  it('say of an image that is gone that it is missing', () => {
    expect(streamLayers(['gone'], new Map())).toEqual({
      blobs: {},
      images: { gone: { imageMissing: true, layers: null, config: null } },
    });
  });

  it('hold the platform images of an index, also one that is gone', () => {
    const images = new Map([
      ['index', anIndex('amd64', 'arm64')],
      ['amd64', anImage(['l'], { dockerImageManifestMediaType: OCI })],
    ]);

    const { blobs, images: found } = streamLayers(['index'], images);

    expect(blobs['index']).toEqual({ size: null, mediaType: INDEX });
    expect(found).toEqual({
      amd64: { imageMissing: false, layers: ['l'], config: 'config of l' },
      arm64: { imageMissing: true, layers: null, config: null },
      index: { imageMissing: false, layers: null, config: null, manifests: ['amd64', 'arm64'] },
    });
  });

  it.each([
    ['that does not say its manifest’s media type', anImage(['l'], { dockerImageManifestMediaType: undefined }), DOCKER],
    ['of schema 1', anImage(['l'], { dockerImageManifestMediaType: 'application/vnd.docker.distribution.manifest.v1+json' }), undefined],
    ['that does not say its config', anImage(['l'], { dockerImageMetadata: { Id: '' } }), DOCKER],
    ['without metadata', anImage(['l'], { dockerImageMetadata: undefined }), DOCKER],
  ])('have no config of an image %s', (_title, image, mediaType) => {
    const { blobs, images } = streamLayers(['i'], new Map([['i', image]]));

    expect(images['i']?.config).toBeNull();
    expect(Object.keys(blobs)).toEqual(['i', 'l']);
    if (mediaType) expect(blobs['i']?.mediaType).toBe(mediaType);
  });

  it('end where an index names itself', () => {
    expect(Object.keys(streamLayers(['i'], new Map([['i', anIndex('i')]])).images)).toEqual(['i']);
  });
});
