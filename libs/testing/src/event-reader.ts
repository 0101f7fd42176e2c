import { AckPolicy, DeliverPolicy, jetstream, jetstreamManager, type JetStreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';

export interface ReadEvent {
  subject: string;
  id: string;
  type: string;
  traceparent: string;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  data: any;
}

export interface EventReader {
  /** What has come since the last call, acknowledged; waits for a first one up to `waitMs`. */
  take: (waitMs?: number) => Promise<ReadEvent[]>;
  close: () => Promise<void>;
}

/** A build system: a durable consumer of its own, plain NATS, which misses nothing while it is away. */
export async function eventReader(natsUrl: string, durable: string, filter = 'millrace.v1.>'): Promise<EventReader> {
  const { nats, manager } = await dial(natsUrl);
  await manager.consumers.add('MILLRACE_EVENTS', {
    durable_name: durable,
    ack_policy: AckPolicy.Explicit,
    deliver_policy: DeliverPolicy.All,
    filter_subject: filter,
  });
  const consumer = await jetstream(nats).consumers.get('MILLRACE_EVENTS', durable);
  return {
    async take(waitMs = 1_000) {
      const events: ReadEvent[] = [];
      for await (const message of await consumer.fetch({ max_messages: 5_000, expires: Math.max(1_000, waitMs) })) {
        const header = (name: string) => message.headers?.get(name) ?? '';
        events.push({
          subject: message.subject,
          id: header('ce-id'),
          type: header('ce-type'),
          traceparent: header('traceparent'),
          data: message.json(),
        });
        message.ack();
        if (message.info.pending === 0) break;
      }
      await nats.flush();
      return events;
    },
    close: () => nats.close(),
  };
}

async function dial(url: string): Promise<{ nats: NatsConnection; manager: JetStreamManager }> {
  const { host, username, password } = new URL(url);
  const nats = await connect({ servers: host, ...(password ? { user: username, pass: password } : {}) });
  return { nats, manager: await jetstreamManager(nats) };
}
