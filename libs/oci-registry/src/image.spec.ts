import { readdir, readFile } from 'node:fs/promises';
import { Image } from '@millrace/domain/image';
import { goPlatform } from '@millrace/domain/platform';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeImage, type RegistryImage } from './image.ts';
import { digestOf, mediaTypes } from './manifest.ts';
import { RegistryClient } from './registry.ts';
import { ScriptedRegistry } from './scripted-registry.ts';

const conformance = new URL('../../../conformance/', import.meta.url);

interface GoldenRegistry {
  plain: string;
  auth: string;
  close(): Promise<void>;
}

let golden: GoldenRegistry;
let registry: ScriptedRegistry;
let client: RegistryClient;
let goldenClient: RegistryClient;

beforeAll(async () => {
  const module = (await import(/* @vite-ignore */ new URL('golden-registry.mjs', conformance).href)) as {
    startGoldenRegistry(): Promise<GoldenRegistry>;
  };
  golden = await module.startGoldenRegistry();
  goldenClient = new RegistryClient({ registry: `http://${golden.plain}` });
  registry = await ScriptedRegistry.start();
  client = new RegistryClient({ registry: `http://${registry.address}` });
});

afterAll(async () => {
  await Promise.all([client.close(), goldenClient.close()]);
  await Promise.all([registry.close(), golden.close()]);
});

