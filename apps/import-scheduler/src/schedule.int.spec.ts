import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { PULL_SECRETS_BELL, PullSecrets, type SealedSecret } from '@millrace/contracts/requests';
import { startRegistry, type RegistryServer } from '@millrace/embedded/registry';
import { Sealing } from '@millrace/platform/sealing';
import { eventually } from '@millrace/testing/eventually';
import { makeImage, makeIndex, pushImage } from '@millrace/testing/images';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { aPeer } from '@millrace/testing/service';
import { anInstance, aStream, SECRETS_KEY, StandingClock, told, watched, type Instance, type WatchedRegistry } from './schedule-testbed.ts';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const PERIOD = 15 * MINUTE;

let nats: Awaited<ReturnType<typeof aNatsServer>>;
let peer: Awaited<ReturnType<typeof aPeer>>;
let server: RegistryServer;
const dataDir = mkdtempSync(join(tmpdir(), 'millrace-schedule-'));

let database: Awaited<ReturnType<typeof aDatabase>>;
let registry: WatchedRegistry;
let clock: StandingClock;
let one: Instance;
const others: Instance[] = [];
/** Secrets of each namespace, as tag-store would tell them. */
let secrets: Map<string, { revision: string; secrets: SealedSecret[] }>;

beforeAll(async () => {
  nats = await aNatsServer();
  [peer, server] = await Promise.all([aPeer(nats.url), startRegistry({ dataDir })]);
  peer.answer(PullSecrets, ({ namespace }) => Promise.resolve(secrets.get(namespace) ?? { revision: '0', secrets: [] }));
});
afterAll(async () => {
  await peer.close();
  await Promise.all([nats.stop(), server.stop()]);
  rmSync(dataDir, { recursive: true, force: true });
});
beforeEach(async () => {
  secrets = new Map();
  clock = new StandingClock(Date.parse('2026-01-02T03:04:05Z'));
  [database, registry] = await Promise.all([aDatabase(), watched(server.host)]);
  one = await anInstance({ database: database.url, nats: nats.url }, clock);
});
afterEach(async () => {
  await Promise.all([one, ...others.splice(0)].map((instance) => instance.close()));
  await registry.close();
  await database.drop();
});

const another = async (): Promise<Instance> => {
  const instance = await anInstance({ database: database.url, nats: nats.url }, clock);
  others.push(instance);
  return instance;
};

/** Moves the clock on, from check to check that comes due. */
async function aPeriod(instances: readonly Instance[] = [one], ms = PERIOD * 1.25): Promise<void> {
  const end = clock.at + ms;
  for (;;) {
    await Promise.all(instances.map((instance) => instance.check()));
    const due = await one.queue.nextDue();
    if (due === undefined || due > end) break;
    clock.at = Math.max(clock.at, due);
  }
  clock.at = end;
}

/** Pushes an image of its own to a fresh repository; the pull spec leads through the watched registry. */
let repositories = 0;
async function aRepository(
  seed = 'first',
): Promise<{ name: string; from: string; push: (seed: string) => Promise<string>; digest: string }> {
  const name = `team/app-${++repositories}`;
  const push = (what: string) => pushImage(server.host, name, 'latest', makeImage(`${name} ${what}`));
  const digest = await push(seed);
  return { name, from: `${registry.host}/${name}:latest`, push, digest };
}

const images = async (instance: Instance) =>
  (await told(instance)).map(({ namespace, stream, tags }) => [
    `${namespace}/${stream}`,
    ...tags.map(
      ({ tag, result }) => `${tag}: ${result.kind === 'found' ? result.image.metadata.name : `${result.reason}, ${result.message}`}`,
    ),
  ]);

