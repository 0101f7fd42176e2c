import { createHmac, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { headers as natsHeaders } from '@nats-io/transport-node';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import pg from 'pg';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { RepositoryPushed } from '@millrace/contracts/events';
import { eventually } from '@millrace/testing/eventually';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { aPeer, aService, type StartedService } from '@millrace/testing/service';
import { service as definition } from './main.ts';

/* Registries that call us: what each of them sends becomes a hint, told once; and what nobody should send becomes nothing. */

const SECRET = 'the-secret-of-all';
const OTHER = 'the-secret-that-comes-next';
const PATH = 'a-segment-that-nobody-guesses';
const AUDIENCE = 'https://millrace.example.com/notifications/gar';
const EMAIL = 'pusher@my-project.iam.gserviceaccount.com';

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- payloads of others, changed in places
type Body = Record<string, any>;
interface Fixture {
  title: string;
  headers: Record<string, string>;
  body: Body;
}
const fixture = (dialect: string, title: string): Fixture => {
  const all = JSON.parse(readFileSync(new URL(`../fixtures/${dialect}.json`, import.meta.url), 'utf8')) as Fixture[];
  return all.find((one) => one.title === title)!;
};

const now = new Date().toISOString();
const nowSeconds = Math.floor(Date.now() / 1000);
const hmac = (algorithm: string, body: string, secret = SECRET) => createHmac(algorithm, secret).update(body).digest('hex');
const pubSub = (message: object, id = '2070443601311540') => ({
  message: { data: Buffer.from(JSON.stringify(message)).toString('base64'), messageId: id, publishTime: now },
  subscription: 'projects/my-project/subscriptions/millrace',
});

interface Keys {
  url: string;
  /** How often the keys were fetched. */
  fetched: number;
  token: (
    claims?: Record<string, unknown>,
    options?: { audience?: string; issuer?: string; expires?: string; foreign?: boolean },
  ) => Promise<string>;
  close: () => Promise<void>;
}

/** An identity provider as Google is one. */
async function someKeys(): Promise<Keys> {
  const [ours, foreign] = await Promise.all([generateKeyPair('RS256'), generateKeyPair('RS256')]);
  const jwk = { ...(await exportJWK(ours.publicKey)), kid: 'k1', alg: 'RS256', use: 'sig' };
  const server = createServer((_request, response) => {
    keys.fetched++;
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ keys: [jwk] }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const keys: Keys = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/certs`,
    fetched: 0,
    token: (claims = {}, { audience = AUDIENCE, issuer = 'https://accounts.google.com', expires = '1h', foreign: by = false } = {}) =>
      new SignJWT({ email: EMAIL, email_verified: true, ...claims })
        .setProtectedHeader({ alg: 'RS256', kid: 'k1' })
        .setIssuer(issuer)
        .setAudience(audience)
        .setIssuedAt()
        .setExpirationTime(expires)
        .sign((by ? foreign : ours).privateKey),
    close: () => new Promise((resolve) => void (server.closeAllConnections(), server.close(() => resolve()))),
  };
  return keys;
}

let database: Awaited<ReturnType<typeof aDatabase>>;
let nats: Awaited<ReturnType<typeof aNatsServer>>;
let peer: Awaited<ReturnType<typeof aPeer>>;
let keys: Keys;
let heard: ReturnType<typeof peer.hear<typeof RepositoryPushed>>;
let service: StartedService;
let services: StartedService[];

beforeAll(async () => {
  [database, nats, keys] = await Promise.all([aDatabase(), aNatsServer(), someKeys()]);
  services = [];
  peer = await aPeer(nats.url);
  heard = peer.hear(RepositoryPushed);
  service = await start();
});
afterAll(async () => {
  await Promise.all(services.map((one) => one.stop()));
  await Promise.all([peer.close(), keys.close()]);
  await nats.stop();
  await database.drop();
});
/** Every test begins with a registry-mapping that has heard of nothing. */
beforeEach(async () => {
  await sql('DELETE FROM registry_mapping.hint');
  heard.length = 0;
});

async function start(env: Record<string, string> = {}): Promise<StartedService> {
  const secret = SECRET;
  const started = await aService(definition as never, {
    DATABASE_URL: database.url,
    NATS_URL: nats.url,
    STOP_TIMEOUT_MS: '2000',
    REGISTRY_ALLOW_ADDRESSES: 'loopback',
    REGISTRIES: JSON.stringify([
      { name: 'hub', dialect: 'dockerhub', secret: PATH },
      { name: 'quay', dialect: 'quay', secret: PATH },
      { name: 'ghcr', dialect: 'ghcr', secret: [SECRET, OTHER] },
      { name: 'harbor', dialect: 'harbor', secret, hosts: ['harbor.example.com', 'localhost:8443'] },
      { name: 'gitlab', dialect: 'distribution', mode: 'hint', secret, hosts: ['registry.gitlab.example.com'] },
      { name: 'acr', dialect: 'acr', secret, hosts: ['myregistry.azurecr.io'] },
      { name: 'gar', dialect: 'gar', hosts: ['us-east1-docker.pkg.dev'], oidc: { audience: AUDIENCE, email: EMAIL, jwks: keys.url } },
      { name: 'ecr', dialect: 'ecr', secret, hosts: ['123456789012.dkr.ecr.us-west-2.amazonaws.com'] },
      { name: 'nexus', dialect: 'nexus', secret, hosts: ['nexus.example.com:8082'] },
      { name: 'artifactory', dialect: 'artifactory', secret, hosts: ['example.jfrog.io'] },
      { name: 'artifactory-token', dialect: 'artifactory', auth: 'header', secret, hosts: ['docker.example.com'], keyInPath: false },
      { name: 'zot', dialect: 'zot', secret, hosts: ['zot.example.com'] },
      { name: 'zot-nats', dialect: 'zot', nats: true, hosts: ['zot.example.com'] },
      {
        name: 'events',
        dialect: 'cloudevents',
        secret: `whsec_${Buffer.from(SECRET).toString('base64')}`,
        hosts: ['registry.example.com'],
      },
      { name: 'events-key', dialect: 'cloudevents', secret, header: 'X-Key', hosts: ['registry.example.com'] },
    ]),
    ...env,
  });
  services.push(started);
  return started;
}

type Sent = { status: number; text: string };
async function send(to: StartedService, path: string, body: unknown, headers: Record<string, string> = {}): Promise<Sent> {
  const answer = await fetch(`http://127.0.0.1:${to.port}/notifications/${path}`, {
    method: 'POST',
    body: typeof body === 'string' ? body : JSON.stringify(body),
    headers,
  });
  return { status: answer.status, text: await answer.text() };
}
const bearer = { authorization: `Bearer ${SECRET}` };
const told = () => heard.map(({ data }) => `${data.host}/${data.repository}:${data.tags.join()}`);
const metric = async (of: StartedService, registry: string, outcome: string): Promise<number> => {
  const text = await (await fetch(`http://127.0.0.1:${of.port}/metrics`)).text();
  const line = text
    .split('\n')
    .find((one) => one.startsWith(`millrace_notifications_total{registry="${registry}",`) && one.includes(`outcome="${outcome}"`));
  return Number(line?.split(' ').at(-1) ?? 0);
};
async function sql(text: string, url = database.url): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(text)).rows;
  } finally {
    await client.end();
  }
}
const rows = async (table: string): Promise<number> => (await sql(`SELECT 1 FROM registry_mapping.${table}`)).length;

