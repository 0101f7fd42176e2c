import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { DeployTriggered } from '@millrace/contracts/events';
import { TriggerObjects, type ObjectAnswer, type ObjectQuestion } from '@millrace/contracts/requests';
import { DeadFacts } from '@millrace/platform/dead-facts';
import { Store } from '@millrace/platform/store';
import { eventually } from '@millrace/testing/eventually';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { aPeer, aService, type StartedService } from '@millrace/testing/service';
import { TagMoves } from '@millrace/testing/tag-moves';
import { service } from './main.ts';
import { database } from './tables.ts';

const user = { name: 'ada', groups: ['system:masters'] };
/** Parts of a few, so that a handful is many. */
const PART = 4;
const MANY = 14;

let nats: Awaited<ReturnType<typeof aNatsServer>>;
let server: Awaited<ReturnType<typeof aDatabase>>;
let peer: Awaited<ReturnType<typeof aPeer>>;
let dispatcher: StartedService;
let store: Store;
let tags: TagMoves;
let deploys: ReturnType<typeof heardDeploys>;
let env: Record<string, string>;
let namespace: string;
let count = 0;

const heardDeploys = () => peer.hear(DeployTriggered);
const another = () => aService(service as never, env);

beforeAll(async () => {
  [nats, server] = await Promise.all([aNatsServer(), aDatabase()]);
  const SECRETS_KEY = randomBytes(32).toString('base64');
  env = { DATABASE_URL: server.url, NATS_URL: nats.url, SECRETS_KEY, FAN_OUT_PART: String(PART) };
  dispatcher = await another();
  peer = await aPeer(nats.url);
  tags = new TagMoves(peer);
  tags.serve();
  deploys = heardDeploys();
  store = new Store({ ...database, url: server.url, poolSize: 4 });
  await store.open();
});

afterAll(async () => {
  await dispatcher.stop();
  await Promise.all([peer.close(), store.close()]);
  await Promise.all([nats.stop(), server.drop()]);
});

beforeEach(() => {
  namespace = `ns-${++count}`;
});

/* eslint-disable @typescript-eslint/no-explicit-any -- answers are JSON, looked into at known places */
async function ask(question: Record<string, unknown>): Promise<any> {
  const changes = !['get', 'list'].includes(question['verb'] as string);
  const asked = { resource: 'imagetriggers', namespace, ...(changes ? { dryRun: false, user } : {}), ...question };
  const answer: ObjectAnswer = await peer.ask(TriggerObjects, asked as ObjectQuestion);
  if (answer.kind === 'refused') throw new Error(answer.status.message);
  return answer;
}
/* eslint-enable @typescript-eslint/no-explicit-any */

const create = (name: string, spec: Record<string, unknown> = {}) =>
  ask({
    verb: 'create',
    object: {
      apiVersion: 'triggers.millrace.dev/v1',
      kind: 'ImageTrigger',
      metadata: { name },
      spec: { kind: 'Deploy', from: { kind: 'ImageStreamTag', name: 'web:latest' }, ...spec },
    },
  });
const get = async (name: string) => (await ask({ verb: 'get', name })).object;
async function change(name: string, spec: Record<string, unknown>): Promise<void> {
  for (;;) {
    const now = await get(name);
    try {
      return await ask({ verb: 'update', name, object: { ...now, spec: { ...now.spec, ...spec } } });
    } catch (error) {
      // It has fired meanwhile.
      if (!/has been modified/.test(String(error))) throw error;
    }
  }
}
const remove = (name: string) => ask({ verb: 'delete', name });

/** Many triggers of one tag, by the order in which moves are brought to them. */
async function many(of = 'web:latest', n = MANY): Promise<string[]> {
  for (let i = 0; i < n; i++) await create(`${of.replace(':', '-')}-${i}`, { from: { kind: 'ImageStreamTag', name: of } });
  const rows = await store.query<{ name: string }>('SELECT name FROM trigger WHERE namespace = $1 AND from_stream = $2 ORDER BY uid', [
    ...[namespace, of.split(':')[0]],
  ]);
  return rows.map(({ name }) => name);
}
const push = (tag = 'web:latest') => tags.push(`${namespace}/${tag}`);
/** Generations that fired a trigger, in the order in which they were told. */
const fired = (name: string) =>
  deploys.filter(({ data }) => data.trigger.namespace === namespace && data.trigger.name === name).map(({ data }) => data.generation);
