import { randomBytes } from 'node:crypto';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { Webhook } from 'standardwebhooks';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { TriggerObjects, type ObjectAnswer, type ObjectQuestion } from '@millrace/contracts/requests';
import { ALIVE_LOCKS } from '@millrace/platform/lease';
import { Store } from '@millrace/platform/store';
import { eventually } from '@millrace/testing/eventually';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { aPeer, aService, type StartedService } from '@millrace/testing/service';
import { TagMoves } from '@millrace/testing/tag-moves';
import { aWebhookSink, type WebhookSink } from '@millrace/testing/webhook-sink';
import { Deliveries } from './deliveries.ts';
import { service } from './main.ts';
import { Retention } from './retention.ts';
import { database } from './tables.ts';

const user = { name: 'ada', groups: ['system:masters'] };
const SECRET = `whsec_${Buffer.alloc(32, 5).toString('base64')}`;
const SECRETS_KEY = randomBytes(32).toString('base64');

let nats: Awaited<ReturnType<typeof aNatsServer>>;
let server: Awaited<ReturnType<typeof aDatabase>>;
let peer: Awaited<ReturnType<typeof aPeer>>;
let dispatcher: StartedService;
let store: Store;
let tags: TagMoves;
let sink: WebhookSink;
let namespace: string;
let count = 0;
const closing: (() => unknown)[] = [];

const start = (env: Record<string, string> = {}) =>
  aService(service as never, { DATABASE_URL: server.url, NATS_URL: nats.url, SECRETS_KEY, WEBHOOK_ALLOW_ADDRESSES: 'loopback', ...env });

beforeAll(async () => {
  [nats, server] = await Promise.all([aNatsServer(), aDatabase()]);
  store = new Store({ ...database, url: server.url, poolSize: 2 });
  await store.open();
  dispatcher = await start();
  peer = await aPeer(nats.url);
  tags = new TagMoves(peer);
  tags.serve();
});

afterAll(async () => {
  await dispatcher.stop();
  await Promise.all([peer.close(), store.close()]);
  await Promise.all([nats.stop(), server.drop()]);
});

beforeEach(async () => {
  namespace = `ns-${++count}`;
  sink = await aWebhookSink();
});

afterEach(async () => {
  await ask({ resource: 'imagetriggers', verb: 'deletecollection' });
  await sink.close();
  for (const close of closing.splice(0)) await close();
});

interface DeliveryObject {
  metadata: { name: string; labels: Record<string, string>; resourceVersion: string; uid: string };
  spec: { id: string; webhook: string; url: string; generation: number };
  status: { state: string; attempts: number; nextAttemptAt?: string; lastAttempt?: { status?: number; error?: string; answer?: string } };
}
type Answered = { code: number; object: Record<string, unknown>; items: DeliveryObject[]; continue?: string };

async function ask(question: Record<string, unknown>): Promise<Answered> {
  const addressed = { resource: 'deliveries', namespace, ...question };
  const asked = ['get', 'list', 'changes'].includes(question['verb'] as string) ? addressed : { dryRun: false, user, ...addressed };
  const answer: ObjectAnswer = await peer.ask(TriggerObjects, asked as ObjectQuestion);
  return (answer.kind === 'refused' ? { code: answer.status.code, object: answer.status } : answer) as unknown as Answered;
}

const trigger = async (webhooks: Record<string, unknown>[], name = 'deploy', stream = 'web') => {
  const from = { kind: 'ImageStreamTag', name: `${stream}:latest` };
  const object = { metadata: { name }, spec: { kind: 'Deploy', from, webhooks } };
  const made = await ask({ resource: 'imagetriggers', verb: 'create', object });
  expect(made.code, JSON.stringify(made.object)).toBe(201);
};
const readTrigger = async (name = 'deploy') =>
  (await ask({ resource: 'imagetriggers', verb: 'get', name })).object as {
    status: { webhooks: { state: string }[] };
    spec: Record<string, unknown>;
  };
const push = (stream = 'web') => tags.push(`${namespace}/${stream}:latest`);
const list = async (labelSelector?: string) => (await ask({ verb: 'list', ...(labelSelector ? { labelSelector } : {}) })).items;
const only = async (labelSelector?: string): Promise<DeliveryObject> => {
  const items = await list(labelSelector);
  expect(items).toHaveLength(1);
  return items[0] as DeliveryObject;
};
const stateOf = async (labelSelector?: string) => (await only(labelSelector)).status.state;
const hook = (over: Record<string, unknown> = {}) => ({ name: 'hook', url: sink.url, secret: SECRET, ...over });

