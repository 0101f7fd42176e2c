import { describe, expect, it } from 'vitest';
import { WebhookDisabled, WebhookEnabled } from '@millrace/contracts/webhooks';
import { ALIVE_LOCKS } from '@millrace/platform/lease';
import { eventually } from '@millrace/testing/eventually';
import { DeliveriesBed } from '@millrace/testing/deliveries-bed';
import { service } from './main.ts';
import { Retention } from './retention.ts';
import { database } from './tables.ts';

const bed = new DeliveriesBed(service as never, database);
const DAY_MS = 86_400_000;

/** Fails until the circuit is open; resolves to how many calls that took. */
async function openCircuit(status = 503): Promise<number> {
  bed.sink.answer = () => ({ status });
  await bed.push();
  await eventually(async () => {
    await bed.hurry();
    expect((await bed.webhook()).state).toBe('Failing');
  });
  return bed.sink.received.length;
}

describe('an endpoint that keeps failing', () => {
  it('is left alone but for probes, with the oldest delivery; its trigger says so', async () => {
    await bed.trigger([bed.hook()]);
    const calls = await openCircuit();
    await bed.pushTimes(4);
    await eventually(async () => expect(await bed.list()).toHaveLength(5));

    await bed.hurry();
    await eventually(() => expect(bed.sink.received.length).toBeGreaterThan(calls));

    expect(await bed.webhook()).toMatchObject({ name: 'hook', state: 'Failing', reason: 'answered 503', since: expect.any(String) });
    expect(new Set(bed.generations())).toEqual(new Set([1]));
    const waiting = (await bed.list()).filter(({ spec }) => spec.generation > 1);
    expect(waiting.map(({ status }) => status)).toEqual(
      Array(4).fill(expect.objectContaining({ state: 'pending', attempts: 0, waitsFor: 'the circuit of its webhook, which is open' })),
    );
  });

  it('gets everything in order once it is back', async () => {
    await bed.trigger([bed.hook()]);
    await openCircuit();
    await bed.pushTimes(30);
    await eventually(async () => expect(await bed.list()).toHaveLength(31));
    bed.sink.answer = () => ({ status: 204 });

    await bed.hurry();
    await eventually(async () => expect(await bed.list('state=delivered')).toHaveLength(31));

    expect(bed.generations().slice(-31)).toEqual(Array.from({ length: 31 }, (_, i) => i + 1));
    expect((await bed.webhook()).state).toBe('Active');
    // And then it is called as before.
    await bed.push();
    await eventually(() => expect(bed.generations().at(-1)).toBe(32));
  });

  it('for a day, with nobody there, uses up neither tries nor time of what waits', async () => {
    const port = Number(new URL(bed.sink.url).port);
    await bed.sink.close();
    await bed.trigger([bed.hook()]);
    await bed.pushTimes(3);
    await eventually(async () => {
      await bed.hurry();
      expect((await bed.webhook()).state).toBe('Failing');
    });
    for (let i = 0; i < 5; i++) {
      await bed.store.query('UPDATE webhook SET failing_ms = $1 WHERE name = $2', [DAY_MS, 'hook']);
      const before = (
        await bed.store.query<{ calls: number }>('SELECT sum(calls)::int AS calls FROM delivery WHERE namespace = $1', [bed.namespace])
      )[0];
      await bed.hurry();
      await eventually(async () => {
        const [now] = await bed.store.query<{ calls: number }>('SELECT sum(calls)::int AS calls FROM delivery WHERE namespace = $1', [
          bed.namespace,
        ]);
        expect(now?.calls).toBeGreaterThan(before?.calls ?? 0);
      });
    }
    const [spent] = await bed.store.query<{ ms: number; tries: number }>(
      'SELECT sum(spent_ms)::int AS ms, sum(tries)::int AS tries FROM delivery WHERE namespace = $1',
      [bed.namespace],
    );
    expect(spent?.ms).toBeLessThan(DAY_MS / 100);
    expect(spent?.tries).toBeLessThanOrEqual(7);
    bed.sink = await bed.aSink({ port });
    await bed.hurry();

    await eventually(async () => expect(await bed.list('state=delivered')).toHaveLength(3));
    expect(bed.generations()).toEqual([1, 2, 3]);
  });

  it('does not concern another one of the same host', async () => {
    bed.sink.answer = ({ path }) => ({ status: path === '/bad' ? 503 : 204 });
    await bed.trigger([bed.hook({ name: 'bad', url: `${bed.sink.url}/bad` }), bed.hook({ name: 'good', url: `${bed.sink.url}/good` })]);
    await bed.pushTimes(8);

    await eventually(async () => expect(await bed.list('webhook=good,state=delivered')).toHaveLength(8));
  });

  it('with one message alone gets the others, when it is answered in words of its own', async () => {
    bed.sink.answer = ({ body }) => ({ status: body.includes('"generation":1,') ? 500 : 204 });
    await bed.trigger([bed.hook()]);
    await bed.push();
    await eventually(async () => {
      await bed.hurry();
      expect((await bed.webhook()).state).toBe('Failing');
    });
    await bed.push();

    await eventually(async () => {
      await bed.hurry();
      expect(await bed.list('state=delivered')).toHaveLength(1);
    });
  });
});