const waiting = async () => (await store.query('SELECT id FROM fan_out WHERE namespace = $1', [namespace])).length;
/** Resolves when this many moves are on their way. */
const onTheWay = (n: number) => eventually(async () => expect(await waiting()).toBe(n));
/** Resolves when every move told so far has reached all of its followers: a move of another tag that came after them has fired, and none waits. */
async function arrived(): Promise<void> {
  const name = `fence-${randomBytes(4).toString('hex')}`;
  await create(name, { from: { kind: 'ImageStreamTag', name: `${name}:latest` } });
  await push(`${name}:latest`);
  await eventually(() => expect(fired(name)).toEqual([1]));
  await onTheWay(0);
}

/** Keeps the worker from getting past a trigger, or a workload; `blocked` resolves to the backend of Postgres that waits there. */
async function held(name: string, table = 'trigger'): Promise<{ blocked: () => Promise<number>; letGo: () => Promise<void> }> {
  let letGo = (): void => undefined;
  const gate = new Promise<void>((resolve) => (letGo = resolve));
  let pid = 0;
  let locked = (): void => undefined;
  const isLocked = new Promise<void>((resolve) => (locked = resolve));
  const holding = store.transaction(async (tx) => {
    await tx.query(`SELECT 1 FROM ${table} WHERE namespace = $1 AND name = $2 FOR UPDATE`, [namespace, name]);
    pid = (await tx.query<{ pid: number }>('SELECT pg_backend_pid() AS pid'))[0]?.pid ?? 0;
    locked();
    await gate;
  });
  await isLocked;
  return {
    blocked: () =>
      eventually(async () => {
        const [row] = await store.query<{ pid: number }>('SELECT pid FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid))', [pid]);
        if (!row) throw new Error('nobody waits');
        return row.pid;
      }),
    letGo: async () => {
      letGo();
      await holding;
    },
  };
}