/** A receiver below HTTP: what it does with each connection is the spec's. */
async function aSocketServer(onConnection: (socket: Socket) => void): Promise<{ url: string; connections: () => number }> {
  let connections = 0;
  const sockets = new Set<Socket>();
  const listening = createServer((socket) => {
    connections++;
    sockets.add(socket);
    socket.on('error', () => undefined);
    onConnection(socket);
  });
  await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve));
  closing.push(() => {
    for (const socket of sockets) socket.destroy();
    listening.close();
  });
  return { url: `http://127.0.0.1:${(listening.address() as AddressInfo).port}/`, connections: () => connections };
}

describe('a webhook', () => {
  it('gets the event as a signed CloudEvent with the id that it has on NATS', async () => {
    await trigger([hook({ url: `${sink.url}/in?key=1`, headers: { 'X-Env': 'prod', Authorization: 'Bearer abc' } })]);
    const move = tags.make(`${namespace}/web:latest`);
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    await tags.tell(move, traceparent);
    await eventually(() => expect(sink.received).toHaveLength(1));

    const [{ headers, body, path }] = sink.received as [(typeof sink.received)[0]];
    const event = new Webhook(SECRET).verify(body, headers as Record<string, string>) as Record<string, never>;
    expect(path).toBe('/in?key=1');
    expect(headers).toMatchObject({
      'content-type': 'application/cloudevents+json; charset=utf-8',
      'user-agent': 'Millrace',
      traceparent,
      'webhook-id': event['id'],
      'x-env': 'prod',
      authorization: 'Bearer abc',
    });
    expect(event).toMatchObject({
      specversion: '1.0',
      id: expect.stringMatching(/\.uid-of-web\.latest\.1$/),
      source: '/trigger-dispatcher',
      type: 'dev.millrace.deploy.triggered.v1',
      subject: `${namespace}/web:latest`,
      datacontenttype: 'application/json',
      traceparent,
      data: { trigger: { namespace, name: 'deploy' }, generation: 1, pullSpec: move.pullSpec, current: move.current },
    });
    await eventually(async () => expect(await stateOf()).toBe('delivered'));
  });

  it('is one of several, each with its own delivery and secret, and the same id', async () => {
    const other = `whsec_${Buffer.alloc(24, 9).toString('base64')}`;
    await trigger([hook({ url: `${sink.url}/a` }), hook({ name: 'second', url: `${sink.url}/b`, secret: other })]);
    await push();
    await eventually(() => expect(sink.received).toHaveLength(2));

    const [a, b] = sink.received.toSorted((x, y) => x.path.localeCompare(y.path)) as [(typeof sink.received)[0], (typeof sink.received)[0]];
    expect(a.headers['webhook-id']).toBe(b.headers['webhook-id']);
    new Webhook(SECRET).verify(a.body, a.headers as Record<string, string>);
    new Webhook(other).verify(b.body, b.headers as Record<string, string>);
    await eventually(async () =>
      expect((await list('state=delivered')).map(({ spec }) => spec.webhook).toSorted()).toEqual(['hook', 'second']),
    );
  });

  it('is called once for a move that is told twice', async () => {
    await trigger([hook()]);
    const move = await push();
    await tags.tell(move);
    await push();
    await eventually(() => expect(sink.received).toHaveLength(2));

    expect(await list()).toHaveLength(2);
  });

  it('whose secret was made by the server is signed with that', async () => {
    const object = {
      metadata: { name: 'deploy' },
      spec: { kind: 'Deploy', from: { kind: 'ImageStreamTag', name: 'web' }, webhooks: [{ name: 'a', url: sink.url }] },
    };
    const made = await ask({ resource: 'imagetriggers', verb: 'create', object });
    const { secret } = (made.object['spec'] as { webhooks: [{ secret: string }] }).webhooks[0];
    await push();
    await eventually(() => expect(sink.received).toHaveLength(1));

    new Webhook(secret).verify(sink.received[0]?.body ?? '', sink.received[0]?.headers as Record<string, string>);
  });
});