describe('what is unchanged', () => {
  it('costs one HEAD a period, however many streams follow it', async () => {
    const { name, from } = await aRepository();
    await one.want(...Array.from({ length: 20 }, (_, n) => aStream(`s${n}`, { latest: { from } }, { namespace: `team-${n}` })));
    await aPeriod();
    registry.asked();
    const before = await told(one);

    await aPeriod([one], 2 * PERIOD);

    expect(registry.asked()).toEqual([`HEAD ${name}/manifests/latest`, `HEAD ${name}/manifests/latest`]);
    expect(await told(one)).toEqual(before);
  });

  it('is looked at for each way of following by itself', async () => {
    const { name, from } = await aRepository();
    await one.want(aStream('s', { legacy: { from }, whole: { from, importMode: 'PreserveOriginal' } }));
    await aPeriod();
    registry.asked();

    await aPeriod([one], PERIOD);

    expect(registry.asked()).toEqual([`HEAD ${name}/manifests/latest`, `HEAD ${name}/manifests/latest`]);
  });

  it('is not looked at any more when nobody follows it', async () => {
    const { from } = await aRepository();
    const stream = aStream('s', { latest: { from } });
    await one.want(stream);
    await aPeriod();
    registry.asked();

    await one.want({ ...stream, resourceVersion: '2', tags: stream.tags.map((tag) => ({ ...tag, scheduled: false })) });
    await aPeriod();

    expect(registry.asked()).toEqual([]);
    expect(await one.store.query('SELECT id FROM scheduled_import')).toEqual([]);
  });

  it('a stream that is deleted takes its tags off the schedule', async () => {
    const { from } = await aRepository();
    const stream = aStream('s', { latest: { from } });
    await one.want(stream);

    await one.want({ ...stream, resourceVersion: '2', gone: true, tags: [] });
    await aPeriod();

    expect(registry.asked()).toEqual([]);
  });
});

describe('what has changed', () => {
  it('is imported once for all that follow it, and each stream is told once', async () => {
    const { name, from, push } = await aRepository();
    await one.want(aStream('a', { latest: { from }, stable: { from } }), aStream('b', { latest: { from } }, { namespace: 'other' }));
    await aPeriod();
    registry.asked();
    const before = (await told(one)).length;

    const digest = await push('second');
    await aPeriod([one], PERIOD);

    expect((await images(one)).slice(before).sort()).toEqual([
      ['demo/a', `latest: ${digest}`, `stable: ${digest}`],
      ['other/b', `latest: ${digest}`],
    ]);
    const asked = registry.asked();
    expect(asked.slice(0, 2)).toEqual([`HEAD ${name}/manifests/latest`, `GET ${name}/manifests/${digest}`]);
    expect(asked).toHaveLength(3);
  });

  it('around the same image of a platform moves nothing where that image is followed', async () => {
    const name = 'team/multi';
    const from = `${registry.host}/${name}:latest`;
    await pushImage(server.host, name, 'latest', makeIndex('same', ['amd64', 'arm64']));
    await one.want(aStream('s', { legacy: { from }, whole: { from, importMode: 'PreserveOriginal' } }));
    await aPeriod();
    const before = (await told(one)).length;

    const index = makeIndex('same', ['amd64', 'arm64', 's390x']);
    await pushImage(server.host, name, 'latest', index);
    await aPeriod([one], PERIOD);

    expect((await images(one)).slice(before)).toEqual([['demo/s', `whole: ${index.digest}`]]);
  });

  it('a tag that comes to follow later is brought up to what is served, and the others are not told again', async () => {
    const { from, digest } = await aRepository();
    await one.want(aStream('early', { latest: { from } }));
    await aPeriod();
    const before = (await told(one)).length;

    await one.want(aStream('late', { latest: { from } }));
    await aPeriod();

    expect((await images(one)).slice(before)).toEqual([['demo/late', `latest: ${digest}`]]);
  });
});