describe('a move that many triggers follow', () => {
  it('reaches each of them once', async () => {
    const names = await many();

    await push();
    await eventually(() => expect(names.map(fired)).toEqual(names.map(() => [1])));

    await arrived();
    expect((await get(names[0] ?? '')).status).toMatchObject({ lastTriggered: { generation: 1 } });
  });

  it('that as many follow as one transaction is for is not put on its way', async () => {
    const names = await many('web:latest', PART);
    const first = await held(names[0] ?? '');
    await push();
    await first.blocked();

    expect(await waiting()).toBe(0);
    await first.letGo();
    await eventually(() => expect(names.map(fired)).toEqual(names.map(() => [1])));
  });

  it('holds up no move of another tag', async () => {
    const names = await many();
    await create('other', { from: { kind: 'ImageStreamTag', name: 'other:latest' } });
    const middle = await held(names[5] ?? '');
    await push();
    await middle.blocked();

    await push('other:latest');
    await eventually(() => expect(fired('other')).toEqual([1]));

    expect(await waiting()).toBe(1);
    await middle.letGo();
    await arrived();
  });

  it('is followed by the next ones of its tag: each trigger has all of them, in order', async () => {
    const names = await many();
    const middle = await held(names[5] ?? '');
    await push();
    await middle.blocked();
    await push();
    await push();
    await onTheWay(3);

    await middle.letGo();

    await eventually(() => expect(names.map(fired)).toEqual(names.map(() => [1, 2, 3])));
  });

  it('and is told again does nothing more', async () => {
    const names = await many();
    const move = await push();
    await tags.tell(move);
    await tags.tell(move);
    await push();

    await eventually(() => expect(names.map(fired)).toEqual(names.map(() => [1, 2])));
    await arrived();
  });

  it('leaves out a trigger that is made while it is on its way, also where the tag is gone by then', async () => {
    const names = await many();
    const middle = await held(names[5] ?? '');
    await push();
    await middle.blocked();
    const ordinary = tags.answer;
    tags.answer = () => null;
    await Promise.all(Array.from({ length: PART * 2 }, (_, n) => create(`late-${n}`))).finally(() => (tags.answer = ordinary));
    await middle.letGo();
    await arrived();
    await push();
    await arrived();

    await eventually(() => expect(names.map(fired)).toEqual(names.map(() => [1, 2])));
    await eventually(() => expect(Array.from({ length: PART * 2 }, (_, n) => fired(`late-${n}`))).toEqual(Array(PART * 2).fill([2])));
  });

  it('finds triggers as they are when it reaches them: deleted, paused, or following another tag', async () => {
    const names = await many();
    const [deleted = '', paused = '', elsewhere = '', back = ''] = names.slice(8);
    const middle = await held(names[5] ?? '');
    await push();
    await middle.blocked();
    await remove(deleted);
    await change(paused, { paused: true });
    await change(elsewhere, { from: { kind: 'ImageStreamTag', name: 'other:latest' } });
    await change(back, { from: { kind: 'ImageStreamTag', name: 'other:latest' } });
    await change(back, { from: { kind: 'ImageStreamTag', name: 'web:latest' } });
    await middle.letGo();
    await arrived();

    expect((await get(paused)).status).toMatchObject({ pending: { generation: 1 } });
    await change(paused, { paused: false });
    await push();
    await arrived();

    const others = names.filter((name) => ![deleted, paused, elsewhere, back].includes(name));
    await eventually(() => expect([...others, paused].map(fired)).toEqual([...others, paused].map(() => [1, 2])));
    // It began anew where the tag stood.
    await eventually(() => expect(fired(back)).toEqual([2]));
    expect(fired(deleted)).toEqual([]);
    expect(fired(elsewhere)).toEqual([]);
  });

  it('fires a trigger that is un-paused meanwhile with what it held, then with itself', async () => {
    const names = await many();
    const last = names.at(-1) ?? '';
    await change(last, { paused: true });
    await push();
    await arrived();
    const middle = await held(names[5] ?? '');
    await push();
    await middle.blocked();
    await change(last, { paused: false });
    await middle.letGo();

    await eventually(() => expect(fired(last)).toEqual([1, 2]));
  });

  it('goes on where it was when a connection dies in the middle of a part', async () => {
    const names = await many();
    const middle = await held(names[5] ?? '');
    await push();
    const backend = await middle.blocked();
    await store.query('SELECT pg_terminate_backend($1)', [backend]);
    await middle.letGo();

    await eventually(() => expect(names.map(fired)).toEqual(names.map(() => [1])));
  });

  it('goes on where it was when the service is stopped and started', async () => {
    const names = await many();
    const middle = await held(names[5] ?? '');
    await push();
    await middle.blocked();
    await push();
    await onTheWay(2);
    const stopped = dispatcher.stop();
    await middle.letGo();
    await stopped;
    expect(await waiting()).toBe(2);
    dispatcher = await another();

    await eventually(() => expect(names.map(fired)).toEqual(names.map(() => [1, 2])));
  });

  it('is put aside for the one trigger that it cannot be brought to; the others have it, and a replay brings it there', async () => {
    const names = await many();
    const bad = names[5] ?? '';
    const { uid } = (await get(bad)).metadata;
    await store.query(`ALTER TABLE trigger_tag ADD CONSTRAINT bad CHECK (trigger_uid <> '${uid}') NOT VALID`);
    const move = await push();
    await arrived();
    await store.query('ALTER TABLE trigger_tag DROP CONSTRAINT bad');

    const others = names.filter((name) => name !== bad);
    await eventually(() => expect(others.map(fired)).toEqual(others.map(() => [1])));
    const dead = (await dispatcher.app.get(DeadFacts).list('0', 10)).find(({ eventId }) => eventId.endsWith('.latest.1'));
    expect(dead).toMatchObject({ event: 'tag.moved', subject: `millrace.v1.tag.moved.${namespace}.web.latest` });
    expect(dead?.reason).toContain(`cannot be brought to ${uid} of its triggers: new row for relation "trigger_tag" violates`);
    expect(JSON.parse(dead?.body ?? '')).toEqual(move);
    expect(fired(bad)).toEqual([]);
    await dispatcher.app.get(DeadFacts).replay(dead?.id ?? '');
    await eventually(() => expect(names.map(fired)).toEqual(names.map(() => [1])));
  });
});

describe('several instances', () => {
  it('take over from each other: each trigger has each move once, in order', async () => {
    const names = await many();
    const middle = await held(names[5] ?? '');
    await push();
    await middle.blocked();
    await push();
    await onTheWay(2);
    const next = await another();
    const stopped = dispatcher.stop();
    await middle.letGo();
    await stopped;
    dispatcher = next;

    await eventually(() => expect(names.map(fired)).toEqual(names.map(() => [1, 2])));
  });

  it('bring moves of several tags that many follow: each trigger has each once, in order', async () => {
    const second = await another();
    try {
      const streams = ['a', 'b', 'c'];
      const names = (await Promise.all(streams.map((stream) => many(`${stream}:latest`, 9)))).flat();
      for (let n = 0; n < 4; n++) for (const stream of streams) await push(`${stream}:latest`);

      await eventually(() => expect(names.map(fired)).toEqual(names.map(() => [1, 2, 3, 4])), 20_000);
    } finally {
      await second.stop();
    }
  });
});