describe('a call that fails', () => {
  it('is made again after about a second, with the same id and a timestamp of its own', async () => {
    sink.answer = () => ({ status: sink.received.length < 3 ? 500 : 204, body: 'not yet' });
    await trigger([hook()]);
    await push();
    await eventually(async () =>
      expect(await only()).toMatchObject({ status: { state: 'retrying', lastAttempt: { status: 500, answer: 'not yet' } } }),
    );
    await eventually(() => expect(sink.received).toHaveLength(2));

    const [first, second] = sink.received as [(typeof sink.received)[0], (typeof sink.received)[0]];
    expect(second.at - first.at).toBeGreaterThanOrEqual(850);
    expect(second.at - first.at).toBeLessThan(2_000);
    expect(second.headers['webhook-id']).toBe(first.headers['webhook-id']);
    expect(second.body).toBe(first.body);
    new Webhook(SECRET).verify(second.body, second.headers as Record<string, string>);
    expect((await only()).status.attempts).toBeLessThanOrEqual(2);
  });

  it('is made again when the receiver said so', async () => {
    sink.answer = () => ({ status: sink.received.length < 2 ? 503 : 204, headers: { 'retry-after': '2' } });
    await trigger([hook()]);
    await push();
    await eventually(() => expect(sink.received).toHaveLength(2));

    const [first, second] = sink.received as [(typeof sink.received)[0], (typeof sink.received)[0]];
    expect(second.at - first.at).toBeGreaterThanOrEqual(1_950);
    expect(second.at - first.at).toBeLessThan(3_500);
  });

  it('with nobody there is made again', async () => {
    const { url } = sink;
    await sink.close();
    await trigger([hook({ url })]);
    await push();
    await eventually(async () => expect((await only()).status.lastAttempt?.error).toMatch(/ECONNREFUSED/));
    sink = await aWebhookSink({ port: Number(new URL(url).port) });

    await eventually(() => expect(sink.received).toHaveLength(1));
  });

  it('with 410 is the last: the webhook is gone until it is changed', async () => {
    const other = await aWebhookSink();
    closing.push(other.close);
    sink.answer = () => ({ status: 410 });
    await trigger([hook(), hook({ name: 'second', url: other.url })]);
    await push();
    await eventually(async () => expect(await stateOf('webhook=hook')).toBe('gone'));
    await push();
    await eventually(() => expect(other.received).toHaveLength(2));

    expect(sink.received).toHaveLength(1);
    expect((await readTrigger()).status.webhooks.map(({ state }) => state)).toEqual(['Gone', 'Active']);
    sink.answer = () => ({ status: 204 });
    const now = (await ask({ resource: 'imagetriggers', verb: 'get', name: 'deploy' })).object as { spec: object };
    const webhooks = [hook({ url: `${sink.url}/moved` })];
    const changed = await ask({
      resource: 'imagetriggers',
      verb: 'update',
      name: 'deploy',
      object: { ...now, spec: { ...now.spec, webhooks } },
    });
    expect((changed.object['status'] as { webhooks: unknown }).webhooks).toEqual([{ name: 'hook', state: 'Active' }]);
    await push();
    await eventually(() => expect(sink.received.map(({ path }) => path)).toEqual(['/', '/moved']));
  });

  it('with a redirect is not followed', async () => {
    const target = await aWebhookSink();
    closing.push(target.close);
    sink.answer = () => ({ status: 307, headers: { location: target.url } });
    await trigger([hook()]);
    await push();
    await eventually(async () => expect((await only()).status.lastAttempt?.error).toBe('answered 307: redirects are not followed'));

    expect(target.received).toEqual([]);
  });

  it('for as long as a delivery has is dead, and comes to life by a replay', async () => {
    sink.answer = () => ({ status: 500 });
    await trigger([hook()]);
    await push();
    await eventually(async () => expect(await stateOf()).toBe('retrying'));
    await store.query('UPDATE delivery SET spent_ms = $2 WHERE namespace = $1', [namespace, 72 * 3_600_000]);
    await eventually(async () => expect(await stateOf()).toBe('dead'));
    const calls = sink.received.length;
    sink.answer = () => ({ status: 204 });

    const { metadata } = await only();
    const replayed = await ask({ verb: 'create', subresource: 'replay', name: metadata.name, object: {} });

    expect(replayed).toMatchObject({ code: 201, object: { status: { state: 'pending', attempts: 0 } } });
    await eventually(async () => expect(await stateOf()).toBe('delivered'));
    expect(sink.received.length).toBe(calls + 1);
    expect(new Set(sink.received.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
  });
});

describe('a receiver that misbehaves', () => {
  it('and never answers is cut off after the time it has, and does not delay the others', async () => {
    const hanging = await aSocketServer(() => undefined);
    await trigger([hook({ url: hanging.url, timeoutSeconds: 2 })], 'hangs', 'slow');
    for (let i = 0; i < 100; i++) await push('slow');
    await eventually(() => expect(hanging.connections()).toBe(8));
    await trigger([hook()]);
    const pushed = Date.now();
    await push();
    await eventually(() => expect(sink.received).toHaveLength(1));

    expect((sink.received[0]?.at ?? 0) - pushed).toBeLessThan(500);
    expect(hanging.connections()).toBe(8);
    await eventually(async () =>
      expect((await list('trigger=hangs,state=retrying'))[0]?.status.lastAttempt?.error).toBe('no answer within 2 s'),
    );
    expect((await list('trigger=hangs')).length).toBe(100);
  });

  it('on many hosts does not delay the others either', async () => {
    const hanging = await Promise.all(Array.from({ length: 12 }, () => aSocketServer(() => undefined)));
    await trigger(
      hanging.map(({ url }, i) => hook({ name: `h${i}`, url, timeoutSeconds: 1 })),
      'hangs',
      'slow',
    );
    await push('slow');
    await eventually(async () => expect((await list('trigger=hangs,state=retrying')).length).toBe(12));
    for (let i = 0; i < 20; i++) await push('slow');
    await trigger([hook()]);
    const pushed = Date.now();
    await push();
    await eventually(() => expect(sink.received).toHaveLength(1));

    expect((sink.received[0]?.at ?? 0) - pushed).toBeLessThan(500);
  });

  it('and answers without end is cut: the status counts, two kilobytes are kept', async () => {
    let sent = 0;
    let closed = false;
    const endless = await aSocketServer((socket) => {
      const chunk = Buffer.alloc(64 * 1024, 'x');
      const pour = (): void => {
        while (!socket.destroyed && socket.write(chunk)) sent += chunk.length;
      };
      socket.on('close', () => (closed = true));
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n');
        socket.on('drain', pour);
        pour();
      });
    });
    await trigger([hook({ url: endless.url })]);
    await push();
    await eventually(async () => expect(await stateOf()).toBe('delivered'));
    await eventually(() => expect(closed).toBe(true));

    expect(sent).toBeLessThan(32 * 1024 * 1024);
    expect((await only()).status.lastAttempt?.answer).toHaveLength(2_048);
  });

  it('and sends headers without end is cut', async () => {
    let closed = false;
    const endless = await aSocketServer((socket) => {
      socket.on('close', () => (closed = true));
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\n');
        const pour = (): void => {
          while (!socket.destroyed && socket.write(`x-${randomBytes(4).toString('hex')}: ${'y'.repeat(1_000)}\r\n`));
        };
        socket.on('drain', pour);
        pour();
      });
    });
    await trigger([hook({ url: endless.url })]);
    await push();
    await eventually(async () => expect((await only()).status.lastAttempt?.error).toMatch(/header/i));
    await eventually(() => expect(closed).toBe(true));
  });

  it('and drips its answer byte by byte is cut off after the time it has', async () => {
    const dripping = await aSocketServer((socket) => {
      const timer = setInterval(() => socket.write('x-a: b\r\n'), 50);
      socket.on('close', () => clearInterval(timer));
      socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\n'));
    });
    await trigger([hook({ url: dripping.url, timeoutSeconds: 1 })]);
    await push();

    await eventually(async () => expect((await only()).status.lastAttempt?.error).toBe('no answer within 1 s'));
  });

  it('and answers what is no HTTP, or nothing at all, is tried again', async () => {
    const garbage = await aSocketServer((socket) => socket.once('data', () => socket.end('220 smtp.example.com ESMTP\r\n')));
    const closing0 = await aSocketServer((socket) => socket.once('data', () => socket.destroy()));
    await trigger([hook({ name: 'garbage', url: garbage.url }), hook({ name: 'closing', url: closing0.url })]);
    await push();

    await eventually(async () => expect(await list('state=retrying')).toHaveLength(2));
  });
});

