import { pino } from 'pino';
import type { Answer, EventContract, EventData, Question, RequestContract } from '@millrace/contracts/define';
import { Bus } from '@millrace/platform/bus';
import { startService, type RunningService, type ServiceDefinition } from '@millrace/platform/service';
import { headers as natsHeaders } from '@nats-io/transport-node';

/** A service of the product, running in the spec's process. */
export interface StartedService extends RunningService {
  /** What it has logged, as JSON lines. */
  logged: string[];
  /** The lines with this message. */
  lines: (message: string) => Record<string, unknown>[];
}

/** Starts a service as its program would, on a free port. */
export async function aService(definition: ServiceDefinition<never>, env: Record<string, string>): Promise<StartedService> {
  const logged: string[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => void logged.push(line) });
  const running = await startService(definition as unknown as ServiceDefinition, { HTTP_PORT: '0', ...env }, { log });
  const lines = (message: string) => logged.map((line) => JSON.parse(line) as Record<string, unknown>).filter((line) => line['msg'] === message);
  return Object.assign(running, { logged, lines });
}

/** The other end of NATS: asks services, answers in the place of one, tells facts and hears them. */
export async function aPeer(natsUrl: string): Promise<{
  bus: Bus;
  ask: <C extends RequestContract>(contract: C, question: Question<C>) => Promise<Answer<C>>;
  answer: <C extends RequestContract>(contract: C, how: (question: Question<C>) => Promise<Answer<C>>) => void;
  tell: <C extends EventContract>(contract: C, data: EventData<C>, meta: { id: string; traceparent?: string }) => Promise<void>;
  /** Every event of a contract from now on, with its headers. */
  hear: <C extends EventContract>(contract: C) => { data: EventData<C>; header: (name: string) => string }[];
  close: () => Promise<void>;
}> {
  const bus = new Bus({ url: natsUrl, name: 'spec', retentionHours: 1, stopTimeoutMs: 1_000 }, pino({ level: 'silent' }));
  await bus.open();
  return {
    bus,
    ask: (contract, question) => bus.ask(contract, question),
    answer: (contract, how) => bus.serve(contract, how as never),
    tell: async (contract, data, { id, traceparent }) => {
      const headers = natsHeaders();
      headers.set('ce-id', id);
      headers.set('ce-time', new Date().toISOString());
      if (traceparent) headers.set('traceparent', traceparent);
      // Without Nats-Msg-Id, so that a repeat is told again as it is after NATS has lost its disk.
      await bus.js.publish(contract.subjectOf(data as never), JSON.stringify(data), { headers });
    },
    hear: (contract) => {
      const heard: { data: never; header: (name: string) => string }[] = [];
      bus.nats.subscribe(contract.wildcard, {
        callback: (_error, message) =>
          void heard.push({ data: message.json() as never, header: (name) => message.headers?.get(name) ?? '' }),
      });
      return heard;
    },
    close: () => bus.close(),
  };
}
