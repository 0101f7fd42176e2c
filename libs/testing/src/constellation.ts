import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startNats, type NatsServer } from '@millrace/embedded/nats';
import { freePort } from '@millrace/embedded/ports';
import { startPostgres, type PostgresServer } from '@millrace/embedded/postgres';
import { startRegistry, type RegistryServer } from '@millrace/embedded/registry';
import { credentialsIn } from './client.ts';
import { eventually } from './eventually.ts';
import { nodeEnvironment, nodeFlags } from './product.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const names = ['tag-store', 'trigger-dispatcher', 'import-scheduler', 'registry-mapping', 'api'] as const;
export type ServiceName = (typeof names)[number];

/** The product as a team runs it: each service a process of its own, its servers beside it; everything can be killed and started again. */
export class Constellation {
  readonly dataDir = mkdtempSync(join(tmpdir(), 'millrace-constellation-'));
  readonly ports = {} as Record<ServiceName | 'nats' | 'postgres' | 'registry', number>;
  private readonly secret = randomBytes(24).toString('base64url');
  private readonly key = randomBytes(32).toString('base64');
  private readonly processes = new Map<string, ChildProcess>();
  private readonly output = new Map<string, string>();
  postgres!: PostgresServer;
  nats!: NatsServer;
  registry!: RegistryServer;

  static async start(env: Record<string, string> = {}): Promise<Constellation> {
    const constellation = new Constellation(env);
    for (const name of [...names, 'nats', 'postgres', 'registry'] as const) constellation.ports[name] = await freePort();
    await Promise.all([constellation.startPostgres(), constellation.startNats()]);
    constellation.registry = await startRegistry({
      dataDir: join(constellation.dataDir, 'registry'),
      port: constellation.ports.registry,
      notifications: [
        {
          name: 'millrace',
          url: `http://127.0.0.1:${constellation.ports['registry-mapping']}/notifications/local`,
          headers: { Authorization: `Bearer ${constellation.secret}` },
        },
      ],
    });
    await Promise.all(names.map((name) => constellation.startService(name)));
    await Promise.all(names.map((name) => constellation.untilReady(name)));
    return constellation;
  }

  private readonly env: Record<string, string>;

  private constructor(env: Record<string, string>) {
    this.env = env;
  }

  get api(): { api: string; token: string; ca: string } {
    return { api: `https://127.0.0.1:${this.ports.api}`, ...credentialsIn(readFileSync(join(this.dataDir, 'kubeconfig'), 'utf8')) };
  }

  async startPostgres(): Promise<void> {
    this.postgres = await startPostgres({ dataDir: join(this.dataDir, 'postgres'), port: this.ports.postgres });
  }

  async startNats(): Promise<void> {
    this.nats = await startNats({ dataDir: join(this.dataDir, 'nats'), port: this.ports.nats });
  }

  /** Starts a service; `instance` tells a second one of the same service apart, which gets a port of its own. */
  async startService(name: ServiceName, instance = ''): Promise<void> {
    const port = instance ? await freePort() : this.ports[name];
    const child = spawn(process.execPath, [...nodeFlags, join(root, 'dist', 'millrace.js'), name], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: process.env['PATH'],
        HOME: process.env['HOME'],
        ...nodeEnvironment,
        LOG_LEVEL: 'info',
        DATABASE_URL: this.postgres.url,
        NATS_URL: this.nats.url,
        HTTP_PORT: String(port),
        INTERNAL_REGISTRY_HOST: this.registry.host,
        REGISTRIES: JSON.stringify([{ name: 'local', url: this.registry.url, secret: this.secret }]),
        REGISTRY_ALLOW_ADDRESSES: 'loopback',
        IMPORT_ALLOW_ADDRESSES: 'loopback',
        WEBHOOK_ALLOW_ADDRESSES: 'loopback',
        SECRETS_KEY: this.key,
        DATA_DIR: join(this.dataDir, 'api'),
        KUBECONFIG_PATH: join(this.dataDir, 'kubeconfig'),
        ...this.env,
      },
    });
    const id = `${name}${instance}`;
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => this.output.set(id, ((this.output.get(id) ?? '') + text).slice(-200_000)));
    this.processes.set(id, child);
  }

  async untilReady(name: ServiceName): Promise<void> {
    const scheme = name === 'api' ? 'https' : 'http';
    await eventually(
      async () => {
        const child = this.processes.get(name);
        if (child?.exitCode != null) throw new Error(`${name} ended with ${child.exitCode}: ${this.log(name).slice(-2_000)}`);
        if ((await statusOf(`${scheme}://127.0.0.1:${this.ports[name]}/readyz`)) !== 200)
          throw new Error(`${name} is not ready: ${this.log(name).slice(-2_000)}`);
      },
      60_000,
      50,
    );
  }

  log(id: string): string {
    return this.output.get(id) ?? '';
  }

  pid(id: string): number {
    return this.processes.get(id)?.pid ?? -1;
  }

  /** SIGKILL, at whatever it was doing. */
  async kill(id: string): Promise<void> {
    await this.end(id, 'SIGKILL');
  }

  async end(id: string, signal: NodeJS.Signals): Promise<number | null> {
    const child = this.processes.get(id);
    if (!child || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? null;
    const gone = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
    child.kill(signal);
    return gone;
  }

  async stop(): Promise<void> {
    await Promise.all([...this.processes.keys()].map((id) => this.end(id, 'SIGTERM')));
    await Promise.all([this.registry.stop(), this.nats.stop(), this.postgres.stop()]);
    rmSync(this.dataDir, { recursive: true, force: true });
  }
}

async function statusOf(url: string): Promise<number> {
  const { request } = await import(url.startsWith('https:') ? 'node:https' : 'node:http');
  return new Promise((resolve, reject) => {
    (request as typeof import('node:https').request)(url, { rejectUnauthorized: false, timeout: 3_000 }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    })
      .on('error', reject)
      .end();
  });
}
