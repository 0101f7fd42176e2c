import { readFileSync } from 'node:fs';
import { headers as natsHeaders } from '@nats-io/transport-node';
import type { TagMoved } from '@millrace/contracts/events';
import { TagMoved as TagMovedContract } from '@millrace/contracts/events';
import { aNatsServer } from '@millrace/testing/servers';
import { aPeer } from '@millrace/testing/service';
import { connect, type Client } from './client.ts';

/* What the specs of this room start from: a server with Millrace's streams, somebody who tells events on it, and clients. */

export interface Bed {
  nats: Awaited<ReturnType<typeof aNatsServer>>;
  client: () => Promise<Client>;
  /** Tells moves of `demo/<stream>:<tag>`; answers their ids. */
  tell: (generations: readonly number[], tag?: string, stream?: string) => Promise<string[]>;
  /** Publishes what no service would. */
  publish: (subject: string, body: string, headers?: Record<string, string>) => Promise<void>;
  /** Makes the streams, as a service does when it connects to a server that has none. */
  restore: () => Promise<void>;
  close: () => Promise<void>;
}

const example = JSON.parse(readFileSync(new URL('../../contracts/examples/tag.moved.v1.json', import.meta.url), 'utf8')) as TagMoved;

export const moveOf = (generation: number, tag = 'latest', stream = 'web'): TagMoved => ({ ...example, stream, tag, generation });
export const idOf = (generation: number, tag = 'latest', stream = 'web'): string => `${stream}.${tag}.${generation}`;

export async function aBed(): Promise<Bed> {
  const nats = await aNatsServer();
  const peer = await aPeer(nats.url);
  const clients: Client[] = [];
  return {
    nats,
    client: async () => {
      const client = await connect({ servers: nats.url });
      clients.push(client);
      return client;
    },
    tell: async (generations, tag, stream) => {
      const ids: string[] = [];
      for (const generation of generations) {
        const id = idOf(generation, tag, stream);
        await peer.tell(TagMovedContract, moveOf(generation, tag, stream), { id });
        ids.push(id);
      }
      return ids;
    },
    publish: async (subject, body, headers = {}) => {
      const made = natsHeaders();
      for (const [name, value] of Object.entries(headers)) made.set(name, value);
      await peer.bus.js.publish(subject, body, { headers: made });
    },
    restore: async () => void (await peer.bus.streamInfo('MILLRACE_EVENTS')),
    close: async () => {
      await Promise.all(clients.map((client) => client.close({ withinMs: 100 })));
      await peer.close();
      await nats.stop();
    },
  };
}
