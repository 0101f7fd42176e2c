import { describe, expect, it } from 'vitest';
import { DeadFacts } from '@millrace/platform/dead-facts';
import { DispatcherBed } from '@millrace/testing/dispatcher-bed';
import { eventually } from '@millrace/testing/eventually';
import { aTag, aTrigger } from '@millrace/testing/image-trigger';
import { service } from './main.ts';
import { database } from './tables.ts';

/** Parts of a few, so that a handful is many. */
const PART = 4;
const MANY = 14;

interface Answered {
  code: number;
  /** A trigger or a workload, or why there is none. */
  object: {
    message?: string;
    metadata: { uid: string };
    spec: { template?: { spec: { containers: { image: string }[] } } };
    status: object;
  };
}

const bed = new DispatcherBed<Answered>(service as never, database, { env: { FAN_OUT_PART: String(PART) } });
const create = (name: string, spec: object = {}) => bed.create(aTrigger(name, spec));
const get = async (name: string) => (await bed.ask({ verb: 'get', name })).object;
async function change(name: string, spec: object): Promise<void> {
  for (;;) {
    const now = await get(name);
    const { code, object } = await bed.ask({ verb: 'update', name, object: { ...now, spec: { ...now.spec, ...spec } } });
    // It may have fired meanwhile.
    if (code !== 409) return expect(code, object.message).toBe(200);
  }
}
const remove = async (name: string) => expect((await bed.ask({ verb: 'delete', name })).code).toBe(200);

/** Many triggers of one tag, by the order in which moves are brought to them. */
async function many(of = 'web:latest', n = MANY): Promise<string[]> {
  for (let i = 0; i < n; i++) await create(`${of.replace(':', '-')}-${i}`, { from: aTag(of) });
  const rows = await bed.store.query<{ name: string }>('SELECT name FROM trigger WHERE namespace = $1 AND from_stream = $2 ORDER BY uid', [
    ...[bed.namespace, of.split(':')[0]],
  ]);
  return rows.map(({ name }) => name);
}
/** Resolves when each trigger has fired with these generations and no others, in this order. */
const eachFired = (names: string[], generations: number[], timeoutMs?: number) =>
  eventually(() => expect(names.map((name) => bed.fired(name))).toEqual(names.map(() => generations)), timeoutMs);
const waiting = async () => (await bed.store.query('SELECT id FROM fan_out WHERE namespace = $1', [bed.namespace])).length;
/** Resolves when this many moves are on their way. */
const onTheWay = (n: number) => eventually(async () => expect(await waiting()).toBe(n));

/** Pushes a move that gets as far as a trigger, or a workload, and no further until it is let go; `backend` is that of Postgres which waits there. */
async function pushedUpTo(name: string, table = 'trigger'): Promise<{ backend: number; letGo: () => Promise<void> }> {
  const locked = Promise.withResolvers<number>();
  const gate = Promise.withResolvers<void>();
  const holding = bed.store.transaction(async (tx) => {
    await tx.query(`SELECT 1 FROM ${table} WHERE namespace = $1 AND name = $2 FOR UPDATE`, [bed.namespace, name]);
    locked.resolve((await tx.query<{ pid: number }>('SELECT pg_backend_pid() AS pid'))[0]?.pid ?? 0);
    await gate.promise;
  });
  const holder = await locked.promise;
  await bed.push();
  const backend = await eventually(async () => {
    const [row] = await bed.store.query<{ pid: number }>('SELECT pid FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid))', [
      holder,
    ]);
    if (!row) throw new Error('nobody waits');
    return row.pid;
  });
  return {
    backend,
    letGo: async () => {
      gate.resolve();
      await holding;
    },
  };
}
/** Pushes a move that stays in the middle of a part until it is let go. */
const halfway = (names: string[], table?: string) => pushedUpTo(names[5] ?? '', table);