describe('addresses', () => {
  it('that are no longer allowed are not connected to, by address or by name', async () => {
    const port = new URL(sink.url).port;
    sink.answer = () => ({ status: 500 });
    await trigger([hook({ name: 'address' }), hook({ name: 'name', url: `http://localhost:${port}/` })]);
    await push();
    await eventually(async () => expect(await list('state=retrying')).toHaveLength(2));
    await dispatcher.stop();
    const calls = sink.received.length;
    sink.answer = () => ({ status: 204 });
    dispatcher = await start({ WEBHOOK_ALLOW_ADDRESSES: 'public' });
    await store.query('UPDATE delivery SET next_attempt_at = now() WHERE namespace = $1', [namespace]);

    await eventually(async () => {
      const errors = (await list('state=retrying')).map(({ status }) => status.lastAttempt?.error);
      expect(errors).toEqual([expect.stringContaining('a loopback address'), expect.stringContaining('a loopback address')]);
    });
    expect(sink.received.length).toBe(calls);
    await dispatcher.stop();
    dispatcher = await start();
  });
});

describe('several dispatchers', () => {
  it('share what is due; each call is made once', async () => {
    await dispatcher.stop();
    const pair = await Promise.all([start({ WEBHOOK_PARALLEL: '2' }), start({ WEBHOOK_PARALLEL: '2' })]);
    try {
      sink.answer = () => ({ status: 204, delayMs: 100 });
      await trigger([hook()]);
      for (let i = 0; i < 20; i++) await push();
      await eventually(async () => expect(await list('state=delivered')).toHaveLength(20));

      expect(new Set(sink.received.map(({ headers }) => headers['webhook-id'])).size).toBe(20);
      expect(sink.received).toHaveLength(20);
      const shares = pair.map((one) => one.lines('delivery.attempted').length);
      expect(shares[0] ?? 0).toBeGreaterThan(3);
      expect(shares[1] ?? 0).toBeGreaterThan(3);
    } finally {
      await Promise.all(pair.map((one) => one.stop()));
      dispatcher = await start();
    }
  });

  it('what one had in hand when it was killed is made by another, at once; while it lived nobody touched it', async () => {
    // The other instance is its advisory lock, which Postgres holds for as long as its connection.
    const { Client } = (await import('pg')).default;
    const other = new Client({ connectionString: server.url });
    await other.connect();
    await other.query('SELECT pg_advisory_lock($1, 4242)', [ALIVE_LOCKS]);
    await trigger([hook()]);
    sink.answer = () => ({ status: 500 });
    await push();
    await eventually(async () => expect(await stateOf()).toBe('retrying'));
    await store.query('UPDATE delivery SET claimed_by = 4242, next_attempt_at = now() WHERE namespace = $1', [namespace]);
    sink.answer = () => ({ status: 204 });
    const calls = sink.received.length;
    // Longer than the dispatcher takes to look for claims of the dead.
    await trigger([hook({ url: `${sink.url}/fence` })], 'fence', 'fence');
    await eventually(async () => {
      await push('fence');
      expect(sink.received.filter(({ path }) => path === '/fence').length).toBeGreaterThan(60);
    });
    expect(sink.received.filter(({ path }) => path === '/').length).toBe(calls);

    const killed = Date.now();
    await other.end();
    await eventually(async () => expect(await stateOf('trigger=deploy')).toBe('delivered'));

    expect(Date.now() - killed).toBeLessThan(2_000);
    expect(dispatcher.lines('deliveries.taken-over')).toHaveLength(1);
  });

  it('that stops gives back what has not been answered, to be made by the next', async () => {
    let hang = true;
    const slow = await aSocketServer((socket) => {
      if (!hang) socket.once('data', () => socket.end('HTTP/1.1 204 No Content\r\n\r\n'));
    });
    await trigger([hook({ url: slow.url, timeoutSeconds: 30 })]);
    await push();
    await eventually(() => expect(slow.connections()).toBe(1));
    hang = false;
    await dispatcher.stop();
    expect(await store.query('SELECT claimed_by, attempts FROM delivery WHERE namespace = $1', [namespace])).toEqual([
      { claimed_by: null, attempts: 0 },
    ]);

    dispatcher = await start();
    await eventually(async () => expect(await stateOf()).toBe('delivered'));
  });
});