/** A push as each registry sends it now: path, body, headers, and the pull spec of what follows. */
const package_ = (event: string, tag = 'nightly'): Body => {
  const { body } = fixture('ghcr', event === 'package' ? 'package published' : 'registry_package published, of the same push');
  body[event].updated_at = now;
  body[event].package_version.container_metadata.tag.name = tag;
  return body;
};
const github = (body: string, event = 'package', secret = SECRET) => ({
  'x-github-event': event,
  'x-github-delivery': randomUUID(),
  'x-hub-signature-256': `sha256=${hmac('sha256', body, secret)}`,
});
const hub = (tag = 'latest', at = nowSeconds): Body => ({
  ...fixture('dockerhub', 'a push').body,
  push_data: { pushed_at: at, pusher: 'ci', tag },
});
const harbor = (): Body => ({ ...fixture('harbor', 'a push of a tag').body, occur_at: nowSeconds });
const standard = (body: string, at = nowSeconds, secret = SECRET) => ({
  'webhook-id': 'msg_1',
  'webhook-timestamp': String(at),
  'webhook-signature': new Webhook(Buffer.from(secret).toString('base64')).sign('msg_1', new Date(at * 1000), body),
});
const cloudEvent = (change: object = {}) => ({
  specversion: '1.0',
  id: randomUUID(),
  source: '/builds',
  type: 'com.example.image.pushed',
  time: now,
  data: { image: 'registry.example.com/team/web:1.2' },
  ...change,
});

