import { jetstream } from '@nats-io/jetstream';
import { expect, it } from 'vitest';
import { eventReader } from './event-reader.ts';
import { eventually } from './eventually.ts';
import { aNatsServer } from './servers.ts';
import { aPeer } from './service.ts';

it('a reader gets what is told right after what it took, without waiting for it to be told again', async () => {
  const server = await aNatsServer();
  const peer = await aPeer(server.url);
  const { nats } = peer.bus;
  const tell = (n: number) => jetstream(nats).publish(`millrace.v1.tag.moved.demo.web.${n}`, '{}');
  const reader = await eventReader(server.url, 'reader');

  const taken: string[] = [];
  for (let n = 0; n < 200; n += 2) {
    await tell(n);
    const first = reader.take();
    const second = tell(n + 1);
    taken.push(...(await first).map(({ subject }) => subject));
    await second;
  }

  await eventually(async () => {
    taken.push(...(await reader.take(100)).map(({ subject }) => subject));
    expect(taken).toHaveLength(200);
  });
  expect(taken).toEqual(Array.from({ length: 200 }, (_, n) => `millrace.v1.tag.moved.demo.web.${n}`));
  await reader.close();
  await peer.close();
  await server.stop();
});