describe('replicas', () => {
  it('share the checks: each is made once', async () => {
    const repository = await aRepository();
    const tags = Array.from({ length: 20 }, (_, n) => `t${n}`);
    for (const tag of tags) await pushImage(server.host, repository.name, tag, makeImage('shared'));
    const two = await another();
    await one.want(aStream('s', Object.fromEntries(tags.map((tag) => [tag, { from: repository.from.replace('latest', tag) }]))));
    await aPeriod([one, two]);
    registry.asked();

    await aPeriod([one, two], PERIOD);

    const asked = registry.asked();
    expect(asked).toHaveLength(20);
    expect(new Set(asked).size).toBe(20);
  });

  it('take over what a killed one had claimed', async () => {
    const { from, name } = await aRepository();
    const two = await another();
    await one.want(aStream('s', { latest: { from } }));
    await two.followers.seat();
    clock.advance(2 * PERIOD);
    await two.queue.claim(await two.lease.instance(), 10);
    await one.schedule.sweep();
    await one.check();
    const whileItLives = registry.asked();

    await two.kill();
    others.length = 0;
    await eventually(async () => {
      await one.schedule.sweep();
      await one.check();
      expect(registry.asked()[0]).toBe(`HEAD ${name}/manifests/latest`);
    });

    expect(whileItLives).toEqual([]);
  });
});

describe('after a time in which nothing was looked at', () => {
  it('the backlog is worked off as fast as it would have been, those first that have waited longest', async () => {
    const { name } = await aRepository();
    const tags = Array.from({ length: 30 }, (_, n) => `t${n}`);
    for (const tag of tags) await pushImage(server.host, name, tag, makeImage('backlog'));
    await one.want(aStream('s', Object.fromEntries(tags.map((tag) => [tag, { from: `${registry.host}/${name}:${tag}` }]))));
    await aPeriod();
    const order = (await one.store.query<{ reference: string }>('SELECT reference FROM scheduled_import ORDER BY next_check_at')).map(
      ({ reference }) => reference,
    );
    registry.asked();

    clock.advance(10 * PERIOD);
    const asked: string[][] = [];
    for (let minute = 0; minute < 15; minute++) {
      await aPeriod([one], MINUTE);
      asked.push(registry.asked());
    }

    expect(asked.flat().map((path) => path.split('/').at(-1))).toEqual(order);
    // Thirty in fifteen minutes are two a minute.
    expect(Math.max(...asked.map((minute) => minute.length))).toBeLessThanOrEqual(8);
  });
});

