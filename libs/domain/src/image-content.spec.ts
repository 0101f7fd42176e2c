import { describe, expect, it } from 'vitest';
import { completeImage, configLabels, LABELS_LENGTH_MAX, notableLabels, updatedImage, validateImage } from './image-content.ts';
import { Image } from './image.ts';

const DIGEST = `sha256:${'a'.repeat(64)}`;
const an = (image: object) => Image.parse({ metadata: { name: DIGEST }, dockerImageReference: `e.io/a/b@${DIGEST}`, ...image });
const MANIFEST_TYPE = 'application/vnd.docker.distribution.manifest.v2+json';
const manifest = JSON.stringify({
  schemaVersion: 2,
  mediaType: MANIFEST_TYPE,
  config: { mediaType: 'application/vnd.docker.container.image.v1+json', size: 544, digest: 'sha256:c0' },
  layers: [
    { mediaType: 'gzip', size: 10_263, digest: 'sha256:1' },
    { mediaType: 'gzip', size: 10_263, digest: 'sha256:2' },
  ],
});
const config = JSON.stringify({
  architecture: 'amd64',
  os: 'linux',
  created: '2022-01-01T00:00:00Z',
  docker_version: '20.10.0',
  config: { Env: ['V=1'] },
});

describe('an image', () => {
  it('without anything wrong has no errors', () => {
    expect(validateImage(an({}))).toEqual([]);
  });

  it.each([
    [an({ metadata: {} }), 'metadata.name: Required value: name or generateName is required'],
    [an({ metadata: { name: 'a/b' } }), 'metadata.name: Invalid value: "a/b": may not contain \'/\''],
    [an({ dockerImageReference: '' }), 'dockerImageReference: Required value'],
    [
      an({
        signatures: [
          { metadata: { name: 'i@s' }, type: 't', content: 'YQ==' },
          { metadata: { name: 'i@s' }, type: 't' },
        ],
      }),
      'signatures[1].content: Required value',
    ],
    [an({ dockerImageReference: 'A/B/C' }), 'dockerImageReference: Invalid value: "A/B/C": repository name must be lowercase'],
  ])('is refused for its name, pull spec or signatures (%#)', (image, message) => {
    expect(validateImage(image).map((error) => `${error.field}: ${error.text}`)).toEqual([message]);
  });

  it('is refused for each thing that is wrong with the entries of an index, and for having layers too', () => {
    const image = an({
      dockerImageManifests: [{ digest: 'bad', mediaType: 'x', manifestSize: -1, architecture: '', os: '' }],
      dockerImageLayers: [{ name: 'l', size: 1, mediaType: 'm' }],
    });

    expect(validateImage(image, 'image').map((error) => `${error.field}: ${error.text}`)).toEqual([
      'image.dockerImageManifests[0].digest: Invalid value: "bad": digest does not conform with OCI image specification',
      'image.dockerImageManifests[0].mediaType: Invalid value: "x": media type does not conform to RFC6838',
      'image.dockerImageManifests[0].architecture: Required value',
      'image.dockerImageManifests[0].os: Required value',
      'image.dockerImageManifests[0].size: Invalid value: -1: manifest size cannot be negative',
      'image.dockerImageLayers: Invalid value: [{"Name":"l","LayerSize":1,"MediaType":"m"}]: dockerImageLayers should not be set when dockerImageManifests is set',
    ]);
  });
});