describe('a push', () => {
  type Case = [string, string, () => Promise<{ path: string; body: string; headers?: Record<string, string> }>];
  it.each<Case>([
    ['Docker Hub', 'docker.io/svendowideit/testhook:latest', async () => ({ path: `hub/${PATH}`, body: JSON.stringify(hub()) })],
    [
      'Quay',
      'quay.io/mynamespace/repository:latest,foo',
      async () => ({ path: `quay/${PATH}`, body: JSON.stringify(fixture('quay', 'a test of the console: two tags').body) }),
    ],
    [
      'GHCR',
      'ghcr.io/codertocat/hello-world-npm:nightly',
      async () => {
        const body = JSON.stringify(package_('package'));
        return { path: 'ghcr', body, headers: github(body) };
      },
    ],
    [
      'Harbor',
      'harbor.example.com/documentation/test_slack:5.0',
      async () => {
        const body = harbor();
        body['event_data'].resources[0].resource_url = 'harbor.example.com/documentation/test_slack:5.0';
        return { path: 'harbor', body: JSON.stringify(body), headers: { authorization: SECRET } };
      },
    ],
    [
      'Harbor as a CloudEvent',
      'localhost:8443/harbor/alpine:3.8,3',
      async () => ({
        path: 'harbor',
        body: JSON.stringify({ ...fixture('harbor', 'a CloudEvent of two tags').body, time: now }),
        headers: bearer,
      }),
    ],
    [
      'GitLab',
      'registry.gitlab.example.com/group/project:1,2',
      async () => ({
        path: 'gitlab',
        body: JSON.stringify({
          events: ['1', '2'].map((tag) => ({
            id: `${tag}-${randomUUID()}`,
            timestamp: now,
            action: 'push',
            target: { repository: 'group/project', tag, digest: `sha256:${tag.repeat(64)}` },
            request: { host: 'registry:5000' },
          })),
        }),
        headers: { authorization: SECRET },
      }),
    ],
    [
      'ACR',
      'myregistry.azurecr.io/hello-world:v1',
      async () => ({ path: 'acr', body: JSON.stringify({ ...fixture('acr', 'a push').body, timestamp: now }), headers: bearer }),
    ],
    [
      'Google Artifact Registry',
      'us-east1-docker.pkg.dev/my-project/web/web:1.1',
      async () => ({
        path: 'gar',
        body: JSON.stringify(pubSub({ action: 'INSERT', tag: 'us-east1-docker.pkg.dev/my-project/web/web:1.1' })),
        headers: { authorization: `Bearer ${await keys.token()}` },
      }),
    ],
    [
      'ECR',
      '123456789012.dkr.ecr.us-west-2.amazonaws.com/my-repository-name:latest',
      async () => ({
        path: 'ecr',
        body: JSON.stringify({ ...fixture('ecr', 'a push').body, time: now }),
        headers: { 'x-api-key': SECRET },
      }),
    ],
    [
      'Nexus',
      'nexus.example.com:8082/library/alpine:3.18',
      async () => {
        const body = JSON.stringify({ ...fixture('nexus', 'a tag as a component').body, timestamp: now.replace('Z', '+0000') });
        return {
          path: 'nexus',
          body,
          headers: { 'x-nexus-webhook-signature': hmac('sha1', body), 'x-nexus-webhook-delivery': randomUUID() },
        };
      },
    ],
    [
      'Artifactory',
      'example.jfrog.io/docker-remote-cache/library/ubuntu:latest',
      async () => {
        const body = JSON.stringify(fixture('artifactory', 'a push').body);
        return { path: 'artifactory', body, headers: { 'x-jfrog-event-auth': hmac('sha256', body) } };
      },
    ],
    [
      'Artifactory with a token',
      'docker.example.com/library/ubuntu:latest',
      async () => ({
        path: 'artifactory-token',
        body: JSON.stringify(fixture('artifactory', 'a push').body),
        headers: { 'x-jfrog-event-auth': SECRET },
      }),
    ],
    [
      'zot',
      'zot.example.com/golang:latest',
      async () => {
        const { body, headers } = fixture('zot', 'a push over HTTP');
        return { path: 'zot', body: JSON.stringify(body), headers: { ...headers, 'ce-time': now, ...bearer } };
      },
    ],
    [
      'a sender of CloudEvents',
      'registry.example.com/team/web:1.2',
      async () => {
        const body = JSON.stringify(cloudEvent());
        return { path: 'events', body, headers: standard(body) };
      },
    ],
    [
      'a sender of CloudEvents with a key',
      'registry.example.com/team/web:',
      async () => ({
        path: 'events-key',
        body: JSON.stringify(cloudEvent({ data: { image: 'registry.example.com/team/web' } })),
        headers: { 'x-key': SECRET },
      }),
    ],
  ])('of %s is a hint of %s', async (_title, expected, made) => {
    const { path, body, headers } = await made();

    expect(await send(service, path, body, headers)).toEqual({ status: 202, text: '' });

    await eventually(() => expect(told()).toEqual([expected]));
    expect(heard[0]?.data.registry).toBe(path.split('/')[0]);
    expect(heard[0]?.header('ce-id')).toBe(heard[0]?.data.id);
  });

  it('is told once, however often, in however many ways and by whichever instance it is heard', async () => {
    const another = await start();
    const repeated = await metric(service, 'ghcr', 'repeated');
    const [told1, told2] = [JSON.stringify(package_('package')), JSON.stringify(package_('registry_package'))];

    for (const to of [service, another, service]) {
      expect((await send(to, 'ghcr', told1, github(told1))).status).toBe(202);
      expect((await send(to, 'ghcr', told2, github(told2, 'registry_package'))).status).toBe(202);
    }
    const last = JSON.stringify(package_('package', 'last'));
    await send(service, 'ghcr', last, github(last));

    await eventually(() =>
      expect(told()).toEqual(['ghcr.io/codertocat/hello-world-npm:nightly', 'ghcr.io/codertocat/hello-world-npm:last']),
    );
    expect(await rows('hint')).toBe(2);
    expect((await metric(service, 'ghcr', 'repeated')) + (await metric(another, 'ghcr', 'repeated'))).toBe(repeated + 5);
  });

  it('is known by either of two secrets, while they change', async () => {
    for (const [tag, secret, status] of [
      ['1', SECRET, 202],
      ['2', OTHER, 202],
      ['3', 'neither-of-them', 401],
    ] as const) {
      const body = JSON.stringify(package_('package', tag));
      expect((await send(service, 'ghcr', body, github(body, 'package', secret))).status).toBe(status);
    }

    await eventually(() => expect(told()).toHaveLength(2));
  });

  it('is forgotten when it is so old that a repeat would not be listened to', async () => {
    const own = await aDatabase();
    const env = { DATABASE_URL: own.url, HINT_RETENTION_HOURS: '1' };
    await (await start(env)).stop();
    await sql(
      `INSERT INTO registry_mapping.hint VALUES ('hub', 'old', now() - interval '3 hours'), ('hub', 'young', now() - interval '1 hour')`,
      own.url,
    );

    const again = await start(env);

    await eventually(async () => expect(await sql('SELECT event_id FROM registry_mapping.hint', own.url)).toEqual([{ event_id: 'young' }]));
    await again.stop();
    await own.drop();
  });

  it('is not lost while the database is away', async () => {
    await sql('ALTER TABLE registry_mapping.hint RENAME TO gone');

    expect((await send(service, `hub/${PATH}`, hub())).status).toBe(503);
    await sql('ALTER TABLE registry_mapping.gone RENAME TO hint');
    expect((await send(service, `hub/${PATH}`, hub())).status).toBe(202);

    await eventually(() => expect(told()).toEqual(['docker.io/svendowideit/testhook:latest']));
  });
});