describe('a move that many triggers follow', () => {
  it('reaches each of them once', async () => {
    const names = await many();

    await bed.push();
    await eachFired(names, [1]);

    await bed.actedOn();
    expect((await get(names[0] ?? '')).status).toMatchObject({ lastTriggered: { generation: 1 } });
  });

  it('that as many follow as one transaction is for is not put on its way', async () => {
    const names = await many('web:latest', PART);
    const first = await pushedUpTo(names[0] ?? '');

    expect(await waiting()).toBe(0);
    await first.letGo();
    await eachFired(names, [1]);
  });

  it('holds up no move of another tag', async () => {
    const names = await many();
    await create('other', { from: aTag('other:latest') });
    const middle = await halfway(names);

    await bed.push('other:latest');
    await eachFired(['other'], [1]);

    expect(await waiting()).toBe(1);
    await middle.letGo();
    await bed.actedOn();
  });

  it('is followed by the next ones of its tag: each trigger has all of them, in order', async () => {
    const names = await many();
    const middle = await halfway(names);
    await bed.push();
    await bed.push();
    await onTheWay(3);

    await middle.letGo();

    await eachFired(names, [1, 2, 3]);
  });

  it('and is told again does nothing more', async () => {
    const names = await many();
    const move = await bed.push();
    await bed.tags.tell(move);
    await bed.tags.tell(move);
    await bed.push();

    await eachFired(names, [1, 2]);
    await bed.actedOn();
  });

  it('leaves out a trigger that is made while it is on its way, also where the tag is gone by then', async () => {
    const names = await many();
    const middle = await halfway(names);
    const ordinary = bed.tags.answer;
    bed.tags.answer = () => null;
    const late = Array.from({ length: PART * 2 }, (_, n) => `late-${n}`);
    await Promise.all(late.map((name) => create(name))).finally(() => (bed.tags.answer = ordinary));
    await middle.letGo();
    await bed.actedOn();
    await bed.push();
    await bed.actedOn();

    await eachFired(names, [1, 2]);
    await eachFired(late, [2]);
  });

  it('finds triggers as they are when it reaches them: deleted, paused, or following another tag', async () => {
    const names = await many();
    const [deleted = '', paused = '', elsewhere = '', back = ''] = names.slice(8);
    const middle = await halfway(names);
    await remove(deleted);
    await change(paused, { paused: true });
    await change(elsewhere, { from: aTag('other:latest') });
    await change(back, { from: aTag('other:latest') });
    await change(back, { from: aTag('web:latest') });
    await middle.letGo();
    await bed.actedOn();

    expect((await get(paused)).status).toMatchObject({ pending: { generation: 1 } });
    await change(paused, { paused: false });
    await bed.push();
    await bed.actedOn();

    const others = names.filter((name) => ![deleted, paused, elsewhere, back].includes(name));
    await eachFired([...others, paused], [1, 2]);
    // It began anew where the tag stood.
    await eachFired([back], [2]);
    expect(bed.fired(deleted)).toEqual([]);
    expect(bed.fired(elsewhere)).toEqual([]);
  });

  it('fires a trigger that is un-paused meanwhile with what it held, then with itself', async () => {
    const names = await many();
    const last = names.at(-1) ?? '';
    await change(last, { paused: true });
    await bed.push();
    await bed.actedOn();
    const middle = await halfway(names);
    await change(last, { paused: false });
    await middle.letGo();

    await eachFired([last], [1, 2]);
  });

  it('goes on where it was when a connection dies in the middle of a part', async () => {
    const names = await many();
    const middle = await halfway(names);
    await bed.store.query('SELECT pg_terminate_backend($1)', [middle.backend]);
    await middle.letGo();

    await eachFired(names, [1]);
  });

  it('goes on where it was when the service is stopped and started', async () => {
    const names = await many();
    const middle = await halfway(names);
    await bed.push();
    await onTheWay(2);
    const stopped = bed.dispatcher.stop();
    await middle.letGo();
    await stopped;
    expect(await waiting()).toBe(2);
    bed.dispatcher = await bed.start();

    await eachFired(names, [1, 2]);
  });

  it('is put aside for the one trigger that it cannot be brought to; the others have it, and a replay brings it there', async () => {
    const names = await many();
    const bad = names[5] ?? '';
    const { uid } = (await get(bad)).metadata;
    await bed.store.query(`ALTER TABLE trigger_tag ADD CONSTRAINT bad CHECK (trigger_uid <> '${uid}') NOT VALID`);
    const move = await bed.push();
    await bed.actedOn();
    await bed.store.query('ALTER TABLE trigger_tag DROP CONSTRAINT bad');

    const others = names.filter((name) => name !== bad);
    await eachFired(others, [1]);
    const dead = (await bed.dispatcher.app.get(DeadFacts).list('0', 10)).find(({ eventId }) => eventId.endsWith('.latest.1'));
    expect(dead).toMatchObject({ event: 'tag.moved', subject: `millrace.v1.tag.moved.${bed.namespace}.web.latest` });
    expect(dead?.reason).toContain(`cannot be brought to ${uid} of its triggers: new row for relation "trigger_tag" violates`);
    expect(JSON.parse(dead?.body ?? '')).toEqual(move);
    expect(bed.fired(bad)).toEqual([]);
    await bed.dispatcher.app.get(DeadFacts).replay(dead?.id ?? '');
    await eachFired(names, [1]);
  });
});