describe('an endpoint that fails for days', () => {
  async function disabled(): Promise<void> {
    await bed.trigger([bed.hook({ url: `${bed.sink.url}/in?token=hunter2` })]);
    await openCircuit();
    await bed.store.query('UPDATE webhook SET failing_ms = $1', [5 * DAY_MS]);
    await eventually(async () => {
      await bed.hurry();
      expect((await bed.webhook()).state).toBe('Disabled');
    });
  }

  it('is disabled, and told; what waits and what comes is kept', async () => {
    const told = bed.peer.hear(WebhookDisabled);
    await disabled();
    const calls = bed.sink.received.length;
    await bed.pushTimes(2);

    await eventually(async () => expect(await bed.list('state=parked')).toHaveLength(3));
    expect(bed.sink.received.length).toBe(calls);
    expect(await bed.list(undefined, 'status.state=parked')).toHaveLength(3);
    await eventually(() => expect(told).toHaveLength(1));
    expect(told[0]?.data).toMatchObject({
      trigger: { namespace: bed.namespace, name: 'deploy' },
      ...{ webhook: 'hook', url: `${bed.sink.url}/in`, reason: 'answered 503', failures: expect.any(Number) },
    });
    expect(told[0]?.header('ce-type')).toBe('dev.millrace.webhook.disabled.v1');
    const metrics = await (await fetch(`http://127.0.0.1:${bed.dispatcher.port}/metrics`)).text();
    expect(metrics).toContain('millrace_webhook_deliveries_waiting{state="parked"} 3');
    expect(metrics).toContain('millrace_webhooks_impaired{state="disabled"} 1');
  });

  it('is enabled by a change of it, which is told, and gets everything in order', async () => {
    const told = bed.peer.hear(WebhookEnabled);
    await disabled();
    await bed.pushTimes(5);
    await eventually(async () => expect(await bed.list('state=parked')).toHaveLength(6));
    bed.sink.answer = () => ({ status: 204 });
    const calls = bed.sink.received.length;

    await bed.change([bed.hook({ url: `${bed.sink.url}/better` })]);

    await eventually(async () => expect(await bed.list('state=delivered')).toHaveLength(6));
    expect(bed.generations().slice(calls)).toEqual([1, 2, 3, 4, 5, 6]);
    expect((await bed.webhook()).state).toBe('Active');
    await eventually(() => expect(told.map(({ data }) => data)).toMatchObject([{ webhook: 'hook', by: 'change' }]));
  });

  it('is enabled by a replay of what is parked', async () => {
    const told = bed.peer.hear(WebhookEnabled);
    await disabled();
    await bed.pushTimes(2);
    await eventually(async () => expect(await bed.list('state=parked')).toHaveLength(3));
    bed.sink.answer = () => ({ status: 204 });

    expect((await bed.replay()).object).toMatchObject({ status: { matched: 3, replayed: 3, remaining: 0 } });

    await eventually(async () => expect(await bed.list('state=delivered')).toHaveLength(3));
    await eventually(() => expect(told.map(({ data }) => data.by)).toEqual(['replay']));
  });

  it('is not by a change of its pace, nor of the labels of its trigger', async () => {
    await disabled();

    await bed.change([bed.hook({ url: `${bed.sink.url}/in?token=hunter2`, parallel: 1 })]);

    expect((await bed.webhook()).state).toBe('Disabled');
  });
});