describe('a sender that is not who it says', () => {
  it('is told the same, whether there is such a registry or not', async () => {
    const body = JSON.stringify(package_('package'));
    const shown: Record<string, string>[] = [
      {},
      github(body, 'package', 'not-the-secret'),
      { authorization: 'Bearer not-the-secret' },
      standard(body, nowSeconds, 'not-the-secret'),
      { authorization: 'Bearer eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2lnbmF0dXJl' },
      { 'x-nexus-webhook-signature': hmac('sha1', body) },
    ];
    const answers = await Promise.all(
      ['ghcr', 'nobody', 'hub', 'gar', 'harbor', 'events'].flatMap((name) =>
        shown.flatMap((headers) => [name, `${name}/not-the-segment-of-anybody`].map((path) => send(service, path, body, headers))),
      ),
    );

    expect(new Set(answers.map((answer) => JSON.stringify(answer)))).toEqual(
      new Set([JSON.stringify({ status: 401, text: '{"message":"Unauthorized","statusCode":401}' })]),
    );
    expect(told()).toEqual([]);
    expect(JSON.stringify(service.logged)).not.toMatch(new RegExp(`${SECRET}|${PATH}|not-the-s`));
  });

  it.each<[string, string, (body: string) => Record<string, string>, string?]>([
    ['signs another body', 'ghcr', () => github('{}')],
    ['signs with an algorithm of another registry', 'ghcr', (body) => ({ 'x-nexus-webhook-signature': hmac('sha1', body) })],
    ['shows the key instead of a signature', 'ghcr', () => ({ 'x-hub-signature-256': SECRET, authorization: `Bearer ${SECRET}` })],
    [
      'shows a signature without its prefix',
      'ghcr',
      (body) => ({ 'x-github-event': 'package', 'x-hub-signature-256': hmac('sha256', body) }),
    ],
    ['signed six minutes ago', 'events', (body) => standard(body, nowSeconds - 360)],
    ['will sign in six minutes', 'events', (body) => standard(body, nowSeconds + 360)],
    ['signs another time', 'events', (body) => ({ ...standard(body, nowSeconds - 360), 'webhook-timestamp': String(nowSeconds) })],
    ['signs without a time', 'events', (body) => ({ ...standard(body), 'webhook-timestamp': '' })],
    ['has the path of another registry', `ghcr/${PATH}`, (body) => github(body)],
    ['leaves the path out', 'hub', () => bearer],
  ])('that %s is refused', async (_title, path, headers) => {
    const body = JSON.stringify(path.startsWith('events') ? cloudEvent() : package_('package'));

    expect((await send(service, path, body, headers(body))).status).toBe(401);
    expect(told()).toEqual([]);
  });

  it.each<[string, Parameters<Keys['token']>]>([
    ['another account', [{ email: 'mallory@evil.iam.gserviceaccount.com' }]],
    ['an account that nobody verified', [{ email_verified: false }]],
    ['another audience', [{}, { audience: 'https://other.example.com' }]],
    ['another issuer', [{}, { issuer: 'https://evil.example.com' }]],
    ['the past', [{}, { expires: '-10m' }]],
    ['another key', [{}, { foreign: true }]],
  ])('with a token of %s is refused', async (_title, made) => {
    const authorization = `Bearer ${await keys.token(...made)}`;

    expect((await send(service, 'gar', pubSub({}), { authorization })).status).toBe(401);
    expect((await send(service, 'gar', pubSub({}), { authorization: `Bearer ${await keys.token()}` })).status).toBe(202);
    expect(keys.fetched).toBe(1);
  });
});

