import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';

/**
 * Makes the files below DIR that the containers of docker-compose.yml mount. A secret that is there is kept, so an operator may put
 * their own; what is derived from secrets is written anew. The files are readable inside the volume, which only the containers mount:
 * their images run as different users.
 */
export async function secrets([directory]: string[]): Promise<number> {
  if (!directory) {
    console.error('usage: millrace secrets DIR');
    return 2;
  }
  mkdirSync(directory, { recursive: true });
  const kept = (name: string, make: () => string): string => {
    const file = join(directory, name);
    if (!existsSync(file)) write(file, make());
    return readFileSync(file, 'utf8').trim();
  };
  const password = () => randomBytes(24).toString('base64url');
  const postgres = kept('postgres-password', password);
  const nats = kept('nats-password', password);
  const notifications = kept('notifications-secret', password);
  kept('secrets-key', () => randomBytes(32).toString('base64'));
  kept('registries.json', () =>
    JSON.stringify([{ name: 'local', url: 'http://registry:5000', publicHost: '127.0.0.1:5000', secret: notifications }], null, 2),
  );
  write(join(directory, 'database-url'), `postgres://millrace:${encodeURIComponent(postgres)}@postgres:5432/millrace`);
  write(join(directory, 'nats-url'), `nats://millrace:${encodeURIComponent(nats)}@nats:4222`);
  write(join(directory, 'nats.conf'), natsConfiguration(nats));
  write(join(directory, 'registry.yml'), stringify(registryConfiguration(notifications, kept('registry-http-secret', password))));
  return 0;
}

function write(file: string, text: string): void {
  writeFileSync(`${file}.tmp`, text, { mode: 0o444 });
  chmodSync(`${file}.tmp`, 0o444);
  renameSync(`${file}.tmp`, file);
}

// JetStream forces every write to the disk: a machine that loses power loses no event, at the price of some throughput.
const natsConfiguration = (password: string): string => `listen: "0.0.0.0:4222"
http: "0.0.0.0:8222"
max_payload: 8MB
jetstream { store_dir: "/data", sync_interval: always }
authorization { user: millrace, password: ${JSON.stringify(password)} }
`;

const registryConfiguration = (secret: string, uploads: string): unknown => ({
  version: 0.1,
  log: { level: 'warn', accesslog: { disabled: true } },
  storage: { filesystem: { rootdirectory: '/var/lib/registry' }, delete: { enabled: true }, cache: { blobdescriptor: 'inmemory' } },
  http: { addr: ':5000', secret: uploads },
  notifications: {
    endpoints: [
      {
        name: 'millrace',
        url: 'http://registry-mapping:8081/notifications/local',
        headers: { Authorization: [`Bearer ${secret}`] },
        timeout: '5s',
        threshold: 5,
        backoff: '1s',
        ignore: { actions: ['pull', 'mount'], mediatypes: ['application/octet-stream'] },
      },
    ],
  },
});
