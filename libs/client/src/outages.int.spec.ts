import { afterEach, beforeEach, expect, it } from 'vitest';
import { anEventBed, type EventBed, idOf, upTo } from '@millrace/testing/event-bed';
import { eventually } from '@millrace/testing/eventually';
import { connect } from './client.ts';

let bed: EventBed;

beforeEach(async () => (bed = await anEventBed()));
afterEach(() => bed.close());

const aClient = async () => bed.keep(await connect({ servers: bed.nats.url }));

it('a server that goes and comes back under a subscription costs no event', async () => {
  const client = await aClient();
  const seen = new Set<string>();
  const subscription = await client.subscribe({ name: 'through-restarts', events: ['tag.moved'], ackWaitMs: 1_000 });
  const reading = subscription.handle((event) => void seen.add(event.id));
  await bed.tell(upTo(20));
  await eventually(() => expect(seen.size).toBe(20));

  for (const round of [1, 2]) {
    await bed.nats.kill();
    await bed.nats.restart();
    await eventually(() => bed.tell([20 + round]));
    await eventually(() => expect(seen).toContain(idOf(20 + round)));
  }

  await subscription.stop();
  await reading;
  expect(seen).toEqual(new Set(upTo(22).map((generation) => idOf(generation))));
});

it('what is acknowledged while the server is away comes again at most, and is acknowledged then', async () => {
  const client = await aClient();
  const deliveries: number[] = [];
  const subscription = await client.subscribe({ name: 'acks', events: ['tag.moved'], ackWaitMs: 1_000 });
  await bed.tell([1, 2]);
  const away = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const reading = subscription.handle(async (event) => {
    deliveries.push(event.data.generation);
    begun.resolve();
    await away.promise;
  });
  await begun.promise;

  await bed.nats.kill();
  away.resolve();
  await bed.nats.restart();
  await eventually(() => bed.tell([3]));
  await eventually(() => expect(new Set(deliveries)).toEqual(new Set([1, 2, 3])));
  await subscription.stop();
  await reading;

  const back = await (await aClient()).subscribe({ name: 'acks', events: ['tag.moved'], ackWaitMs: 1_000 });
  await bed.tell([4]);
  for await (const event of back) {
    event.ack();
    if (event.data.generation === 4) break;
  }
});

it('a server that loses its disk is told all events anew, and a subscription that goes on gets them under their ids', async () => {
  const client = await aClient();
  const seen: string[] = [];
  const subscription = await client.subscribe({ name: 'through-a-wipe', events: ['tag.moved'], from: 'new' });
  const reading = subscription.handle((event) => void seen.push(event.id));
  await bed.tell([1, 2]);
  await eventually(() => expect(seen).toHaveLength(2));

  await bed.nats.wipe();
  await bed.nats.restart();
  await eventually(() => bed.restore());
  await bed.tell([1, 2, 3]);

  await eventually(() => expect(seen).toContain(idOf(3)), 20_000);
  await subscription.stop();
  await reading;
  expect(new Set(seen)).toEqual(new Set([1, 2, 3].map((generation) => idOf(generation))));
});

it('a subscription that is stopped while the server is away ends, and one that is closed for good says so', async () => {
  const client = await aClient();
  const subscription = await client.subscribe({ name: 'away', events: ['tag.moved'] });
  const reading = subscription.handle(() => undefined);
  await bed.nats.kill();

  await client.close({ withinMs: 100 });
  await reading;

  await expect(client.state()).rejects.toMatchObject({ code: 'closed' });
  await bed.nats.restart();
});