describe('the keys of tokens', () => {
  it('are not fetched from where registries may not be', async () => {
    const guarded = await start({ REGISTRY_ALLOW_ADDRESSES: 'public' });
    const before = keys.fetched;

    expect((await send(guarded, 'gar', pubSub({}), { authorization: `Bearer ${await keys.token()}` })).status).toBe(401);
    expect(guarded.lines('notification.refused').map(({ reason }) => reason)).toEqual([
      expect.stringMatching(/^the keys of 127.0.0.1:\d+ cannot be fetched$/),
    ]);
    expect(keys.fetched).toBe(before);
  });
});

describe('a notification', () => {
  it.each<[string, string, unknown, string]>([
    ['that is no JSON', 'harbor', '{"type":', 'malformed'],
    ['of another shape', 'harbor', [1, 2], 'malformed'],
    ['of a scan', 'harbor', fixture('harbor', 'a scan').body, 'other-event'],
    ['of a host that is not the registry’s', 'harbor', harbor(), 'foreign-host'],
    ['that is too long', 'harbor', 'x'.repeat(1024 * 1024 + 1), 'malformed'],
    ['of long ago', 'acr', fixture('acr', 'a push').body, 'too-old'],
    ['that tries whether we are there', 'acr', fixture('acr', 'ping').body, 'ping'],
  ])('%s is answered 202, counted, and nothing else', async (_title, registry, body, outcome) => {
    const state = async () => ({
      counted: await metric(service, registry, outcome),
      hints: await rows('hint'),
      facts: await rows('outbox'),
      pushes: await rows('push'),
    });
    const before = await state();

    expect(await send(service, registry, body, bearer)).toEqual({ status: 202, text: '' });

    expect(await state()).toEqual({ ...before, counted: before.counted + 1 });
  });

  it('of GitHub that is a ping, or about something else, is answered 202', async () => {
    for (const title of ['ping', 'a push of git', 'a package of npm']) {
      const { body, headers } = fixture('ghcr', title);
      const text = JSON.stringify(body);
      expect((await send(service, 'ghcr', text, { ...headers, ...github(text, headers['x-github-event']) })).status).toBe(202);
    }

    expect([
      await metric(service, 'ghcr', 'ping'),
      await metric(service, 'ghcr', 'other-event'),
      await metric(service, 'ghcr', 'no-image'),
    ]).toEqual([1, 1, 1]);
  });

  it('that is too long for its signature to be checked is refused', async () => {
    const body = JSON.stringify({ ...package_('package'), filler: 'x'.repeat(1024 * 1024) });

    expect((await send(service, 'ghcr', body, github(body))).status).toBe(401);
  });
});

