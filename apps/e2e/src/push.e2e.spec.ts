import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Webhook } from 'standardwebhooks';
import { afterAll, describe, expect, it } from 'vitest';
import { connect } from '@millrace/client/client';
import { eventReader } from '@millrace/testing/event-reader';
import { eventually } from '@millrace/testing/eventually';
import { aTag, aTrigger } from '@millrace/testing/image-trigger';
import { makeImage, makeIndex, pushImage, writeOciLayout } from '@millrace/testing/images';
import { ProductBed } from '@millrace/testing/product-bed';
import { hasTool } from '@millrace/testing/tools';

const run = promisify(execFile);
const [kubectlThere, skopeoThere] = [hasTool('kubectl'), hasTool('skopeo')];
const GROUP = '/apis/image.openshift.io/v1';
const TRIGGERS = '/apis/triggers.millrace.dev/v1';
const SECRET = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;

const scratch = mkdtempSync(join(tmpdir(), 'millrace-push-'));
afterAll(() => rmSync(scratch, { recursive: true }));

const bed = new ProductBed();
const kubectl = bed.scriptedKubectl('demo');
const skopeo = (name: string, made: Parameters<typeof writeOciLayout>[2], to: string, ...args: string[]) => {
  const layout = join(scratch, name);
  writeOciLayout(layout, name, made);
  return run(
    'skopeo',
    ['--insecure-policy', 'copy', '--dest-tls-verify=false', ...args, `oci:${layout}:${name}`, `docker://${bed.product.registry}/${to}`],
    { timeout: 60_000 },
  );
};
const trigger = (namespace: string, name: string, kind: 'Build' | 'Deploy', from: string, webhooks: unknown[] = []) =>
  bed.create(`${TRIGGERS}/namespaces/${namespace}/imagetriggers`, aTrigger(name, { kind, from: aTag(from), webhooks }));
/** What was received at a path. */
const received = (path: string) => bed.sink.received.filter((one) => one.path === path);
const istag = async (namespace: string, name: string) => {
  const answer = await bed.api.request('GET', `${GROUP}/namespaces/${namespace}/imagestreamtags/${name}`);
  expect(answer.status, answer.text).toBe(200);
  return answer.json;
};

describe('what the try-it promises', () => {
  it.runIf(kubectlThere && skopeoThere)(
    'kubectl makes the stream and its triggers, a push moves the tag, fires a build and a deployment, and the signed webhook arrives',
    async () => {
      const manifest = readFileSync(new URL('../../../examples/demo.yaml', import.meta.url), 'utf8').replace(
        'http://127.0.0.1:8099',
        bed.sink.url,
      );
      const applied = await kubectl('apply -f -', manifest);
      expect(applied.match(/created/g)).toHaveLength(3);
      const events = await eventReader(bed.product.nats, 'try-it');
      const made = makeImage('try-it', { format: 'oci', labels: { 'org.example.commit': 'abc' } });

      await skopeo('try-it', made, 'demo/web:latest');

      const tag = await eventually(() => istag('demo', 'web:latest'));
      expect(tag.image.metadata.name).toBe(made.digest);
      expect(tag.image.dockerImageMetadata.Config.Env).toEqual(['SEED=try-it']);
      const told: string[] = [];
      await eventually(async () => {
        told.push(
          ...(await events.take()).filter((e) => e.data.namespace === 'demo').map((e) => e.subject.split('.').slice(2, 4).join('.')),
        );
        expect(told.toSorted()).toEqual(['build.triggered', 'deploy.triggered', 'image.created', 'tag.moved']);
      });
      await eventually(() => expect(received('/deploy')).toHaveLength(1));
      await events.close();
      expect(await kubectl('get imagestreamtags,deliveries')).toMatch(/web:latest[\s\S]*web-deploy/);
    },
  );

  it('the kubeconfig and the data are readable by their owner only', () => {
    expect(statSync(bed.product.kubeconfig).mode & 0o777).toBe(0o600);
    expect(statSync(bed.product.dataDir).mode & 0o077 & 0o700).toBe(0);
  });
});

