import { createWriteStream, mkdirSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { startNats } from '@millrace/embedded/nats';
import { freePort, withPort } from '@millrace/embedded/ports';
import { startPostgres } from '@millrace/embedded/postgres';
import { EmbeddedServerError, type Exit } from '@millrace/embedded/process';
import { startRegistry } from '@millrace/embedded/registry';
import { keptSecrets, writePrivately } from '@millrace/embedded/secrets';
import { createLog } from '@millrace/platform/log';
import { activity } from './activity.ts';
import { runServices, serviceNames, untilAsked } from './services.ts';
import { optionsOf, portOf } from './usage.ts';

const options = {
  'data-dir': { type: 'string', default: '.millrace' },
  'api-port': { type: 'string', default: '8443' },
  'registry-port': { type: 'string', default: '5000' },
  'nats-port': { type: 'string', default: '4222' },
  'postgres-port': { type: 'string', default: '5433' },
  'internal-registry': { type: 'string' },
  'log-level': { type: 'string', default: 'info' },
  quiet: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

const usage = `usage: npm start -- [options]

  --data-dir DIR        where everything is kept: databases, images, keys, logs (.millrace)
  --api-port N          8443      --registry-port N   5000
  --nats-port N         4222      --postgres-port N   5433
                        a port that is taken is replaced by a free one unless it was given here; 0 asks for a free one
  --internal-registry H what pull specs call the bundled registry (its address)
  --log-level LEVEL     of DIR/millrace.log (info)
  --quiet               print only what runs where`;

const LOOPBACK = 'loopback';
/** Everything on this machine, from nothing: real servers as child processes, all services in this one. Ends at Ctrl-C; the data stay. */
export async function start(args: string[]): Promise<number> {
  const values = optionsOf(args, options, usage);
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const begun = performance.now();
  const dataDir = resolve(values['data-dir']);
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const logFile = join(dataDir, 'millrace.log');
  const logStream = createWriteStream(logFile, { flags: 'a', mode: 0o600 });
  const log = createLog(
    values['log-level'],
    activity(
      (text) => values.quiet || console.log(`  ${text}`),
      (line) => logStream.write(line),
    ),
  );
  const asked = untilAsked();
  const stops: (() => Promise<unknown>)[] = [];
  const stopAll = async () => {
    for (const stop of stops.toReversed()) await stop().catch((error: unknown) => log.warn({ err: error }, 'stop.failed'));
    await new Promise<void>((done) => logStream.end(done));
  };
  const lost = Promise.withResolvers<number>();
  const hooks = (name: string) => ({
    log: (line: string) => log.debug({ server: name, line }, 'server.log'),
    onExit: (exit: Exit, lines: readonly string[]) => {
      console.error(`${name} ended by itself (${exit.signal ?? exit.code}). Its last words:\n${lines.slice(-5).join('\n')}`);
      lost.resolve(1);
    },
  });

  try {
    const progress = (text: string) => values.quiet || console.log(text);
    const port = (name: 'api' | 'registry' | 'nats' | 'postgres') => portChoice(args, values, name);
    const [postgres, nats] = await Promise.all([
      onPort(port('postgres'), (choice) => startPostgres({ dataDir: join(dataDir, 'postgres'), ...choice, ...hooks('PostgreSQL') })),
      onPort(port('nats'), (choice) => startNats({ dataDir: join(dataDir, 'nats'), ...choice, ...hooks('NATS'), program: { progress } })),
    ]);
    stops.push(
      () => postgres.stop(),
      () => nats.stop(),
    );
    const secrets = keptSecrets(join(dataDir, 'secrets.json'), ['notifications']);
    const { key } = keptKey(join(dataDir, 'key.json'));
    const notifyPort = await freePort();
    const registry = await onPort(port('registry'), (choice) =>
      startRegistry({
        dataDir: join(dataDir, 'registry'),
        ...choice,
        ...hooks('The registry'),
        program: { progress },
        notifications: [
          {
            name: 'millrace',
            url: `http://127.0.0.1:${notifyPort}/notifications/local`,
            headers: { Authorization: `Bearer ${secrets.notifications}` },
          },
        ],
      }),
    );
    stops.push(() => registry.stop());

    const kubeconfig = join(dataDir, 'kubeconfig');
    const serviceEnv = (apiPort: number) =>
      withOuter({
        DATABASE_URL: postgres.url,
        NATS_URL: nats.url,
        INTERNAL_REGISTRY_HOST: values['internal-registry'] ?? registry.host,
        REGISTRIES: JSON.stringify([{ name: 'local', url: registry.url, secret: secrets.notifications }]),
        REGISTRY_ALLOW_ADDRESSES: LOOPBACK,
        IMPORT_ALLOW_ADDRESSES: LOOPBACK,
        WEBHOOK_ALLOW_ADDRESSES: LOOPBACK,
        SECRETS_KEY: key,
        DATA_DIR: join(dataDir, 'api'),
        KUBECONFIG_PATH: kubeconfig,
        API_HTTP_PORT: String(apiPort),
        REGISTRY_MAPPING_HTTP_PORT: String(notifyPort),
        TAG_STORE_HTTP_PORT: '0',
        TRIGGER_DISPATCHER_HTTP_PORT: '0',
        IMPORT_SCHEDULER_HTTP_PORT: '0',
      });
    const choice = port('api');
    const apiPort = await onPort(choice, ({ port: wanted }) =>
      withPort('The API', { port: wanted, portSetting: choice.portSetting }, async (free) => free),
    );
    const { running, stop } = await runServices(serviceNames, serviceEnv(apiPort), log);
    stops.push(stop);

    const healthPorts = Object.fromEntries(running.map((service) => [service.name, service.port]));
    writePrivately(
      join(dataDir, 'running.json'),
      JSON.stringify(
        {
          pid: process.pid,
          nats: nats.url,
          postgres: postgres.url,
          registry: registry.host,
          api: `https://127.0.0.1:${apiPort}`,
          health: healthPorts,
        },
        null,
        2,
      ),
    );
    console.log(
      welcome({
        seconds: (performance.now() - begun) / 1000,
        dataDir,
        apiPort,
        registry: registry.host,
        natsPort: nats.port,
        postgresPort: postgres.port,
        kubeconfig,
        health: healthPorts,
      }),
    );

    const code = await Promise.race([asked.then(() => 0), lost.promise]);
    if (!values.quiet) console.log('\nStopping …');
    await stopAll();
    return code;
  } catch (error) {
    await stopAll();
    throw error;
  }
}

interface Choice {
  port: number;
  portSetting: string;
  /** The user named this port: another one would be a surprise. */
  insisted: boolean;
}

function portChoice(args: string[], values: Record<string, unknown>, name: 'api' | 'registry' | 'nats' | 'postgres'): Choice {
  const key = `${name}-port`;
  const port = portOf(key, values[key], usage);
  return { port, portSetting: `--${key}`, insisted: args.some((arg) => arg === `--${key}` || arg.startsWith(`--${key}=`)) };
}

/** Starts on the wanted port; on a free one where it is taken and nobody insisted. */
async function onPort<T>(choice: Choice, begin: (choice: { port: number; portSetting: string }) => Promise<T>): Promise<T> {
  try {
    return await begin(choice);
  } catch (error) {
    if (choice.insisted || !(error instanceof EmbeddedServerError && error.code === 'port-taken')) throw error;
    return begin({ port: 0, portSetting: choice.portSetting });
  }
}

/** The key under which webhook secrets lie in the database, kept beside the data: 32 bytes, base64. */
function keptKey(file: string): { key: string } {
  // 24 random bytes each, base64url: two of them are cut to the 32 bytes that AES-256 takes.
  const parts = keptSecrets(file, ['first', 'second']);
  return {
    key: Buffer.concat([Buffer.from(parts.first, 'base64url'), Buffer.from(parts.second, 'base64url')])
      .subarray(0, 32)
      .toString('base64'),
  };
}

function welcome(at: {
  seconds: number;
  dataDir: string;
  apiPort: number;
  registry: string;
  natsPort: number;
  postgresPort: number;
  kubeconfig: string;
  health: Record<string, number>;
}): string {
  const below = relative(process.cwd(), at.kubeconfig);
  const kubeconfig = below.startsWith('..') ? at.kubeconfig : below;
  const health = Object.entries(at.health)
    .filter(([name]) => name !== 'api')
    .map(([name, port]) => `${name} ${port}`)
    .join(', ');
  return `
Millrace runs (${at.seconds.toFixed(1)} s). Ctrl-C stops it; the data stay in ${at.dataDir}.

  API         https://127.0.0.1:${at.apiPort}   for kubectl and oc, through ${kubeconfig}
  Registry    ${at.registry}   a push to NAMESPACE/STREAM:TAG moves that tag
  Events      nats://127.0.0.1:${at.natsPort}   JetStream, subjects millrace.v1.>
  PostgreSQL  127.0.0.1:${at.postgresPort}
  Health      http://127.0.0.1:PORT/readyz and /metrics: ${health}

Try it, in a second terminal (and \`npm run listen\` in a third, to see events and webhooks arrive):

  export KUBECONFIG=${kubeconfig} && kubectl apply -f examples/demo.yaml
  skopeo copy --dest-tls-verify=false docker://docker.io/library/alpine:latest docker://${at.registry}/demo/web:latest
  kubectl get imagestreamtags,deliveries
`;
}

/** Every other setting of the services is for whoever starts them; what is made here holds, also against a file. */
function withOuter(made: Record<string, string>): Record<string, string | undefined> {
  const outer = Object.entries(process.env).filter(([key]) => !(key.replace(/_FILE$/, '') in made));
  return { ...Object.fromEntries(outer), ...made };
}