describe('a flood', () => {
  it('is read as far as there is room, and told to come again', async () => {
    const narrow = await start({ HINTS_IN_FLIGHT: '2' });
    const body = JSON.stringify(package_('package'));
    const held = await Promise.all([aHeldRequest(narrow, 'ghcr', github(body)), aHeldRequest(narrow, 'nobody', github(body))]);

    await eventually(async () => expect((await send(narrow, 'ghcr', body, github(body))).status).toBe(503));
    expect((await send(narrow, 'nobody', body, github(body))).status).toBe(503);
    expect((await send(narrow, 'nobody', body)).status).toBe(401);
    expect(await Promise.all(held.map((finish) => finish(body)))).toEqual([202, 401]);

    await eventually(async () => expect((await send(narrow, 'ghcr', body, github(body))).status).toBe(202));
    await eventually(() => expect(told()).toEqual(['ghcr.io/codertocat/hello-world-npm:nightly']));
  });

  it('of one push makes one hint', async () => {
    const statuses = await Promise.all(Array.from({ length: 100 }, () => send(service, `hub/${PATH}`, hub()).then(({ status }) => status)));

    expect(statuses.every((status) => status === 202 || status === 503)).toBe(true);
    await eventually(() => expect(told()).toEqual(['docker.io/svendowideit/testhook:latest']));
    expect(await rows('hint')).toBe(1);
  });
});

