import { randomUUID } from 'node:crypto';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as after } from 'node:timers/promises';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import { MappingPublished } from '@millrace/contracts/events';
import { type ObjectQuestion, RegistryMappingObjects } from '@millrace/contracts/requests';
import { ALIVE_LOCKS } from '@millrace/platform/lease';
import { eventually } from '@millrace/testing/eventually';
import { type MadeImage, type MadeIndex, makeImage, makeIndex } from '@millrace/testing/images';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { aPeer, aService, type StartedService } from '@millrace/testing/service';
import { service as definition } from './main.ts';

/* The service against registries that answer, fail, hang and forget as they are told. */

const SECRET = 'the-secret-of-all';

interface ToldRegistry {
  url: string;
  /** Digests of the manifests that were asked for, in order. */
  asked: string[];
  /** How many requests for manifests are unanswered now, and were at most. */
  open: number;
  most: number;
  /** What happens to a request for a manifest; it is answered as it should be unless said otherwise. */
  answer: (digest: string, response: ServerResponse, proceed: () => void) => void;
  has: (...images: (MadeImage | MadeIndex)[]) => void;
  close: () => Promise<void>;
}

async function aRegistry(): Promise<ToldRegistry> {
  const content = new Map<string, { body: Buffer; type: string }>();
  const server = createServer((request, response) => {
    const digest = request.url?.split('/').at(-1) ?? '';
    const manifest = request.url?.includes('/manifests/') ?? false;
    const proceed = () => {
      const found = content.get(digest);
      response.writeHead(found ? 200 : 404, found ? { 'content-type': found.type } : {}).end(found?.body);
    };
    if (!manifest) return proceed();
    registry.asked.push(digest);
    registry.open++;
    registry.most = Math.max(registry.most, registry.open);
    response.on('close', () => registry.open--);
    registry.answer(digest, response, proceed);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const registry: ToldRegistry = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked: [],
    open: 0,
    most: 0,
    answer: (_digest, _response, proceed) => proceed(),
    has: (...images) => {
      for (const image of images) {
        content.set(image.digest, { body: image.manifest, type: image.mediaType });
        if ('config' in image) content.set(image.config.digest, { body: image.config.body, type: 'application/octet-stream' });
      }
    },
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
  return registry;
}

let database: Awaited<ReturnType<typeof aLockableDatabase>>;
let nats: Awaited<ReturnType<typeof aNatsServer>>;
let peer: Awaited<ReturnType<typeof aPeer>>;
let heard: ReturnType<typeof peer.hear<typeof MappingPublished>>;
let registry: ToldRegistry;
let other: ToldRegistry;
let services: StartedService[];

beforeEach(async () => {
  [database, nats, registry, other] = await Promise.all([aLockableDatabase(), aNatsServer(), aRegistry(), aRegistry()]);
  services = [];
  peer = await aPeer(nats.url);
  heard = peer.hear(MappingPublished);
});
afterEach(async () => {
  await Promise.all([registry.close(), other.close()]);
  await Promise.all(services.map((one) => one.stop()));
  await peer.close();
  await nats.stop();
  await database.drop();
});

async function start(env: Record<string, string> = {}): Promise<StartedService> {
  const service = await aService(definition as never, {
    DATABASE_URL: database.url,
    NATS_URL: nats.url,
    STOP_TIMEOUT_MS: '2000',
    REGISTRY_ALLOW_ADDRESSES: 'loopback',
    REGISTRIES: JSON.stringify([
      { name: 'main', url: registry.url, publicHost: 'main.example.com', secret: SECRET },
      { name: 'other', url: other.url, secret: SECRET, header: 'X-Registry-Secret', layout: { prefix: 'mirror/', namespace: 'builds' } },
    ]),
    ...env,
  });
  services.push(service);
  return service;
}

interface PushOptions {
  id?: string;
  stream?: string;
  tag?: string;
  repository?: string;
}
const aPush = (
  image: MadeImage | MadeIndex,
  { id = randomUUID(), stream = 'web', tag = 'latest', repository = `demo/${stream}` }: PushOptions = {},
) => ({
  id,
  timestamp: new Date().toISOString(),
  action: 'push',
  target: { mediaType: image.mediaType, digest: image.digest, repository, tag },
  actor: { name: 'ci' },
});
const bearer = { authorization: `Bearer ${SECRET}` };
const send = async (
  service: StartedService,
  body: string | Uint8Array<ArrayBuffer>,
  headers: Record<string, string> = bearer,
  name = 'main',
): Promise<number> => {
  const answer = await fetch(`http://127.0.0.1:${service.port}/notifications/${name}`, { method: 'POST', body, headers });
  await answer.arrayBuffer();
  return answer.status;
};
const notify = (service: StartedService, ...events: unknown[]) => send(service, JSON.stringify({ events }));
const images = (count: number, seed = 'image') => {
  const made = Array.from({ length: count }, (_, n) => makeImage(`${seed} ${n}`));
  registry.has(...made);
  other.has(...made);
  return made;
};
const mapped = (stream = 'web', tag?: string) =>
  heard.filter(({ data }) => data.stream === stream && (!tag || data.tag === tag)).map(({ data }) => data.image.metadata.name);
const ask = (question: ObjectQuestion) => peer.ask(RegistryMappingObjects, question);
interface Listed {
  metadata: { name: string; uid: string; resourceVersion: string };
  spec: Record<string, unknown>;
  status: { state: string; reason?: string; attempts: number; nextAttemptAt?: string };
}
const list = async (selection: Partial<Extract<ObjectQuestion, { verb: 'list' }>> = {}): Promise<Listed[]> => {
  const answer = await ask({ verb: 'list', resource: 'registrynotifications', ...selection });
  if (answer.kind !== 'list') throw new Error(JSON.stringify(answer));
  return answer.items as Listed[];
};
const get = async (name: string): Promise<Listed> => {
  const answer = await ask({ verb: 'get', resource: 'registrynotifications', name });
  if (answer.kind !== 'object') throw new Error(JSON.stringify(answer));
  return answer.object as Listed;
};
const user = { name: 'operator', groups: [], uid: '', extra: {} } as never;
const drop = (name: string, preconditions?: { uid?: string; resourceVersion?: string }) =>
  ask({ verb: 'delete', resource: 'registrynotifications', name, dryRun: false, user, preconditions });
const replay = (name: string, dryRun = false) =>
  ask({ verb: 'create', resource: 'registrynotifications', subresource: 'replay', name, object: {}, dryRun, user });
/** A database that can be out of reach, as if its server were down. */
async function aLockableDatabase() {
  const made = await aDatabase();
  const name = new URL(made.url).pathname.slice(1);
  const server = inject('postgresUrl');
  return {
    ...made,
    lock: async () => {
      await sql(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`, [], server);
      await sql('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1', [name], server);
    },
    unlock: (): Promise<object[]> => sql(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`, [], server),
  };
}
async function sql<T extends object>(text: string, parameters: unknown[] = [], url = database.url): Promise<T[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<T>(text, parameters)).rows;
  } finally {
    await client.end();
  }
}

describe('the door', () => {
  it('knows a registry by its secret, in the header of its configuration', async () => {
    const service = await start();
    const body = JSON.stringify({ events: [] });

    expect(await send(service, body)).toBe(202);
    expect(await send(service, body, { authorization: `bearer ${SECRET}` })).toBe(202);
    expect(await send(service, body, { 'x-registry-secret': SECRET }, 'other')).toBe(202);

    for (const [headers, name] of [
      [{}, 'main'],
      [{ authorization: 'Bearer wrong' }, 'main'],
      [{ authorization: 'Bearer ' }, 'main'],
      [{ 'x-registry-secret': SECRET }, 'main'],
      [bearer, 'other'],
      [bearer, 'nobody'],
      [{ authorization: 'Bearer there is no such registry' }, 'nobody'],
    ] as [Record<string, string>, string][])
      expect(await send(service, body, headers, name), `${JSON.stringify(headers)} ${name}`).toBe(401);
    expect(service.lines('notification.refused').map(({ reason }) => reason)).toEqual([
      ...Array<string>(5).fill('wrong secret'),
      'no such registry',
      'no such registry',
    ]);
  });

  it('tells a registry it knows 202 whatever it sends, and keeps what it could not use', async () => {
    const service = await start();
    const [image] = images(1);

    expect(await send(service, 'not JSON \0 at all', { ...bearer, 'content-type': 'text/html' })).toBe(202);
    expect(await send(service, '[]', { ...bearer, 'content-type': ';;;' })).toBe(202);
    expect(await send(service, new Uint8Array([0xff, 0xfe, 0x00]))).toBe(202);
    expect(await send(service, '')).toBe(202);
    expect(await notify(service, { ...aPush(image!), action: 'rename', id: 'renamed' })).toBe(202);
    expect(await notify(service, aPush(image!, { repository: 'no-stream', id: 'unmapped' }))).toBe(202);

    await eventually(async () =>
      expect((await list({ labelSelector: 'state=quarantined' })).map(({ status }) => status.reason)).toEqual([
        expect.stringMatching(/repository no-stream is no image stream: its name must be NAMESPACE\/STREAM/),
        'unknown action "rename"',
        expect.stringMatching(/not JSON/),
        expect.stringMatching(/not JSON/),
        'the body has no list "events"',
        expect.stringMatching(/not JSON/),
      ]),
    );
    const first = (await list()).at(-1)!;
    expect(first.spec['body']).toBeUndefined();
    expect((await get(first.metadata.name)).spec['body']).toBe('not JSON \uFFFD at all');
    expect(heard).toEqual([]);
  });

  it('does not let one bad event stop the good ones beside it', async () => {
    const service = await start();
    const [one, two] = images(2);

    await notify(service, aPush(one!, { tag: '1' }), { action: 'push', id: 'bad', target: 7 }, null, aPush(two!, { tag: '2' }));

    await eventually(() => expect(mapped().toSorted()).toEqual([one!.digest, two!.digest].toSorted()));
    expect((await list({ labelSelector: 'state=quarantined' })).map(({ spec }) => spec['eventId'])).toEqual([
      expect.stringMatching(/^unread\./),
      'bad',
    ]);
  });

  it('takes 10 MB and a body without an end to its events, and keeps of it that it came', async () => {
    const service = await start();
    const large = Buffer.alloc(10 * 1024 * 1024, 'x');

    expect(await send(service, large)).toBe(202);
    expect(await send(service, large)).toBe(202);

    const [kept, ...more] = await list();
    expect(kept).toMatchObject({
      spec: { registry: 'main' },
      status: {
        state: 'quarantined',
        reason: 'the notification has 10485760 bytes, more than the 5242880 that are read; its content was not kept',
      },
    });
    expect(more).toEqual([]);
  });

  it('reads nothing of a body whose sender it does not know', async () => {
    const service = await start();
    let sent = 0;
    const endless = new ReadableStream({
      async pull(controller) {
        sent += 65_536;
        controller.enqueue(new Uint8Array(65_536));
        await after(1);
      },
    });

    const answer = await fetch(`http://127.0.0.1:${service.port}/notifications/main`, {
      method: 'POST',
      body: endless,
      duplex: 'half',
    } as RequestInit).catch((error: Error) => error);

    expect(answer instanceof Response ? answer.status : 'closed').toBeOneOf([401, 'closed']);
    expect(sent).toBeLessThan(64 * 1024 * 1024);
  });

  it('asks to be told again while the database is away, and nothing is lost', async () => {
    const service = await start();
    const [before, during] = images(2);
    const held: (() => void)[] = [];
    registry.answer = (_digest, _response, proceed) => void held.push(proceed);
    expect(await notify(service, aPush(before!))).toBe(202);
    await eventually(() => expect(held).toHaveLength(1));

    await database.lock();
    held[0]!();
    const push = aPush(during!, { id: 'once' });
    const begun = performance.now();
    expect(await notify(service, push)).toBe(503);
    expect(performance.now() - begun).toBeLessThan(2_000);
    await eventually(() => expect(service.lines('push.interrupted')).toHaveLength(1));
    registry.answer = (_digest, _response, proceed) => proceed();
    await database.unlock();

    await eventually(async () => expect(await notify(service, push)).toBe(202));
    await eventually(() => expect(mapped()).toEqual([before!.digest, during!.digest]));
  });

  it('does not make a registry drop what the database cannot take', async () => {
    const service = await start();
    const [image] = images(1);
    await sql(`ALTER TABLE registry_mapping.push RENAME TO gone`);

    expect(await notify(service, aPush(image!, { id: 'once' }))).toBe(503);
    await sql(`ALTER TABLE registry_mapping.gone RENAME TO push`);
    expect(await notify(service, aPush(image!, { id: 'once' }))).toBe(202);

    await eventually(() => expect(mapped()).toEqual([image!.digest]));
  });

  it('drops pulls, blobs and our own reads before the database hears of them', async () => {
    const service = await start();
    const [image] = images(1);
    await sql(`ALTER TABLE registry_mapping.push RENAME TO gone`);
    const push = aPush(image!);

    const statuses = await Promise.all([
      notify(service, { ...push, action: 'pull' }),
      notify(service, { ...push, target: { ...push.target, tag: undefined, mediaType: 'application/octet-stream' } }),
      notify(service, { ...push, target: { ...push.target, tag: undefined } }),
      notify(service, { ...push, request: { useragent: 'Millrace' } }),
    ]);

    expect(statuses).toEqual([202, 202, 202, 202]);
    await sql(`ALTER TABLE registry_mapping.gone RENAME TO push`);
  });

  it('hands the trace of a notification on', async () => {
    const service = await start();
    const [image] = images(1);
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

    await send(service, JSON.stringify({ events: [aPush(image!)] }), { ...bearer, traceparent });

    await eventually(() => expect(heard.map(({ header }) => header('traceparent'))).toEqual([traceparent]));
    expect(service.lines('push.mapped')).toMatchObject([{ repository: 'demo/web', tag: 'latest', digest: image!.digest }]);
  });
});

describe('a push', () => {
  it('that is told a hundred times is mapped once', async () => {
    const service = await start();
    const [image] = images(1);
    const push = aPush(image!);

    const statuses = await Promise.all(Array.from({ length: 100 }, () => notify(service, push)));
    await eventually(() => expect(mapped()).toEqual([image!.digest]));
    expect(await notify(service, push, push)).toBe(202);

    expect(new Set(statuses)).toEqual(new Set([202]));
    expect((await list()).map(({ status }) => status)).toMatchObject([{ state: 'mapped', attempts: 1 }]);
    expect(registry.asked).toEqual([image!.digest]);
  });

  it('is looked up while it is stored, and once', async () => {
    const service = await start();
    const [image] = images(1);
    const other = new pg.Client({ connectionString: database.url });
    await other.connect();
    await other.query('BEGIN; LOCK TABLE registry_mapping.push');

    const answered = notify(service, aPush(image!));
    await eventually(() => expect(registry.asked).toEqual([image!.digest]));
    expect(mapped()).toEqual([]);
    await other.query('COMMIT');
    await other.end();

    expect(await answered).toBe(202);
    await eventually(() => expect(mapped()).toEqual([image!.digest]));
    expect(registry.asked).toEqual([image!.digest]);
  });

  it('goes where the layout of its registry says', async () => {
    const service = await start();
    const [image] = images(1);
    const body = JSON.stringify({ events: [aPush(image!, { repository: 'mirror/api' })] });

    await send(service, body, { 'x-registry-secret': SECRET }, 'other');

    await eventually(() =>
      expect(heard.map(({ data }) => data)).toMatchObject([
        {
          namespace: 'builds',
          stream: 'api',
          image: { dockerImageReference: `${new URL(other.url).host}/mirror/api@${image!.digest}` },
          source: { registry: 'other', repository: 'mirror/api', actor: 'ci' },
        },
      ]),
    );
  });

  it('is looked up by its digest, though its tag has moved on', async () => {
    const service = await start();
    const [one, two] = images(2);

    await notify(service, aPush(one!), aPush(two!));

    await eventually(() => expect(mapped()).toEqual([one!.digest, two!.digest]));
    expect(registry.asked).toEqual([one!.digest, two!.digest]);
  });

  it('of another content than its digest is put aside, and so is what no image can be', async () => {
    const service = await start();
    const [image] = images(1);
    registry.answer = (_digest, response) =>
      void response.writeHead(200, { 'content-type': image!.mediaType }).end(`${String(image!.manifest)} `);
    await notify(service, aPush(image!, { id: 'other-content' }));
    await eventually(() => expect(service.lines('push.quarantined')).toHaveLength(1));
    registry.answer = (_digest, response) => void response.writeHead(200, { 'content-type': 'text/html' }).end('<html>');
    await notify(service, aPush(image!, { id: 'no-manifest' }));
    await eventually(() => expect(service.lines('push.quarantined')).toHaveLength(2));

    const reasons = (await list()).map(({ status }) => status.reason);
    expect(reasons[1]).toMatch(/content integrity error/);
    expect(reasons[0]).toMatch(/manifest|malformed|unsupported/);
    expect(registry.asked).toHaveLength(2);
  });
});

describe('order', () => {
  it('of one tag is that of the pushes, through failures, while other tags go on', async () => {
    const service = await start();
    const made = images(6);
    const failing = new Map([
      [made[0]!.digest, 2],
      [made[3]!.digest, 1],
    ]);
    registry.answer = (digest, response, proceed) => {
      const left = failing.get(digest) ?? 0;
      failing.set(digest, left - 1);
      if (left > 0) response.writeHead(503).end();
      else setTimeout(proceed, Math.random() * 20);
    };

    for (const image of made) await notify(service, aPush(image, { tag: 'ordered' }));
    const [aside] = images(1, 'aside');
    await notify(service, aPush(aside!, { tag: 'aside' }));

    await eventually(() => expect(mapped('web', 'ordered')).toHaveLength(6));
    expect(mapped('web', 'ordered')).toEqual(made.map((image) => image.digest));
    expect(mapped()[0]).toBe(aside!.digest);
    const observed = heard.filter(({ data }) => data.tag === 'ordered').map(({ data }) => data.source.observedAt);
    expect(observed).toEqual(observed.toSorted());
  });

  it('of many tags told at once by several processes holds for each of them', async () => {
    const all = [await start(), await start()];
    const made = images(60);
    registry.answer = (_digest, _response, proceed) => void setTimeout(proceed, Math.random() * 15);

    // Each tag is told by one sender after the other, as a registry does; the tags are told at the same time.
    const tags = ['a', 'b', 'c', 'd', 'e', 'f'];
    await Promise.all(
      tags.map(async (tag, t) => {
        for (let n = 0; n < 10; n++) expect(await notify(all[n % 2]!, aPush(made[t * 10 + n]!, { tag }))).toBe(202);
      }),
    );

    await eventually(() => expect(mapped()).toHaveLength(60), 20_000);
    for (const [t, tag] of tags.entries()) expect(mapped('web', tag)).toEqual(made.slice(t * 10, t * 10 + 10).map((image) => image.digest));
    expect(new Set(registry.asked).size).toBe(60);
  });
});

describe('a registry', () => {
  it('that hangs holds up neither the others nor more than its share', async () => {
    const service = await start({ MAPPINGS_IN_FLIGHT: '4' });
    const made = images(12);
    const held: (() => void)[] = [];
    registry.answer = (_digest, _response, proceed) => void held.push(proceed);

    for (const [n, image] of made.entries()) await notify(service, aPush(image, { tag: `t${n}` }));
    await eventually(() => expect(held).toHaveLength(4));
    const body = JSON.stringify({ events: [aPush(made[0]!, { repository: 'mirror/api' })] });
    const begun = performance.now();
    await send(service, body, { 'x-registry-secret': SECRET }, 'other');
    await eventually(() => expect(mapped('api')).toHaveLength(1));

    expect(performance.now() - begun).toBeLessThan(1_000);
    expect(registry.most).toBe(4);
    registry.answer = (_digest, _response, proceed) => proceed();
    for (const proceed of held) proceed();
    await eventually(() => expect(mapped()).toHaveLength(12));
    expect(registry.most).toBe(4);
  });

  it('that answers again gets all its waiting pushes looked up at once', async () => {
    const service = await start();
    const made = images(5);
    registry.answer = (_digest, response) => void response.writeHead(500).end();
    for (const [n, image] of made.entries()) await notify(service, aPush(image, { tag: `t${n}` }));
    await eventually(() => expect(service.lines('push.retrying')).toHaveLength(5));
    // As after a long outage: the next tries are minutes away.
    await sql(`UPDATE registry_mapping.push SET next_attempt_at = now() + interval '10 minutes'`);

    registry.answer = (_digest, _response, proceed) => proceed();
    const [fresh] = images(1, 'fresh');
    await notify(service, aPush(fresh!, { tag: 'fresh' }));

    await eventually(() => expect(mapped()).toHaveLength(6), 5_000);
    expect(service.lines('registry.recovered')).toMatchObject([{ registry: 'main' }]);
  });

  it('that is asked too often is left alone for as long as it says', async () => {
    const service = await start();
    const [image] = images(1);
    registry.answer = (_digest, response) => void response.writeHead(429, { 'retry-after': '300' }).end();

    await notify(service, aPush(image!));

    await eventually(async () => {
      const [waiting] = await list({ labelSelector: 'state=pending' });
      expect(Date.parse(waiting?.status.nextAttemptAt ?? '') - Date.now()).toBeGreaterThan(250_000);
    });
    expect(registry.asked).toHaveLength(1);
  });

  it('that stays away for a day has its pushes put aside, and the ones behind them too', async () => {
    const service = await start();
    const [one, two] = images(2);
    registry.answer = (_digest, response) => void response.writeHead(502).end();
    await notify(service, aPush(one!), aPush(two!));
    await eventually(() => expect(service.lines('push.retrying').length).toBeGreaterThan(0));

    await sql(`UPDATE registry_mapping.push SET since = now() - interval '25 hours'`);

    await eventually(async () => expect((await list()).map(({ status }) => status.state)).toEqual(['quarantined', 'quarantined']));
    expect((await list())[0]?.status.reason).toMatch(/^given up after 24 hours: GET .*502/);
  });
});

describe('an instance that is killed', () => {
  it('leaves its pushes to another one at once, and what it still learns of them changes nothing', async () => {
    await start();
    const [one, two] = images(2);
    const held: (() => void)[] = [];
    registry.answer = (_digest, _response, proceed) => void held.push(proceed);
    await notify(services[0]!, aPush(one!), aPush(two!));
    await eventually(() => expect(held).toHaveLength(1));
    await start();
    registry.answer = (_digest, _response, proceed) => proceed();

    // What Postgres sees of a kill -9: the connection that stood for the instance is gone.
    const killed = await sql(
      `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = $1 AND objid = (SELECT claimed_by FROM registry_mapping.push WHERE claimed_by IS NOT NULL)::oid`,
      [ALIVE_LOCKS],
    );
    expect(killed).toHaveLength(1);
    const begun = performance.now();
    await eventually(() => expect(mapped()).toEqual([one!.digest, two!.digest]));
    expect(performance.now() - begun).toBeLessThan(3_000);

    held[0]!();
    await eventually(() => expect(registry.open).toBe(0));
    const [last] = images(1, 'last');
    await notify(services[0]!, aPush(last!));
    await eventually(() => expect(mapped()).toEqual([one!.digest, two!.digest, last!.digest]));
    expect((await list()).map(({ status }) => status.state)).toEqual(['mapped', 'mapped', 'mapped']);
  });

  it('is not waited for by what it had not begun', async () => {
    const first = await start();
    const [image] = images(1);
    registry.answer = (_digest, response) => void response.writeHead(500).end();
    await notify(first, aPush(image!));
    await eventually(() => expect(first.lines('push.retrying').length).toBeGreaterThan(0));
    await first.stop();
    registry.answer = (_digest, _response, proceed) => proceed();

    await start();

    await eventually(() => expect(mapped()).toEqual([image!.digest]));
  });
});

describe('what could not be used', () => {
  it('is listed by state and registry, page by page, newest first', async () => {
    const service = await start();
    const made = images(5);
    registry.answer = (digest, response, proceed) => (digest === made[0]!.digest ? void response.writeHead(500).end() : proceed());
    for (const [n, image] of made.entries()) await notify(service, aPush(image, { tag: `t${n}` }));
    await notify(service, { id: 'bad', action: 'push', target: {} });
    await eventually(() => expect(mapped()).toHaveLength(4));

    const names = (await list()).map(({ metadata }) => metadata.name);
    expect(names).toEqual(['n-6', 'n-5', 'n-4', 'n-3', 'n-2', 'n-1']);
    const selected = async (labelSelector: string) => (await list({ labelSelector })).map(({ metadata }) => metadata.name);
    expect(await selected('state=quarantined')).toEqual(['n-6']);
    expect(await selected('state in (pending, quarantined)')).toEqual(['n-6', 'n-1']);
    expect(await selected('state!=mapped,registry=main')).toEqual(['n-6', 'n-1']);
    expect(await selected('registry=other')).toEqual([]);
    expect(await selected('color')).toEqual([]);
    expect((await list({ fieldSelector: 'metadata.name=n-3' })).map(({ metadata }) => metadata.name)).toEqual(['n-3']);
    expect(await list({ fieldSelector: 'metadata.name=x' })).toEqual([]);

    const pages: string[][] = [];
    for (let token: string | undefined, more = true; more;) {
      const answer = await ask({ verb: 'list', resource: 'registrynotifications', limit: 4, continue: token });
      if (answer.kind !== 'list') throw new Error(JSON.stringify(answer));
      pages.push((answer.items as Listed[]).map(({ metadata }) => metadata.name));
      token = answer.continue;
      more = token !== undefined;
    }
    expect(pages).toEqual([
      ['n-6', 'n-5', 'n-4', 'n-3'],
      ['n-2', 'n-1'],
    ]);
    expect(await ask({ verb: 'list', resource: 'registrynotifications', continue: 'x' })).toMatchObject({
      kind: 'refused',
      status: { code: 400 },
    });
  });

  it('is looked up again when it is replayed', async () => {
    const service = await start();
    const [image, later] = images(2);
    registry.answer = (_digest, response) => void response.writeHead(200, { 'content-type': 'text/html' }).end('<html>');
    await notify(service, aPush(image!));
    await eventually(() => expect(service.lines('push.quarantined')).toHaveLength(1));
    registry.answer = (_digest, _response, proceed) => proceed();
    await notify(service, aPush(later!));
    await eventually(() => expect(mapped()).toEqual([later!.digest]));

    expect(await replay('n-1', true)).toMatchObject({ kind: 'object', code: 201, object: { status: { state: 'quarantined' } } });
    expect(await replay('n-1')).toMatchObject({ kind: 'object', code: 201, object: { status: { state: 'pending', attempts: 0 } } });

    await eventually(() => expect(mapped()).toEqual([later!.digest, image!.digest]));
    expect((await get('n-1')).status).toMatchObject({ state: 'mapped', attempts: 1 });
  });

  it('is not replayed where it names no image, and is dropped when that is asked', async () => {
    const service = await start();
    await notify(service, { id: 'bad', action: 'rename' });
    const [bad] = await list();

    expect(await replay(bad!.metadata.name)).toMatchObject({ kind: 'refused', status: { code: 409, message: /names no image/ } });
    expect(await drop(bad!.metadata.name, { uid: 'another' })).toMatchObject({ kind: 'refused', status: { code: 409 } });
    expect(await drop(bad!.metadata.name, { uid: bad!.metadata.uid, resourceVersion: bad!.metadata.resourceVersion })).toMatchObject({
      kind: 'object',
      code: 200,
      object: { kind: 'Status', status: 'Success' },
    });
    expect(await list()).toEqual([]);
    for (const name of [bad!.metadata.name, 'n-99', 'f-99', 'n-0', "n-1'"])
      expect(await drop(name)).toMatchObject({ kind: 'refused', status: { code: 404 } });
    expect(await ask({ verb: 'get', resource: 'deadfacts', name: 'n-1' })).toMatchObject({ kind: 'refused', status: { code: 405 } });
  });

  it('holds nobody up once it is dropped', async () => {
    const service = await start();
    const [one, two] = images(2);
    registry.answer = (digest, response, proceed) => (digest === one!.digest ? void response.writeHead(500).end() : proceed());
    await notify(service, aPush(one!), aPush(two!));
    await eventually(() => expect(service.lines('push.retrying')).toHaveLength(1));
    expect((await list()).map(({ status }) => status.state)).toEqual(['pending', 'pending']);

    await drop('n-1');

    await eventually(() => expect(mapped()).toEqual([two!.digest]));
  });

  it('is there, too, when NATS does not take the mapping, and goes out again when it is replayed', async () => {
    const service = await start();
    // Each of its images is small enough to be read.
    const notes = 'x'.repeat(peer.bus.nats.info!.max_payload / 3);
    const large = makeIndex('large', ['amd64', 'arm64', 's390x'], { labels: { notes } });
    registry.has(...large.images, large);
    await notify(service, aPush(large));

    const [refused] = await eventually(async () => {
      const found = await list({ labelSelector: 'state=quarantined,registry=main' });
      expect(found).toMatchObject([
        { metadata: { name: 'f-1' }, status: { reason: expect.stringMatching(/max_payload.*raise it and replay/) } },
      ]);
      return found;
    });
    expect(await list({ labelSelector: 'registry=other' })).toEqual([]);
    expect(await replay(refused!.metadata.name)).toMatchObject({ kind: 'object', code: 201 });

    await eventually(async () => expect(await list({ labelSelector: 'state=quarantined' })).toMatchObject([{ metadata: { name: 'f-2' } }]));
  });

  it('stays, while what became a mapping is forgotten in time', async () => {
    const first = await start();
    const [image] = images(1);
    await notify(first, aPush(image!));
    await notify(first, { id: 'bad', action: 'rename' });
    await eventually(() => expect(mapped()).toHaveLength(1));
    await eventually(async () => expect((await list({ labelSelector: 'state=mapped' })).length).toBe(1));
    await first.stop();
    await sql(`UPDATE registry_mapping.push SET ended = now() - interval '25 hours'`);

    await start();

    await eventually(async () => expect((await list()).map(({ spec }) => spec['eventId'])).toEqual(['bad']));
  });
});