describe('several instances', () => {
  it('take over from each other: each trigger has each move once, in order', async () => {
    const names = await many();
    const middle = await halfway(names);
    await bed.push();
    await onTheWay(2);
    const next = await bed.start();
    const stopped = bed.dispatcher.stop();
    await middle.letGo();
    await stopped;
    bed.dispatcher = next;

    await eachFired(names, [1, 2]);
  });

  it('bring moves of several tags that many follow: each trigger has each once, in order', async () => {
    const second = await bed.start();
    try {
      const streams = ['a', 'b', 'c'];
      const names = (await Promise.all(streams.map((stream) => many(`${stream}:latest`, 9)))).flat();
      for (let n = 0; n < 4; n++) for (const stream of streams) await bed.push(`${stream}:latest`);

      await eachFired(names, [1, 2, 3, 4], 20_000);
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
    const second = await bed.start();
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
      if (dice < 5) generation = (await bed.push()).generation;
      else if (dice < 6) await make();
      else if (dice < 7 && one && alive().length > PART + 2) {
        one.deleted = true;
        await remove(name);
      } else if (dice < 9 && one) {
        one.paused = !one.paused;
        one.wasPaused = true;
        await change(name, { paused: one.paused });
      } else
        await bed.store.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE $1', [
          '%FROM fan_out o%',
        ]);
    }
    await second.stop();
    for (const [name, one] of model) if (one.paused && !one.deleted) await change(name, { paused: false });
    generation = (await bed.push()).generation;

    await eventually(() => expect(alive().map((name) => bed.fired(name).at(-1))).toEqual(alive().map(() => generation)), 30_000);
    for (const [name, { since, wasPaused, deleted }] of model) {
      const had = bed.fired(name);
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
          { from: aTag('web:latest'), fieldPath: 'spec.template.spec.containers[?(@.name=="web")].image' },
        ]),
      },
    },
    spec: { template: { spec: { containers: [{ name: 'web', image: 'placeholder' }] } } },
  });
  const imageOf = async (name: string): Promise<string> =>
    (await bed.ask({ verb: 'get', resource: 'deployments', name })).object.spec.template?.spec.containers[0]?.image ?? '';
  async function manyDeployments(): Promise<string[]> {
    for (let n = 0; n < MANY; n++) await bed.create(deployment(`web-${n}`), 'deployments');
    const rows = await bed.store.query<{ name: string }>('SELECT name FROM workload WHERE namespace = $1 ORDER BY uid', [bed.namespace]);
    return rows.map(({ name }) => name);
  }

  it('is put into each of them, with one event', async () => {
    const names = await manyDeployments();

    const { pullSpec } = await bed.push();
    await bed.actedOn();

    expect(await Promise.all(names.map(imageOf))).toEqual(names.map(() => pullSpec));
    await eachFired(
      names.map((name) => `deployments.apps/${name}`),
      [1],
    );
  });

  it('is overtaken by a newer one where it has not been yet', async () => {
    const names = await manyDeployments();
    const middle = await halfway(names, 'workload');
    await bed.push();
    const { pullSpec } = await bed.push();
    // What waits behind the one under way is the newest alone.
    await onTheWay(2);
    await middle.letGo();
    await bed.actedOn();

    expect(await Promise.all(names.map(imageOf))).toEqual(names.map(() => pullSpec));
    await eachFired([`deployments.apps/${names[0]}`], [1, 3]);
    await eachFired([`deployments.apps/${names.at(-1)}`], [3]);
  });

  it('of which only the text of what to pull is another reaches each too', async () => {
    const names = await manyDeployments();
    await bed.push();
    await bed.actedOn();

    const { pullSpec } = await bed.tags.pullBy(`${bed.namespace}/web:latest`, 'mirror.example.com/web@sha256:1');

    await eventually(async () => expect(await Promise.all(names.map(imageOf))).toEqual(names.map(() => pullSpec)));
  });
});
