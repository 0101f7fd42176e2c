import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '@millrace/embedded/ports';
import { apiClient, credentialsIn, type ApiClient } from '@millrace/testing/client';
import { eventually } from '@millrace/testing/eventually';
import { makeImage, pushImage } from '@millrace/testing/images';
import { aWebhookSink, type WebhookSink } from '@millrace/testing/webhook-sink';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../../../', import.meta.url));
const PROJECT = 'millrace-journey';
const GROUP = '/apis/image.openshift.io/v1/namespaces/team';

/** Needs a Docker engine with Compose: `.ci/run` brings one, and sets this. */
describe.runIf(process.env['MILLRACE_CONTAINERS'] === 'true')('docker compose up', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'millrace-compose-'));
  let env: Record<string, string | undefined>;
  let ports: { api: number; registry: number };
  let sink: WebhookSink;
  let api: ApiClient;

  const compose = async (...args: string[]) => {
    const { stdout } = await run('docker', ['compose', '--project-name', PROJECT, ...args], {
      cwd: root,
      env: env as NodeJS.ProcessEnv,
      timeout: 600_000,
      maxBuffer: 1 << 26,
    });
    return stdout;
  };
  const up = (...args: string[]) => compose('up', '--detach', '--wait', '--wait-timeout', '180', ...args);
  const connect = async () => {
    await api?.close();
    await compose('cp', 'api:/data/kubeconfig', join(scratch, 'kubeconfig'));
    api = apiClient({ api: `https://127.0.0.1:${ports.api}`, ...credentialsIn(readFileSync(join(scratch, 'kubeconfig'), 'utf8')) });
  };
  const images = async (): Promise<string[]> => {
    const answer = await api.request('GET', `${GROUP}/imagestreams/app`);
    expect(answer.status, answer.text).toBe(200);
    return answer.json.status.tags[0].items.map((item: { image: string }) => item.image);
  };

  beforeAll(async () => {
    ports = { api: await freePort(), registry: await freePort() };
    env = {
      ...process.env,
      API_PORT: String(ports.api),
      REGISTRY_PORT: String(ports.registry),
      INTERNAL_REGISTRY_HOST: `127.0.0.1:${ports.registry}`,
      WEBHOOK_ALLOW_ADDRESSES: 'private',
    };
    await compose('down', '--volumes', '--remove-orphans');
    await compose('build');
    await up();
    await connect();
    sink = await aWebhookSink({ host: '0.0.0.0' });
  }, 900_000);
  afterAll(async () => {
    await api?.close();
    await sink?.close();
    await compose('down', '--volumes', '--remove-orphans', '--timeout', '15').catch(() => undefined);
    rmSync(scratch, { recursive: true, force: true });
  }, 180_000);

  /** The address under which the host is seen from the containers. */
  const gateway = () =>
    execFileSync('docker', ['network', 'inspect', `${PROJECT}_default`, '--format', '{{(index .IPAM.Config 0).Gateway}}'], {
      encoding: 'utf8',
    }).trim();

  it('every service is healthy, a push moves the tag, and the webhook arrives', async () => {
    const made = makeImage('compose-1');
    const trigger = await api.request('POST', '/apis/triggers.millrace.dev/v1/namespaces/team/imagetriggers', {
      apiVersion: 'triggers.millrace.dev/v1',
      kind: 'ImageTrigger',
      metadata: { name: 'deploy' },
      spec: {
        kind: 'Deploy',
        from: { kind: 'ImageStreamTag', name: 'app:latest' },
        webhooks: [{ name: 'hook', url: `http://${gateway()}:${new URL(sink.url).port}/` }],
      },
    });
    expect(trigger.status, trigger.text).toBe(201);

    await pushImage(`127.0.0.1:${ports.registry}`, 'team/app', 'latest', made);

    await eventually(async () => expect(await images()).toEqual([made.digest]), 30_000);
    await eventually(() => expect(sink.received).toHaveLength(1), 30_000);
  }, 120_000);

  it('with two tag-stores nothing is lost and the order of a tag holds', async () => {
    await up('--no-recreate', '--scale', 'tag-store=2');
    const before = await images();
    const made = Array.from({ length: 10 }, (_, n) => makeImage(`compose-scaled-${n}`));

    for (const image of made) await pushImage(`127.0.0.1:${ports.registry}`, 'team/app', 'latest', image);

    await eventually(async () => expect(await images()).toEqual([...made.map((one) => one.digest).toReversed(), ...before]), 60_000);
    await eventually(() => expect(new Set(sink.received.map((r) => r.headers['webhook-id'])).size).toBe(11), 60_000);
  }, 240_000);

  it('after a restart of everything all of it is there, and it goes on', async () => {
    const before = await images();
    await compose('restart');
    await up('--no-recreate');
    await connect();
    const made = makeImage('compose-after');

    expect(await images()).toEqual(before);
    await pushImage(`127.0.0.1:${ports.registry}`, 'team/app', 'latest', made);
    await eventually(async () => expect(await images()).toEqual([made.digest, ...before]), 60_000);
  }, 300_000);

  it('the services run as no root, on a file system that they cannot write, and add less than 100 MB to their base image', async () => {
    const [id] = (await compose('ps', '--quiet', 'tag-store')).split('\n');
    const inspect = JSON.parse(execFileSync('docker', ['inspect', id ?? ''], { encoding: 'utf8' }))[0];
    expect(inspect.HostConfig.ReadonlyRootfs).toBe(true);
    expect(inspect.Config.User).toBe('node');
    const base = Number(execFileSync('docker', ['image', 'inspect', 'node:24-slim', '--format', '{{.Size}}'], { encoding: 'utf8' }));
    const size = Number(execFileSync('docker', ['image', 'inspect', inspect.Image, '--format', '{{.Size}}'], { encoding: 'utf8' }));
    // What we add to the base image; the base is whatever node:24-slim is here.
    expect(size - base).toBeLessThan(100_000_000);
  });
});