describe('a webhook that wants order', () => {
  it('gets a delivery only when the one before it has arrived', async () => {
    let failures = 0;
    bed.sink.answer = ({ body }) => ({ status: body.includes('"generation":2,') && failures++ < 2 ? 500 : 204 });
    await bed.trigger([bed.hook({ ordered: true })]);
    await bed.pushTimes(6);

    await eventually(async () => {
      await bed.hurry();
      expect(await bed.list('state=delivered')).toHaveLength(6);
    });

    expect(bed.generations()).toEqual([1, 2, 2, 2, 3, 4, 5, 6]);
  });

  it('or is over: one that is canceled holds up the next no longer than that', async () => {
    bed.sink.answer = ({ body }) =>
      body.includes('"generation":1,') ? { status: 503, headers: { 'retry-after': '3600' } } : { status: 204 };
    await bed.trigger([bed.hook({ ordered: true })]);
    await bed.pushTimes(2);
    await eventually(async () => expect(await bed.list('state=retrying')).toHaveLength(1));
    const [first] = await bed.list('state=retrying');

    await bed.ask({ verb: 'delete', name: first?.metadata.name, dryRun: true });
    expect(await bed.list('state=retrying')).toHaveLength(1);
    await bed.ask({ verb: 'delete', name: first?.metadata.name });

    await eventually(async () => expect(await bed.list('state=delivered')).toHaveLength(1));
    expect(bed.generations()).toEqual([1, 2]);
  });

  it('keeps it with two dispatchers, and when one of them is killed', async () => {
    const { Client } = (await import('pg')).default;
    const killed = new Client({ connectionString: bed.server.url });
    await killed.connect();
    await killed.query('SELECT pg_advisory_lock($1, 4243)', [ALIVE_LOCKS]);
    const second = await bed.start();
    try {
      bed.sink.answer = () => ({ status: 503 });
      await bed.trigger([bed.hook({ ordered: true })]);
      await bed.push();
      await eventually(async () => expect(await bed.list('state=retrying')).toHaveLength(1));
      // The first one is in the hands of a third dispatcher, which is its advisory lock.
      await bed.store.query('UPDATE delivery SET claimed_by = 4243 WHERE namespace = $1', [bed.namespace]);
      bed.sink.answer = () => ({ status: 204, delayMs: 5 });
      const calls = bed.sink.received.length;
      await bed.pushTimes(20);
      await eventually(async () => expect(await bed.list()).toHaveLength(21));
      await bed.hurry();
      expect(bed.sink.received.length).toBe(calls);

      await killed.end();
      await eventually(async () => {
        await bed.hurry();
        expect(await bed.list('state=delivered')).toHaveLength(21);
      });

      expect(bed.generations().slice(calls)).toEqual(Array.from({ length: 21 }, (_, i) => i + 1));
    } finally {
      await second.stop();
    }
  });
});

describe('the pace of a webhook', () => {
  it('is not exceeded', async () => {
    await bed.trigger([bed.hook({ rate: { calls: 5, per: '1s' } })]);
    await bed.pushTimes(14);
    await eventually(async () => expect(await bed.list('state=delivered')).toHaveLength(14));

    const [first = 0] = bed.sink.received.map(({ at }) => at);
    const after = bed.sink.received.map(({ at }) => at - first);
    // Five at once, and then one each fifth of a second.
    expect(after.filter((ms) => ms < 150)).toHaveLength(5);
    expect(after.at(-1)).toBeGreaterThanOrEqual(1_750);
    expect(after.at(-1)).toBeLessThan(4_000);
    expect(bed.generations().toSorted((a, b) => a - b)).toEqual(Array.from({ length: 14 }, (_, i) => i + 1));
  });

  it('bounds calls under way at once', async () => {
    let open = 0;
    let most = 0;
    bed.sink.answer = () => {
      most = Math.max(most, ++open);
      setTimeout(() => open--, 20);
      return { status: 204, delayMs: 20 };
    };
    await bed.trigger([bed.hook({ parallel: 2 })]);
    await bed.pushTimes(12);
    await eventually(async () => expect(await bed.list('state=delivered')).toHaveLength(12));

    expect(most).toBe(2);
  });

  it('that makes no sense is refused', async () => {
    const object = {
      metadata: { name: 'deploy' },
      spec: {
        kind: 'Deploy',
        from: { kind: 'ImageStreamTag', name: 'web' },
        webhooks: [bed.hook({ rate: { calls: 0, per: 'now' }, parallel: 0 })],
      },
    };

    expect((await bed.ask({ resource: 'imagetriggers', verb: 'create', object })).message).toMatch(
      /webhooks\[0\]\.parallel.*webhooks\[0\]\.rate\.calls.*webhooks\[0\]\.rate\.per/,
    );
  });
});