describe.runIf(skopeoThere)('images of every kind, pushed by skopeo', () => {
  it.each([
    [
      'a schema 2 image',
      makeImage('schema2', { format: 'oci' }),
      ['--format', 'v2s2'],
      'application/vnd.docker.distribution.manifest.v2+json',
    ],
    ['an OCI image', makeImage('oci', { format: 'oci' }), [], 'application/vnd.oci.image.manifest.v1+json'],
    ['a multi-arch index', makeIndex('multi'), ['--all'], 'application/vnd.oci.image.index.v1+json'],
  ])('%s becomes a tag with its complete metadata', async (_title, made, args, mediaType) => {
    const name = mediaType.replace(/[^a-z0-9]+/g, '-');

    await skopeo(name, made, `kinds/${name}:1.0`, ...args);

    const { image } = await eventually(() => istag('kinds', `${name}:1.0`));
    expect(image.dockerImageManifestMediaType).toBe(mediaType);
    if ('images' in made) {
      expect(image.dockerImageManifests.map((m: { digest: string; architecture: string }) => [m.digest, m.architecture])).toEqual(
        made.images.map((i) => [i.digest, i.architecture]),
      );
      for (const child of made.images)
        expect((await bed.api.request('GET', `${GROUP}/namespaces/kinds/imagestreamimages/${name}@${child.digest}`)).status).toBe(200);
    } else {
      expect(image.dockerImageMetadata.Architecture).toBe('amd64');
      expect(image.dockerImageLayers).toHaveLength(1);
      expect(image.dockerImageMetadata.Size).toBeGreaterThan(100);
    }
  });
});

describe('events and webhooks', () => {
  it('a subscriber that was away finds every event once, in order; each webhook is signed and carries the id and the trace of its event', async () => {
    await trigger('away', 'deploy', 'Deploy', 'app:latest', [{ name: 'hook', url: `${bed.sink.url}/away`, secret: SECRET }]);
    const first = await eventReader(bed.product.nats, 'away', 'millrace.v1.deploy.triggered.away.>');
    await pushImage(bed.product.registry, 'away/app', 'latest', makeImage('away-1'));
    const seen: Awaited<ReturnType<typeof first.take>> = [];
    await eventually(async () => {
      seen.push(...(await first.take()));
      expect(seen).toHaveLength(1);
    });
    await first.close();

    for (const n of [2, 3, 4]) await pushImage(bed.product.registry, 'away/app', 'latest', makeImage(`away-${n}`));
    await eventually(() => expect(received('/away')).toHaveLength(4));
    const back = await eventReader(bed.product.nats, 'away', 'millrace.v1.deploy.triggered.away.>');
    await eventually(async () => {
      seen.push(...(await back.take()));
      expect(seen).toHaveLength(4);
    });
    await back.close();

    expect(seen.map((event) => event.data.generation)).toEqual([1, 2, 3, 4]);
    for (const { headers, body } of received('/away')) {
      const event = new Webhook(SECRET).verify(body, headers as Record<string, string>) as { id: string; data: { generation: number } };
      const same = seen.find((one) => one.id === headers['webhook-id']);
      expect(event.id).toBe(headers['webhook-id']);
      expect(same?.data.generation).toBe(event.data.generation);
      expect(String(headers['traceparent']).split('-')[1]).toBe(same?.traceparent.split('-')[1]);
    }
  });

  it('a consumer takes the state of all tags, and what is told after it: images that are new, moves, and what fires', async () => {
    await trigger('client', 'build', 'Build', 'app:latest');
    const [one, other, newest] = [makeImage('client-1'), makeImage('client-2'), makeImage('client-3')];
    await pushImage(bed.product.registry, 'client/app', 'latest', one);
    await pushImage(bed.product.registry, 'client/app', '1.0', one);
    await pushImage(bed.product.registry, 'client/app', 'latest', other);
    const client = await connect({ servers: bed.product.nats });
    const state = await eventually(async () => {
      const taken = await client.state({ namespace: 'client' });
      expect(taken.events.map(({ data }) => [data.tag, data.current.image]).toSorted()).toEqual([
        ['1.0', one.digest],
        ['latest', other.digest],
      ]);
      return taken;
    });

    await pushImage(bed.product.registry, 'client/app', 'latest', newest);
    const told: string[] = [];
    for await (const event of await client.subscribe({ name: 'client', namespace: 'client', from: { sequence: state.sequence } })) {
      event.ack();
      // What the state's last move fired may be told after it was taken.
      const image = 'current' in event.data ? event.data.current.image : 'image' in event.data ? event.data.image : '';
      if (image === newest.digest) told.push(event.event);
      if (told.length === 3) break;
    }
    await client.close();

    expect(told).toEqual(['image.created', 'tag.moved', 'build.triggered']);
  });

  it('a tag that follows the pushed one moves with it and fires its own triggers', async () => {
    await bed.stream('follow/app', { tags: [{ name: 'stable', from: aTag('latest') }] });
    await trigger('follow', 'stable', 'Deploy', 'app:stable', [{ name: 'hook', url: `${bed.sink.url}/follow`, secret: SECRET }]);
    const made = makeImage('follow');

    await pushImage(bed.product.registry, 'follow/app', 'latest', made);

    expect((await eventually(() => istag('follow', 'app:stable'))).image.metadata.name).toBe(made.digest);
    await eventually(() => expect(received('/follow')).toHaveLength(1));
  });
});

