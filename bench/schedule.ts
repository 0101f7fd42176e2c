import { fork, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { headers as natsHeaders } from '@nats-io/transport-node';
import { jetstream } from '@nats-io/jetstream';
import { rolldown } from 'rolldown';
import { Agent } from 'undici';
import { startNats } from '@millrace/embedded/nats';
import { startPostgres } from '@millrace/embedded/postgres';
import { startRegistry } from '@millrace/embedded/registry';
import { apiClient } from '@millrace/testing/client';
import { eventually } from '@millrace/testing/eventually';
import { makeImage, pushImage } from '@millrace/testing/images';
import { nodeEnvironment, nodeFlags, startProduct } from '@millrace/testing/product';
import { percentile, type Figure } from './figures.ts';
import type { Order, Took } from './schedule-process.ts';
import { dial } from './work.ts';

const root = fileURLToPath(new URL('../', import.meta.url));
const PERIOD_MS = 900_000;
const TAGS = Number(process.env['BENCH_SCHEDULED_TAGS'] ?? 100_000);
const REPOSITORIES = 1_000;
const CHECKED = { repositories: 10, tags: 100 };
const SERVED = makeImage('scheduled');
const IN_FLIGHT = 12;
const ROUNDS = 5;
const PUSHES = 200;
const PER_SECOND = 5;

/** How many unchanged tags a scheduler checks, what 100,000 of them take it, and how soon a hint moves a tag. */
export async function schedule(): Promise<Figure[]> {
  const dataDir = mkdtempSync(join(tmpdir(), 'millrace-bench-schedule-'));
  const [postgres, nats, registry] = await Promise.all([
    startPostgres({ dataDir: join(dataDir, 'postgres') }),
    startNats({ dataDir: join(dataDir, 'nats') }),
    startRegistry({ dataDir: join(dataDir, 'registry') }),
  ]);
  const scheduler = await startScheduler(postgres.url, nats.url);
  const standIn = await startStandIn();
  const figures: Figure[] = [];
  try {
    await fill(registry.host, CHECKED);
    await scheduler.do({ kind: 'follow', followed: { registry: registry.host, digest: SERVED.digest, ...CHECKED } });
    const ours: number[] = [];
    const bare: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      bare.push(await bareHeads(registry.host, CHECKED));
      const { checks, seconds } = await scheduler.do({ kind: 'all' });
      ours.push(checks / seconds);
    }
    const [rate, limit] = [percentile(ours, 50), percentile(bare, 50)];
    figures.push({
      name: 'checks of unchanged tags, of bare HEADs',
      value: rate / limit,
      unit: '×',
      limit: { value: 0.7, is: 'at least' },
      note: `${rate.toFixed(0)} checks/s with all they write against ${limit.toFixed(0)} HEADs/s of a bare undici loop, both ${IN_FLIGHT} at a time to docker-registry; median of ${ROUNDS}`,
    });

    await scheduler.do({
      kind: 'follow',
      followed: { registry: standIn.host, digest: SERVED.digest, repositories: REPOSITORIES, tags: TAGS / REPOSITORIES },
    });
    // The first look comes after a quarter of the period.
    await scheduler.do({ kind: 'period', intervalMs: PERIOD_MS * 0.25 });
    standIn.asked.clear();
    const took = await scheduler.do({ kind: 'period', intervalMs: PERIOD_MS });
    const many = `${TAGS.toLocaleString('en')} scheduled tags`;
    const gets = standIn.asked.get('GET') ?? 0;
    const note = `${took.checks} references over ${REPOSITORIES} repositories, ${standIn.asked.get('HEAD')} HEADs and ${gets} GETs in a period of 15 minutes; idle time skipped, ${took.seconds.toFixed(0)} s in all`;
    figures.push(
      {
        name: `${many}: of one core`,
        value: (took.cpuSeconds / (PERIOD_MS / 1000)) * 100,
        unit: '%',
        limit: { value: 20, is: 'at most' },
        note,
      },
      { name: `${many}: memory`, value: took.residentMiB, unit: 'MiB', limit: { value: 250, is: 'at most' }, note },
      {
        name: `${many}: latest check`,
        value: (took.latestMs / PERIOD_MS) * 100,
        unit: '% of the period',
        limit: { value: 1, is: 'at most' },
        note,
      },
    );
  } finally {
    await scheduler.stop();
    await standIn.close();
    await Promise.all([registry.stop(), nats.stop(), postgres.stop()]);
    rmSync(dataDir, { recursive: true, force: true });
  }
  return [...figures, ...(await hinted())];
}

