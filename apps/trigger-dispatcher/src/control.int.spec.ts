import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { Clock } from '@millrace/platform/clock';
import { aUser, DispatcherBed } from '@millrace/testing/dispatcher-bed';
import { eventually } from '@millrace/testing/eventually';
import { aTag, aTrigger } from '@millrace/testing/image-trigger';
import { nodeEnvironment, nodeFlags } from '@millrace/testing/product';
import { DueChanges } from './due-changes.ts';
import { service } from './main.ts';
import { database } from './tables.ts';

const MINUTE = 60_000;

interface Answered {
  code: number;
  object: {
    kind: string;
    message?: string;
    metadata: Record<string, string>;
    spec: Record<string, unknown>;
    user?: string;
    status: {
      phase?: string;
      decision?: string;
      reason?: string;
      generation?: number;
      ended?: string[];
      between?: unknown[];
      pending?: {
        generation: number;
        count: number;
        since: string;
        lookAt?: string;
        between?: unknown[];
        blockers: { reason: string; message: string; until?: string }[];
        verdicts?: { user: string }[];
      };
      decisions?: { generation: number; first?: number; decision: string; reason: string }[];
      lastTriggered?: { generation: number };
    };
  };
}

const bed = new DispatcherBed<Answered>(service as never, database, { keepsTime: true });
const create = (name: string, spec: object = {}) => bed.create(aTrigger(name, spec));
const get = async (name = 'deploy') => (await bed.ask({ verb: 'get', name })).object;
const statusOf = async (name = 'deploy') => (await get(name)).status;
async function change(spec: Record<string, unknown>, name = 'deploy'): Promise<Answered> {
  const before = await get(name);
  return bed.ask({ verb: 'update', name, object: { ...before, spec: { ...before.spec, ...spec } } });
}
const act = (subresource: string, object: Record<string, unknown> = {}, { user = 'ada', dryRun = false, name = 'deploy' } = {}) =>
  bed.ask({ verb: 'create', name, subresource, object, dryRun, user: aUser(user) });
const approve = (generation: number, user: string, verdict = 'Approve') => act('approve', { verdict, generation }, { user });

const eventsOf = (name = 'deploy') => bed.eventsOf(name);
const fired = (name = 'deploy') => bed.fired(name);
async function pushes(times: number): Promise<void> {
  await bed.pushTimes(times);
  await bed.actedOn();
}
/** Everything that is due now has been decided about, by whichever instance. */
async function decided(): Promise<void> {
  await eventually(async () => {
    await bed.dispatcher.app.get(DueChanges).decideDue();
    const due = await bed.store.query('SELECT 1 FROM trigger WHERE look_at <= $1 OR look_at > $2', [
      new Date(bed.now),
      new Date(bed.now + 60 * MINUTE),
    ]);
    expect(due).toEqual([]);
  });
  await bed.actedOn();
}
const blockers = async (name = 'deploy') => (await statusOf(name)).pending?.blockers.map(({ reason }) => reason) ?? [];
const decisions = async (name = 'deploy') =>
  ((await statusOf(name)).decisions ?? []).map(({ generation, first, decision }) => `${first ? `${first}-` : ''}${generation} ${decision}`);

