import { rm } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { join, resolve } from 'node:path';
import { withPort, type PortChoice } from './ports.ts';
import { EmbeddedServerError, ServerProcess, type ServerHooks } from './process.ts';
import { findProgram, isAtLeast, type SearchOptions } from './programs.ts';
import { keptSecrets, writePrivately } from './secrets.ts';

export interface NatsOptions extends ServerHooks, PortChoice {
  /** Holds `jetstream/`, `nats.conf`, `credentials.json` (0600). */
  dataDir: string;
  /** How often JetStream forces writes to the disk: `always`, `10s`. Servers before 2.10 know no such option and do so every two minutes. */
  syncInterval?: string;
  program?: SearchOptions;
}

export interface NatsServer {
  /** `nats://millrace:PASSWORD@127.0.0.1:PORT`. The JavaScript client ignores the credentials in it: give it `server`, `user` and `password`. */
  url: string;
  /** `nats://127.0.0.1:PORT`. */
  server: string;
  user: string;
  password: string;
  port: number;
  pid: number;
  version: string;
  stop(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** SIGKILL, then deletes all that JetStream stored: a lost disk. Start again with the same options. */
  wipe(): Promise<void>;
}

const USER = 'millrace';

/**
 * A NATS server with JetStream on 127.0.0.1, ready when this resolves. What it needs is in NATS 2.9.
 * @throws EmbeddedServerError
 */
export async function startNats(options: NatsOptions): Promise<NatsServer> {
  const { log, onExit } = options;
  const dataDir = resolve(options.dataDir);
  const configFile = join(dataDir, 'nats.conf');
  const program = await findProgram('nats-server', { progress: log, ...options.program });
  const { password } = keptSecrets(join(dataDir, 'credentials.json'), ['password']);

  return withPort('NATS', options, async (port) => {
    // The greeting names the server: somebody else's on this port is not taken for ours.
    const serverName = `millrace-${process.pid}-${port}`;
    const sync = options.syncInterval && isAtLeast(program.version, '2.10.0') ? options.syncInterval : undefined;
    writePrivately(configFile, configuration({ port, serverName, dataDir, password, sync }));

    const server = await ServerProcess.start({
      name: 'NATS',
      command: program.path,
      args: ['-c', configFile],
      pidFile: join(dataDir, 'nats.pid'),
      stopSignal: 'SIGTERM',
      log,
      onExit,
    });
    await server.untilReady(async () => {
      const greeting = await greetingOf(port);
      if (greeting['server_name'] !== serverName || greeting['jetstream'] !== true) {
        throw new EmbeddedServerError({ code: 'not-ready', message: `another server answers on port ${port}` });
      }
    });
    return {
      url: `nats://${USER}:${password}@127.0.0.1:${port}`,
      server: `nats://127.0.0.1:${port}`,
      user: USER,
      password,
      port,
      pid: server.pid,
      version: program.version,
      stop: () => server.stop(),
      kill: () => server.kill(),
      async wipe() {
        await server.kill();
        await rm(join(dataDir, 'jetstream'), { recursive: true, force: true });
      },
    };
  });
}

function configuration(c: { port: number; serverName: string; dataDir: string; password: string; sync: string | undefined }): string {
  // JSON's strings are NATS's strings.
  const text = JSON.stringify;
  return `listen: ${text(`127.0.0.1:${c.port}`)}
server_name: ${text(c.serverName)}
max_payload: 8MB
jetstream {
  store_dir: ${text(c.dataDir)}
  ${c.sync ? `sync_interval: ${c.sync === 'always' ? 'always' : text(c.sync)}` : ''}
}
authorization {
  user: ${text(USER)}
  password: ${text(c.password)}
}
`;
}

/** The INFO line that a NATS server sends to whoever connects. */
function greetingOf(port: number): Promise<Record<string, unknown>> {
  const { promise, resolve: answer, reject } = Promise.withResolvers<Record<string, unknown>>();
  const socket = createConnection({ host: '127.0.0.1', port, timeout: 2_000 });
  let received = '';
  socket.setEncoding('utf8');
  socket.on('data', (chunk: string) => {
    received += chunk;
    if (!received.includes('\r\n')) return;
    socket.destroy();
    try {
      answer(JSON.parse(received.slice('INFO '.length, received.indexOf('\r\n'))) as Record<string, unknown>);
    } catch (error) {
      reject(error as Error);
    }
  });
  socket.on('timeout', () => socket.destroy(new Error(`no greeting from port ${port}`)));
  socket.on('error', reject);
  socket.on('close', () => reject(new Error(`port ${port} closed without a greeting`)));
  return promise;
}
