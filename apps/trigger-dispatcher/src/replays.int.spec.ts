import { describe, expect, it } from 'vitest';
import { eventually } from '@millrace/testing/eventually';
import { DeliveriesBed } from '@millrace/testing/deliveries-bed';
import { service } from './main.ts';
import { Retention } from './retention.ts';
import { database } from './tables.ts';

const bed = new DeliveriesBed(service as never, database);

/** Deliveries of the namespace are given up, as after days of refusals. */
async function dead(times: number): Promise<void> {
  bed.sink.answer = () => ({ status: 422 });
  await bed.pushTimes(times);
  await eventually(async () => expect(await bed.list('state=retrying')).toHaveLength(times));
  await bed.store.query('UPDATE delivery SET spent_ms = $2 WHERE namespace = $1', [bed.namespace, 72 * 3_600_000]);
  await eventually(async () => {
    await bed.hurry();
    expect(await bed.list('state=dead')).toHaveLength(times);
  });
  bed.sink.answer = () => ({ status: 204 });
}

describe('each attempt of a delivery', () => {
  it('is kept: what was sent, what came back, how long it took and what followed; credentials masked', async () => {
    bed.sink.answer = () => ({
      status: bed.sink.received.length < 2 ? 503 : 204,
      headers: { 'retry-after': '1', 'x-request-id': 'r-17', 'set-cookie': 'session=hunter5', 'content-type': 'text/plain' },
      body: bed.sink.received.length < 2 ? 'I was sent Bearer hunter3-hunter3' : '',
    });
    const headers = { Authorization: 'Bearer hunter3-hunter3', 'X-Api-Key': 'hunter4', 'X-Env': 'prod' };
    await bed.trigger([bed.hook({ url: `${bed.sink.url}/in?token=hunter2`, headers })]);
    await bed.push();
    await eventually(async () => expect(await bed.list('state=delivered')).toHaveLength(1));

    const [listed] = await bed.list();
    const { status } = await bed.get(listed?.metadata.name ?? '');
    const [id = ''] = bed.sink.received.map(({ headers: sent }) => sent['webhook-id'] as string);
    expect(listed?.status.attemptLog).toBeUndefined();
    expect(status.attemptLog).toEqual([
      {
        number: 1,
        at: expect.stringMatching(/^\d{4}-.*Z$/),
        milliseconds: expect.any(Number),
        request: {
          method: 'POST',
          url: `${bed.sink.url}/in`,
          headers: expect.objectContaining({
            ...{ Authorization: '***', 'X-Api-Key': '***', 'X-Env': 'prod' },
            'webhook-id': id,
            'webhook-signature': bed.sink.received[0]?.headers['webhook-signature'],
          }),
          bytes: Buffer.byteLength(bed.sink.received[0]?.body ?? ''),
        },
        answer: {
          status: 503,
          headers: expect.objectContaining({ 'retry-after': '1', 'x-request-id': 'r-17', 'content-type': 'text/plain' }),
          body: 'I was sent ***',
        },
        error: 'answered 503',
        outcome: 'retry',
        nextAttemptAt: expect.stringMatching(/Z$/),
      },
      expect.objectContaining({ number: 2, outcome: 'delivered', answer: expect.objectContaining({ status: 204 }) }),
    ]);
    expect(JSON.stringify(status)).not.toMatch(/hunter/);
  });

  it('without an answer says why', async () => {
    await bed.sink.close();
    await bed.trigger([bed.hook()]);
    await bed.push();
    const [one] = await eventually(async () => {
      const found = await bed.list('state=retrying');
      expect(found).toHaveLength(1);
      return found;
    });

    const [attempt] = (await bed.get(one?.metadata.name ?? '')).status.attemptLog ?? [];
    expect(attempt).toMatchObject({ error: expect.stringContaining('ECONNREFUSED'), outcome: 'retry', request: { method: 'POST' } });
    expect(attempt).not.toHaveProperty('answer');
  });

  it('is one of twenty at most: the first two and the last eighteen', async () => {
    bed.sink.answer = () => ({ status: 422 });
    await bed.trigger([bed.hook()]);
    await bed.push();
    for (let made = 1; made <= 21; made++) {
      await eventually(async () => {
        await bed.hurry();
        expect((await bed.list())[0]?.status.attempts).toBeGreaterThanOrEqual(made);
      });
    }

    const [one] = await bed.list();
    const numbers = ((await bed.get(one?.metadata.name ?? '')).status.attemptLog ?? []).map(({ number }) => Number(number));
    expect(numbers).toHaveLength(20);
    expect(numbers.slice(0, 2)).toEqual([1, 2]);
    expect(numbers[2]).toBeGreaterThan(3);
    expect(numbers.at(-1)).toBe(Number(numbers[2]) + 17);
  });

  it('goes with its delivery', async () => {
    await bed.trigger([bed.hook()]);
    await bed.push();
    await eventually(async () => expect(await bed.list('state=delivered')).toHaveLength(1));
    const [one] = await bed.list();
    await bed.replay({ states: ['delivered'] });
    const kept = () => bed.store.query('SELECT 1 FROM attempt WHERE delivery = $1', [one?.metadata.name]);
    await eventually(async () => expect(await kept()).toHaveLength(1));
    await eventually(async () => expect(await bed.list('state=delivered')).toHaveLength(1));

    await bed.ask({ verb: 'delete', name: one?.metadata.name });

    expect(await kept()).toEqual([]);
  });

  it('that was kept by a program from before is shown once, and followed by the next', async () => {
    await bed.trigger([bed.hook()]);
    await bed.push();
    await eventually(async () => expect(await bed.list('state=delivered')).toHaveLength(1));
    const [{ metadata: { name } } = { metadata: { name: '' } }] = await bed.list();
    const log = async () => ((await bed.get(name)).status.attemptLog ?? []).map(({ number, outcome }) => [number, outcome]);
    await bed.store.query(
      `INSERT INTO attempt (delivery, number, at, ms, status, outcome) SELECT name, calls, last_attempt_at, last_ms, last_status, 'delivered' FROM delivery WHERE name = $1`,
      [name],
    );
    expect(await log()).toEqual([[1, 'delivered']]);
    await bed.store.query('UPDATE delivery SET last_outcome = NULL WHERE name = $1', [name]);
    expect(await log()).toEqual([[1, 'delivered']]);

    await bed.replay({ states: ['delivered'] });

    await eventually(async () =>
      expect(await log()).toEqual([
        [1, 'delivered'],
        [2, 'delivered'],
      ]),
    );
  });
});

