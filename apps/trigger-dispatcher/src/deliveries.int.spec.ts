import { randomBytes } from 'node:crypto';
import { Webhook } from 'standardwebhooks';
import { describe, expect, it } from 'vitest';
import { ALIVE_LOCKS } from '@millrace/platform/lease';
import { DeliveriesBed, type Answered, type DeliveryObject } from '@millrace/testing/deliveries-bed';
import { eventually } from '@millrace/testing/eventually';
import { aTag, aTrigger } from '@millrace/testing/image-trigger';
import type { Received } from '@millrace/testing/webhook-sink';
import { Deliveries } from './deliveries.ts';
import { service } from './main.ts';
import { Retention } from './retention.ts';
import { database } from './tables.ts';

const SECRET = `whsec_${Buffer.alloc(32, 5).toString('base64')}`;

const bed = new DeliveriesBed(service as never, database);
const only = async (labelSelector?: string): Promise<DeliveryObject> => {
  const items = await bed.list(labelSelector);
  expect(items).toHaveLength(1);
  return items[0] as DeliveryObject;
};
const stateOf = async (labelSelector?: string) => (await only(labelSelector)).status.state;
const hook = (over: Record<string, unknown> = {}) => bed.hook({ secret: SECRET, ...over });
/** A delivery that has failed and will be made again. */
async function refused(): Promise<void> {
  bed.sink.answer = () => ({ status: 500 });
  await bed.trigger([hook()]);
  await bed.push();
  await eventually(async () => expect(await stateOf()).toBe('retrying'));
}
/** A delivery that is over, and one that has failed and will be made again. */
async function deliveredAndRefused(): Promise<void> {
  await bed.trigger([hook()]);
  await bed.push();
  await eventually(async () => expect(await stateOf()).toBe('delivered'));
  bed.sink.answer = () => ({ status: 500 });
  await bed.push();
  await eventually(async () => expect(await bed.list('state=retrying')).toHaveLength(1));
}

describe('a webhook', () => {
  it('gets the event as a signed CloudEvent with the id that it has on NATS', async () => {
    await bed.trigger([hook({ url: `${bed.sink.url}/in?key=1`, headers: { 'X-Env': 'prod', Authorization: 'Bearer abc' } })]);
    const move = bed.tags.make(`${bed.namespace}/web:latest`);
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    await bed.tags.tell(move, traceparent);
    await eventually(() => expect(bed.sink.received).toHaveLength(1));

    const [{ headers, body, path }] = bed.sink.received as [Received];
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
      subject: `${bed.namespace}/web:latest`,
      datacontenttype: 'application/json',
      traceparent,
      data: { trigger: { namespace: bed.namespace, name: 'deploy' }, generation: 1, pullSpec: move.pullSpec, current: move.current },
    });
    await eventually(async () => expect(await stateOf()).toBe('delivered'));
  });

  it('is one of several, each with its own delivery and secret, and the same id', async () => {
    const other = `whsec_${Buffer.alloc(24, 9).toString('base64')}`;
    await bed.trigger([hook({ url: `${bed.sink.url}/a` }), hook({ name: 'second', url: `${bed.sink.url}/b`, secret: other })]);
    await bed.push();
    await eventually(() => expect(bed.sink.received).toHaveLength(2));

    const [a, b] = bed.sink.received.toSorted((x, y) => x.path.localeCompare(y.path)) as [Received, Received];
    expect(a.headers['webhook-id']).toBe(b.headers['webhook-id']);
    new Webhook(SECRET).verify(a.body, a.headers as Record<string, string>);
    new Webhook(other).verify(b.body, b.headers as Record<string, string>);
    await eventually(async () =>
      expect((await bed.list('state=delivered')).map(({ spec }) => spec.webhook).toSorted()).toEqual(['hook', 'second']),
    );
  });

  it('is called once for a move that is told twice', async () => {
    await bed.trigger([hook()]);
    const move = await bed.push();
    await bed.tags.tell(move);
    await bed.push();
    await eventually(() => expect(bed.sink.received).toHaveLength(2));

    expect(await bed.list()).toHaveLength(2);
  });

  it('whose secret was made by the server is signed with that', async () => {
    const made = await bed.create(aTrigger('deploy', { from: aTag('web'), webhooks: [{ name: 'a', url: bed.sink.url }] }));
    const { secret } = (made.object['spec'] as { webhooks: [{ secret: string }] }).webhooks[0];
    await bed.push();
    await eventually(() => expect(bed.sink.received).toHaveLength(1));

    new Webhook(secret).verify(bed.sink.received[0]?.body ?? '', bed.sink.received[0]?.headers as Record<string, string>);
  });
});

