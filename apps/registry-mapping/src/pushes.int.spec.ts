import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MappingPublished } from '@millrace/contracts/events';
import { RegistryMappingObjects } from '@millrace/contracts/requests';
import { freePort } from '@millrace/embedded/ports';
import { type RegistryServer, startRegistry } from '@millrace/embedded/registry';
import { eventually } from '@millrace/testing/eventually';
import { hasTool } from '@millrace/testing/tools';
import { type MadeImage, makeImage, makeIndex, pushImage, writeOciLayout } from '@millrace/testing/images';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { aPeer, aService, type StartedService } from '@millrace/testing/service';
import { service as definition } from './main.ts';

/* The service beside a real container registry that tells it of everything, pulls and layers included. */

const run = promisify(execFile);
const SECRET = 'the-secret-of-main';
const directory = mkdtempSync(join(tmpdir(), 'millrace-pushes-'));

let database: Awaited<ReturnType<typeof aDatabase>>;
let nats: Awaited<ReturnType<typeof aNatsServer>>;
let peer: Awaited<ReturnType<typeof aPeer>>;
let heard: ReturnType<typeof peer.hear<typeof MappingPublished>>;
let service: StartedService;
let registry: RegistryServer;
let startAgain: () => Promise<RegistryServer>;

beforeAll(async () => {
  [database, nats] = await Promise.all([aDatabase(), aNatsServer()]);
  const port = await freePort();
  service = await aService(definition as never, {
    DATABASE_URL: database.url,
    NATS_URL: nats.url,
    REGISTRY_ALLOW_ADDRESSES: 'loopback',
    REGISTRIES: JSON.stringify([{ name: 'main', url: `http://127.0.0.1:${port}`, publicHost: 'registry.example.com', secret: SECRET }]),
  });
  startAgain = () =>
    startRegistry({
      dataDir: directory,
      port,
      ignorePulls: false,
      notifications: [
        {
          name: 'millrace',
          url: `http://127.0.0.1:${service.port}/notifications/main`,
          headers: { Authorization: `Bearer ${SECRET}` },
        },
      ],
    });
  registry = await startAgain();
  peer = await aPeer(nats.url);
  heard = peer.hear(MappingPublished);
});

afterAll(async () => {
  await registry.stop();
  await service.stop();
  await peer.close();
  await nats.stop();
  await database.drop();
  rmSync(directory, { recursive: true, force: true });
});

const mappingOf = (stream: string, tag: string) =>
  eventually(() => {
    const found = heard.filter(({ data }) => data.namespace === 'demo' && data.stream === stream && data.tag === tag);
    expect(found).toHaveLength(1);
    return found[0]!;
  });
const notifications = async (labelSelector?: string) => {
  const answer = await peer.ask(RegistryMappingObjects, { verb: 'list', resource: 'registrynotifications', labelSelector });
  if (answer.kind !== 'list') throw new Error(JSON.stringify(answer));
  return answer.items as { metadata: { name: string }; spec: Record<string, unknown>; status: Record<string, unknown> }[];
};
const ofStream = async (stream: string) => (await notifications()).filter(({ spec }) => spec['repository'] === `demo/${stream}`);
const completeImage = (made: MadeImage, stream: string) => ({
  metadata: { name: made.digest, annotations: { 'image.openshift.io/dockerLayersOrder': 'ascending' } },
  dockerImageReference: `registry.example.com/demo/${stream}@${made.digest}`,
  dockerImageMetadataVersion: '1.0',
  dockerImageManifestMediaType: made.mediaType,
  dockerImageMetadata: expect.objectContaining({
    kind: 'DockerImage',
    Id: made.config.digest,
    Created: '2026-01-02T03:04:05Z',
    Architecture: made.architecture,
    Size: made.config.body.length + made.layers.reduce((sum, layer) => sum + layer.body.length, 0),
    Config: expect.objectContaining({ Cmd: ['run'], Labels: expect.any(Object) }),
  }),
  dockerImageLayers: made.layers.map((layer) => ({
    name: layer.digest,
    size: layer.body.length,
    mediaType: expect.stringMatching(/^application/),
  })),
});
/** What the registry would say, said by us. */
const notify = (event: Record<string, unknown>) =>
  fetch(`http://127.0.0.1:${service.port}/notifications/main`, {
    method: 'POST',
    headers: { authorization: `Bearer ${SECRET}`, 'content-type': 'application/vnd.docker.distribution.events.v1+json' },
    body: JSON.stringify({ events: [event] }),
  });
const aPush = (made: MadeImage, stream: string, tag: string) => ({
  id: `${stream}-${tag}-${made.digest.slice(7, 15)}`,
  timestamp: new Date().toISOString(),
  action: 'push',
  target: { mediaType: made.mediaType, digest: made.digest, repository: `demo/${stream}`, tag },
});

