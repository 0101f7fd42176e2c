import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startNats, type NatsServer } from './nats.ts';

let dataDir: string;
let server: NatsServer;

beforeAll(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'millrace-nats-'));
  server = await startNats({ dataDir, syncInterval: 'always' });
}, 180_000);
afterAll(async () => {
  await server.stop();
  rmSync(dataDir, { recursive: true, force: true });
});

async function connected<T>(use: (connection: NatsConnection) => Promise<T>): Promise<T> {
  const connection = await connect({ servers: server.server, user: server.user, pass: server.password, reconnect: false });
  try {
    return await use(connection);
  } finally {
    await connection.close();
  }
}
const publish = (subject: string, body: string | Uint8Array) => connected((c) => jetstream(c).publish(subject, body));
const stored = () =>
  connected(async (c) => {
    const streams: [string, number][] = [];
    for await (const { config, state } of (await jetstreamManager(c)).streams.list()) streams.push([config.name, state.messages]);
    return streams;
  });

describe('embedded NATS', () => {
  it('stores what is published', async () => {
    await connected(async (c) => (await jetstreamManager(c)).streams.add({ name: 'FACTS', subjects: ['facts.>'] }));

    const ack = await publish('facts.one', 'body');

    expect(ack).toMatchObject({ stream: 'FACTS', seq: 1 });
  });

  it('lets nobody in without the password, which only the owner can read', async () => {
    await expect(connect({ servers: server.server, reconnect: false })).rejects.toThrow(/Authorization Violation/i);
    for (const file of ['credentials.json', 'nats.conf']) expect(statSync(join(dataDir, file)).mode & 0o777).toBe(0o600);
  });

  it('takes messages of 8 MB and no larger ones', async () => {
    await connected(async (c) => expect(c.info?.max_payload).toBe(8 * 1024 * 1024));

    await expect(publish('facts.large', new Uint8Array(7 * 1024 * 1024))).resolves.toMatchObject({ seq: 2 });
  });

  it('keeps stored messages and the password over a SIGKILL', async () => {
    const before = server;
    await server.kill();

    server = await startNats({ dataDir, port: before.port });

    expect(server.url).toBe(before.url);
    expect(server.url).toBe(`nats://millrace:${server.password}@127.0.0.1:${server.port}`);
    expect(await stored()).toEqual([['FACTS', 2]]);
  });

  it('keeps stored messages over a stop', async () => {
    await server.stop();

    server = await startNats({ dataDir });

    expect(await stored()).toEqual([['FACTS', 2]]);
  });

  it('starts empty after a wipe', async () => {
    await server.wipe();

    server = await startNats({ dataDir });

    expect(await stored()).toEqual([]);
  });
});