describe('failures', () => {
  it('are tried ever more rarely, told at the third in a row, once, and forgotten at the first success', async () => {
    const { from, push, name } = await aRepository();
    await one.want(aStream('s', { latest: { from } }));
    await aPeriod();
    const before = (await told(one)).length;
    registry.asked();

    registry.answer(() => ({ status: 500 }));
    const waits: number[] = [];
    for (let attempt = 0; attempt < 7; attempt++) {
      const due = (await one.queue.nextDue()) ?? clock.at;
      waits.push(due - clock.at);
      clock.at = due;
      await one.check();
    }
    const failed = (await images(one)).slice(before);
    registry.answer(undefined);
    const digest = await push('after the outage');
    await aPeriod([one], HOUR);
    await aPeriod([one], PERIOD);

    for (const [n, wait] of waits.entries()) if (n > 1) expect(wait).toBeGreaterThan((waits[n - 1] ?? 0) * 1.5);
    expect(failed).toHaveLength(1);
    expect(failed[0]?.[1]).toMatch(/^latest: InternalError, .*\b(500|unknown)\b/);
    expect((await images(one)).slice(before + 1)).toEqual([['demo/s', `latest: ${digest}`]]);
    expect(registry.asked().filter((request) => request === `HEAD ${name}/manifests/latest`).length).toBeGreaterThan(0);
    expect(await one.store.query('SELECT failures, reason, told FROM scheduled_import')).toEqual([
      { failures: 0, reason: null, told: null },
    ]);
  });

  it('that only somebody can mend are told at once, and looked at again at long intervals', async () => {
    const from = `${registry.host}/team/nowhere:latest`;
    await one.want(aStream('s', { latest: { from } }));
    await aPeriod();
    const first = await images(one);
    registry.asked();

    await aPeriod([one], 24 * HOUR);

    expect(first).toHaveLength(1);
    expect(first[0]?.[1]).toMatch(/^latest: (NotFound|InternalError), /);
    expect(await images(one)).toEqual(first);
    expect(registry.asked().length).toBeLessThanOrEqual(6);
  });

  it('are looked at anew at once when somebody asks for the tag again', async () => {
    const name = 'team/later';
    const stream = aStream('s', { latest: { from: `${registry.host}/${name}:latest` } });
    await one.want(stream);
    await aPeriod([one], 3 * PERIOD);
    await pushImage(server.host, name, 'latest', makeImage('later'));
    registry.asked();

    await one.want({ ...stream, resourceVersion: '2', tags: stream.tags.map((tag) => ({ ...tag, generation: 2, due: true })) });
    await one.check();

    expect(registry.asked()[0]).toBe(`HEAD ${name}/manifests/latest`);
    expect((await images(one)).at(-1)).toEqual(['demo/s', `latest: ${makeImage('later').digest}`]);
  });

  it('for want of access are looked at anew at once when a secret comes', async () => {
    const { from, digest } = await aRepository();
    const allowed = `Basic ${Buffer.from('puller:right').toString('base64')}`;
    const challenge = { status: 401, headers: { 'www-authenticate': 'Basic realm="spec"' } };
    registry.answer((_method, _path, { authorization }) => (authorization === allowed ? undefined : challenge));
    await one.want(aStream('s', { latest: { from } }));
    await aPeriod([one], 3 * PERIOD);
    const before = await images(one);

    secrets.set('demo', { revision: '1', secrets: [aSecret(registry.host, 'puller', 'right')] });
    peer.bus.nudge(PULL_SECRETS_BELL);
    await eventually(async () => {
      await one.schedule.sweep();
      await one.check();
      expect((await images(one)).length).toBeGreaterThan(before.length);
    });

    expect(before).toEqual([['demo/s', expect.stringMatching(/^latest: Unauthorized, /)]]);
    expect((await images(one)).slice(before.length)).toEqual([['demo/s', `latest: ${digest}`]]);
  });
});

describe('credentials', () => {
  it('those who have the same share a check, others do not', async () => {
    const { name, from } = await aRepository();
    secrets.set('a', { revision: '1', secrets: [aSecret(registry.host, 'puller', 'x')] });
    secrets.set('b', { revision: '7', secrets: [aSecret(registry.host, 'puller', 'x')] });
    await one.want(...['a', 'b', 'c', 'd'].map((namespace) => aStream('s', { latest: { from } }, { namespace })));
    await aPeriod();
    registry.asked();

    await aPeriod([one], PERIOD);

    expect(registry.asked()).toEqual([`HEAD ${name}/manifests/latest`, `HEAD ${name}/manifests/latest`]);
  });
});

describe('the interval', () => {
  it.each([
    ['1h', 1],
    ['2m', 30],
    ['1s', 60],
    ['often', 4],
  ])('annotated %s: %i times an hour', async (interval, times) => {
    const { from } = await aRepository();
    await one.want(aStream('s', { latest: { from, interval } }));
    await aPeriod([one], 1.25 * HOUR);
    registry.asked();

    await aPeriod([one], HOUR);

    expect(registry.asked()).toHaveLength(times);
  });

  it('is the shortest that any of those asks for who follow', async () => {
    const { from } = await aRepository();
    const hasty = aStream('hasty', { latest: { from, interval: '5m' } });
    await one.want(aStream('patient', { latest: { from, interval: '1h' } }), hasty);
    await aPeriod([one], 1.25 * HOUR);
    registry.asked();

    await aPeriod([one], HOUR);
    const together = registry.asked().length;
    await one.want({ ...hasty, resourceVersion: '2', gone: true, tags: [] });
    await aPeriod([one], HOUR);
    registry.asked();
    await aPeriod([one], HOUR);

    expect(together).toBe(12);
    expect(registry.asked()).toHaveLength(1);
  });
});

