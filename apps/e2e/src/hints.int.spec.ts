import { createHmac, randomBytes, randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ImportCompleted, ImportWanted } from '@millrace/contracts/imports';
import { PullSecrets } from '@millrace/contracts/requests';
import { startRegistry } from '@millrace/embedded/registry';
import { service as importScheduler } from '@millrace/import-scheduler/main';
import { service as registryMapping } from '@millrace/registry-mapping/main';
import { eventually } from '@millrace/testing/eventually';
import { makeImage, pushImage } from '@millrace/testing/images';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { aPeer, aService, type StartedService } from '@millrace/testing/service';

/* From a webhook to the tag that follows: registry-mapping hears it, import-scheduler looks, long before its turn. */

const SECRET = 'the-secret-of-github';
const dataDir = mkdtempSync(join(tmpdir(), 'millrace-hints-'));
let database: Awaited<ReturnType<typeof aDatabase>>;
let nats: Awaited<ReturnType<typeof aNatsServer>>;
let peer: Awaited<ReturnType<typeof aPeer>>;
let server: Awaited<ReturnType<typeof startRegistry>>;
let services: StartedService[];

beforeAll(async () => {
  [database, nats, server] = await Promise.all([aDatabase(), aNatsServer(), startRegistry({ dataDir })]);
  peer = await aPeer(nats.url);
  peer.answer(PullSecrets, () => Promise.resolve({ revision: '0', secrets: [] }));
  const env = { DATABASE_URL: database.url, NATS_URL: nats.url, STOP_TIMEOUT_MS: '2000' };
  services = await Promise.all([
    aService(importScheduler as never, { ...env, SECRETS_KEY: randomBytes(32).toString('base64'), IMPORT_ALLOW_ADDRESSES: 'loopback' }),
    aService(registryMapping as never, {
      ...env,
      REGISTRIES: JSON.stringify([{ name: 'ghcr', dialect: 'ghcr', secret: SECRET, hosts: [server.host] }]),
    }),
  ]);
});
afterAll(async () => {
  await Promise.all(services.map((one) => one.stop()));
  await peer.close();
  await Promise.all([nats.stop(), server.stop()]);
  await database.drop();
  rmSync(dataDir, { recursive: true, force: true });
});

/** What GitHub says after a push. */
async function hook(name: string, version: string): Promise<number> {
  const body = JSON.stringify({
    action: 'published',
    package: {
      name,
      package_type: 'CONTAINER',
      updated_at: new Date().toISOString(),
      owner: { login: 'Acme' },
      package_version: { version, container_metadata: { tag: { name: 'latest' } } },
    },
  });
  const answer = await fetch(`http://127.0.0.1:${services[1]!.port}/notifications/ghcr`, {
    method: 'POST',
    body,
    headers: { 'x-github-event': 'package', 'x-hub-signature-256': `sha256=${createHmac('sha256', SECRET).update(body).digest('hex')}` },
  });
  return answer.status;
}

it('a webhook has a followed tag imported at once', async () => {
  const completed = peer.hear(ImportCompleted);
  const found = () =>
    completed.flatMap(({ data }) => data.tags.flatMap(({ result }) => (result.kind === 'found' ? [result.image.metadata.name] : [])));
  const first = await pushImage(server.host, 'acme/web', 'latest', makeImage('first'));
  await peer.tell(
    ImportWanted,
    {
      ...{ namespace: 'demo', stream: 'web', streamUid: randomUUID(), resourceVersion: '1', gone: false },
      tags: [
        {
          ...{ tag: 'latest', from: `${server.host}/acme/web:latest`, generation: 1, due: false, failing: false },
          ...{ insecure: true, scheduled: true, importMode: 'Legacy', referencePolicy: 'Source' },
        },
      ],
    } as never,
    { id: randomUUID() },
  );
  await eventually(async () => {
    expect(await hook('web', first)).toBe(202);
    expect(found()).toContain(first);
  });

  const second = await pushImage(server.host, 'acme/web', 'latest', makeImage('second'));
  expect(await hook('web', second)).toBe(202);

  await eventually(() => expect(found()).toContain(second));
});
