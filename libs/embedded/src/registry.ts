import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { stringify } from 'yaml';
import { withPort, type PortChoice } from './ports.ts';
import { ServerProcess, type ServerHooks } from './process.ts';
import { findProgram, isAtLeast, type SearchOptions } from './programs.ts';
import { keptSecrets, writePrivately } from './secrets.ts';

/** Where the registry reports pushes and deletions to. */
export interface NotificationEndpoint {
  name: string;
  url: string;
  headers?: Readonly<Record<string, string>>;
}

export interface RegistryOptions extends ServerHooks, PortChoice {
  /** Holds `storage/`, `config.yml` and `credentials.json` (both 0600). */
  dataDir: string;
  notifications?: readonly NotificationEndpoint[];
  /** A file of users with bcrypt hashes, as `htpasswd -B` writes it; anybody may push and pull where not given. */
  htpasswd?: string;
  /** A token server decides who may pull and push what; `rootCertificates` is a file of the certificates that its tokens are signed with. */
  tokenServer?: { realm: string; service: string; issuer: string; rootCertificates: string };
  /** Do not report pulls and layers, only what changes a tag; true where not given. */
  ignorePulls?: boolean;
  program?: SearchOptions;
}

export interface RegistryServer {
  /** `127.0.0.1:PORT`, as image references begin. */
  host: string;
  /** `http://127.0.0.1:PORT`. */
  url: string;
  port: number;
  pid: number;
  version: string;
  stop(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
}

/**
 * A container registry (CNCF Distribution 2.8 or 3) on 127.0.0.1, ready when this resolves.
 * @throws EmbeddedServerError
 */
export async function startRegistry(options: RegistryOptions): Promise<RegistryServer> {
  const { log, onExit } = options;
  const dataDir = resolve(options.dataDir);
  const storage = join(dataDir, 'storage');
  const configFile = join(dataDir, 'config.yml');
  const program = await findProgram('docker-registry', { progress: log, ...options.program });
  const { uploads } = keptSecrets(join(dataDir, 'credentials.json'), ['uploads']);
  mkdirSync(storage, { recursive: true });

  return withPort('The container registry', options, async (port) => {
    writePrivately(configFile, stringify(configuration(options, { port, storage, secret: uploads, version: program.version })));
    const server = await ServerProcess.start({
      name: 'The container registry',
      command: program.path,
      args: ['serve', configFile],
      // Distribution 3 sends traces to a collector on localhost unless it is told not to.
      env: { ...process.env, OTEL_TRACES_EXPORTER: 'none' },
      pidFile: join(dataDir, 'registry.pid'),
      log,
      onExit,
    });
    const url = `http://127.0.0.1:${port}`;
    await server.untilReady(async () => {
      const answer = await fetch(`${url}/v2/`, { signal: AbortSignal.timeout(2_000), redirect: 'manual' });
      await answer.body?.cancel();
      if (!answer.headers.get('docker-distribution-api-version'))
        throw new Error(`${url}/v2/ answered ${answer.status}, and not as a registry`);
    });
    return {
      host: `127.0.0.1:${port}`,
      url,
      port,
      pid: server.pid,
      version: program.version,
      stop: () => server.stop(),
      kill: () => server.kill(),
    };
  });
}

function configuration(
  { notifications = [], htpasswd, tokenServer, ignorePulls = true }: RegistryOptions,
  { port, storage, secret, version }: { port: number; storage: string; secret: string; version: string },
): object {
  return {
    version: 0.1,
    // Distribution 3 calls `disabled` what 2.8 does not know; both stay silent about single requests at this level.
    log: { level: 'warn', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: storage }, delete: { enabled: true }, cache: { blobdescriptor: 'inmemory' } },
    http: { addr: `127.0.0.1:${port}`, secret, headers: { 'X-Content-Type-Options': ['nosniff'] } },
    ...(htpasswd ? { auth: { htpasswd: { realm: 'millrace', path: resolve(htpasswd) } } } : {}),
    ...(tokenServer ? { auth: { token: tokenAuthentication(tokenServer) } } : {}),
    ...(isAtLeast(version, '3.0.0') ? { catalog: { maxentries: 1000 } } : {}),
    notifications: {
      endpoints: notifications.map(({ name, url, headers = {} }) => ({
        name,
        url,
        headers: Object.fromEntries(Object.entries(headers).map(([header, value]) => [header, [value]])),
        timeout: '10s',
        // The endpoint is tried again after each failure; after `threshold` failures in a row only every `backoff`.
        threshold: 5,
        backoff: '1s',
        ...(ignorePulls ? { ignore: { actions: ['pull'], mediatypes: ['application/octet-stream'] } } : {}),
      })),
    },
  };
}

function tokenAuthentication({ realm, service, issuer, rootCertificates }: NonNullable<RegistryOptions['tokenServer']>): object {
  return { realm, service, issuer, rootcertbundle: resolve(rootCertificates) };
}