describe('the description of an image', async () => {
  const recorded = await recordedImages();

  it('is compared with at least 15 recordings', () => {
    expect(recorded.length).toBeGreaterThan(15);
  });

  it.each(recorded)(
    'of $repository@$image.metadata.name is what the reference recorded as $recordedAs',
    async ({ image, repository, recordedAs }) => {
      const host = repository === 'private/secret' ? golden.auth : golden.plain;
      const source = new RegistryClient({ registry: `http://${host}`, credentials: { username: 'puller', password: 'pw123' } });

      const described = await describeImage(source, repository, image.metadata.name, {
        recordedAs,
        includeManifest: image.dockerImageManifest !== undefined,
        now: () => new Date(image.dockerImageManifests ? (image.dockerImageMetadata.Created ?? 0) : 0),
      });

      expect(described.image).toStrictEqual(image);
      expect(Image.parse(described.image)).toEqual(image);
      await source.close();
    },
  );

  it('has a pull spec on the registry it came from', async () => {
    const { image } = await describeImage(goldenClient, 'minimal/scratch', 'v1');

    expect(image.dockerImageReference).toBe(`${golden.plain}/minimal/scratch@${image.metadata.name}`);
  });

  it.each([
    ['1.0', mediaTypes.ociIndex],
    ['1.0-docker', mediaTypes.dockerManifestList],
  ])('of the index multi/app:%s (%s) brings the image of each platform', async (tag, mediaType) => {
    const { image, children, missingChildren } = await describeImage(goldenClient, 'multi/app', tag);

    expect(image).toMatchObject({
      dockerImageManifestMediaType: mediaType,
      dockerImageMetadata: { Id: image.metadata.name, ContainerConfig: {} },
    });
    expect(children.map((child) => child.metadata.name)).toEqual(image.dockerImageManifests?.map(({ digest }) => digest));
    expect(children.map((child) => child.dockerImageMetadata.Architecture)).toEqual(['amd64', 'arm64', 'ppc64le']);
    expect(missingChildren).toEqual([]);
  });

  it('keeps the fields of old Docker configs and drops those that the API does not have', async () => {
    const config = {
      architecture: 'arm64',
      os: 'linux',
      variant: 'v8',
      parent: 'sha256:p',
      comment: 'c',
      container: 'k',
      created: '2020-01-02T03:04:05.999999999+02:00',
      container_config: { Hostname: 'h', Cmd: ['x'], Tty: false, Memory: 0 },
      config: {
        Env: null,
        Cmd: [],
        Labels: {},
        User: '',
        Healthcheck: { Test: ['NONE'] },
        StopSignal: 'SIGTERM',
        Memory: 5,
        OnBuild: ['RUN x'],
        Volumes: { '/v': null },
      },
    };

    const { image } = await describeImage(client, ...pushed({ config }));

    expect(image.dockerImageMetadata).toEqual({
      kind: 'DockerImage',
      apiVersion: 'image.openshift.io/1.0',
      Id: digestOf(json(config)),
      Parent: 'sha256:p',
      Comment: 'c',
      Created: '2020-01-02T01:04:05Z',
      Container: 'k',
      ContainerConfig: { Hostname: 'h', Cmd: ['x'] },
      Config: { Memory: 5, Volumes: { '/v': {} }, OnBuild: ['RUN x'] },
      Architecture: 'arm64',
      Size: json(config).length + 10,
    });
  });

  it.each([
    [{}, null],
    [{ created: '0001-01-01T00:00:00Z' }, null],
    [{ created: 'yesterday' }, null],
    [{ created: 5 }, null],
    [{ created: '1970-01-01T00:00:00Z' }, '1970-01-01T00:00:00Z'],
  ])('with the config %j says Created %s', async (config, created) => {
    const { image } = await describeImage(client, ...pushed({ config }));

    expect(image.dockerImageMetadata.Created).toBe(created);
  });

  it('is not refused for fields of unexpected types', async () => {
    const config = {
      architecture: 7,
      config: { Env: 'A=1', Cmd: [1], Labels: { n: 1 }, User: '1001', ExposedPorts: [] },
      container_config: 'none',
    };

    const { image } = await describeImage(client, ...pushed({ config }));

    expect(image.dockerImageMetadata).toMatchObject({ Config: { User: '1001' }, ContainerConfig: {} });
    expect(image.dockerImageMetadata).not.toHaveProperty('Architecture');
  });

  it('counts a layer that occurs twice once, and lists it twice', async () => {
    const layer = { mediaType: 'l', digest: `sha256:${'a'.repeat(64)}`, size: 100 };

    const { image } = await describeImage(client, ...pushed({ config: {}, layers: [layer, layer] }));

    expect(image.dockerImageMetadata.Size).toBe(2 + 100);
    expect(image.dockerImageLayers).toHaveLength(2);
  });

  it('asks for the size of layers whose manifest does not tell, once', async () => {
    const layer = { mediaType: 'l', digest: registry.blob('made/app', Buffer.alloc(70, 1)) };
    const list = pushed({ config: {}, layers: [{ ...layer, size: 0 }, layer] });
    registry.requests.length = 0;

    for (let n = 0; n < 2; n++) {
      const { image } = await describeImage(client, ...list);
      expect(image.dockerImageMetadata.Size).toBe(2 + 70);
      expect(image.dockerImageLayers).toMatchObject([{ size: 70 }, { size: 70 }]);
    }

    expect(registry.requests.filter(({ method }) => method === 'HEAD').length).toBeLessThanOrEqual(2);
  });

  it.each(['application/vnd.cncf.helm.config.v1+json', 'application/vnd.oci.empty.v1+json', 'application/vnd.acme.rocket.config'])(
    'of an artifact with the config type %s is its manifest alone: the config is not even fetched',
    async (configType) => {
      const manifest = {
        schemaVersion: 2,
        mediaType: mediaTypes.ociManifest,
        config: { mediaType: configType, digest: `sha256:${'e'.repeat(64)}`, size: 2 },
        layers: [{ mediaType: 'application/vnd.cncf.helm.chart.content.v1.tar+gzip', digest: `sha256:${'f'.repeat(64)}`, size: 40 }],
        annotations: { 'org.opencontainers.image.created': '2026-01-02T03:04:05Z' },
      };
      registry.manifest('charts/app', manifest, { tag: 'v1' });

      const { image } = await describeImage(client, 'charts/app', 'v1');

      expect(image.dockerImageMetadata).toEqual({
        kind: 'DockerImage',
        apiVersion: 'image.openshift.io/1.0',
        Id: manifest.config.digest,
        Created: '2026-01-02T03:04:05Z',
        ContainerConfig: {},
        Size: 42,
      });
      expect(image.dockerImageLayers).toEqual([{ name: manifest.layers[0]?.digest, size: 40, mediaType: manifest.layers[0]?.mediaType }]);
    },
  );

  it('fails when the config is gone, and when it is none', async () => {
    const config = { mediaType: mediaTypes.ociConfig, digest: `sha256:${'0'.repeat(64)}`, size: 2 };
    registry.manifest('broken/app', { schemaVersion: 2, config, layers: [] }, { tag: 'gone' });
    const list = pushed({ config: [] });

    await expect(describeImage(client, 'broken/app', 'gone')).rejects.toMatchObject({ code: 'not-found' });
    await expect(describeImage(client, ...list)).rejects.toMatchObject({ code: 'malformed' });
  });
});