describe('a rollback that holds', () => {
  it('sticks over pushes and a restart, shows what a release would do, and then fires once: the newest', async () => {
    await create('deploy', { hold: { reason: 'back to what worked' } });
    await pushes(20);
    await bed.dispatcher.stop();
    bed.dispatcher = await bed.start();
    await pushes(1);
    expect(fired()).toEqual([]);
    expect(await statusOf()).toMatchObject({
      phase: 'Waiting',
      pending: {
        generation: 21,
        count: 21,
        first: { generation: 1 },
        blockers: [{ reason: 'Held', message: 'held until it is released: back to what worked' }],
      },
      decisions: [
        { generation: 21, decision: 'Waiting' },
        { first: 1, generation: 20, decision: 'Superseded' },
      ],
    });

    const rehearsed = await act('release', {}, { dryRun: true });
    expect(rehearsed).toMatchObject({
      code: 201,
      object: { kind: 'Release', status: { ended: ['hold'], decision: 'Fired', generation: 21 } },
    });
    expect(rehearsed.object.status.between).toHaveLength(20);
    expect((await get()).spec['hold']).toEqual({ reason: 'back to what worked' });
    const done = await act('release', { comment: 'fixed' });
    await bed.actedOn();

    expect(done.object).toMatchObject({ user: 'ada', status: { decision: 'Fired', generation: 21 } });
    expect(fired()).toEqual([21]);
    expect(eventsOf()[0]).toMatchObject({ missed: { first: 1, last: 20 }, waited: { for: ['Held'], releasedBy: 'ada' } });
    expect(eventsOf()[0]?.between?.map(({ generation }) => generation)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
    const released = await get();
    expect(released.spec['hold']).toBeUndefined();
    expect(released.metadata['generation']).toBe(2);
    expect(released.status).toMatchObject({
      phase: 'Active',
      decisions: [{ generation: 21, decision: 'Fired' }, { decision: 'Superseded' }],
    });
    expect(released.status.decisions?.[0]?.reason).toContain('released by ada: fixed');
    await pushes(1);
    expect(fired()).toEqual([21, 22]);
  });

  it('is released too when the field goes', async () => {
    await create('deploy', { hold: {} });
    expect((await statusOf()).phase).toBe('Held');
    await pushes(3);

    const changed = await change({ hold: null });
    await bed.actedOn();

    expect(changed.object.status).toMatchObject({ phase: 'Active', lastTriggered: { generation: 3 } });
    expect(fired()).toEqual([3]);
  });

  it('ends at its time, also where nothing waits', async () => {
    const until = new Date(bed.now + 90 * MINUTE).toISOString();
    await create('deploy', { hold: { until } });
    await create('idle', { hold: { until }, from: aTag('idle:latest') });
    await pushes(2);
    bed.now += 89 * MINUTE;
    await decided();
    expect(fired()).toEqual([]);
    expect((await statusOf('idle')).phase).toBe('Held');

    bed.now += MINUTE;
    await decided();

    expect(fired()).toEqual([2]);
    expect((await statusOf('idle')).phase).toBe('Active');
  });

  it('is begun with by a trigger that would fire when it is made', async () => {
    bed.tags.make(`${bed.namespace}/web:latest`, { generation: 5 });
    const made = await create('deploy', { hold: {}, fireOnCreate: true });
    expect(made.object.status.pending).toMatchObject({ generation: 5, count: 1 });

    await act('release');
    await bed.actedOn();

    expect(fired()).toEqual([5]);
    expect(eventsOf()[0]?.missed).toBeUndefined();
  });
});

describe('a burst', () => {
  it('of 50 moves is one firing, with the newest image and those in between', async () => {
    await create('deploy', { coalesce: '30s' });
    await pushes(50);
    expect(fired()).toEqual([]);
    expect(await blockers()).toEqual(['Coalescing']);

    bed.now += 30_000;
    await decided();

    expect(fired()).toEqual([50]);
    expect(eventsOf()[0]?.between).toHaveLength(49);
    expect(eventsOf()[0]?.waited?.for).toEqual(['Coalescing']);
  });

  it('fires on time by the clock of the machine too', async () => {
    const real = bed.dispatcher.app.get(Clock);
    real.now = () => new Date();
    await create('deploy', { coalesce: '1s' });
    const began = Date.now();
    await bed.push();
    await bed.push();

    await eventually(() => expect(fired()).toEqual([2]));
    real.now = () => new Date(bed.now);

    expect(Date.now() - began).toBeGreaterThanOrEqual(1_000);
    expect(Date.now() - began).toBeLessThan(3_000);
  });
});

describe('a storm', () => {
  it('of 100 moves fires as many as it may, stops and asks; released, the newest fires and it counts anew', async () => {
    await create('deploy', { storm: { firings: 20, within: '1h' } });
    await pushes(100);
    expect(fired()).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
    expect(await statusOf()).toMatchObject({ phase: 'Stopped', pending: { generation: 100, count: 80, blockers: [{ reason: 'Storm' }] } });
    bed.now += 48 * 60 * MINUTE;
    await decided();
    expect(fired()).toHaveLength(20);

    expect((await act('release')).object.status).toMatchObject({ ended: ['storm'], decision: 'Fired', generation: 100 });
    await pushes(25);

    expect(fired().slice(20)).toEqual([100, ...Array.from({ length: 19 }, (_, i) => 101 + i)]);
    expect((await statusOf()).phase).toBe('Stopped');
  });
});

describe('a minimum age', () => {
  it('skips what is replaced while it is young', async () => {
    await create('deploy', { minimumAge: '2h' });
    await pushes(1);
    bed.now += 119 * MINUTE;
    await pushes(1);
    bed.now += 60 * MINUTE;
    await decided();
    expect(fired()).toEqual([]);
    expect((await statusOf()).pending).toMatchObject({ generation: 2, lookAt: new Date(bed.now + 60 * MINUTE).toISOString() });

    bed.now += 60 * MINUTE;
    await decided();

    expect(fired()).toEqual([2]);
    expect(await decisions()).toEqual(['2 Fired', '1 Superseded']);
  });

  it('is looked at without anybody being told while nothing is another', async () => {
    await create('deploy', { minimumAge: '5h' });
    await pushes(1);
    const { resourceVersion } = (await get()).metadata;
    for (let hours = 1; hours < 5; hours++) {
      bed.now += 60 * MINUTE;
      await decided();
    }

    expect((await get()).metadata['resourceVersion']).toBe(resourceVersion);
    bed.now += 60 * MINUTE;
    await decided();
    expect(fired()).toEqual([1]);
  });

  it('is over by a forced release, which is written down with who did it', async () => {
    await create('deploy', { minimumAge: '2h', approval: {} });
    await pushes(1);
    expect((await act('release')).object.status).toMatchObject({ ended: [], decision: 'Waiting', pending: { generation: 1 } });

    const forced = await act('release', { force: true, comment: 'CVE' }, { user: 'eve' });
    await bed.actedOn();

    expect(forced.object.status.decision).toBe('Fired');
    expect(fired()).toEqual([1]);
    expect((await statusOf()).decisions?.[0]?.reason).toContain('released by eve, by force: CVE');
    await pushes(1);
    expect(await blockers()).toEqual(['AwaitingApproval', 'TooYoung']);
  });

  it('neither fires early nor is forgotten when the clock is set back, and fires once when it is set forward', async () => {
    await create('deploy', { minimumAge: '2h' });
    await create('burst', { coalesce: '30s' });
    const before = bed.now;
    bed.now += 365 * 24 * 60 * MINUTE;
    await pushes(3);
    bed.now = before;
    await decided();
    expect([...fired(), ...fired('burst')]).toEqual([]);
    expect((await statusOf()).pending).toMatchObject({ since: new Date(bed.now).toISOString() });

    bed.now += 31_000;
    await decided();
    expect(fired('burst')).toEqual([3]);
    bed.now += 120 * MINUTE;
    await decided();
    expect(fired()).toEqual([3]);
    await pushes(2);
    bed.now += 30 * 24 * 60 * MINUTE;
    await decided();
    await decided();

    expect(fired()).toEqual([3, 5]);
    expect(fired('burst')).toEqual([3, 5]);
  });
});

describe('windows', () => {
  it('hold the newest until one opens', async () => {
    bed.now = Date.parse('2027-03-05T17:30:00Z');
    await create('deploy', { windows: [{ schedule: '0 9 * * 1-5', timeZone: 'Europe/Berlin', duration: '8h' }] });
    await pushes(2);
    expect((await statusOf()).pending).toMatchObject({ blockers: [{ reason: 'OutsideWindow' }], lookAt: '2027-03-08T08:00:00.000Z' });
    while (bed.now < Date.parse('2027-03-08T07:59:59Z')) {
      bed.now = Math.min(bed.now + 7 * 60 * MINUTE, Date.parse('2027-03-08T07:59:59Z'));
      await decided();
    }
    expect(fired()).toEqual([]);

    bed.now += 1_000;
    await decided();
    await pushes(1);

    expect(fired()).toEqual([2, 3]);
  });
});

describe('approval', () => {
  it('takes two people; one who says so twice is one', async () => {
    await create('deploy', { approval: { required: 2, within: '1h' } });
    await pushes(1);
    await approve(1, 'ann');
    expect((await approve(1, 'ann')).object).toMatchObject({
      kind: 'Approval',
      user: 'ann',
      status: { decision: 'Waiting', pending: { verdicts: [{ user: 'ann', verdict: 'Approve' }] } },
    });
    expect((await statusOf()).pending?.blockers[0]?.message).toContain('1 of 2 have approved it; it is dropped at');

    const rehearsed = await act('approve', { verdict: 'Approve', generation: 1 }, { user: 'bob', dryRun: true });
    expect(rehearsed.object.status.decision).toBe('Fired');
    await approve(1, 'bob');
    await bed.actedOn();

    expect(fired()).toEqual([1]);
    expect(eventsOf()[0]?.waited?.approvedBy).toEqual(['ann', 'bob']);
  });

  it('of another change than the one that waits is refused, and says which does', async () => {
    await create('deploy', { approval: {} });
    expect(await approve(1, 'ann')).toMatchObject({ code: 409, object: { message: expect.stringContaining('no change waits') as string } });
    await pushes(2);
    const waiting = `generation 2 (sha256:${'2'.padStart(64, '0')}) has been waiting since`;

    expect(await approve(1, 'ann')).toMatchObject({
      code: 409,
      object: { reason: 'Conflict', message: expect.stringContaining(`generation 1 does not wait: ${waiting}`) as string },
    });
    expect(await act('approve', { image: `sha256:${'f'.repeat(64)}` })).toMatchObject({
      code: 409,
      object: { message: expect.stringContaining(waiting) as string },
    });
    expect(fired()).toEqual([]);
    expect((await act('approve', { image: `sha256:${'2'.padStart(64, '0')}` })).object.status.decision).toBe('Fired');
  });

  it('that has no verdict approves, and says so', async () => {
    await create('deploy', { approval: { required: 2 } });
    await pushes(1);

    expect(await act('approve', { generation: 1 })).toMatchObject({
      code: 201,
      object: { verdict: 'Approve', status: { pending: { verdicts: [{ user: 'ada', verdict: 'Approve' }] } } },
    });
  });

  it.each([
    [{}, ['generation']],
    [{ verdict: '', generation: 1 }, ['verdict']],
    [{ verdict: 'Maybe', generation: 1 }, ['verdict']],
    [{ verdict: 'Approve' }, ['generation']],
    [{ verdict: 'Approve', generation: 1, comment: 'x'.repeat(1_001) }, ['comment']],
  ])('that says %j is refused with every field', async (body, fields) => {
    await create('deploy', { approval: {} });
    const refused = await act('approve', body);

    expect(refused.code).toBe(422);
    const { causes } = (refused.object as unknown as { details: { causes: { field: string }[] } }).details;
    expect(causes.map(({ field }) => field)).toEqual(fields);
  });

  it('that is no object, of a trigger that is not there, or that needs none, is refused', async () => {
    await create('deploy', { hold: {} });
    await pushes(1);

    expect(await act('approve', { verdict: 'Approve', generation: 'one' })).toMatchObject({ code: 400 });
    expect(await act('approve', { verdict: 'Approve', generation: 1 }, { name: 'none' })).toMatchObject({ code: 404 });
    expect(await approve(1, 'ann')).toMatchObject({
      code: 409,
      object: { message: expect.stringContaining('need no approval') as string },
    });
    expect(await act('release', [] as never)).toMatchObject({ code: 400 });
    expect(await act('other')).toMatchObject({ code: 404 });
    expect(await act('toString')).toMatchObject({ code: 404 });
  });

  it('that is refused, or comes too late, is the end of the change; the next is asked about anew', async () => {
    await create('deploy', { approval: { within: '1h' } });
    await pushes(1);
    const rejected = await approve(1, 'eve', 'Reject');
    expect(rejected.object.status).toMatchObject({ decision: 'Rejected', reason: 'eve rejected it' });
    await pushes(1);
    bed.now += 60 * MINUTE;
    await decided();
    expect(await decisions()).toEqual(['2 Expired', '1 Rejected']);
    expect(await approve(2, 'ann')).toMatchObject({ code: 409 });

    await pushes(1);
    await approve(3, 'ann');
    await bed.actedOn();

    expect(fired()).toEqual([3]);
    expect(eventsOf()[0]?.missed).toEqual({ first: 1, last: 2 });
  });

  it('counts what was said when fewer people are enough', async () => {
    await create('deploy', { approval: { required: 2 } });
    await pushes(1);
    await approve(1, 'ann');

    await change({ approval: { required: 1 } });
    await bed.actedOn();

    expect(fired()).toEqual([1]);
  });
});

describe('a denied image', () => {
  it('is written down and never fires, also when its fact is told again after it is allowed', async () => {
    await create('deploy', { deny: [{ image: `sha256:${'2'.padStart(64, '0')}`, reason: 'CVE-2026-1' }] });
    await pushes(1);
    const denied = await bed.push();
    await bed.actedOn();
    expect((await statusOf()).decisions?.[0]).toMatchObject({
      generation: 2,
      decision: 'Denied',
      reason: `sha256:${'2'.padStart(64, '0')} is denied: CVE-2026-1`,
    });

    await change({ deny: [] });
    await bed.tags.tell(denied);
    await pushes(1);

    expect(fired()).toEqual([1, 3]);
  });
});

describe('a dry run', () => {
  it('says what it would have done and fires nothing, not even to webhooks', async () => {
    await create('deploy', {
      dryRun: true,
      storm: { firings: 2, within: '1h' },
      webhooks: [{ name: 'a', url: 'https://192.0.66.1/hook' }],
    });
    await pushes(2);
    expect(await decisions()).toEqual(['2 WouldFire', '1 WouldFire']);
    expect((await statusOf()).phase).toBe('DryRun');
    await pushes(1);
    expect((await statusOf()).phase).toBe('Stopped');
    expect(await bed.store.query('SELECT 1 FROM firing WHERE namespace = $1 AND stream = $2', [bed.namespace, 'web'])).toEqual([]);

    await change({ dryRun: false });
    await bed.actedOn();

    // What was rehearsed does not count.
    expect(fired()).toEqual([3]);
  });
});

describe('several instances', () => {
  it('decide about what is due once, whichever of them does', async () => {
    const other = await bed.start();
    try {
      const names = Array.from({ length: 250 }, (_, i) => `t-${i}`);
      for (const name of names) await create(name, { coalesce: '30s' });
      await pushes(2);
      bed.now += 30_000;
      const [one, two] = [bed.dispatcher.app.get(DueChanges), other.app.get(DueChanges)];
      await Promise.all([one.decideDue(), two.decideDue(), one.decideDue(), two.decideDue()]);
      await decided();

      for (const name of names) expect(fired(name)).toEqual([2]);
    } finally {
      await other.stop();
    }
  });

  it('one is killed while much is due: all of it is done, once, by the next', { timeout: 60_000 }, async () => {
    const names = Array.from({ length: 300 }, (_, i) => `k-${i}`);
    for (const name of names) await create(name, { coalesce: '1s' });
    await pushes(3);
    await bed.dispatcher.stop();
    // By its own clock everything has been due for long.
    await bed.store.query("UPDATE trigger SET look_at = now() - interval '1 hour' WHERE namespace = $1 AND look_at IS NOT NULL", [
      bed.namespace,
    ]);
    await bed.store.query(
      `UPDATE trigger SET control = jsonb_set(control, '{pending,first,since}', '"2026-01-01T00:00:00.000Z"') WHERE namespace = $1 AND control ? 'pending'`,
      [bed.namespace],
    );
    const millrace = fileURLToPath(new URL('../../../dist/millrace.js', import.meta.url));
    const running = { ...nodeEnvironment, ...bed.env, PATH: process.env['PATH'] ?? '', HTTP_PORT: '0', LOG_LEVEL: 'error' };
    const firings = async () =>
      (
        await bed.store.query("SELECT 1 FROM trigger WHERE namespace = $1 AND name LIKE 'k-%' AND last_triggered IS NOT NULL", [
          bed.namespace,
        ])
      ).length;
    for (let kills = 0; kills < 2; kills++) {
      const child = spawn(process.execPath, [...nodeFlags, millrace, 'trigger-dispatcher'], { env: running, stdio: 'ignore' });
      const gone = new Promise((resolve) => child.once('exit', resolve));
      const before = await firings();
      await eventually(async () => expect(await firings()).toBeGreaterThan(before === 300 ? 299 : before), 20_000, 1);
      child.kill('SIGKILL');
      await gone;
    }
    bed.dispatcher = await bed.start();
    bed.dispatcher.app.get(Clock).now = () => new Date();
    await eventually(async () => expect(await firings()).toBe(300), 20_000);
    bed.dispatcher.app.get(Clock).now = () => new Date(bed.now);
    await bed.actedOn();

    await eventually(() => {
      for (const name of names) expect([...new Set(fired(name))]).toEqual([3]);
    });
  });

  it('a change that an older program holds is known to a newer one, and one that the older has fired is over', async () => {
    await create('deploy', { paused: true });
    await pushes(2);
    // The program before this one knows `held` and no more.
    await bed.store.query('UPDATE trigger SET control = NULL WHERE namespace = $1 AND name = $2', [bed.namespace, 'deploy']);
    expect((await statusOf()).pending).toMatchObject({ generation: 2, count: 1 });
    await change({ paused: false });
    await bed.actedOn();
    expect(fired()).toEqual([2]);

    await change({ paused: true });
    await pushes(1);
    await bed.store.query('UPDATE trigger SET held = NULL WHERE namespace = $1 AND name = $2', [bed.namespace, 'deploy']);
    expect((await statusOf()).pending).toBeUndefined();
  });
});

describe('the fields', () => {
  it('are kept as they were given, and one that is applied again changes nothing', async () => {
    const spec = {
      hold: { reason: 'x', until: '2030-01-01T00:00:00+01:00' },
      minimumAge: '24h',
      windows: [{ schedule: '0 9 * * 1-5', timeZone: 'Europe/Berlin', duration: '8h' }],
      approval: { required: 2, within: '24h' },
      deny: [{ image: `sha256:${'f'.repeat(64)}`, reason: 'CVE' }],
      coalesce: '30s',
      storm: { firings: 20, within: '1h' },
      dryRun: true,
    };
    const made = await create('deploy', spec);

    expect(made.object.spec).toMatchObject(spec);
    const again = await change(JSON.parse(JSON.stringify(spec)) as object as Record<string, unknown>);
    expect(again.object.metadata).toEqual((await get()).metadata);
    expect(again.object.metadata['generation']).toBe(1);
  });

  it('that are wrong are refused with what, where and what to do', async () => {
    const refused = await bed.ask({
      verb: 'create',
      object: aTrigger('deploy', {
        minimumAge: 'a day',
        windows: [
          { schedule: '0 25 * * *', duration: '8h' },
          { schedule: '0 9 * * *', timeZone: 'Mars/Olympus', duration: '8h' },
        ],
        storm: { firings: 0 },
      }),
    });

    expect(refused.code).toBe(422);
    const { causes } = (refused.object as unknown as { details: { causes: { field: string; message: string }[] } }).details;
    expect(causes.map(({ field }) => field)).toEqual([
      'spec.minimumAge',
      'spec.windows[0].schedule',
      'spec.windows[1].schedule',
      'spec.storm.firings',
      'spec.storm.within',
    ]);
    expect(causes[2]?.message).toContain('"Mars/Olympus" is no time zone');
    expect((await bed.ask({ verb: 'create', object: aTrigger('deploy', { hold: { until: 'tomorrow' } }) })).object.message).toContain(
      'spec.hold.until: must be a time such as',
    );
  });
});
