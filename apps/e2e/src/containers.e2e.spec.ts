import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { GenericContainer, Wait, type StartedTestContainer } from 'testcontainers';
import { stringify } from 'yaml';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '@millrace/embedded/ports';
import { apiClient, credentialsIn, type ApiClient } from '@millrace/testing/client';
import { eventReader, type ReadEvent } from '@millrace/testing/event-reader';
import { eventually } from '@millrace/testing/eventually';
import { makeImage, makeIndex, pushImage } from '@millrace/testing/images';
import { aWebhookSink, type WebhookSink } from '@millrace/testing/webhook-sink';

const root = fileURLToPath(new URL('../../../', import.meta.url));

/** The servers from public images (Distribution 3, NATS and PostgreSQL as they are today), the services as one process beside them. */
describe.runIf(process.env['MILLRACE_CONTAINERS'] === 'true')('on servers from testcontainers', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'millrace-containers-'));
  const containers: StartedTestContainer[] = [];
  let ports: Record<'postgres' | 'nats' | 'registry' | 'mapping' | 'api', number>;
  let product: ChildProcess;
  let output = '';
  let api: ApiClient;
  let sink: WebhookSink;

  beforeAll(async () => {
    ports = {
      postgres: await freePort(),
      nats: await freePort(),
      registry: await freePort(),
      mapping: await freePort(),
      api: await freePort(),
    };
    const secret = randomBytes(24).toString('hex');
    containers.push(...(await Promise.all([postgres(), nats(), registry(secret)])));
    product = spawn(process.execPath, [join(root, 'dist', 'millrace.js'), 'all'], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: process.env['PATH'],
        DATABASE_URL: `postgres://millrace:secret@127.0.0.1:${ports.postgres}/millrace`,
        NATS_URL: `nats://127.0.0.1:${ports.nats}`,
        REGISTRIES: JSON.stringify([{ name: 'main', url: `http://127.0.0.1:${ports.registry}`, secret }]),
        REGISTRY_ALLOW_ADDRESSES: 'loopback',
        WEBHOOK_ALLOW_ADDRESSES: 'loopback',
        SECRETS_KEY: randomBytes(32).toString('base64'),
        DATA_DIR: join(scratch, 'api'),
        KUBECONFIG_PATH: join(scratch, 'kubeconfig'),
        API_HTTP_PORT: String(ports.api),
        REGISTRY_MAPPING_HTTP_PORT: String(ports.mapping),
        TAG_STORE_HTTP_PORT: '0',
        TRIGGER_DISPATCHER_HTTP_PORT: '0',
        IMPORT_SCHEDULER_HTTP_PORT: '0',
      },
    });
    for (const stream of [product.stdout, product.stderr]) stream?.setEncoding('utf8').on('data', (text: string) => (output += text));
    await eventually(() => expect(output.match(/"service.ready"/g), output.slice(-2_000)).toHaveLength(5), 60_000, 100);
    api = apiClient({ api: `https://127.0.0.1:${ports.api}`, ...credentialsIn(readFileSync(join(scratch, 'kubeconfig'), 'utf8')) });
    sink = await aWebhookSink();
  }, 300_000);
  afterAll(async () => {
    await api?.close();
    await sink?.close();
    product?.kill('SIGTERM');
    await Promise.all(containers.map((container) => container.stop()));
    rmSync(scratch, { recursive: true, force: true });
  }, 120_000);

  // On the host's network: the registry must reach registry-mapping on this machine.
  const onHost = (image: string) => new GenericContainer(image).withNetworkMode('host').withStartupTimeout(120_000);
  const postgres = () =>
    onHost('postgres:18')
      .withEnvironment({ POSTGRES_USER: 'millrace', POSTGRES_PASSWORD: 'secret', POSTGRES_DB: 'millrace' })
      .withCommand(['postgres', '-p', String(ports.postgres)])
      .withWaitStrategy(Wait.forLogMessage(new RegExp(`port ${ports.postgres}`)))
      .start();
  const nats = () =>
    onHost('nats:2')
      .withCommand(['--jetstream', '--addr', '127.0.0.1', '--port', String(ports.nats)])
      .withWaitStrategy(Wait.forLogMessage(/Server is ready/))
      .start();
  const registry = (secret: string) =>
    onHost('registry:3')
      .withCopyContentToContainer([
        {
          target: '/etc/distribution/config.yml',
          content: stringify({
            version: 0.1,
            log: { level: 'info' },
            storage: { inmemory: {} },
            http: { addr: `127.0.0.1:${ports.registry}` },
            notifications: {
              endpoints: [
                {
                  name: 'millrace',
                  url: `http://127.0.0.1:${ports.mapping}/notifications/main`,
                  headers: { Authorization: [`Bearer ${secret}`] },
                  timeout: '5s',
                  threshold: 5,
                  backoff: '1s',
                },
              ],
            },
          }),
        },
      ])
      .withEnvironment({ OTEL_TRACES_EXPORTER: 'none' })
      .withWaitStrategy(Wait.forLogMessage(/listening on/))
      .start();

  it('a push to Distribution 3 moves the tag, tells the event and delivers the webhook', async () => {
    const trigger = await api.request('POST', '/apis/triggers.millrace.dev/v1/namespaces/team/imagetriggers', {
      apiVersion: 'triggers.millrace.dev/v1',
      kind: 'ImageTrigger',
      metadata: { name: 'build' },
      spec: { kind: 'Build', from: { kind: 'ImageStreamTag', name: 'app:latest' }, webhooks: [{ name: 'hook', url: sink.url }] },
    });
    expect(trigger.status, trigger.text).toBe(201);
    const pushed = [makeImage('container-1', { format: 'oci' }), makeIndex('container-2'), makeImage('container-3')];

    for (const one of pushed) await pushImage(`127.0.0.1:${ports.registry}`, 'team/app', 'latest', one);

    await eventually(async () => {
      const answer = await api.request('GET', '/apis/image.openshift.io/v1/namespaces/team/imagestreams/app');
      expect(answer.json?.status?.tags?.[0]?.items.map((item: { image: string }) => item.image)).toEqual(
        pushed.map((one) => one.digest).toReversed(),
      );
    }, 30_000);
    await eventually(() => expect(sink.received).toHaveLength(3), 30_000);
    const reader = await eventReader(`nats://127.0.0.1:${ports.nats}`, 'late', 'millrace.v1.build.triggered.>');
    const events: ReadEvent[] = [];
    await eventually(async () => {
      events.push(...(await reader.take()));
      expect(events.map((event) => event.data.current.image)).toEqual(pushed.map((one) => one.digest));
    });
    await reader.close();
    expect(new Set(events.map((event) => event.id))).toEqual(new Set(sink.received.map((r) => r.headers['webhook-id'])));
  }, 120_000);
});