describe('the description of an index', () => {
  const entry = (digest: string, platform?: object) => ({ mediaType: mediaTypes.ociManifest, digest, size: 9, platform });

  it('lists attestations and artifacts among its manifests, and describes what can be described', async () => {
    const [, image] = pushed({ config: { architecture: 'amd64' } });
    const [, attestation] = pushed({ config: { architecture: 'unknown', os: 'unknown' } });
    const artifact = putManifest({
      config: { mediaType: 'application/vnd.acme', digest: `sha256:${'e'.repeat(64)}`, size: 2 },
      layers: [],
    });
    const nothing = registry.manifest('made/app', { a: 1 }, { mediaType: 'application/vnd.acme.unknown' });
    const gone = `sha256:${'9'.repeat(64)}`;
    const manifests = [
      entry(image, { architecture: 'amd64', os: 'linux' }),
      entry(attestation, { architecture: 'unknown', os: 'unknown' }),
      entry(artifact),
      entry(nothing, { architecture: 'wasm' }),
      entry(gone, { architecture: 'arm', os: 'linux', variant: 'v7' }),
      entry(image, { architecture: 'amd64', os: 'linux' }),
    ];
    const index = putIndex('index', manifests);

    const described = await describeImage(client, 'made/app', 'index');

    expect(described.image.metadata).toEqual({ name: index });
    expect(described.image.dockerImageManifests?.map(({ architecture, os, variant }) => [architecture, os, variant].join(' '))).toEqual([
      'amd64 linux ',
      'unknown unknown ',
      '  ',
      'wasm  ',
      'arm linux v7',
      'amd64 linux ',
    ]);
    expect(described.children.map((child) => child.metadata.name)).toEqual([image, attestation, artifact]);
    expect(described.missingChildren).toEqual([
      { digest: nothing, reason: 'unsupported-manifest' },
      { digest: gone, reason: 'not-found' },
    ]);
  });

  it('fetches at most 64 entries and says which ones it left out', async () => {
    const manifests = Array.from({ length: 66 }, (_, index) => entry(`sha256:${String(index).padStart(64, '0')}`));
    putIndex('large', manifests);

    const { missingChildren } = await describeImage(client, 'made/app', 'large');

    expect(missingChildren.map(({ reason }) => reason)).toEqual([...Array(64).fill('not-found'), 'too-many-children', 'too-many-children']);
  });

  it('takes an index that is an entry of another one as it is, without its own entries', async () => {
    const [, image] = pushed({ config: {} });
    const inner = putIndex('inner', [entry(image)]);
    putIndex('outer', [entry(inner)]);

    const { children } = await describeImage(client, 'made/app', 'outer');

    expect(children).toMatchObject([{ metadata: { name: inner }, dockerImageManifests: [{ digest: image }] }]);
  });

  it('of nothing has no entries', async () => {
    putIndex('empty', []);

    expect(await describeImage(client, 'made/app', 'empty')).toMatchObject({
      image: { dockerImageManifests: [] },
      children: [],
      missingChildren: [],
    });
  });
});

describe('the import of an index as one image', () => {
  const legacy = (platform?: { architecture?: string; os?: string }) => ({ mode: 'Legacy', platform }) as const;
  const entry = (architecture: string, os = 'linux') => {
    const [, digest] = pushed({ config: { architecture } });
    return { mediaType: mediaTypes.ociManifest, digest, size: 9, platform: { architecture, os } };
  };

  it.each([
    ['the preferred architecture', { architecture: 'arm64', os: 'linux' }, 'arm64'],
    ['linux/amd64 where the preferred one is not there', { architecture: 'riscv64', os: 'linux' }, 'amd64'],
  ])('is of %s', async (_title, platform, architecture) => {
    const { image, children } = await describeImage(goldenClient, 'multi/app', '1.0', legacy(platform));

    expect(image.dockerImageMetadata.Architecture).toBe(architecture);
    expect(image).not.toHaveProperty('dockerImageManifests');
    expect(image.dockerImageReference).toBe(`${golden.plain}/multi/app@${image.metadata.name}`);
    expect(children).toEqual([]);
  });

  it('is of this machine where nothing is preferred', async () => {
    const { architecture, os } = goPlatform(process.arch, process.platform);
    putIndex('mine', [entry('vax'), entry(architecture, os), entry('pdp11')]);

    const { image } = await describeImage(client, 'made/app', 'mine', legacy());

    expect(image.dockerImageMetadata.Architecture).toBe(architecture);
  });

  it('is of the first image where no platform fits, whatever attestations there are', async () => {
    putIndex('odd', [entry('unknown', 'unknown'), entry('vax'), entry('pdp11')]);

    expect((await describeImage(client, 'made/app', 'odd', legacy())).image.dockerImageMetadata.Architecture).toBe('vax');
  });

  it('goes through an index in an index, and not for ever', async () => {
    const inner = { mediaType: mediaTypes.ociIndex, digest: putIndex('inner', [entry('amd64')]), size: 9 };
    let outer = { ...inner, digest: putIndex('outer', [inner]) };
    expect((await describeImage(client, 'made/app', 'outer', legacy())).image.dockerImageMetadata.Architecture).toBe('amd64');

    for (let depth = 0; depth < 5; depth++) outer = { ...outer, digest: putIndex('deep', [outer]) };
    await expect(describeImage(client, 'made/app', 'deep', legacy())).rejects.toMatchObject({ code: 'unsupported-manifest' });
  });

  it('fails where the index is empty, and where the chosen entry is gone', async () => {
    putIndex('none', []);
    putIndex('lost', [{ ...entry('amd64'), digest: `sha256:${'8'.repeat(64)}` }]);

    await expect(describeImage(client, 'made/app', 'none', legacy())).rejects.toMatchObject({ code: 'unsupported-manifest' });
    await expect(describeImage(client, 'made/app', 'lost', legacy())).rejects.toMatchObject({ code: 'not-found' });
  });

  it('leaves what is no index as it is', async () => {
    const [repository, digest] = pushed({ config: { architecture: 's390x' } });

    expect((await describeImage(client, repository, digest, legacy())).image.metadata.name).toBe(digest);
  });
});

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function putManifest(manifest: object): string {
  return registry.manifest('made/app', { schemaVersion: 2, mediaType: mediaTypes.ociManifest, ...manifest });
}