describe('deliveries as objects', () => {
  it('have names that Kubernetes takes, labels to select by, and say what was fired', async () => {
    await trigger([hook()]);
    await push();
    await eventually(async () => expect(await stateOf()).toBe('delivered'));

    const delivery = await only('trigger=deploy,webhook=hook');
    expect(delivery.metadata.name).toMatch(/^deploy-[0-9a-f]{16}$/);
    expect(delivery.metadata.labels).toEqual({ trigger: 'deploy', webhook: 'hook', state: 'delivered' });
    expect(delivery).toMatchObject({ spec: { generation: 1, webhook: 'hook' }, status: { attempts: 1, lastAttempt: { status: 204 } } });
    expect((await ask({ verb: 'get', name: delivery.metadata.name })).object).toEqual({
      ...delivery,
      status: { ...delivery.status, attemptLog: [expect.objectContaining({ number: 1, outcome: 'delivered' })] },
    });
    expect(await ask({ verb: 'get', name: 'none' })).toMatchObject({ code: 404 });
    expect(await list('trigger=other')).toEqual([]);
    expect(await list('other')).toEqual([]);
    expect(await list('!other,state!=dead')).toHaveLength(1);
  });

  it('come newest first, in pages', async () => {
    await trigger([hook()]);
    for (let i = 1; i <= 5; i++) {
      await push();
      await eventually(() => expect(sink.received).toHaveLength(i));
    }
    const seen: number[] = [];
    for (let page: Answered | undefined; page === undefined || page.continue;) {
      page = await ask({ verb: 'list', limit: 2, ...(page ? { continue: page.continue } : {}) });
      seen.push(...page.items.map(({ spec }) => spec.generation));
    }

    expect(seen).toEqual([5, 4, 3, 2, 1]);
  });

  it('that wait are canceled by a delete and are no longer made; those that are over are forgotten', async () => {
    sink.answer = () => ({ status: 500, headers: {} });
    await trigger([hook()]);
    await push();
    await eventually(async () => expect(await stateOf()).toBe('retrying'));
    const { metadata } = await only();

    expect(await ask({ verb: 'delete', name: metadata.name, dryRun: true })).toMatchObject({ code: 200 });
    expect(await stateOf()).toBe('retrying');
    expect(await ask({ verb: 'delete', name: metadata.name })).toMatchObject({
      code: 200,
      object: { status: 'Success', details: { uid: metadata.uid } },
    });
    expect((await only()).status).toMatchObject({ state: 'canceled' });
    expect((await only()).metadata.uid).not.toBe(metadata.uid);
    expect(await ask({ verb: 'delete', name: metadata.name })).toMatchObject({ code: 200 });
    expect(await list()).toEqual([]);
  });

  it('that wait go with their trigger; those that are over stay, and cannot be replayed', async () => {
    await trigger([hook()]);
    await push();
    await eventually(async () => expect(await stateOf()).toBe('delivered'));
    sink.answer = () => ({ status: 500 });
    await push();
    await eventually(async () => expect(await list('state=retrying')).toHaveLength(1));

    await ask({ resource: 'imagetriggers', verb: 'delete', name: 'deploy' });

    const { metadata, status } = await only();
    expect(status.state).toBe('delivered');
    expect(await ask({ verb: 'create', subresource: 'replay', name: metadata.name, object: {} })).toMatchObject({ code: 409 });
  });

  it('of a webhook that is taken off its trigger are canceled', async () => {
    sink.answer = () => ({ status: 500 });
    await trigger([hook()]);
    await push();
    await eventually(async () => expect(await stateOf()).toBe('retrying'));
    const object = { ...(await readTrigger()), ...{} } as { spec: Record<string, unknown> };

    await ask({ resource: 'imagetriggers', verb: 'update', name: 'deploy', object: { ...object, spec: { ...object.spec, webhooks: [] } } });

    expect(await stateOf()).toBe('canceled');
  });

  it('of a webhook that moves elsewhere follow it', async () => {
    sink.answer = () => ({ status: 500 });
    const elsewhere = await aWebhookSink();
    closing.push(elsewhere.close);
    await trigger([hook()]);
    await push();
    await eventually(async () => expect(await stateOf()).toBe('retrying'));
    const object = (await readTrigger()) as { spec: Record<string, unknown> };
    await ask({
      resource: 'imagetriggers',
      verb: 'update',
      name: 'deploy',
      object: { ...object, spec: { ...object.spec, webhooks: [hook({ url: elsewhere.url })] } },
    });

    await eventually(() => expect(elsewhere.received).toHaveLength(1));
  });

  it('cannot be made or changed by hand', async () => {
    expect(await ask({ verb: 'create', object: {} })).toMatchObject({ code: 405 });
    expect(await ask({ verb: 'update', name: 'x', object: {} })).toMatchObject({ code: 405 });
  });

  it('that are over are forgotten after their time, with what fired; those that wait are not', async () => {
    await trigger([hook()]);
    await push();
    await eventually(async () => expect(await stateOf()).toBe('delivered'));
    sink.answer = () => ({ status: 500 });
    await push();
    await eventually(async () => expect(await list('state=retrying')).toHaveLength(1));
    await store.query("UPDATE delivery SET finished_at = finished_at - interval '8 days' WHERE namespace = $1", [namespace]);
    await store.query("UPDATE firing SET created = created - interval '8 days' WHERE namespace = $1", [namespace]);

    await dispatcher.app.get(Retention).clean(new AbortController().signal);

    expect((await list()).map(({ status }) => status.state)).toEqual(['retrying']);
    expect(await store.query('SELECT 1 FROM firing WHERE namespace = $1', [namespace])).toHaveLength(1);
  });
});