describe('whatever happens meanwhile', () => {
  it.each([1, 2, 3])('each trigger fires in order, none twice, and none misses what it follows (seed %i)', async (seed) => {
    let state = seed * 2_654_435_761;
    const random = (below: number) => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    const second = await another();
    // What each trigger must have fired with: from which move on, and whether it was ever paused.
    const model = new Map<string, { since: number; paused: boolean; wasPaused: boolean; deleted: boolean }>();
    const alive = () => [...model].filter(([, { deleted }]) => !deleted).map(([name]) => name);
    let generation = 0;
    const make = async () => {
      const name = `t-${model.size}`;
      model.set(name, { since: generation, paused: false, wasPaused: false, deleted: false });
      await create(name);
    };
    for (let n = 0; n < MANY; n++) await make();
    for (let step = 0; step < 50; step++) {
      const name = alive()[random(alive().length)] ?? '';
      const one = model.get(name);
      const dice = random(10);
      if (dice < 5) generation = (await push()).generation;
      else if (dice < 6) await make();
      else if (dice < 7 && one && alive().length > PART + 2) {
        one.deleted = true;
        await remove(name);
      } else if (dice < 9 && one) {
        one.paused = !one.paused;
        one.wasPaused = true;
        await change(name, { paused: one.paused });
      } else
        await store.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE $1', [
          '%FROM fan_out o%',
        ]);
    }
    await second.stop();
    for (const [name, one] of model) if (one.paused && !one.deleted) await change(name, { paused: false });
    generation = (await push()).generation;

    await eventually(() => expect(alive().map((name) => fired(name).at(-1))).toEqual(alive().map(() => generation)), 30_000);
    for (const [name, { since, wasPaused, deleted }] of model) {
      const had = fired(name);
      expect(had, name).toEqual([...new Set(had)].sort((a, b) => a - b));
      expect(
        had.every((one) => one > since),
        name,
      ).toBe(true);
      if (!wasPaused && !deleted) expect(had, name).toEqual(Array.from({ length: generation - since }, (_, n) => since + n + 1));
    }
  });
});

describe('a move that many workloads follow', () => {
  const deployment = (name: string) => ({
    metadata: {
      name,
      annotations: {
        'image.openshift.io/triggers': JSON.stringify([
          { from: { kind: 'ImageStreamTag', name: 'web:latest' }, fieldPath: 'spec.template.spec.containers[?(@.name=="web")].image' },
        ]),
      },
    },
    spec: { template: { spec: { containers: [{ name: 'web', image: 'placeholder' }] } } },
  });
  const imageOf = async (name: string): Promise<string> =>
    (await ask({ verb: 'get', resource: 'deployments', name })).object.spec.template.spec.containers[0].image;
  async function manyDeployments(): Promise<string[]> {
    for (let n = 0; n < MANY; n++) await ask({ verb: 'create', resource: 'deployments', object: deployment(`web-${n}`) });
    const rows = await store.query<{ name: string }>('SELECT name FROM workload WHERE namespace = $1 ORDER BY uid', [namespace]);
    return rows.map(({ name }) => name);
  }

  it('is put into each of them, with one event', async () => {
    const names = await manyDeployments();

    const { pullSpec } = await push();
    await arrived();

    expect(await Promise.all(names.map(imageOf))).toEqual(names.map(() => pullSpec));
    await eventually(() => expect(names.map((name) => fired(`deployments.apps/${name}`))).toEqual(names.map(() => [1])));
  });

  it('is overtaken by a newer one where it has not been yet', async () => {
    const names = await manyDeployments();
    const middle = await held(names[5] ?? '', 'workload');
    await push();
    await middle.blocked();
    await push();
    const { pullSpec } = await push();
    // What waits behind the one under way is the newest alone.
    await onTheWay(2);
    await middle.letGo();
    await arrived();

    expect(await Promise.all(names.map(imageOf))).toEqual(names.map(() => pullSpec));
    await eventually(() => expect(fired(`deployments.apps/${names[0]}`)).toEqual([1, 3]));
    await eventually(() => expect(fired(`deployments.apps/${names.at(-1)}`)).toEqual([3]));
  });

  it('of which only the text of what to pull is another reaches each too', async () => {
    const names = await manyDeployments();
    await push();
    await arrived();

    const { pullSpec } = await tags.pullBy(`${namespace}/web:latest`, 'mirror.example.com/web@sha256:1');

    await eventually(async () => expect(await Promise.all(names.map(imageOf))).toEqual(names.map(() => pullSpec)));
  });
});