describe('a call that fails', () => {
  it('is made again after about a second, with the same id and a timestamp of its own', async () => {
    bed.sink.answer = () => ({ status: bed.sink.received.length < 3 ? 500 : 204, body: 'not yet' });
    await bed.trigger([hook()]);
    await bed.push();
    await eventually(async () =>
      expect(await only()).toMatchObject({ status: { state: 'retrying', lastAttempt: { status: 500, answer: 'not yet' } } }),
    );
    await eventually(() => expect(bed.sink.received).toHaveLength(2));

    const [first, second] = bed.sink.received as [Received, Received];
    expect(second.at - first.at).toBeGreaterThanOrEqual(850);
    expect(second.at - first.at).toBeLessThan(2_000);
    expect(second.headers['webhook-id']).toBe(first.headers['webhook-id']);
    expect(second.body).toBe(first.body);
    new Webhook(SECRET).verify(second.body, second.headers as Record<string, string>);
    expect((await only()).status.attempts).toBeLessThanOrEqual(2);
  });

  it('is made again when the receiver said so', async () => {
    bed.sink.answer = () => ({ status: bed.sink.received.length < 2 ? 503 : 204, headers: { 'retry-after': '2' } });
    await bed.trigger([hook()]);
    await bed.push();
    await eventually(() => expect(bed.sink.received).toHaveLength(2));

    const [first, second] = bed.sink.received as [Received, Received];
    expect(second.at - first.at).toBeGreaterThanOrEqual(1_950);
    expect(second.at - first.at).toBeLessThan(3_500);
  });

  it('with nobody there is made again', async () => {
    const { url } = bed.sink;
    await bed.sink.close();
    await bed.trigger([hook({ url })]);
    await bed.push();
    await eventually(async () => expect((await only()).status.lastAttempt?.error).toMatch(/ECONNREFUSED/));
    bed.sink = await bed.aSink({ port: Number(new URL(url).port) });

    await eventually(() => expect(bed.sink.received).toHaveLength(1));
  });

  it('with 410 is the last: the webhook is gone until it is changed', async () => {
    const other = await bed.aSink();
    bed.sink.answer = () => ({ status: 410 });
    await bed.trigger([hook(), hook({ name: 'second', url: other.url })]);
    await bed.push();
    await eventually(async () => expect(await stateOf('webhook=hook')).toBe('gone'));
    await bed.push();
    await eventually(() => expect(other.received).toHaveLength(2));

    expect(bed.sink.received).toHaveLength(1);
    expect((await bed.webhooks()).map(({ state }) => state)).toEqual(['Gone', 'Active']);
    bed.sink.answer = () => ({ status: 204 });
    await bed.change([hook({ url: `${bed.sink.url}/moved` })]);
    expect(await bed.webhooks()).toEqual([{ name: 'hook', state: 'Active' }]);
    await bed.push();
    await eventually(() => expect(bed.sink.received.map(({ path }) => path)).toEqual(['/', '/moved']));
  });

  it('with a redirect is not followed', async () => {
    const target = await bed.aSink();
    bed.sink.answer = () => ({ status: 307, headers: { location: target.url } });
    await bed.trigger([hook()]);
    await bed.push();
    await eventually(async () => expect((await only()).status.lastAttempt?.error).toBe('answered 307: redirects are not followed'));

    expect(target.received).toEqual([]);
  });

  it('for as long as a delivery has is dead, and comes to life by a replay', async () => {
    await refused();
    await bed.store.query('UPDATE delivery SET spent_ms = $2 WHERE namespace = $1', [bed.namespace, 72 * 3_600_000]);
    await eventually(async () => expect(await stateOf()).toBe('dead'));
    const calls = bed.sink.received.length;
    bed.sink.answer = () => ({ status: 204 });

    const { metadata } = await only();
    const replayed = await bed.ask({ verb: 'create', subresource: 'replay', name: metadata.name, object: {} });

    expect(replayed).toMatchObject({ code: 201, object: { status: { state: 'pending', attempts: 0 } } });
    await eventually(async () => expect(await stateOf()).toBe('delivered'));
    expect(bed.sink.received.length).toBe(calls + 1);
    expect(new Set(bed.sink.received.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
  });
});

describe('a receiver that misbehaves', () => {
  it('and never answers is cut off after the time it has, and does not delay the others', async () => {
    const hanging = await bed.aSocketServer(() => undefined);
    await bed.trigger([hook({ url: hanging.url, timeoutSeconds: 2 })], 'hangs', 'slow');
    await bed.pushTimes(100, 'slow:latest');
    await eventually(() => expect(hanging.connections()).toBe(8));
    await bed.trigger([hook()]);
    const pushed = Date.now();
    await bed.push();
    await eventually(() => expect(bed.sink.received).toHaveLength(1));

    expect((bed.sink.received[0]?.at ?? 0) - pushed).toBeLessThan(500);
    expect(hanging.connections()).toBe(8);
    await eventually(async () =>
      expect((await bed.list('trigger=hangs,state=retrying'))[0]?.status.lastAttempt?.error).toBe('no answer within 2 s'),
    );
    expect((await bed.list('trigger=hangs')).length).toBe(100);
  });

  it('on many hosts does not delay the others either', async () => {
    const hanging = await Promise.all(Array.from({ length: 12 }, () => bed.aSocketServer(() => undefined)));
    await bed.trigger(
      hanging.map(({ url }, i) => hook({ name: `h${i}`, url, timeoutSeconds: 1 })),
      'hangs',
      'slow',
    );
    await bed.push('slow:latest');
    await eventually(async () => expect((await bed.list('trigger=hangs,state=retrying')).length).toBe(12));
    await bed.pushTimes(20, 'slow:latest');
    await bed.trigger([hook()]);
    const pushed = Date.now();
    await bed.push();
    await eventually(() => expect(bed.sink.received).toHaveLength(1));

    expect((bed.sink.received[0]?.at ?? 0) - pushed).toBeLessThan(500);
  });

  it('and answers without end is cut: the status counts, two kilobytes are kept', async () => {
    let sent = 0;
    let closed = false;
    const endless = await bed.aSocketServer((socket) => {
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
    await bed.trigger([hook({ url: endless.url })]);
    await bed.push();
    await eventually(async () => expect(await stateOf()).toBe('delivered'));
    await eventually(() => expect(closed).toBe(true));

    expect(sent).toBeLessThan(32 * 1024 * 1024);
    expect((await only()).status.lastAttempt?.answer).toHaveLength(2_048);
  });

  it('and sends headers without end is cut', async () => {
    let closed = false;
    const endless = await bed.aSocketServer((socket) => {
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
    await bed.trigger([hook({ url: endless.url })]);
    await bed.push();
    await eventually(async () => expect((await only()).status.lastAttempt?.error).toMatch(/header/i));
    await eventually(() => expect(closed).toBe(true));
  });

  it('and drips its answer byte by byte is cut off after the time it has', async () => {
    const dripping = await bed.aSocketServer((socket) => {
      const timer = setInterval(() => socket.write('x-a: b\r\n'), 50);
      socket.on('close', () => clearInterval(timer));
      socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\n'));
    });
    await bed.trigger([hook({ url: dripping.url, timeoutSeconds: 1 })]);
    await bed.push();

    await eventually(async () => expect((await only()).status.lastAttempt?.error).toBe('no answer within 1 s'));
  });

  it('and answers what is no HTTP, or nothing at all, is tried again', async () => {
    const garbage = await bed.aSocketServer((socket) => socket.once('data', () => socket.end('220 smtp.example.com ESMTP\r\n')));
    const closing0 = await bed.aSocketServer((socket) => socket.once('data', () => socket.destroy()));
    await bed.trigger([hook({ name: 'garbage', url: garbage.url }), hook({ name: 'closing', url: closing0.url })]);
    await bed.push();

    await eventually(async () => expect(await bed.list('state=retrying')).toHaveLength(2));
  });
});

describe('addresses', () => {
  it('that are no longer allowed are not connected to, by address or by name', async () => {
    const port = new URL(bed.sink.url).port;
    bed.sink.answer = () => ({ status: 500 });
    await bed.trigger([hook({ name: 'address' }), hook({ name: 'name', url: `http://localhost:${port}/` })]);
    await bed.push();
    await eventually(async () => expect(await bed.list('state=retrying')).toHaveLength(2));
    await bed.dispatcher.stop();
    const calls = bed.sink.received.length;
    bed.sink.answer = () => ({ status: 204 });
    bed.dispatcher = await bed.start({ WEBHOOK_ALLOW_ADDRESSES: 'public' });
    await bed.store.query('UPDATE delivery SET next_attempt_at = now() WHERE namespace = $1', [bed.namespace]);

    await eventually(async () => {
      const errors = (await bed.list('state=retrying')).map(({ status }) => status.lastAttempt?.error);
      expect(errors).toEqual([expect.stringContaining('a loopback address'), expect.stringContaining('a loopback address')]);
    });
    expect(bed.sink.received.length).toBe(calls);
    await bed.dispatcher.stop();
    bed.dispatcher = await bed.start();
  });
});

describe('several dispatchers', () => {
  it('share what is due; each call is made once', async () => {
    await bed.dispatcher.stop();
    const pair = await Promise.all([bed.start({ WEBHOOK_PARALLEL: '2' }), bed.start({ WEBHOOK_PARALLEL: '2' })]);
    try {
      bed.sink.answer = () => ({ status: 204, delayMs: 100 });
      await bed.trigger([hook()]);
      await bed.pushTimes(20);
      await eventually(async () => expect(await bed.list('state=delivered')).toHaveLength(20));

      expect(new Set(bed.sink.received.map(({ headers }) => headers['webhook-id'])).size).toBe(20);
      expect(bed.sink.received).toHaveLength(20);
      const shares = pair.map((one) => one.lines('delivery.attempted').length);
      expect(shares[0] ?? 0).toBeGreaterThan(3);
      expect(shares[1] ?? 0).toBeGreaterThan(3);
    } finally {
      await Promise.all(pair.map((one) => one.stop()));
      bed.dispatcher = await bed.start();
    }
  });

  it('what one had in hand when it was killed is made by another, at once; while it lived nobody touched it', async () => {
    // The other instance is its advisory lock, which Postgres holds for as long as its connection.
    const { Client } = (await import('pg')).default;
    const other = new Client({ connectionString: bed.server.url });
    await other.connect();
    await other.query('SELECT pg_advisory_lock($1, 4242)', [ALIVE_LOCKS]);
    await bed.trigger([hook()]);
    bed.sink.answer = () => ({ status: 500 });
    await bed.push();
    await eventually(async () => expect(await stateOf()).toBe('retrying'));
    await bed.store.query('UPDATE delivery SET claimed_by = 4242, next_attempt_at = now() WHERE namespace = $1', [bed.namespace]);
    bed.sink.answer = () => ({ status: 204 });
    const calls = bed.sink.received.length;
    // Longer than the dispatcher takes to look for claims of the dead.
    await bed.trigger([hook({ url: `${bed.sink.url}/fence` })], 'fence', 'fence');
    await eventually(async () => {
      await bed.push('fence:latest');
      expect(bed.sink.received.filter(({ path }) => path === '/fence').length).toBeGreaterThan(60);
    });
    expect(bed.sink.received.filter(({ path }) => path === '/').length).toBe(calls);

    const killed = Date.now();
    await other.end();
    await eventually(async () => expect(await stateOf('trigger=deploy')).toBe('delivered'));

    expect(Date.now() - killed).toBeLessThan(2_000);
    expect(bed.dispatcher.lines('deliveries.taken-over')).toHaveLength(1);
  });

  it('that stops gives back what has not been answered, to be made by the next', async () => {
    let hang = true;
    const slow = await bed.aSocketServer((socket) => {
      if (!hang) socket.once('data', () => socket.end('HTTP/1.1 204 No Content\r\n\r\n'));
    });
    await bed.trigger([hook({ url: slow.url, timeoutSeconds: 30 })]);
    await bed.push();
    await eventually(() => expect(slow.connections()).toBe(1));
    hang = false;
    await bed.dispatcher.stop();
    expect(await bed.store.query('SELECT claimed_by, attempts FROM delivery WHERE namespace = $1', [bed.namespace])).toEqual([
      { claimed_by: null, attempts: 0 },
    ]);

    bed.dispatcher = await bed.start();
    await eventually(async () => expect(await stateOf()).toBe('delivered'));
  });
});

describe('deliveries as objects', () => {
  it('have names that Kubernetes takes, labels to select by, and say what was fired', async () => {
    await bed.trigger([hook()]);
    await bed.push();
    await eventually(async () => expect(await stateOf()).toBe('delivered'));

    const delivery = await only('trigger=deploy,webhook=hook');
    expect(delivery.metadata.name).toMatch(/^deploy-[0-9a-f]{16}$/);
    expect(delivery.metadata.labels).toEqual({ trigger: 'deploy', webhook: 'hook', state: 'delivered' });
    expect(delivery).toMatchObject({ spec: { generation: 1, webhook: 'hook' }, status: { attempts: 1, lastAttempt: { status: 204 } } });
    expect((await bed.ask({ verb: 'get', name: delivery.metadata.name })).object).toEqual({
      ...delivery,
      status: { ...delivery.status, attemptLog: [expect.objectContaining({ number: 1, outcome: 'delivered' })] },
    });
    expect(await bed.ask({ verb: 'get', name: 'none' })).toMatchObject({ code: 404 });
    expect(await bed.list('trigger=other')).toEqual([]);
    expect(await bed.list('other')).toEqual([]);
    expect(await bed.list('!other,state!=dead')).toHaveLength(1);
  });

  it('come newest first, in pages', async () => {
    await bed.trigger([hook()]);
    for (let i = 1; i <= 5; i++) {
      await bed.push();
      await eventually(() => expect(bed.sink.received).toHaveLength(i));
    }
    const seen: number[] = [];
    for (let page: Answered | undefined; page === undefined || page.continue;) {
      page = await bed.ask({ verb: 'list', limit: 2, ...(page ? { continue: page.continue } : {}) });
      seen.push(...page.items.map(({ spec }) => spec.generation));
    }

    expect(seen).toEqual([5, 4, 3, 2, 1]);
  });

  it('that wait are canceled by a delete and are no longer made; those that are over are forgotten', async () => {
    await refused();
    const { metadata } = await only();

    expect(await bed.ask({ verb: 'delete', name: metadata.name, dryRun: true })).toMatchObject({ code: 200 });
    expect(await stateOf()).toBe('retrying');
    expect(await bed.ask({ verb: 'delete', name: metadata.name })).toMatchObject({
      code: 200,
      object: { status: 'Success', details: { uid: metadata.uid } },
    });
    expect((await only()).status).toMatchObject({ state: 'canceled' });
    expect((await only()).metadata.uid).not.toBe(metadata.uid);
    expect(await bed.ask({ verb: 'delete', name: metadata.name })).toMatchObject({ code: 200 });
    expect(await bed.list()).toEqual([]);
  });

  it('that wait go with their trigger; those that are over stay, and cannot be replayed', async () => {
    await deliveredAndRefused();

    await bed.ask({ resource: 'imagetriggers', verb: 'delete', name: 'deploy' });

    const { metadata, status } = await only();
    expect(status.state).toBe('delivered');
    expect(await bed.ask({ verb: 'create', subresource: 'replay', name: metadata.name, object: {} })).toMatchObject({ code: 409 });
  });

  it('of a webhook that is taken off its trigger are canceled', async () => {
    await refused();

    await bed.change([]);

    expect(await stateOf()).toBe('canceled');
  });

  it('of a webhook that moves elsewhere follow it', async () => {
    const elsewhere = await bed.aSink();
    await refused();
    await bed.change([hook({ url: elsewhere.url })]);

    await eventually(() => expect(elsewhere.received).toHaveLength(1));
  });

  it('cannot be made or changed by hand', async () => {
    expect(await bed.ask({ verb: 'create', object: {} })).toMatchObject({ code: 405 });
    expect(await bed.ask({ verb: 'update', name: 'x', object: {} })).toMatchObject({ code: 405 });
  });

  it('that are over are forgotten after their time, with what fired; those that wait are not', async () => {
    await deliveredAndRefused();
    await bed.store.query("UPDATE delivery SET finished_at = finished_at - interval '8 days' WHERE namespace = $1", [bed.namespace]);
    await bed.store.query("UPDATE firing SET created = created - interval '8 days' WHERE namespace = $1", [bed.namespace]);

    await bed.dispatcher.app.get(Retention).clean(new AbortController().signal);

    expect((await bed.list()).map(({ status }) => status.state)).toEqual(['retrying']);
    expect(await bed.store.query('SELECT 1 FROM firing WHERE namespace = $1', [bed.namespace])).toHaveLength(1);
  });
});

describe('what an operator sees', () => {
  it('is one line per attempt, without secrets and without the query of the URL', async () => {
    bed.sink.answer = () => ({ status: 418 });
    await bed.trigger([hook({ url: `${bed.sink.url}/in?token=hunter2`, headers: { Authorization: 'Bearer hunter3' } })]);
    await bed.push();
    const line = await eventually(() => {
      const found = bed.dispatcher.lines('delivery.attempted').find((one) => one['trigger'] === `${bed.namespace}/deploy`);
      expect(found).toBeDefined();
      return found;
    });

    const { host } = new URL(bed.sink.url);
    expect(line).toMatchObject({ webhook: 'hook', host, url: `${bed.sink.url}/in`, attempt: 1, status: 418, outcome: 'retry' });
    expect(line).toMatchObject({ delivery: expect.any(String), id: expect.any(String), ms: expect.any(Number), next: expect.any(String) });
    for (const secret of ['hunter2', 'hunter3', SECRET.slice(6), bed.key]) expect(bed.dispatcher.logged.join('\n')).not.toContain(secret);
    expect(JSON.stringify(await bed.list())).not.toContain('hunter');
  });

  it('are metrics of firings, attempts and what waits', async () => {
    await refused();

    const metrics = await (await fetch(`http://127.0.0.1:${bed.dispatcher.port}/metrics`)).text();

    expect(metrics).toMatch(/millrace_trigger_firings_total\{kind="Deploy"\} [1-9]/);
    expect(metrics).toMatch(/millrace_webhook_attempts_total\{outcome="retry"\} [1-9]/);
    expect(metrics).toMatch(/millrace_webhook_deliveries_waiting\{state="retrying"\} 1/);
    expect(metrics).toMatch(/millrace_webhook_oldest_waiting_seconds\{state="retrying"\} \d/);
  });

  it('a secret that was sealed under another key says what to do', async () => {
    await bed.trigger([hook()]);
    await bed.dispatcher.stop();
    bed.dispatcher = await bed.start({ SECRETS_KEY: randomBytes(32).toString('base64') });
    await bed.push();
    await eventually(async () => expect((await only()).status.lastAttempt?.error).toContain('cannot be decrypted with this SECRETS_KEY'));

    expect(bed.dispatcher.app.get(Deliveries)).toBeDefined();
    await bed.dispatcher.stop();
    bed.dispatcher = await bed.start();
    await eventually(() => expect(bed.sink.received).toHaveLength(1));
  });

  it('a secret goes under the current key while the older one is given too, which may go then', async () => {
    const next = randomBytes(32).toString('base64');
    await bed.trigger([hook()]);
    await bed.dispatcher.stop();

    bed.dispatcher = await bed.start({ SECRETS_KEY: `${next}\n${bed.key}` });
    await eventually(() => expect(bed.dispatcher.lines('sealing.current')).toHaveLength(1));
    await bed.dispatcher.stop();
    bed.dispatcher = await bed.start({ SECRETS_KEY: next });
    await bed.push();

    await eventually(() => expect(bed.sink.received).toHaveLength(1));
    expect(bed.dispatcher.lines('sealing.key-missing')).toEqual([]);
    await bed.dispatcher.stop();
    bed.dispatcher = await bed.start({ SECRETS_KEY: `${bed.key},${next}` });
    await eventually(() => expect(bed.dispatcher.lines('sealing.current')).toHaveLength(1));
  });

  it('a key that is none is refused at the start', async () => {
    await expect(bed.start({ SECRETS_KEY: 'c2hvcnQ=' })).rejects.toThrow('SECRETS_KEY: must be 32 random bytes in base64');
  });
});