describe('what an operator sees', () => {
  it('is one line per attempt, without secrets and without the query of the URL', async () => {
    sink.answer = () => ({ status: 418 });
    await trigger([hook({ url: `${sink.url}/in?token=hunter2`, headers: { Authorization: 'Bearer hunter3' } })]);
    await push();
    const line = await eventually(() => {
      const found = dispatcher.lines('delivery.attempted').find((one) => one['trigger'] === `${namespace}/deploy`);
      expect(found).toBeDefined();
      return found;
    });

    const { host } = new URL(sink.url);
    expect(line).toMatchObject({ webhook: 'hook', host, url: `${sink.url}/in`, attempt: 1, status: 418, outcome: 'retry' });
    expect(line).toMatchObject({ delivery: expect.any(String), id: expect.any(String), ms: expect.any(Number), next: expect.any(String) });
    for (const secret of ['hunter2', 'hunter3', SECRET.slice(6), SECRETS_KEY]) expect(dispatcher.logged.join('\n')).not.toContain(secret);
    expect(JSON.stringify(await list())).not.toContain('hunter');
  });

  it('are metrics of firings, attempts and what waits', async () => {
    sink.answer = () => ({ status: 500 });
    await trigger([hook()]);
    await push();
    await eventually(async () => expect(await stateOf()).toBe('retrying'));

    const metrics = await (await fetch(`http://127.0.0.1:${dispatcher.port}/metrics`)).text();

    expect(metrics).toMatch(/millrace_trigger_firings_total\{kind="Deploy"\} [1-9]/);
    expect(metrics).toMatch(/millrace_webhook_attempts_total\{outcome="retry"\} [1-9]/);
    expect(metrics).toMatch(/millrace_webhook_deliveries_waiting\{state="retrying"\} 1/);
    expect(metrics).toMatch(/millrace_webhook_oldest_waiting_seconds\{state="retrying"\} \d/);
  });

  it('a secret that was sealed under another key says what to do', async () => {
    await trigger([hook()]);
    await dispatcher.stop();
    dispatcher = await start({ SECRETS_KEY: randomBytes(32).toString('base64') });
    await push();
    await eventually(async () => expect((await only()).status.lastAttempt?.error).toContain('cannot be decrypted with this SECRETS_KEY'));

    expect(dispatcher.app.get(Deliveries)).toBeDefined();
    await dispatcher.stop();
    dispatcher = await start();
    await eventually(() => expect(sink.received).toHaveLength(1));
  });

  it('a secret goes under the current key while the older one is given too, which may go then', async () => {
    const next = randomBytes(32).toString('base64');
    await trigger([hook()]);
    await dispatcher.stop();

    dispatcher = await start({ SECRETS_KEY: `${next}\n${SECRETS_KEY}` });
    await eventually(() => expect(dispatcher.lines('sealing.current')).toHaveLength(1));
    await dispatcher.stop();
    dispatcher = await start({ SECRETS_KEY: next });
    await push();

    await eventually(() => expect(sink.received).toHaveLength(1));
    expect(dispatcher.lines('sealing.key-missing')).toEqual([]);
    await dispatcher.stop();
    dispatcher = await start({ SECRETS_KEY: `${SECRETS_KEY},${next}` });
    await eventually(() => expect(dispatcher.lines('sealing.current')).toHaveLength(1));
  });

  it('a key that is none is refused at the start', async () => {
    await expect(start({ SECRETS_KEY: 'c2hvcnQ=' })).rejects.toThrow('SECRETS_KEY: must be 32 random bytes in base64');
  });
});
