import { AckPolicy, DeliverPolicy, jetstream, jetstreamManager, type JetStreamManager, type JsMsg } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { Bell } from '@millrace/platform/backoff';

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
  // One pull for as long as it reads: what is told between two short ones would come again only when it was not acknowledged for a while.
  const pull = await consumer.consume({ max_messages: 5_000 });
  const arrived: JsMsg[] = [];
  const bell = new Bell();
  const reading = (async () => {
    for await (const message of pull) {
      arrived.push(message);
      bell.ring();
    }
  })();
  return {
    async take(waitMs = 1_000) {
      if (!arrived.length) await bell.wait(waitMs);
      const taken = arrived.splice(0);
      for (const message of taken) message.ack();
      await nats.flush();
      return taken.map(eventOf);
    },
    async close() {
      await pull.close();
      await reading;
      await nats.close();
    },
  };
}

function eventOf(message: JsMsg): ReadEvent {
  const header = (name: string) => message.headers?.get(name) ?? '';
  return {
    subject: message.subject,
    id: header('ce-id'),
    type: header('ce-type'),
    traceparent: header('traceparent'),
    data: message.json(),
  };
}

async function dial(url: string): Promise<{ nats: NatsConnection; manager: JetStreamManager }> {
  const { host, username, password } = new URL(url);
  const nats = await connect({ servers: host, ...(password ? { user: username, pass: password } : {}) });
  return { nats, manager: await jetstreamManager(nats) };
}