describe('a hint', () => {
  it('wakes just those that follow what was pushed, at once', async () => {
    const [pushed, other] = [await aRepository(), await aRepository()];
    await pushImage(server.host, pushed.name, 'other', makeImage('other tag'));
    await one.want(
      aStream('a', { latest: { from: pushed.from }, other: { from: pushed.from.replace(':latest', ':other') } }),
      aStream('b', { latest: { from: other.from } }),
    );
    await aPeriod();
    registry.asked();

    const digest = await pushed.push('second');
    const followedByNobody = { host: registry.host, repository: 'team/nobody', tags: ['latest'] };
    await one.hint({ host: registry.host, repository: pushed.name, tags: ['latest'], digest }, followedByNobody);
    await one.check();

    expect(registry.asked().filter((request) => request.startsWith('HEAD'))).toEqual([`HEAD ${pushed.name}/manifests/latest`]);
    expect((await images(one)).at(-1)).toEqual(['demo/a', `latest: ${digest}`]);
  });

  it('without a tag wakes all that follow the repository', async () => {
    const { name, from } = await aRepository();
    await pushImage(server.host, name, 'other', makeImage('other tag'));
    await one.want(aStream('a', { latest: { from }, other: { from: from.replace(':latest', ':other') } }));
    await aPeriod();
    registry.asked();

    await one.hint({ host: registry.host, repository: name });
    await one.check();

    expect(registry.asked().sort()).toEqual([`HEAD ${name}/manifests/latest`, `HEAD ${name}/manifests/other`]);
  });

  it('that comes several times for one push is one check', async () => {
    const { name, from, push } = await aRepository();
    await one.want(aStream('a', { latest: { from } }));
    await aPeriod();
    registry.asked();

    const hint = { host: registry.host, repository: name, tags: ['latest'], digest: await push('second') };
    await one.hint(hint, hint);
    await one.hint(hint);
    await one.check();
    await one.hint(hint);
    await one.check();

    expect(registry.asked().filter((request) => request.startsWith('HEAD'))).toHaveLength(1);
  });

  it('of what is not served yet is followed up for a minute', async () => {
    const { name, from, push } = await aRepository();
    await one.want(aStream('a', { latest: { from } }));
    await aPeriod();
    registry.asked();
    const digest = makeImage(`${name} slow`).digest;

    await one.hint({ host: registry.host, repository: name, tags: ['latest'], digest });
    for (let second = 0; second < 20; second++) {
      await one.check();
      clock.advance(SECOND);
    }
    const early = registry.asked();
    await push('slow');
    for (let second = 0; second < 40; second++) {
      await one.check();
      clock.advance(SECOND);
    }

    expect(early).toHaveLength(5);
    expect((await images(one)).at(-1)).toEqual(['demo/a', `latest: ${digest}`]);
    expect(registry.asked().filter((request) => request.startsWith('HEAD'))).toHaveLength(1);
  });

  it('wakes what its registry did not have', async () => {
    const name = 'team/awaited';
    await one.want(aStream('a', { latest: { from: `${registry.host}/${name}:latest` } }));
    await aPeriod([one], 3 * PERIOD);

    const digest = await pushImage(server.host, name, 'latest', makeImage('awaited'));
    await one.hint({ host: registry.host, repository: name, tags: ['latest'] });
    await one.check();

    expect((await images(one)).at(-1)).toEqual(['demo/a', `latest: ${digest}`]);
  });
});

function aSecret(host: string, username: string, password: string): SealedSecret {
  const uid = `uid of ${username}`;
  const data = { '.dockerconfigjson': Buffer.from(JSON.stringify({ auths: { [host]: { username, password } } })).toString('base64') };
  const sealed = new Sealing({ SECRETS_KEY: [SECRETS_KEY] }).seal(data, uid).toString('base64');
  return { name: 'pull', uid, resourceVersion: '1', type: 'kubernetes.io/dockerconfigjson', registries: [], sealed };
}