async function fill(host: string, { repositories, tags }: typeof CHECKED): Promise<void> {
  const image = SERVED;
  for (let n = 0; n < repositories; n++) {
    await pushImage(host, repositoryOf(n), 't0', image);
    await Promise.all(
      Array.from({ length: tags - 1 }, (_, t) =>
        fetch(`http://${host}/v2/${repositoryOf(n)}/manifests/t${t + 1}`, {
          method: 'PUT',
          headers: { 'content-type': image.mediaType },
          body: new Uint8Array(image.manifest),
        }).then((answer) => answer.text()),
      ),
    );
  }
}

/** As in schedule-process.ts, which loads the scheduler. */
const repositoryOf = (n: number): string => `bench/app-${n}`;

/** HEADs a second, of a loop that does nothing else. */
async function bareHeads(host: string, { repositories, tags }: typeof CHECKED): Promise<number> {
  const agent = new Agent({ connections: IN_FLIGHT });
  const paths = Array.from({ length: repositories * tags }, (_, i) => `/v2/${repositoryOf(Math.floor(i / tags))}/manifests/t${i % tags}`);
  const headers = { accept: 'application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json' };
  const begun = performance.now();
  let next = 0;
  await Promise.all(
    Array.from({ length: IN_FLIGHT }, async () => {
      for (let path = paths[next++]; path !== undefined; path = paths[next++]) {
        const { body, statusCode } = await agent.request({ origin: `http://${host}`, path, method: 'HEAD', headers, reset: false });
        await body.dump();
        if (statusCode !== 200) throw new Error(`HEAD ${path}: ${statusCode}`);
      }
    }),
  );
  const seconds = (performance.now() - begun) / 1000;
  await agent.close();
  return paths.length / seconds;
}

