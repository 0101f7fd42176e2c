import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ArtifactPublished } from '@millrace/contracts/cdevents';
import { ImageCreated } from '@millrace/contracts/events';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { anInstance, aPush, digest, type Instance } from './testbed.ts';

let instance: Instance;
let stop: () => Promise<unknown>;

beforeAll(async () => {
  const [database, nats] = await Promise.all([aDatabase(), aNatsServer()]);
  instance = await anInstance({ database: database.url, nats: nats.url }, '', { CDEVENTS: true });
  stop = async () => {
    await instance.close();
    await nats.stop();
    await database.drop();
  };
});
afterAll(() => stop());

interface Told {
  event: string;
  subject: string;
  event_id: string;
  headers: Record<string, string>;
  data: never;
}
async function told(event: string, stream: string): Promise<Told[]> {
  const rows = await instance.store.query<{ body: string; headers: string }>(
    'SELECT event, subject, event_id, headers, body FROM outbox WHERE event = $1 AND subject LIKE $2 ORDER BY id',
    [event, `%.demo.${stream}.%`],
  );
  return rows.map(({ body, headers, ...row }) => ({
    ...row,
    headers: JSON.parse(headers) as object,
    data: JSON.parse(body) as never,
  })) as Told[];
}

describe('image.created', () => {
  it('is told once for an image, by the first tag that brings it, with what it is and why it came', async () => {
    const pushed = aPush('created', 'one', 1);
    Object.assign(pushed.image, { dockerImageManifestMediaType: 'application/vnd.oci.image.manifest.v1+json' });
    Object.assign(pushed.image.dockerImageMetadata ?? {}, { Os: 'linux', Architecture: 'arm64', Size: 1234 });

    await instance.apply(pushed, aPush('created', 'one', 2, { tag: '2.0' }));
    await instance.apply(aPush('created', 'one', 3, { tag: '3.0' }));

    const [first, ...others] = await told('image.created', 'created');
    expect(others).toEqual([]);
    expect(ImageCreated.data.parse(first?.data)).toMatchObject({
      tag: 'latest',
      image: digest('one'),
      dockerImageReference: `registry.example/demo/created@${digest('one')}`,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      size: 1234,
      platforms: [{ digest: digest('one'), os: 'linux', architecture: 'arm64' }],
      labels: { commit: 'one' },
      cause: { kind: 'push', id: pushed.id, registry: 'main', actor: 'ci' },
    });
    expect(first?.subject).toBe('millrace.v1.image.created.demo.created.latest');
    expect(await told('tag.moved', 'created')).toHaveLength(3);
  });

  it('of an index names the image of each platform, which tell no event of their own', async () => {
    const child = (of: string) => ({ metadata: { name: digest(of) }, dockerImageReference: `registry.example/demo/index@${digest(of)}` });
    const entry = (of: string, architecture: string) => ({
      digest: digest(of),
      os: 'linux',
      architecture,
      mediaType: 'a/b',
      manifestSize: 1,
    });
    const pushed = aPush('index', 'index', 1, { children: [child('amd'), child('arm')] });
    Object.assign(pushed.image, { dockerImageManifests: [entry('amd', 'amd64'), entry('arm', 'arm64')] });

    await instance.apply(pushed);

    const created = (await told('image.created', 'index')).map(({ data }) => ImageCreated.data.parse(data));
    expect(created.map(({ image, platforms }) => [image, platforms.map(({ digest: of }) => of)])).toEqual([
      [digest('index'), [digest('amd'), digest('arm')]],
    ]);
  });
});

describe('CDEvents', () => {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  addFormats.default(ajv);
  // Links are for who knows several events: none are told.
  ajv.addSchema({ $id: 'https://cdevents.dev/0.5.1/schema/links/embeddedlinksarray', type: 'array' });
  const validate = ajv.compile(
    JSON.parse(readFileSync(new URL('../fixtures/cdevents-artifact-published.json', import.meta.url), 'utf8')) as object,
  );

  it('say with each move of a tag that its image is published under it, in the words of the specification', async () => {
    await instance.apply(aPush('published', 'a', 1), aPush('published', 'b', 2));

    const events = await told('artifact.published', 'published');
    const moves = await told('tag.moved', 'published');
    expect(events).toHaveLength(2);
    for (const [i, { data, headers, event_id: id }] of events.entries()) {
      expect(validate(data) ? [] : validate.errors).toEqual([]);
      const event = ArtifactPublished.data.parse(data);
      const purl = `pkg:oci/published@${digest(i ? 'b' : 'a').replace(':', '%3A')}?repository_url=registry.example/demo/published&tag=latest`;
      expect(event.subject).toEqual({ id: purl, content: { user: 'ci' } });
      expect(event.customData).toMatchObject({ namespace: 'demo', stream: 'published', tag: 'latest', generation: i + 1 });
      expect(headers).toMatchObject({
        'ce-id': event.context.id,
        'ce-type': 'dev.cdevents.artifact.published.0.3.0',
        'ce-source': event.context.source,
        'ce-time': event.context.timestamp,
        'ce-subject': purl.replaceAll('%', '%25'),
        traceparent: moves[i]?.headers['traceparent'],
      });
      expect(event.context.chainId?.replaceAll('-', '')).toBe(headers['traceparent']?.split('-')[1]);
      expect(id).not.toBe(moves[i]?.event_id);
    }
  });

  it('are not told of a tag that names no image by digest', async () => {
    const pushed = aPush('undigested', 'x', 1);
    Object.assign(pushed.image, { metadata: { name: 'a-name' }, dockerImageReference: 'registry.example/demo/undigested:1' });

    await instance.apply(pushed);

    expect(await told('tag.moved', 'undigested')).toHaveLength(1);
    expect(await told('artifact.published', 'undigested')).toEqual([]);
  });
});
