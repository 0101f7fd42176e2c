import { afterAll, beforeAll, beforeEach, describe, expect, expectTypeOf, it } from 'vitest';
import type { TagMoved } from '@millrace/contracts/events';
import { anEventBed, type EventBed, idOf, moveOf, upTo } from '@millrace/testing/event-bed';
import { eventually } from '@millrace/testing/eventually';
import { type Client, ClientError, connect, type ConsumedEvent, type InvalidMessage, type Subscription } from './client.ts';

let bed: EventBed;
let client: Client;
let stream: string;
let streams = 0;

beforeAll(async () => {
  bed = await anEventBed();
  client = await aClient();
});
afterAll(() => bed.close());
// Each spec has a stream of its own.
beforeEach(() => (stream = `s${streams++}`));

const aClient = async () => bed.keep(await connect({ servers: bed.nats.url }));
const name = () => `of-${stream}`;
const tell = (...generations: number[]) => bed.tell(generations, 'latest', stream);
const subscribe = (of: Client = client, options: object = {}) => of.subscribe({ name: name(), events: ['tag.moved'], stream, ...options });

/** Takes so many events, and does with each what is said. */
async function take(
  subscription: Subscription<'tag.moved'>,
  count: number,
  settle = (event: ConsumedEvent) => event.ack(),
): Promise<ConsumedEvent<'tag.moved'>[]> {
  const taken: ConsumedEvent<'tag.moved'>[] = [];
  for await (const event of subscription) {
    taken.push(event);
    settle(event);
    if (taken.length === count) break;
  }
  return taken;
}
async function all<T>(events: AsyncIterable<T>): Promise<T[]> {
  const read: T[] = [];
  for await (const event of events) read.push(event);
  return read;
}
const generations = (events: readonly { data: TagMoved }[]) => events.map(({ data }) => data.generation);