describe('a mapping posted to the API', () => {
  const post = (body: string, type: string) =>
    bed.api.request('POST', `${GROUP}/namespaces/test/imagestreammappings`, body, { 'content-type': type });
  const json = readFileSync(new URL('./example-imagestreammapping.json', import.meta.url), 'utf8');
  const yaml = readFileSync(new URL('./example-imagestreammapping.yaml', import.meta.url), 'utf8');

  it("the documentation's own examples are 404 without the stream, and make the tag with it, as printed", async () => {
    const missing = await post(json, 'application/json');
    expect([missing.status, missing.json.message]).toEqual([404, 'imagestreammappings.image.openshift.io "origin-ruby-sample" not found']);
    await bed.stream('test/origin-ruby-sample');

    expect((await post(yaml, 'application/yaml')).status).toBe(201);
    const legacy = await istag('test', 'origin-ruby-sample:latest');
    expect(legacy.image.dockerImageMetadata.Config.Env).toContain('RUBY_VERSION=2.2');
    expect((await post(json, 'application/json')).status).toBe(201);
    expect((await post(json, 'application/json')).status).toBe(201);

    const { status } = (await bed.api.request('GET', `${GROUP}/namespaces/test/imagestreams/origin-ruby-sample`)).json;
    const name = JSON.parse(json).image.metadata.name as string;
    expect(status.tags[0].items[0].image).toBe(name);
    expect(status.tags[0].items.length).toBe(legacy.image.metadata.name === name ? 1 : 2);
  });

  it('32 clients that post to one stream and tag at once are all accepted, in one order', async () => {
    await bed.stream('test/busy');
    const mapping = (n: number) => {
      const digest = `sha256:${n.toString(16).padStart(64, '0')}`;
      return {
        kind: 'ImageStreamMapping',
        apiVersion: 'image.openshift.io/v1',
        metadata: { name: 'busy' },
        tag: 'latest',
        image: { metadata: { name: digest }, dockerImageReference: `example.com/a/b@${digest}` },
      };
    };

    const answers = await Promise.all(
      Array.from({ length: 32 }, (_, n) => bed.api.request('POST', `${GROUP}/namespaces/test/imagestreammappings`, mapping(n + 1))),
    );

    expect(answers.map((answer) => answer.status)).toEqual(Array.from({ length: 32 }, () => 201));
    const { status } = (await bed.api.request('GET', `${GROUP}/namespaces/test/imagestreams/busy`)).json;
    expect(new Set(status.tags[0].items.map((item: { image: string }) => item.image)).size).toBe(32);
  });
});

describe('stopping and starting again', () => {
  it('Ctrl-C ends everything within 5 s, and the next start finds all of it', async () => {
    const before = (await bed.api.request('GET', `${GROUP}/namespaces/away/imagestreams/app`)).json;
    const began = performance.now();
    expect(await bed.product.stop()).toBe(0);
    expect(performance.now() - began).toBeLessThan(5_000);

    await bed.startAgain();

    const after = (await bed.api.request('GET', `${GROUP}/namespaces/away/imagestreams/app`)).json;
    expect(after.status.tags).toEqual(before.status.tags);
    expect((await bed.api.request('GET', `${TRIGGERS}/namespaces/away/imagetriggers/deploy`)).status).toBe(200);
    await pushImage(bed.product.registry, 'away/app', 'latest', makeImage('away-5'));
    await eventually(() => expect(received('/away')).toHaveLength(5));
  }, 60_000);
});