describe('a long queue', () => {
  it('of one webhook delays neither another of the same host nor another host', async () => {
    bed.sink.answer = () => ({ status: 204, delayMs: 20 });
    const other = await bed.aSink();
    await bed.trigger([bed.hook({ name: 'flooded', url: `${bed.sink.url}/flooded` })], 'flooded', 'flood');
    await bed.push('flood:latest');
    await eventually(async () => expect(await bed.list('state=delivered')).toHaveLength(1));
    await bed.store.query(
      `WITH more AS (
         INSERT INTO firing (id, trigger_uid, kind, namespace, stream, tag, generation, image, event, traceparent, created)
         SELECT id || '.' || n, trigger_uid, kind, namespace, stream, tag, generation, image, event, traceparent, created
           FROM firing, generate_series(1, 20000) n WHERE namespace = $1 RETURNING id
       )
       INSERT INTO delivery (name, uid, firing_id, webhook, namespace, trigger_uid, trigger_name, host, state, next_attempt_at, created)
       SELECT 'more-' || row_number() OVER (), gen_random_uuid(), more.id, d.webhook, d.namespace, d.trigger_uid, d.trigger_name, d.host, 'pending', now(), now()
         FROM more, delivery d WHERE d.namespace = $1`,
      [bed.namespace],
    );
    await bed.hurry('flooded');
    await eventually(() => expect(bed.sink.received.length).toBeGreaterThan(50));
    await bed.trigger([bed.hook({ name: 'same', url: `${bed.sink.url}/same` }), bed.hook({ name: 'other', url: other.url })]);
    const pushed = Date.now();
    await bed.push();
    await eventually(() => expect(bed.sink.received.some(({ path }) => path === '/same')).toBe(true));
    await eventually(() => expect(other.received).toHaveLength(1));

    expect((bed.sink.received.find(({ path }) => path === '/same')?.at ?? 0) - pushed).toBeLessThan(500);
    expect((other.received[0]?.at ?? 0) - pushed).toBeLessThan(500);
  });
});

describe('deliveries that are in hand', () => {
  const held = async () =>
    (await bed.store.query('SELECT FROM delivery WHERE namespace = $1 AND claimed_by IS NOT NULL', [bed.namespace])).length;

  it('for a receiver that hangs are given back, but for those that it has been sent', async () => {
    const hung = await bed.aSocketServer(() => undefined);
    await bed.trigger(Array.from({ length: 20 }, (_, i) => bed.hook({ name: `hook-${i}`, url: hung.url })));
    await bed.push();

    await eventually(async () => expect([await held(), hung.connections()]).toEqual([8, 8]));
    expect((await bed.list()).map(({ status }) => status.state)).toEqual(Array.from({ length: 20 }, () => 'pending'));
  });

  it('go to another dispatcher when theirs stops', async () => {
    const hung = await bed.aSocketServer(() => undefined);
    const second = await bed.start({ STOP_TIMEOUT_MS: '2000' });
    await bed.trigger(Array.from({ length: 20 }, (_, i) => bed.hook({ name: `hook-${i}`, url: hung.url })));
    await bed.push();
    await eventually(() => expect(hung.connections()).toBeGreaterThanOrEqual(8));
    await second.stop();

    const [alone] = await bed.store.query<{ n: string }>(
      'SELECT count(DISTINCT claimed_by) AS n FROM delivery WHERE namespace = $1 AND claimed_by IS NOT NULL',
      [bed.namespace],
    );
    await eventually(async () => expect(await held()).toBe(8));
    expect(Number(alone?.n)).toBe(1);
  });

  it('do not go out to a receiver that has begun to fail', async () => {
    bed.sink.answer = () => ({ status: 500, delayMs: 200 });
    await bed.trigger([bed.hook()]);
    await bed.pushTimes(24);

    await eventually(async () => expect((await bed.list()).filter(({ status }) => status.attempts > 0).length).toBeGreaterThanOrEqual(8));
    await eventually(async () => expect(await held()).toBeLessThanOrEqual(1));
    expect(new Set(bed.generations()).size).toBeLessThanOrEqual(12);
  });
});