describe('an image as it is kept', () => {
  it('has metadata, layers and size from its manifest and config', () => {
    expect(completeImage(an({ dockerImageManifest: manifest, dockerImageConfig: config }))).toMatchObject({
      metadata: { annotations: { 'image.openshift.io/dockerLayersOrder': 'ascending' } },
      dockerImageMetadata: {
        kind: 'DockerImage',
        apiVersion: 'image.openshift.io/1.0',
        Id: 'sha256:c0',
        Created: '2022-01-01T00:00:00Z',
        DockerVersion: '20.10.0',
        Config: { Env: ['V=1'] },
        Architecture: 'amd64',
        Size: 21_070,
      },
      dockerImageMetadataVersion: '1.0',
      dockerImageLayers: [
        { name: 'sha256:1', size: 10_263, mediaType: 'gzip' },
        { name: 'sha256:2', size: 10_263, mediaType: 'gzip' },
      ],
      dockerImageManifestMediaType: MANIFEST_TYPE,
      dockerImageManifest: manifest,
      dockerImageConfig: config,
    });
  });

  it('has what it says itself, whatever the manifest says', () => {
    const said = { dockerImageMetadata: { Id: 'mine', Size: 7 }, dockerImageLayers: [{ name: 'l' }], dockerImageManifestMediaType: 't' };

    expect(completeImage(an({ ...said, dockerImageManifest: manifest }))).toMatchObject({
      dockerImageMetadata: { Id: 'mine', Size: 7 },
      dockerImageLayers: [{ name: 'l' }],
    });
  });

  it('leaves out the texts that the registry keeps itself', () => {
    const stored = completeImage(
      an({
        metadata: { name: DIGEST, annotations: { 'image.openshift.io/manifestBlobStored': 'true' } },
        dockerImageManifest: manifest,
        dockerImageConfig: config,
      }),
    );

    expect([stored.dockerImageManifest, stored.dockerImageConfig]).toEqual([undefined, undefined]);
    expect(stored.dockerImageMetadata).toMatchObject({ Id: 'sha256:c0' });
  });

  it('of several platforms has their manifests, and no layers', () => {
    const platform = { architecture: 'arm', os: 'linux', variant: 'v7' };
    const index = JSON.stringify({ schemaVersion: 2, manifests: [{ digest: DIGEST, mediaType: MANIFEST_TYPE, size: 9, platform }, null] });

    expect(completeImage(an({ dockerImageManifest: index }))).toMatchObject({
      dockerImageMetadata: { Id: DIGEST },
      dockerImageManifests: [
        { digest: DIGEST, mediaType: MANIFEST_TYPE, manifestSize: 9, ...platform },
        { digest: '', mediaType: '', manifestSize: 0, architecture: '', os: '' },
      ],
    });
  });

  it('counts a layer once that it holds twice', () => {
    const layer = { digest: 'sha256:1', size: 10 };
    const twice = JSON.stringify({ schemaVersion: 2, config: { size: 5, digest: 'sha256:c' }, layers: [layer, layer] });

    expect(completeImage(an({ dockerImageManifest: twice })).dockerImageMetadata?.['Size']).toBe(15);
  });

  it.each(['', 'no json', '[]', '{"config": 1, "layers": 2}', '{"config": {}, "layers": [null, {"size": -5}]}'])(
    'takes a manifest %j as it is',
    (text) => {
      expect(completeImage(an({ dockerImageManifest: text, dockerImageConfig: text }))).toMatchObject({
        dockerImageMetadata: { kind: 'DockerImage', Id: '', Created: null, ContainerConfig: {} },
        dockerImageMetadataVersion: '1.0',
      });
    },
  );
});

describe('an update of an image', () => {
  const old = completeImage(an({ dockerImageManifest: manifest, dockerImageConfig: config, dockerImageSignatures: ['YQ=='] }));
  const isContentOf = (digest: string, text: string) =>
    (digest === DIGEST && text === `${manifest} `) || (digest === 'sha256:c0' && text === `${config} `);
  const update = (submitted: object) => updatedImage(old, an({ ...old, ...submitted }), isContentOf);

  it('changes pull spec, labels, annotations and signatures', () => {
    const submitted = {
      metadata: { name: 'other', labels: { a: 'b' }, annotations: { c: 'd' } },
      dockerImageReference: 'e.io/other',
      signatures: [{ metadata: { name: 'i@s' }, type: 't', content: 'YQ==' }],
    };

    expect(update(submitted)).toMatchObject({ ...submitted, metadata: { name: DIGEST, labels: { a: 'b' }, annotations: { c: 'd' } } });
  });

  it('leaves what the image holds as it was', () => {
    const changed = update({
      dockerImageMetadata: { Id: 'other' },
      dockerImageMetadataVersion: '2',
      dockerImageLayers: [{ name: 'x' }],
      dockerImageSignatures: ['Yg=='],
    });

    expect(changed).toEqual(old);
  });

  it.each([
    ['another manifest', { dockerImageManifest: '{}' }, manifest, config],
    ['the manifest of its digest', { dockerImageManifest: `${manifest} ` }, `${manifest} `, config],
    ['no manifest', { dockerImageManifest: '' }, undefined, config],
    ['another config', { dockerImageConfig: '{}' }, manifest, config],
    ['the config that the manifest names', { dockerImageConfig: `${config} ` }, manifest, `${config} `],
    ['neither', { dockerImageManifest: undefined, dockerImageConfig: undefined }, undefined, undefined],
  ])('with %s leaves the texts %#', (_title, submitted, manifestLeft, configLeft) => {
    const { dockerImageManifest, dockerImageConfig } = update(submitted);

    expect([dockerImageManifest, dockerImageConfig]).toEqual([manifestLeft, configLeft]);
  });
});

describe('labels', () => {
  it('are those of the config that are texts', () => {
    expect(configLabels(an({ dockerImageMetadata: { Config: { Labels: { a: '1', b: 2, c: null } } } }))).toEqual({ a: '1' });
    expect(configLabels(an({ dockerImageMetadata: { Config: null } }))).toEqual({});
    expect(configLabels(an({}))).toEqual({});
  });

  it('are told as they are while they are few', () => {
    const few = { commit: 'abc', source: 'https://example.com' };

    expect(notableLabels(few)).toEqual(few);
  });

  it('lose the longest of them where they are too many', () => {
    const many = { readme: 'x'.repeat(LABELS_LENGTH_MAX), commit: 'abc', changes: 'y'.repeat(LABELS_LENGTH_MAX - 100), source: 's' };

    expect(notableLabels(many)).toEqual({ commit: 'abc', changes: many.changes, source: 's' });
  });
});