describe('deliveries are listed', () => {
  it('by fields', async () => {
    const { host } = new URL(bed.sink.url);
    await bed.trigger([bed.hook({ name: 'a' }), bed.hook({ name: 'b' })]);
    await bed.trigger([bed.hook()], 'other', 'other');
    await bed.push();
    await bed.push('other:latest');
    await eventually(async () => expect(await bed.list('state=delivered')).toHaveLength(3));

    expect(await bed.list(undefined, `spec.trigger.name=deploy,spec.host=${host}`)).toHaveLength(2);
    expect(await bed.list(undefined, 'spec.webhook!=hook,status.state=delivered')).toHaveLength(2);
    expect(await bed.list(undefined, 'spec.from.name=other:latest')).toHaveLength(1);
    expect(await bed.list(undefined, 'status.state=dead')).toEqual([]);
    const [{ spec } = { spec: { id: '' } }] = await bed.list('trigger=other');
    expect(await bed.list(undefined, `spec.id=${spec.id}`)).toHaveLength(1);
  });

  it('by no others, and it says by which', async () => {
    expect((await bed.ask({ verb: 'list', fieldSelector: 'metadata.creationTimestamp=x' })).message).toBe(
      '"metadata.creationTimestamp" is not a known field selector: only "metadata.name", "metadata.namespace", "spec.trigger.name", "spec.webhook", ' +
        '"spec.host", "spec.id", "spec.image", "spec.from.namespace", "spec.from.name", "status.state"',
    );
  });
});