describe('a push becomes a mapping', () => {
  it.each(['schema2', 'oci'] as const)('of a complete image, format %s', async (format) => {
    const made = makeImage(`one ${format}`, { format });
    await pushImage(registry.host, `demo/${format}`, '1.0', made);

    const { data, header } = await mappingOf(format, '1.0');

    expect(data).toEqual({
      id: `main.${data.source.eventId}`,
      namespace: 'demo',
      stream: format,
      tag: '1.0',
      createStream: true,
      image: completeImage(made, format),
      children: [],
      source: {
        registry: 'main',
        eventId: expect.stringMatching(/^[0-9a-f-]{36}$/),
        observedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,9}Z$/),
        repository: `demo/${format}`,
      },
    });
    expect(MappingPublished.data.parse(data)).toEqual(data);
    expect(header('Nats-Msg-Id')).toBe(data.id);
    expect(header('traceparent')).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
  });

  it('of an index with the images of its platforms', async () => {
    const made = makeIndex('many');
    await pushImage(registry.host, 'demo/many', 'latest', made);

    const { data } = await mappingOf('many', 'latest');

    expect(data.image).toMatchObject({ metadata: { name: made.digest }, dockerImageManifestMediaType: made.mediaType });
    expect(data.image.dockerImageManifests?.map(({ digest, architecture }) => [digest, architecture])).toEqual(
      made.images.map((image) => [image.digest, image.architecture]),
    );
    expect(data.children).toEqual(made.images.map((image) => completeImage(image, 'many')));
  });

  it.runIf(hasTool('skopeo'))('of what skopeo copies, too', async () => {
    const made = makeIndex('copied');
    writeOciLayout(join(directory, 'layout'), 'copied', made);
    await run('skopeo', [
      '--insecure-policy',
      'copy',
      '--all',
      '--dest-tls-verify=false',
      `oci:${join(directory, 'layout')}:copied`,
      `docker://${registry.host}/demo/copied:2.0`,
    ]);

    const { data } = await mappingOf('copied', '2.0');

    expect(data.image.metadata.name).toBe(made.digest);
    expect(data.children).toHaveLength(2);
  });

  it('and nothing else that the registry tells leaves a row', async () => {
    await fetch(`${registry.url}/v2/demo/oci/manifests/1.0`, { headers: { accept: 'application/vnd.oci.image.manifest.v1+json' } });
    await pushImage(registry.host, 'demo/last', '1.0', makeImage('last'));
    await mappingOf('last', '1.0');

    expect((await notifications()).map(({ spec }) => `${spec['repository']}:${spec['tag']}`)).toEqual([
      'demo/last:1.0',
      ...(hasTool('skopeo') ? ['demo/copied:2.0'] : []),
      'demo/many:latest',
      'demo/oci:1.0',
      'demo/schema2:1.0',
    ]);
    const metrics = await (await fetch(`http://127.0.0.1:${service.port}/metrics`)).text();
    for (const outcome of ['accepted', 'blob', 'by-digest', 'pull'])
      expect(metrics).toMatch(
        new RegExp(`millrace_notifications_total{registry="main",dialect="distribution",outcome="${outcome}"} [1-9]`),
      );
  });

  it('in the order of the pushes, when one tag is pushed many times', async () => {
    const images = Array.from({ length: 12 }, (_, n) => makeImage(`round ${n}`));
    for (const image of images) await pushImage(registry.host, 'demo/rounds', 'latest', image);

    await eventually(() => expect(heard.filter(({ data }) => data.stream === 'rounds')).toHaveLength(12));
    expect(heard.filter(({ data }) => data.stream === 'rounds').map(({ data }) => data.image.metadata.name)).toEqual(
      images.map((image) => image.digest),
    );
  });
});

describe('a registry that is down', () => {
  it('is asked again, until it answers; meanwhile the push is there to be seen', async () => {
    const made = makeImage('down');
    await pushImage(registry.host, 'demo/seed', 'latest', made);
    await mappingOf('seed', 'latest');
    await registry.kill();

    expect((await notify(aPush(made, 'seed', 'again'))).status).toBe(202);
    await eventually(async () =>
      expect((await ofStream('seed'))[0]).toMatchObject({
        metadata: { labels: { state: 'pending', registry: 'main' } },
        spec: { registry: 'main', repository: 'demo/seed', tag: 'again', digest: made.digest },
        status: { state: 'pending', reason: expect.stringMatching(/^GET .*demo\/seed@sha256:/), nextAttemptAt: expect.any(String) },
      }),
    );

    registry = await startAgain();
    expect((await mappingOf('seed', 'again')).data.image.metadata.name).toBe(made.digest);
    expect(service.lines('push.retrying').length).toBeGreaterThan(0);
  });
});

describe('a manifest that is gone', () => {
  it('ends in quarantine with that reason, and a later push of the tag goes on', async () => {
    const [gone, made] = [makeImage('gone'), makeImage('there')];
    await pushImage(registry.host, 'demo/gone', 'seed', made);
    await mappingOf('gone', 'seed');

    await notify(aPush(gone, 'gone', 'latest'));
    await notify(aPush(made, 'gone', 'latest'));

    expect((await mappingOf('gone', 'latest')).data.image.metadata.name).toBe(made.digest);
    const [quarantined, ...others] = await notifications('state=quarantined');
    expect(quarantined).toMatchObject({
      spec: { repository: 'demo/gone', tag: 'latest', digest: gone.digest },
      status: { state: 'quarantined', reason: expect.stringMatching(/^manifest is gone: GET .*404/), attempts: 4 },
    });
    expect(others).toEqual([]);
  });
});