function putIndex(tag: string, manifests: object[]): string {
  return registry.manifest('made/app', { schemaVersion: 2, manifests }, { tag, mediaType: mediaTypes.ociIndex });
}

/** An image with this config. */
function pushed({ config, layers }: { config: unknown; layers?: object[] }): [repository: string, digest: string] {
  const bytes = json(config);
  const descriptor = { mediaType: mediaTypes.dockerConfig, digest: registry.blob('made/app', bytes), size: bytes.length };
  const layer = { mediaType: 'l', digest: `sha256:${'b'.repeat(64)}`, size: 10 };
  return ['made/app', putManifest({ config: descriptor, layers: layers ?? [layer] })];
}

/** Every image that the reference made from the golden registries, once for each pull spec; lists leave the metadata out. */
async function recordedImages(): Promise<{ image: RegistryImage; repository: string; recordedAs: string }[]> {
  const found = new Map<string, RegistryImage>();
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    if ('dockerImageReference' in value && 'dockerImageMetadata' in value && (value as RegistryImage).dockerImageMetadata.Id !== '') {
      const { kind: _kind, apiVersion: _apiVersion, metadata, ...image } = value as RegistryImage & { kind?: string; apiVersion?: string };
      const { name, annotations } = metadata;
      found.set(`${image.dockerImageReference} ${'dockerImageManifest' in image}`, {
        metadata: { name, ...(annotations && { annotations }) },
        ...image,
      });
    }
    for (const inner of Object.values(value)) visit(inner);
  };
  for (const file of await readdir(new URL('golden/', conformance))) {
    if (!file.endsWith('.json')) continue;
    const { steps } = JSON.parse(await readFile(new URL(`golden/${file}`, conformance), 'utf8')) as {
      steps: { http?: { resBody?: string }[] }[];
    };
    for (const { resBody } of steps.flatMap((step) => step.http ?? [])) {
      for (const object of objectsIn(resBody ?? '')) visit(object);
    }
  }
  const repositories = await goldenRepositories();
  return [...found.values()].flatMap((image) => {
    const repository = repositories.get(image.metadata.name);
    return repository ? [{ image, repository, recordedAs: image.dockerImageReference.split('@')[0] ?? '' }] : [];
  });
}

/** A recorded body is one object, or with a watch one a line; some are cut off. */
function objectsIn(text: string): unknown[] {
  try {
    return [JSON.parse(text)];
  } catch {
    const lines = text.split('\n');
    return lines.length > 1 ? lines.flatMap(objectsIn) : [];
  }
}

/** Digest -> repository of everything in the golden registries: a pull spec names the registry that pushed or the one that was asked. */
async function goldenRepositories(): Promise<Map<string, string>> {
  const { GoldenContent } = (await import(/* @vite-ignore */ new URL('golden-registry.mjs', conformance).href)) as {
    GoldenContent: new () => { repos: Map<string, { manifests: Map<string, unknown> }> };
  };
  return new Map(
    [...new GoldenContent().repos].flatMap(([name, { manifests }]) => [...manifests.keys()].map((digest) => [digest, name] as const)),
  );
}