describe('a clock that jumps', () => {
  it('back leaves nothing waiting for a time that was far ahead', async () => {
    bed.sink.answer = () => ({ status: 503 });
    await bed.trigger([bed.hook()]);
    await bed.push();
    await eventually(async () => expect(await bed.list('state=retrying')).toHaveLength(1));
    // As it was written by a clock that was a month ahead.
    await bed.store.query(`UPDATE delivery SET next_attempt_at = now() + interval '30 days' WHERE namespace = $1`, [bed.namespace]);
    await bed.store.query(`UPDATE webhook SET due_at = now() + interval '30 days', paced_until = now() + interval '30 days'`);
    bed.sink.answer = () => ({ status: 204 });

    await bed.dispatcher.app.get(Retention).clean(new AbortController().signal);

    await eventually(async () => expect(await bed.list('state=delivered')).toHaveLength(1));
  });

  it('forward gives up nothing, and disables nothing', async () => {
    bed.sink.answer = () => ({ status: 503 });
    await bed.trigger([bed.hook()]);
    await bed.push();
    await eventually(async () => expect(await bed.list('state=retrying')).toHaveLength(1));
    // As it looks when the clock has jumped a year ahead: everything began long ago, and is due.
    await bed.store.query(
      `UPDATE delivery SET created = created - interval '1 year', started_at = started_at - interval '1 year', next_attempt_at = next_attempt_at - interval '1 year' WHERE namespace = $1`,
      [bed.namespace],
    );
    await bed.store.query(`UPDATE webhook SET failing_since = failing_since - interval '1 year', due_at = due_at - interval '1 year'`);
    const calls = bed.sink.received.length;

    await eventually(() => expect(bed.sink.received.length).toBe(calls + 1));
    await eventually(async () => expect((await bed.list())[0]?.status.attempts).toBe(2));
    expect((await bed.list())[0]?.status.state).toBe('retrying');
    expect((await bed.webhook()).state).toBe('Active');
  });

  it('and a webhook that nobody was woken for is found', async () => {
    bed.sink.answer = () => ({ status: 503 });
    await bed.trigger([bed.hook()]);
    await bed.push();
    await eventually(async () => expect(await bed.list('state=retrying')).toHaveLength(1));
    await bed.store.query('UPDATE webhook SET due_at = NULL');
    bed.sink.answer = () => ({ status: 204 });

    await bed.dispatcher.app.get(Retention).clean(new AbortController().signal);

    await eventually(async () => expect(await bed.list('state=delivered')).toHaveLength(1));
  });
});

describe('a delivery that is made while its webhook is looked at', () => {
  it('is not forgotten, however often that happens', async () => {
    bed.sink.answer = () => ({ status: 204, delayMs: 2 });
    await bed.trigger([bed.hook({ rate: { calls: 10_000, per: '1s' } })]);
    const second = await bed.start();
    try {
      // Each push makes one delivery wait, just when the others are claimed and done.
      await Promise.all(Array.from({ length: 10 }, () => bed.pushTimes(30)));
      await eventually(() => expect(new Set(bed.sink.received.map(({ headers }) => headers['webhook-id'])).size).toBe(300), 15_000);
      await eventually(async () => expect(await bed.list('state=delivered')).toHaveLength(300));

      expect(bed.sink.received).toHaveLength(300);
    } finally {
      await second.stop();
    }
  });
});