describe('a subscription', () => {
  it('gives each event once, in order, typed and with all that its headers say', async () => {
    await tell(1, 2, 3);

    const events = await take(await subscribe(), 3);

    expect(generations(events)).toEqual([1, 2, 3]);
    expect(events[0]).toMatchObject({
      event: 'tag.moved',
      id: idOf(1, 'latest', stream),
      subject: `millrace.v1.tag.moved.demo.${stream}.latest`,
      time: expect.any(Date) as Date,
      deliveries: 1,
      data: moveOf(1, 'latest', stream),
    });
    expectTypeOf(events[0]!.data).toEqualTypeOf<TagMoved>();
  });

  it('that was away finds what was told meanwhile, and nothing twice', async () => {
    await tell(...upTo(5));
    await take(await subscribe(), 5);
    await tell(6, 7);

    const back = await take(await subscribe(await aClient()), 2);

    expect(generations(back)).toEqual([6, 7]);
  });

  it('that crashed between acting and saying so gets the same event again, under the same id', async () => {
    await tell(1);
    const first = await take(await subscribe(client, { ackWaitMs: 500 }), 1, () => undefined);

    const again = await take(await subscribe(await aClient(), { ackWaitMs: 500 }), 1);

    expect(again[0]?.id).toBe(first[0]?.id);
    expect([first[0]?.deliveries, again[0]?.deliveries]).toEqual([1, 2]);
  });

  it('gets an event again that it puts back, after the others that were there', async () => {
    await tell(1, 2);
    let refused = false;

    const events = await take(await subscribe(), 3, (event) => {
      if (refused) return event.ack();
      refused = true;
      event.nak(300);
    });

    expect(generations(events)).toEqual([1, 2, 1]);
  });

  it('of a new name begins where it is told to', async () => {
    await tell(1, 2);
    const [, second] = await take(await subscribe(), 2);
    const between = new Date();
    await tell(3);
    const from = async (suffix: string, start: object | string, count: number) => {
      const subscription = await client.subscribe({ name: `${name()}-${suffix}`, events: ['tag.moved'], stream, from: start as never });
      return generations(await take(subscription, count));
    };

    expect(await from('all', 'all', 3)).toEqual([1, 2, 3]);
    expect(await from('sequence', { sequence: second!.sequence }, 2)).toEqual([2, 3]);
    expect(await from('time', { time: between }, 1)).toEqual([3]);
    expect(await from('text', { time: between.toISOString() }, 1)).toEqual([3]);
    const fresh = await client.subscribe({ name: `${name()}-new`, events: ['tag.moved'], stream, from: 'new' });
    await tell(4);
    expect(generations(await take(fresh, 1))).toEqual([4]);
  });

  it('that is rewound while it is read goes on from there', async () => {
    await tell(1, 2, 3);
    const seen: number[] = [];
    const subscription = await subscribe();
    const reading = subscription.handle((event) => void seen.push(event.data.generation));
    await eventually(() => expect(seen).toEqual([1, 2, 3]));

    await client.rewind(name(), 'all');
    await eventually(() => expect(seen).toEqual([1, 2, 3, 1, 2, 3]));
    await tell(4);

    await eventually(() => expect(seen.at(-1)).toBe(4));
    await subscription.stop();
    await reading;
  });

  it('of one name in two processes shares the events between them', async () => {
    const seen: [string, number][] = [];
    const both = await Promise.all(['a', 'b'].map(async (who) => [who, await subscribe(await aClient(), { maxInFlight: 4 })] as const));
    const reading = both.map(([who, one]) =>
      one.handle(async (event) => {
        seen.push([who, event.data.generation]);
        await new Promise((resolve) => setImmediate(resolve));
      }),
    );

    await tell(...upTo(40));

    await eventually(() => expect(seen).toHaveLength(40));
    for (const [, one] of both) await one.stop();
    await Promise.all(reading);
    expect(new Set(seen.map(([, generation]) => generation)).size).toBe(40);
    expect(new Set(seen.map(([who]) => who))).toEqual(new Set(['a', 'b']));
  });

  it('gives out no more at a time than it may', async () => {
    await tell(...upTo(10));
    const subscription = await subscribe(client, { maxInFlight: 3 });
    const open: ConsumedEvent[] = [];
    const reading = subscription.handle(
      (event) =>
        new Promise<void>((resolve) => {
          open.push(Object.assign(event, { resolve }));
        }),
      { concurrency: 10 },
    );
    await eventually(() => expect(open).toHaveLength(3));
    const { num_ack_pending: pending, num_pending: left } = await consumerInfo(name());

    expect([pending, left]).toEqual([3, 7]);
    for (let n = 0; n < 10; n++) {
      await eventually(() => expect(open.length).toBeGreaterThan(n));
      (open[n] as unknown as { resolve: () => void }).resolve();
    }
    await subscription.stop();
    await reading;
  });

  it('of which several kinds are wanted gets these, and no others of the same subjects', async () => {
    await tell(1);
    await bed.publish(`millrace.v1.repository.pushed.host.${stream}`, '{}');
    await bed.publish(`millrace.v1.future.happened.demo.${stream}.latest`, '{}').catch(() => undefined);
    await tell(2);

    const subscription = await client.subscribe({ name: name(), stream });

    expect(generations((await take(subscription as never, 2)) as never)).toEqual([1, 2]);
  });
});

async function consumerInfo(consumer: string) {
  const { jetstreamManager } = await import('@nats-io/jetstream');
  const { connect: dial } = await import('@nats-io/transport-node');
  const { host, username, password } = new URL(bed.nats.url);
  const nats = await dial({ servers: host, user: username, pass: password });
  try {
    return await (await jetstreamManager(nats)).consumers.info('MILLRACE_EVENTS', consumer);
  } finally {
    await nats.close();
  }
}