/** A request whose body stays away until `finish`. */
async function aHeldRequest(to: StartedService, name: string, headers: Record<string, string>): Promise<(body: string) => Promise<number>> {
  const request = httpRequest({ port: to.port, path: `/notifications/${name}`, method: 'POST', headers });
  const status = new Promise<number>((resolve, reject) => {
    request.on('response', (response) => resolve(response.resume().statusCode ?? 0));
    request.on('error', reject);
  });
  await new Promise<void>((resolve) => {
    request.on('socket', (socket) => socket.once('connect', resolve));
    request.flushHeaders();
  });
  return (body) => {
    request.end(body);
    return status;
  };
}

describe('over NATS', () => {
  const publish = (registry: string, body: unknown, headers: Record<string, string> = {}) => {
    const made = natsHeaders();
    for (const [name, value] of Object.entries(headers)) made.set(name, value);
    peer.bus.nats.publish(`millrace.v1.notification.submitted.${registry}`, typeof body === 'string' ? body : JSON.stringify(body), {
      headers: made,
    });
  };
  const zot = (id: string): Body => ({ ...fixture('zot', 'a push over NATS').body, id, time: now });

  it('a push of zot is a hint, once', async () => {
    publish('zot-nats', zot('one'));
    publish('zot-nats', zot('one'));
    publish('zot-nats', { ...zot('two'), data: { ...zot('two')['data'], reference: 'last' } });

    await eventually(() => expect(told()).toEqual(['zot.example.com/golang:latest', 'zot.example.com/golang:last']));
  });

  it('an event with its attributes in headers is understood', async () => {
    const { body } = fixture('zot', 'a push over HTTP');
    publish('zot-nats', body, { 'ce-specversion': '1.0', 'ce-id': randomUUID(), 'ce-type': 'zotregistry.image.updated', 'ce-time': now });

    await eventually(() => expect(told()).toEqual(['zot.example.com/golang:latest']));
  });

  it('what nobody may publish, or nobody can read, is put aside and stops nothing', async () => {
    for (const name of ['zot', 'nobody', '%ZZ', 'a.b']) publish(name, zot(randomUUID()));
    publish('zot-nats', 'no JSON');
    publish('zot-nats', [7]);
    publish('zot-nats', { specversion: 7 });
    publish('zot-nats', zot(randomUUID()));

    await eventually(() => expect(told()).toEqual(['zot.example.com/golang:latest']));
    await eventually(async () =>
      expect(
        (await sql('SELECT subject FROM registry_mapping.dead_fact')).map(({ subject }) => String(subject).slice(35)).toSorted(),
      ).toEqual(['zot-nats', 'zot-nats', 'zot', 'nobody', '%ZZ', 'a.b'].toSorted()),
    );
    expect(await metric(service, 'zot-nats', 'malformed')).toBe(1);
  });
});