describe('a replay of many', () => {
  it('makes those that failed again, in order, with the ids that they had', async () => {
    await bed.trigger([bed.hook()]);
    await dead(4);
    const ids = new Set(bed.sink.received.map(({ headers }) => headers['webhook-id']));
    const calls = bed.sink.received.length;

    expect((await bed.replay({}, true)).object).toMatchObject({ status: { matched: 4, replayed: 0, remaining: 4 } });
    expect(await bed.list('state=dead')).toHaveLength(4);
    const made = await bed.replay();

    expect(made).toMatchObject({
      code: 201,
      object: { kind: 'DeliveryReplay', metadata: { name: expect.stringMatching(/^replay-/), namespace: bed.namespace } },
    });
    expect(made.object['status']).toMatchObject({ matched: 4, replayed: 4, remaining: 0, lastFiredAt: expect.stringMatching(/Z$/) });
    await eventually(async () => expect(await bed.list('state=delivered')).toHaveLength(4));
    expect(bed.generations().slice(calls)).toEqual([1, 2, 3, 4]);
    expect(new Set(bed.sink.received.map(({ headers }) => headers['webhook-id']))).toEqual(ids);
  });

  it('takes what had been delivered when it is asked to, by trigger, webhook, name, label and time', async () => {
    await bed.trigger([bed.hook({ name: 'a' }), bed.hook({ name: 'b', url: `${bed.sink.url}/b` })]);
    await bed.trigger([bed.hook()], 'other', 'other');
    await bed.pushTimes(3);
    await bed.pushTimes(2, 'other:latest');
    await eventually(async () => expect(await bed.list('state=delivered')).toHaveLength(8));
    const matched = async (spec: Record<string, unknown>) =>
      ((await bed.replay({ states: ['delivered'], ...spec }, true)).object['status'] as { matched: number }).matched;
    const all = await bed.list();

    expect(await matched({})).toBe(8);
    expect(await matched({ trigger: 'deploy' })).toBe(6);
    expect(await matched({ trigger: 'deploy', webhook: 'b' })).toBe(3);
    expect(await matched({ names: all.slice(0, 2).map(({ metadata }) => metadata.name) })).toBe(2);
    expect(await matched({ labelSelector: 'trigger in (other),state=delivered' })).toBe(2);
    expect(await matched({ since: '1h' })).toBe(8);
    expect(await matched({ until: '1h' })).toBe(0);
    await bed.store.query(`UPDATE delivery SET created = created - interval '1 day' WHERE namespace = $1 AND webhook = 'b'`, [
      bed.namespace,
    ]);
    expect(await matched({ since: '25h', until: '2h' })).toBe(3);

    const calls = bed.sink.received.length;
    await bed.replay({ states: ['delivered'], trigger: 'deploy', webhook: 'b' });
    await eventually(() => expect(bed.sink.received.length).toBe(calls + 3));
    expect(bed.generations().slice(calls)).toEqual([1, 2, 3]);
  });

  it('goes as far as its limit, oldest first, and says what is left', async () => {
    await bed.trigger([bed.hook()]);
    await dead(3);
    const calls = bed.sink.received.length;

    expect((await bed.replay({ limit: 2 })).object).toMatchObject({ status: { matched: 3, replayed: 2, remaining: 1 } });
    await eventually(() => expect(bed.sink.received.length).toBe(calls + 2));

    expect(bed.generations().slice(calls)).toEqual([1, 2]);
    expect((await bed.replay()).object).toMatchObject({ status: { matched: 1, replayed: 1, remaining: 0 } });
  });

  it('leaves out what no longer has a webhook', async () => {
    await bed.trigger([bed.hook()]);
    await bed.push();
    await eventually(async () => expect(await bed.list('state=delivered')).toHaveLength(1));
    await bed.ask({ resource: 'imagetriggers', verb: 'delete', name: 'deploy' });

    expect((await bed.replay({ states: ['delivered'] })).object).toMatchObject({ status: { matched: 0, replayed: 0 } });
  });

  it('keeps the order of a webhook that wants it: what comes meanwhile waits', async () => {
    await bed.trigger([bed.hook({ ordered: true })]);
    await bed.pushTimes(3);
    await eventually(async () => expect(await bed.list('state=delivered')).toHaveLength(3));
    let calls = 0;
    bed.sink.answer = ({ body }) => ({ status: body.includes('"generation":2,') && calls++ === 0 ? 500 : 204 });

    await bed.replay({ states: ['delivered'] });
    await bed.push();
    await eventually(async () => {
      await bed.hurry();
      expect(await bed.list('state=delivered')).toHaveLength(4);
    });

    expect(bed.generations().slice(3)).toEqual([1, 2, 2, 3, 4]);
  });

  it('that makes no sense is refused', async () => {
    expect(await bed.replay({ states: ['lost'], since: 'yesterday', limit: 100_000 })).toMatchObject({
      code: 422,
      message: expect.stringMatching(/spec\.states\[0\].*spec\.limit.*spec\.since/),
    });
    expect(await bed.ask({ resource: 'deliveryreplays', verb: 'list' })).toMatchObject({ code: 405 });
    expect(await bed.replay({ labelSelector: '=' })).toMatchObject({ code: 400 });
    expect(await bed.replay({ limit: 'all' })).toMatchObject({
      code: 400,
      message: expect.stringContaining('DeliveryReplay in version "v1" cannot be handled as a DeliveryReplay: spec.limit: ') as string,
    });
  });
});

describe('dead letters', () => {
  it('are counted, and stay for longer than what arrived', async () => {
    await bed.trigger([bed.hook()]);
    await dead(2);
    await bed.push();
    await eventually(async () => expect(await bed.list('state=delivered')).toHaveLength(1));
    const metrics = await (await fetch(`http://127.0.0.1:${bed.dispatcher.port}/metrics`)).text();
    expect(metrics).toMatch(/millrace_webhook_deliveries_failed\{state="dead"\} [1-9]/);
    const age = (days: number) =>
      bed.store.query('UPDATE delivery SET finished_at = finished_at - make_interval(days => $2) WHERE namespace = $1', [
        bed.namespace,
        days,
      ]);

    await age(8);
    await bed.dispatcher.app.get(Retention).clean(new AbortController().signal);
    expect((await bed.list()).map(({ status }) => status.state)).toEqual(['dead', 'dead']);
    await age(23);
    await bed.dispatcher.app.get(Retention).clean(new AbortController().signal);
    expect(await bed.list()).toEqual([]);
  });
});
