import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';
import { DeliverPolicy } from '@nats-io/jetstream';
import { Bus } from '@millrace/platform/bus';
import { createLog } from '@millrace/platform/log';
import { untilAsked } from './services.ts';
import { optionsOf, portOf, UsageError } from './usage.ts';

const usage = `usage: npm run listen -- [options]

  --data-dir DIR   of the running \`npm start\` (.millrace)
  --nats URL       instead: nats://user:password@host:4222
  --port N         where webhooks are received (8099)
  --since TIME     events from this time on, RFC 3339; only new ones when absent`;

const options = {
  'data-dir': { type: 'string', default: '.millrace' },
  nats: { type: 'string' },
  port: { type: 'string', default: '8099' },
  since: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
} as const;

/** Shows tag moves, builds and deployments as they are told on NATS, and answers webhooks with 204, showing them too. */
export async function listen(args: string[]): Promise<number> {
  const values = optionsOf(args, options, usage);
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const port = portOf('port', values.port, usage);
  const nats = values.nats ?? natsOf(values['data-dir']);
  const asked = untilAsked();
  const receiver = await receiverOn(port);
  const bus = new Bus({ url: nats, name: 'millrace listen', stopTimeoutMs: 1_000 }, createLog('silent'));
  await bus.open();
  const consumer = await bus.js.consumers.get(
    'MILLRACE_EVENTS',
    values.since ? { deliver_policy: DeliverPolicy.StartTime, opt_start_time: values.since } : { deliver_policy: DeliverPolicy.New },
  );
  const messages = await consumer.consume();
  const shown = (async () => {
    for await (const message of messages) {
      const type = message.subject.split('.').slice(2, 4).join('.');
      console.log(`event    ${type.padEnd(17)} ${shortly(message.json())}  id ${message.headers?.get('ce-id')}`);
    }
  })();

  console.log(
    `Events of ${values.since ? `${values.since} on` : 'now on'}; webhooks at http://127.0.0.1:${(receiver.address() as AddressInfo).port}/. Ctrl-C ends it.`,
  );

  await asked;
  await messages.close();
  await shown;
  receiver.closeAllConnections();
  receiver.close();
  await bus.close();
  return 0;
}

/** An event, as far as one line says it. */
interface Shown {
  namespace?: string;
  stream?: string;
  tag?: string;
  current?: { image: string };
  image?: string;
  reason?: string;
  trigger?: { name: string };
  host?: string;
  repository?: string;
  subject?: { id: string };
}

function shortly({ namespace, stream, tag, current, image, reason, trigger, host, repository, subject }: Shown): string {
  if (subject) return subject.id;
  if (repository) return `${host}/${repository}`;
  return `${namespace}/${stream}:${tag} → ${reason ?? current?.image ?? image}${trigger ? `  trigger ${trigger.name}` : ''}`;
}

/** Answers webhooks with 204, and shows them. */
async function receiverOn(port: number): Promise<Server> {
  const receiver = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (chunk: string) => (body += body.length < 1_000_000 ? chunk : ''));
    request.on('end', () => {
      const { type } = typeOf(body);
      console.log(
        `webhook  ${request.method} ${request.url}  ${type}  id ${request.headers['webhook-id'] ?? '-'}  signature ${String(request.headers['webhook-signature'] ?? '-').slice(0, 16)}…`,
      );
      response.writeHead(204).end();
    });
  });
  try {
    await once(receiver.listen(port, '127.0.0.1'), 'listening');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    throw new UsageError(`Port ${port} is taken, perhaps by another \`npm run listen\`: end that, or give --port N.`);
  }
  return receiver;
}

function natsOf(dataDir: string): string {
  const file = join(resolve(dataDir), 'running.json');
  try {
    return (JSON.parse(readFileSync(file, 'utf8')) as { nats: string }).nats;
  } catch {
    throw new UsageError(`${file} is not there: start Millrace with \`npm start\` first, or give --nats URL.`);
  }
}

function typeOf(body: string): { type: string } {
  try {
    return JSON.parse(body) as { type: string };
  } catch {
    return { type: 'not JSON' };
  }
}
