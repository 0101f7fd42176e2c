import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DispatcherBed } from '@millrace/testing/dispatcher-bed';
import { eventually } from '@millrace/testing/eventually';
import { aTag, aTrigger } from '@millrace/testing/image-trigger';
import { DueChanges } from './due-changes.ts';
import { service } from './main.ts';
import { database } from './tables.ts';

const imageOf = (n: number): string => `sha256:${String(n).padStart(64, '0')}`;

interface Follower {
  kind: string;
  namespace: string;
  name: string;
  decision: string;
  reason: string;
  blockers?: { reason: string }[];
  then?: { decision: string; at: string };
}
interface Answered {
  code: number;
  object: {
    message?: string;
    status: {
      reason?: string;
      change?: Record<string, unknown>;
      counts?: Record<string, Record<string, number>>;
      followers: Follower[];
      continue?: string;
      decisions?: { generation: number; decision: string }[];
      pending?: { generation: number; blockers: { reason: string }[] };
    };
  };
}

const bed = new DispatcherBed<Answered>(service as never, database, { keepsTime: true });
const trigger = (name: string, spec: object = {}) => bed.create(aTrigger(name, spec));
const explain = (spec: object = {}) =>
  bed.ask({ verb: 'create', resource: 'explanations', object: { spec: { from: { name: 'web:latest' }, ...spec } } });
async function decisionsOf(spec: object = {}): Promise<Record<string, string>> {
  const { followers } = (await explain(spec)).object.status;
  return Object.fromEntries(followers.map(({ name, decision }) => [name, decision]));
}
const statusOf = async (name: string) => (await bed.ask({ verb: 'get', name })).object.status;
async function decided(): Promise<void> {
  await eventually(async () => {
    await bed.dispatcher.app.get(DueChanges).decideDue();
    expect(await bed.store.query('SELECT 1 FROM trigger WHERE look_at <= $1', [new Date(bed.now)])).toEqual([]);
  });
  await bed.actedOn();
}

const deployment = (name: string, image: string, fieldPath = 'spec.template.spec.containers[0].image', more: object = {}) => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: {
    name,
    annotations: {
      'image.openshift.io/triggers': JSON.stringify([{ from: aTag('web:latest'), fieldPath, ...more }]),
    },
  },
  spec: { template: { spec: { containers: [{ name: 'web', image }] } } },
});

