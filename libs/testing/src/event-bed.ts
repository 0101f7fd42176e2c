import { readFileSync } from 'node:fs';
import { headers as natsHeaders } from '@nats-io/transport-node';
import { TagMoved } from '@millrace/contracts/events';
import { aNatsServer } from './servers.ts';
import { aPeer } from './service.ts';

/** A server with Millrace's streams, and somebody who tells events on it: what a consumer's spec starts from. */
export interface EventBed {
  nats: Awaited<ReturnType<typeof aNatsServer>>;
  /** Tells moves of `demo/<stream>:<tag>` under the ids that {@link idOf} gives. */
  tell: (generations: readonly number[], tag?: string, stream?: string) => Promise<void>;
  /** Publishes what no service would. */
  publish: (subject: string, body: string, headers?: Record<string, string>) => Promise<void>;
  /** Makes the streams anew, as a service does when it finds a server without. */
  restore: () => Promise<void>;
  /** A client that is closed with the bed, whatever it has in hand. */
  keep: <C extends Client>(client: C) => C;
  close: () => Promise<void>;
}

interface Client {
  close: (options: { withinMs: number }) => Promise<void>;
}

const example = TagMoved.data.parse(
  JSON.parse(readFileSync(new URL('../../contracts/examples/tag.moved.v1.json', import.meta.url), 'utf8')),
);

export const moveOf = (generation: number, tag = 'latest', stream = 'web'): TagMoved => ({ ...example, stream, tag, generation });
export const idOf = (generation: number, tag = 'latest', stream = 'web'): string => `${stream}.${tag}.${generation}`;
/** Generations from 1 on. */
export const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1);

export async function anEventBed(): Promise<EventBed> {
  const nats = await aNatsServer();
  const peer = await aPeer(nats.url);
  const kept: Client[] = [];
  return {
    nats,
    tell: async (generations, tag, stream) => {
      for (const generation of generations)
        await peer.tell(TagMoved, moveOf(generation, tag, stream), { id: idOf(generation, tag, stream) });
    },
    publish: async (subject, body, headers = {}) => {
      const made = natsHeaders();
      for (const [name, value] of Object.entries(headers)) made.set(name, value);
      await peer.bus.js.publish(subject, body, { headers: made });
    },
    restore: async () => void (await peer.bus.streamInfo('MILLRACE_EVENTS')),
    keep: (client) => {
      kept.push(client);
      return client;
    },
    close: async () => {
      await Promise.all(kept.map((one) => one.close({ withinMs: 100 })));
      await peer.close();
      await nats.stop();
    },
  };
}