describe('a handler', () => {
  it('that throws gets the event again, after what it was told to wait, and whoever asked is told why', async () => {
    await tell(1, 2);
    const calls: [number, number][] = [];
    const errors: unknown[] = [];
    const subscription = await subscribe();

    const reading = subscription.handle(
      (event) => {
        calls.push([event.data.generation, event.deliveries]);
        if (event.data.generation === 1 && event.deliveries < 3) throw new Error('not yet');
      },
      { onError: (error) => errors.push(error), retryAfterMs: (deliveries) => deliveries * 50 },
    );
    await eventually(() => expect(calls).toHaveLength(4));
    await subscription.stop();
    await reading;

    expect(calls).toEqual([
      [1, 1],
      [2, 1],
      [1, 2],
      [1, 3],
    ]);
    expect(errors.map(String)).toEqual(['Error: not yet', 'Error: not yet']);
  });

  it('that takes longer than the server waits keeps its event and those behind it', async () => {
    await tell(1, 2);
    const calls: number[] = [];
    const subscription = await subscribe(client, { ackWaitMs: 500 });
    const since = performance.now();

    const reading = subscription.handle(async (event) => {
      calls.push(event.deliveries);
      // As long as three times the server's wait: what it would give out again is there by then.
      if (event.data.generation === 1) await eventually(() => expect(performance.now() - since).toBeGreaterThan(1_500));
    });
    await eventually(() => expect(calls).toHaveLength(2));
    await subscription.stop();
    await reading;

    expect(calls).toEqual([1, 1]);
  });

  it('is waited for by a stop; what nobody has begun with is there at once for the next', async () => {
    await tell(1, 2, 3);
    const { promise: finished, resolve: finish } = Promise.withResolvers<void>();
    const seen: number[] = [];
    const own = await aClient();
    const reading = (await subscribe(own)).handle(async (event) => {
      seen.push(event.data.generation);
      await finished;
    });
    await eventually(() => expect(seen).toEqual([1]));

    const closed = own.close();
    const next = await take(await subscribe(), 2);
    expect(generations(next).toSorted()).toEqual([2, 3]);
    finish();
    await closed;
    await reading;

    expect(seen).toEqual([1]);
    expect(await consumerInfo(name())).toMatchObject({ num_ack_pending: 0, num_pending: 0 });
  });

  it('that never ends holds a stop up no longer than it may, and its event comes again', async () => {
    await tell(1);
    const own = await aClient();
    const begun = Promise.withResolvers<void>();
    void (await subscribe(own, { ackWaitMs: 500 })).handle(() => {
      begun.resolve();
      return new Promise(() => undefined);
    });
    await begun.promise;

    await own.close({ withinMs: 50 });

    expect((await take(await subscribe(client, { ackWaitMs: 500 }), 1))[0]?.deliveries).toBeGreaterThan(1);
  });
});

describe('a message that is no event', () => {
  it.each<[string, string, Record<string, string>, RegExp]>([
    ['without JSON', 'not json', { 'ce-id': 'x' }, /not JSON/],
    ['of another shape', '{"namespace":"demo"}', { 'ce-id': 'x' }, /streamUid/],
    ['without an id', '{}', {}, /no ce-id/],
    ['of another type', '{}', { 'ce-id': 'x', 'ce-type': 'dev.millrace.tag.moved.v2' }, /its type is/],
  ])('%s is told, ended, and holds nothing up', async (_what, body, headers, reason) => {
    const told: InvalidMessage[] = [];
    await bed.publish(`millrace.v1.tag.moved.demo.${stream}.latest`, body, headers);
    await tell(1);

    const events = await take(await subscribe(client, { onInvalid: (one: InvalidMessage) => told.push(one), ackWaitMs: 500 }), 1);

    expect(generations(events)).toEqual([1]);
    expect(told).toMatchObject([
      { subject: `millrace.v1.tag.moved.demo.${stream}.latest`, body, reason: expect.stringMatching(reason) as string },
    ]);
    await eventually(async () => expect(await consumerInfo(name())).toMatchObject({ num_ack_pending: 0, num_pending: 0 }));
  });

  it('is a process warning where nobody asked to be told', async () => {
    const warned = new Promise<Error & { code?: string }>((resolve) => process.once('warning', resolve));
    await bed.publish(`millrace.v1.tag.moved.demo.${stream}.latest`, 'no', { 'ce-id': 'x' });
    await tell(1);
    await take(await subscribe(), 1);

    expect(await warned).toMatchObject({ code: 'MILLRACE_INVALID_EVENT', message: expect.stringContaining('not JSON') as string });
  });
});

