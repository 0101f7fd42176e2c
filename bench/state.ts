import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AckPolicy, DeliverPolicy, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { headers as natsHeaders } from '@nats-io/transport-node';
import { events, TagMoved } from '@millrace/contracts/events';
import { startNats, type NatsServer } from '@millrace/embedded/nats';
import { percentile, type Figure } from './figures.ts';
import { dial } from './work.ts';

const TAGS = 10_000;
const MOVES_EACH = 3;
const ROUNDS = 7;
const IN_FLIGHT = 500;

const example = TagMoved.data.parse(
  JSON.parse(readFileSync(new URL('../libs/contracts/examples/tag.moved.v1.json', import.meta.url), 'utf8')),
);

const root = fileURLToPath(new URL('../', import.meta.url));
type Client = typeof import('../libs/client/src/client.ts');

/** A new consumer takes the last move of every tag: with the client, and with a bare loop over the same messages, in turn. */
export async function state(): Promise<Figure[]> {
  const directory = mkdtempSync(join(tmpdir(), 'millrace-state-'));
  const server = await startNats({ dataDir: directory });
  try {
    await tellMoves(server);
    const { connect } = await builtClient();
    const [withClient, bare]: [number[], number[]] = [[], []];
    for (let round = 0; round < ROUNDS; round++) {
      bare.push(await took(() => bareLoop(server)));
      withClient.push(await took(() => clientState(connect, server)));
    }
    const [median, bareMedian] = [percentile(withClient, 50), percentile(bare, 50)];
    const how = `of ${TAGS * MOVES_EACH} moves; median of ${ROUNDS} rounds in turn, each with a connection of its own`;
    return [
      {
        name: 'state of 10,000 tags',
        value: median / 1_000,
        unit: 's',
        limit: { value: 2, is: 'at most' },
        note: `the slowest ${(Math.max(...withClient) / 1_000).toFixed(2)} s; ${how}`,
      },
      {
        name: 'state of 10,000 tags, of a bare loop',
        value: median / bareMedian,
        unit: '×',
        limit: { value: 3, is: 'at most' },
        note: `${median.toFixed(0)} ms, every message checked against its contract, to ${bareMedian.toFixed(0)} ms, parsed only`,
      },
    ];
  } finally {
    await server.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

async function took(work: () => Promise<number>): Promise<number> {
  const begun = performance.now();
  const tags = await work();
  if (tags !== TAGS) throw new Error(`the state had ${tags} tags of ${TAGS}`);
  return performance.now() - begun;
}

async function clientState(connect: Client['connect'], { url }: NatsServer): Promise<number> {
  const client = await connect({ servers: url });
  const known = await client.state();
  await client.close();
  return known.events.length;
}

/** What its users install. */
async function builtClient(): Promise<Client> {
  const directory = join(root, 'libs', 'client', 'dist');
  const { status, stderr } = spawnSync(process.execPath, [join(root, 'tools', 'client-package.ts'), directory], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return (await import(join(directory, 'client.js'))) as Client;
}

async function bareLoop({ url }: NatsServer): Promise<number> {
  const nats = await dial(url);
  const manager = await jetstreamManager(nats, { checkAPI: false });
  const { name } = await manager.consumers.add(TagMoved.stream, {
    name: `bare-${Date.now()}`,
    ack_policy: AckPolicy.None,
    deliver_policy: DeliverPolicy.LastPerSubject,
    filter_subject: TagMoved.wildcard,
  });
  const consumer = await jetstream(nats).consumers.get(TagMoved.stream, name);
  const tags = new Map<string, unknown>();
  for await (const message of await consumer.consume({ max_messages: 1_000 })) {
    tags.set(message.subject, message.json());
    if (message.info.pending === 0) break;
  }
  await nats.close();
  return tags.size;
}

/** The stream as services make it, and in it all moves, tags in turn. */
async function tellMoves({ url }: NatsServer): Promise<void> {
  const nats = await dial(url);
  const subjects = events.filter(({ stream }) => stream === TagMoved.stream).map(({ wildcard }) => wildcard);
  await (await jetstreamManager(nats)).streams.add({ name: TagMoved.stream, subjects, storage: 'file', allow_direct: true });
  const js = jetstream(nats);
  let next = 0;
  const tell = async () => {
    for (let n = next++; n < TAGS * MOVES_EACH; n = next++) {
      const [tag, generation] = [n % TAGS, Math.floor(n / TAGS) + 1];
      const move = { ...example, stream: `app-${Math.floor(tag / 10)}`, tag: `1.${tag % 10}`, generation };
      const headers = natsHeaders();
      const id = `${move.stream}.${move.tag}.${generation}`;
      for (const [name, value] of [
        ['ce-id', id],
        ['ce-type', TagMoved.type],
        ['ce-source', '/tag-store'],
        ['ce-time', move.movedAt],
      ] as const)
        headers.set(name, value);
      await js.publish(TagMoved.subjectOf(move), JSON.stringify(move), { headers, timeout: 30_000 });
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, tell));
  await nats.close();
}