describe('an explanation', () => {
  it('of where a tag stands says what has become of it for each follower, and why', async () => {
    const { namespace } = bed;
    await bed.push();
    await bed.actedOn();
    await trigger('late');
    await trigger('held', { hold: { reason: 'rolled back' } });
    await trigger('plain');
    await bed.create(deployment('web', 'old'), 'deployments');
    await bed.create(deployment('broken', 'old', 'spec.template.spec.containers[7].image'), 'deployments');
    await bed.create(deployment('paused', 'old', undefined, { paused: true }), 'deployments');
    await bed.push();
    await bed.actedOn();
    await trigger('later');

    const { object } = await explain();

    expect(object.status.change).toMatchObject({ generation: 2, image: imageOf(2) });
    expect(object.status.followers).toEqual([
      {
        kind: 'ImageTrigger',
        namespace,
        name: 'held',
        decision: 'Waiting',
        reason: 'held until it is released: rolled back',
        blockers: [{ reason: 'Held', message: 'held until it is released: rolled back' }],
      },
      { kind: 'ImageTrigger', namespace, name: 'late', decision: 'AlreadyFired', reason: 'generation 2 has fired' },
      {
        kind: 'ImageTrigger',
        namespace,
        name: 'later',
        decision: 'CameBefore',
        reason: 'the tag stood there when the trigger began to follow it',
      },
      { kind: 'ImageTrigger', namespace, name: 'plain', decision: 'AlreadyFired', reason: 'generation 2 has fired' },
      {
        kind: 'Deployment',
        namespace,
        name: 'broken',
        decision: 'Broken',
        reason: 'no such container: spec.template.spec.containers[7].image',
      },
      { kind: 'Deployment', namespace, name: 'paused', decision: 'Paused', reason: 'its trigger for the tag is paused, or not automatic' },
      { kind: 'Deployment', namespace, name: 'web', decision: 'UpToDate', reason: 'it has this image' },
    ]);
    expect(object.status.counts).toEqual({
      imagetriggers: { Waiting: 1, AlreadyFired: 2, CameBefore: 1 },
      workloads: { Broken: 1, Paused: 1, UpToDate: 1 },
    });
  });

  it('of another image says what would happen', async () => {
    await bed.push();
    await bed.actedOn();
    await trigger('plain');
    await trigger('denies', { deny: [{ image: imageOf(7) }] });
    await bed.create(deployment('web', 'old'), 'deployments');
    const before = await bed.store.query<{ value: string }>('SELECT value FROM revision');

    expect(await decisionsOf({ image: imageOf(7) })).toEqual({ plain: 'WouldFire', denies: 'Denied', web: 'WouldUpdate' });
    expect(await decisionsOf({ image: imageOf(1) })).toMatchObject({ plain: 'CameBefore', web: 'UpToDate' });
    expect(await bed.store.query('SELECT value FROM revision')).toEqual(before);
  });

  it('tells the first followers and goes on where they are more; the counts are of all', async () => {
    for (const name of ['c', 'a', 'd', 'b']) await trigger(name, name === 'd' ? { paused: true } : {});
    for (const name of ['y', 'x']) await bed.create(deployment(name, 'old'), 'deployments');
    await bed.push();
    await bed.actedOn();

    const names: string[] = [];
    let next: string | undefined;
    for (let page = 1; page <= 3; page++) {
      const { status } = (await explain({ limit: 2, ...(next ? { continue: next } : {}) })).object;
      expect(status.counts === undefined).toBe(page > 1);
      if (page === 1) expect(status.counts).toEqual({ imagetriggers: { AlreadyFired: 3, Waiting: 1 }, workloads: { UpToDate: 2 } });
      names.push(...status.followers.map(({ name }) => name));
      next = status.continue;
    }

    expect(names).toEqual(['a', 'b', 'c', 'd', 'x', 'y']);
    expect(next).toBeUndefined();
  });

  it('of a tag that has never moved says so, with an image what would happen', async () => {
    await trigger('plain');

    expect((await explain()).object.status).toEqual({ reason: `${bed.namespace}/web:latest has never moved` });
    expect(await decisionsOf({ image: imageOf(1) })).toEqual({ plain: 'WouldFire' });
  });

  it('that asks for what cannot be is refused', async () => {
    expect(await explain({ from: { name: 'web:latest', kind: 'Route' } })).toMatchObject({ code: 422 });
    expect(await explain({ image: 'web:2' })).toMatchObject({ code: 422 });
    expect(await explain({ image: imageOf(1), continue: 'x' })).toMatchObject({ code: 400 });
    expect(await explain({ limit: 'all' })).toMatchObject({ code: 400 });
    expect(await bed.ask({ verb: 'get', resource: 'explanations', name: 'x' })).toMatchObject({ code: 405 });
  });

  it('of a tag with thousands of followers is answered in a moment', { timeout: 60_000 }, async () => {
    await bed.push();
    await bed.actedOn();
    await trigger('one', { minimumAge: '1h' });
    await bed.store.query(
      `INSERT INTO trigger (uid, namespace, name, created, generation, resource_version, spec, from_namespace, from_stream, from_tag, baseline)
       SELECT gen_random_uuid(), namespace, 't-' || n, created, 1, 0, spec, from_namespace, from_stream, from_tag, baseline
         FROM trigger, generate_series(1, 20000) n WHERE namespace = $1 AND name = 'one'`,
      [bed.namespace],
    );
    const began = performance.now();
    const { status } = (await explain({ image: imageOf(9), limit: 3 })).object;

    expect(status.counts).toEqual({ imagetriggers: { Waiting: 20_001 }, workloads: {} });
    expect(status.followers).toHaveLength(3);
    expect(performance.now() - began).toBeLessThan(5_000);
  });

  it('agrees with what then happens, whatever holds changes back', { timeout: 120_000 }, async () => {
    const interval = fc.constantFrom('30s', '20m', '1h', '3h');
    const control = fc.record(
      {
        paused: fc.boolean(),
        hold: fc.oneof(
          fc.constant({}),
          fc.integer({ min: -60, max: 240 }).map((minutes) => ({ inMinutes: minutes })),
        ),
        minimumAge: interval,
        coalesce: interval,
        windows: fc.constant([{ schedule: '30 */2 * * *', duration: '20m' }]),
        approval: fc.record({ required: fc.integer({ min: 1, max: 2 }), within: interval }),
        storm: fc.record({ firings: fc.integer({ min: 1, max: 2 }), within: interval }),
        deny: fc.constant([{ image: imageOf(777) }]),
        dryRun: fc.boolean(),
      },
      { requiredKeys: [] },
    );
    const story = fc.record({
      controls: fc.array(control, { minLength: 12, maxLength: 12 }),
      waits: fc.array(fc.integer({ min: 0, max: 90 }), { minLength: 0, maxLength: 3 }),
      image: fc.constantFrom(777, 778),
    });
    await fc.assert(
      fc.asyncProperty(story, async ({ controls, waits, image }) => {
        bed.anotherNamespace();
        bed.now += 24 * 60 * 60_000;
        for (const [i, { hold, ...given }] of controls.entries()) {
          const held =
            hold && ('inMinutes' in hold ? { hold: { until: new Date(bed.now + hold.inMinutes * 60_000).toISOString() } } : { hold });
          await trigger(`t-${i}`, { ...given, ...held });
        }
        for (const minutes of waits) {
          await bed.push();
          await bed.actedOn();
          bed.now += minutes * 60_000;
        }
        await decided();
        const foretold = (await explain({ image: imageOf(image) })).object.status.followers;
        const { generation } = await bed.push('web:latest', {
          current: { image: imageOf(image), dockerImageReference: `r@${imageOf(image)}`, created: '' },
        });
        await bed.actedOn();

        for (const one of foretold) await holds(one, one.decision, generation);
        const waiting = foretold.flatMap(({ then, ...one }) => (then ? [{ ...one, then }] : []));
        for (const one of waiting.toSorted((a, b) => Date.parse(a.then.at) - Date.parse(b.then.at))) {
          bed.now = Math.max(bed.now, Date.parse(one.then.at) - 1);
          await decided();
          if (bed.now === Date.parse(one.then.at) - 1) await holds(one, 'Waiting', generation);
          bed.now = Math.max(bed.now, Date.parse(one.then.at));
          await decided();
          await holds(one, one.then.decision, generation);
        }
      }),
      { numRuns: 6 },
    );
  });
});

/** That the follower has done what was foretold. */
async function holds(one: Follower, decision: string, generation: number): Promise<void> {
  const { decisions, pending } = await statusOf(one.name);
  const known = decisions?.find((made) => made.generation === generation)?.decision;
  const fires = decision === 'WouldFire';
  expect(bed.fired(one.name).includes(generation), JSON.stringify({ one, decision, decisions })).toBe(fires);
  const noted = fires ? ['Fired', undefined] : decision === 'DryRun' ? ['WouldFire'] : [decision];
  expect(noted, JSON.stringify({ one, decision, decisions })).toContain(known);
  expect(pending?.generation === generation).toBe(decision === 'Waiting');
}