describe('reading without a place', () => {
  it('gives what is there, from the beginning, a sequence or a time, and ends', async () => {
    await tell(1, 2);
    const both = await all(client.read({ events: ['tag.moved'], stream }));
    const between = new Date();
    await tell(3);

    expect(generations(both)).toEqual([1, 2]);
    expect(generations(await all(client.read({ events: ['tag.moved'], stream, from: { sequence: both[1]!.sequence } })))).toEqual([2, 3]);
    expect(generations(await all(client.read({ events: ['tag.moved'], stream, from: { time: between } })))).toEqual([3]);
    expect(await all(client.read({ events: ['import.failed'], stream }))).toEqual([]);
  });

  it("of 'new' is refused: it would give nothing", async () => {
    await expect(client.read({ from: 'new' as never }).next()).rejects.toThrow(/subscribe instead/);
  });
});

describe('the state', () => {
  it('is the last event of each tag; going on from it misses nothing', async () => {
    for (const [tag, count] of [
      ['a', 3],
      ['b', 1],
      ['c.1', 2],
    ] as const)
      await bed.tell(upTo(count), tag, stream);

    const state = await client.state({ stream });
    await tell(1);
    const after = await client.subscribe({ name: name(), events: ['tag.moved'], stream, from: { sequence: state.sequence } });

    expect(state.events.map(({ data }) => [data.tag, data.generation]).toSorted()).toEqual([
      ['a', 3],
      ['b', 1],
      ['c.1', 2],
    ]);
    expect(state.since.getTime()).toBeLessThanOrEqual(Date.now());
    expect((await take(after, 1)).map(({ data }) => data.tag)).toEqual(['latest']);
  });

  it('of nothing is empty', async () => {
    expect((await client.state({ stream })).events).toEqual([]);
  });
});

describe('an error says what is wrong, where, and what to do, and holds no credential', () => {
  const failed = async (work: Promise<unknown>) => {
    const error = await work.then(
      () => undefined,
      (cause: unknown) => cause,
    );
    expect(error).toBeInstanceOf(ClientError);
    const all = JSON.stringify([error, String(error), (error as Error).stack, String((error as Error).cause)]);
    expect(all).not.toMatch(/hunter2/);
    return error as ClientError;
  };
  const host = () => new URL(bed.nats.url).host;

  it('where no server answers', async () => {
    const error = await failed(connect({ servers: 'nats://someone:hunter2@127.0.0.1:1' }));

    expect([error.code, error.message]).toEqual(['no-server', expect.stringContaining('no NATS server answers at 127.0.0.1:1')]);
  });

  it('where the credentials are wrong', async () => {
    for (const options of [{ servers: `nats://millrace:hunter2@${host()}` }, { servers: host() }, { servers: host(), token: 'hunter2' }]) {
      const error = await failed(connect(options));
      expect([error.code, error.message]).toEqual(['unauthorized', expect.stringContaining(`${host()} does not take the credentials`)]);
    }
  });

  it('where the stream is missing', async () => {
    const { aNatsServer } = await import('@millrace/testing/servers');
    const empty = await aNatsServer();
    const error = await failed(connect({ servers: empty.url }));
    await empty.stop();

    expect([error.code, error.message]).toEqual(['no-stream', expect.stringContaining('has no stream MILLRACE_EVENTS')]);
  });

  it.each<[string, () => Promise<unknown>]>([
    ['an address that is none', () => connect({ servers: 'http://u:hunter2@host' })],
    ['half of a login', () => connect({ servers: host(), password: 'hunter2' })],
    ['a setting that is none', () => connect({ servers: host(), pass: 'hunter2' } as never)],
    ['a name that NATS does not take', () => client.subscribe({ name: 'a.b' })],
    ['a start that is none', () => client.subscribe({ name: 'x', from: { time: 'yesterday' } })],
    ['a limit that is none', () => client.subscribe({ name: 'x', maxInFlight: 0 })],
  ])('%s is a bad option', async (_what, work) => {
    expect((await failed(work())).code).toBe('bad-option');
  });

  it('where a subscription is not there', async () => {
    expect((await failed(client.rewind('nobody', 'all'))).message).toContain(`there is no subscription nobody on NATS at ${host()}`);
    expect((await failed(client.unsubscribe('nobody'))).code).toBe('subscription-gone');
  });

  it('where a subscription is deleted while it is read', async () => {
    const reading = failed((await subscribe()).handle(() => undefined));
    await eventually(async () => expect((await consumerInfo(name())).num_waiting).toBe(1));

    await client.unsubscribe(name());

    expect((await reading).code).toBe('subscription-gone');
  });
});