/** The scheduler with a clock that skips idle time, bundled for this run as the product is. */
async function startScheduler(postgres: string, nats: string): Promise<{ do: (order: Order) => Promise<Took>; stop: () => Promise<void> }> {
  const file = join(root, 'node_modules', '.cache', 'millrace-bench-schedule.mjs');
  const inside = /^(?:[./\0]|@millrace\/|@oxc-project\/)/;
  const bundle = await rolldown({
    input: join(root, 'bench', 'schedule-process.ts'),
    platform: 'node',
    external: (id) => !inside.test(id),
    tsconfig: join(root, 'tsconfig.json'),
  });
  await bundle.write({ file, format: 'esm', keepNames: true });
  const child: ChildProcess = fork(file, [postgres, nats], { execArgv: nodeFlags, env: { ...process.env, ...nodeEnvironment } });
  await once(child, 'message');
  return {
    do: async (order) => {
      child.send(order);
      const [took] = (await Promise.race([
        once(child, 'message'),
        once(child, 'exit').then(() => Promise.reject(new Error('the scheduler has ended'))),
      ])) as [Took];
      return took;
    },
    stop: async () => {
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}

/** Answers as a registry does that has every tag; GETs with an image whose digest is that of the tag. */
async function startStandIn(): Promise<{ host: string; asked: Map<string, number>; close: () => Promise<void> }> {
  const image = SERVED;
  const asked = new Map<string, number>();
  const digest = `"${image.digest}"`;
  const server = createServer((request, response) => {
    const { method = '', url = '' } = request;
    asked.set(method, (asked.get(method) ?? 0) + 1);
    const blob = url.includes('/blobs/');
    const body = blob ? image.config.body : image.manifest;
    const headers = { 'content-type': blob ? 'application/octet-stream' : image.mediaType, 'content-length': body.length, etag: digest };
    if (!blob && request.headers['if-none-match'] === digest) return void response.writeHead(304, { etag: digest }).end();
    response
      .writeHead(200, blob ? headers : { ...headers, 'docker-content-digest': image.digest })
      .end(method === 'HEAD' ? undefined : body);
  });
  server.keepAliveTimeout = 60_000;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** From the moment at which a registry has a new image under a tag, and a hint of it is sent, until tag.moved is received. */
async function hinted(): Promise<Figure[]> {
  const product = await startProduct({ args: ['--quiet'] });
  const api = apiClient(product);
  const nats = await dial(product.nats);
  try {
    const images = Array.from({ length: PUSHES + 11 }, (_, n) => makeImage(`hinted-${n}`));
    for (const image of images) await pushImage(product.registry, 'hinted/app', 'stored', image);
    await pushImage(product.registry, 'hinted/app', 'latest', images[0] as (typeof images)[number]);
    const answer = await api.request('POST', '/apis/image.openshift.io/v1/namespaces/bench/imagestreams', {
      kind: 'ImageStream',
      apiVersion: 'image.openshift.io/v1',
      metadata: { name: 'follower' },
      spec: {
        tags: [
          {
            name: 'latest',
            from: { kind: 'DockerImage', name: `${product.registry}/hinted/app:latest` },
            importPolicy: { scheduled: true, insecure: true },
          },
        ],
      },
    });
    if (answer.status !== 201) throw new Error(`stream: ${answer.status} ${answer.text}`);
    const movedAt = new Map<string, number>();
    nats.subscribe('millrace.v1.tag.moved.bench.follower.>', {
      callback: (_error, message) => void movedAt.set(message.json<{ current: { image: string } }>().current.image, performance.now()),
    });
    await eventually(async () => {
      const list = await api.request('GET', '/apis/ops.millrace.dev/v1/scheduledimports');
      if (!(list.json?.items as unknown[] | undefined)?.length) throw new Error('nothing is scheduled yet');
    }, 30_000);

    const js = jetstream(nats);
    const sentAt = new Map<string, number>();
    const begun = performance.now();
    for (const [n, image] of images.slice(1).entries()) {
      await pause(Math.max(0, (n * 1000) / PER_SECOND - (performance.now() - begun)));
      await fetch(`http://${product.registry}/v2/hinted/app/manifests/latest`, {
        method: 'PUT',
        headers: { 'content-type': image.mediaType },
        body: new Uint8Array(image.manifest),
      }).then((put) => put.text());
      sentAt.set(image.digest, performance.now());
      const id = createHash('sha256').update(image.digest).digest('hex');
      const push = {
        id,
        eventId: id,
        host: product.registry,
        repository: 'hinted/app',
        tags: ['latest'],
        digest: image.digest,
        registry: 'bench',
        observedAt: new Date().toISOString(),
      };
      const headers = natsHeaders();
      headers.set('ce-id', id);
      await js.publish(`millrace.v1.repository.pushed.bench.${n}`, JSON.stringify(push), { headers });
      // One that comes before the last has moved the tag may take its place.
      await eventually(() => {
        if (!movedAt.has(image.digest)) throw new Error(`push ${n} of ${PUSHES} has not moved the tag`);
      }, 60_000);
    }
    const took = images.slice(11).flatMap(({ digest }) => {
      const [sent, moved] = [sentAt.get(digest), movedAt.get(digest)];
      return sent === undefined || moved === undefined ? [] : [moved - sent];
    });
    const note = `${took.length} pushes, ${PER_SECOND} a second, all in one process; from the registry's answer to the push, with a hint on NATS; p50 ${percentile(took, 50).toFixed(0)} ms`;
    return [
      { name: 'change with a hint to tag.moved, p99', value: percentile(took, 99), unit: 'ms', limit: { value: 300, is: 'at most' }, note },
    ];
  } finally {
    await nats.close();
    await api.close();
    await product.stop();
    product.remove();
  }
}
