import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RepositoryPushed } from '@millrace/contracts/events';
import { ImportCompleted, ImportWanted } from '@millrace/contracts/imports';
import { ImportObjects, type ObjectQuestion, PullSecrets } from '@millrace/contracts/requests';
import { startRegistry, type RegistryServer } from '@millrace/embedded/registry';
import { eventually } from '@millrace/testing/eventually';
import { makeImage, pushImage } from '@millrace/testing/images';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { aPeer, aService, type StartedService } from '@millrace/testing/service';
import { service as definition } from './main.ts';
import { aStream, SECRETS_KEY } from './schedule-testbed.ts';

interface Listed {
  metadata: { name: string; labels: Record<string, string> };
  spec: Record<string, unknown>;
  status: { state: string; following: number; digest?: string; reason?: string; lastCheckAt?: string; tags?: unknown[] };
}

let nats: Awaited<ReturnType<typeof aNatsServer>>;
let peer: Awaited<ReturnType<typeof aPeer>>;
let database: Awaited<ReturnType<typeof aDatabase>>;
let registry: RegistryServer;
let service: StartedService;
const dataDir = mkdtempSync(join(tmpdir(), 'millrace-schedule-objects-'));
const [served, missing] = ['team/served', 'team/missing'];

beforeAll(async () => {
  [nats, database, registry] = await Promise.all([aNatsServer(), aDatabase(), startRegistry({ dataDir })]);
  peer = await aPeer(nats.url);
  peer.answer(PullSecrets, () => Promise.resolve({ revision: '0', secrets: [] }));
  service = await aService(definition as never, {
    DATABASE_URL: database.url,
    NATS_URL: nats.url,
    SECRETS_KEY: SECRETS_KEY.toString('base64'),
    IMPORT_ALLOW_ADDRESSES: 'loopback',
  });
  await pushImage(registry.host, served, 'latest', makeImage('first'));
  const stream = aStream('s', {
    latest: { from: `${registry.host}/${served}:latest`, interval: '10s' },
    missing: { from: `${registry.host}/${missing}:latest` },
  });
  await peer.tell(ImportWanted, stream, { id: 'wanted' });
  await peer.tell(ImportWanted, aStream('t', { latest: { from: `${registry.host}/${served}:latest` } }, { namespace: 'other' }), {
    id: 'wanted too',
  });
  await eventually(async () => expect((await list()).map(({ status }) => status.following).sort()).toEqual([1, 2]));
});
afterAll(async () => {
  await service.stop();
  await peer.close();
  await Promise.all([nats.stop(), registry.stop()]);
  await database.drop();
  rmSync(dataDir, { recursive: true, force: true });
});

const ask = (question: Partial<ObjectQuestion>) => peer.ask(ImportObjects, { resource: 'scheduledimports', ...question } as ObjectQuestion);
const list = async (labelSelector?: string): Promise<Listed[]> => {
  const answer = await ask({ verb: 'list', ...(labelSelector ? { labelSelector } : {}) });
  return answer.kind === 'list' ? (answer.items as Listed[]) : [];
};
const get = async (name: string): Promise<Listed> => {
  const answer = await ask({ verb: 'get', name });
  return (answer.kind === 'object' ? answer.object : answer) as Listed;
};
const of = async (repository: string) => (await list()).find(({ spec }) => String(spec['reference']).includes(repository)) as Listed;
const user = { name: 'spec', groups: [] };
const check = (name: string) => ask({ verb: 'create', subresource: 'check', name, object: {}, dryRun: false, user } as never);

describe('scheduled imports as objects', () => {
  it('name what is looked at, how often, and who follows it', async () => {
    const { metadata, spec } = await of(served);
    const whole = await get(metadata.name);

    expect(spec).toEqual({
      reference: `${registry.host}/${served}:latest`,
      insecure: true,
      importMode: 'Legacy',
      credentials: 'none',
      interval: '30s',
    });
    expect(whole.status.tags).toEqual([
      {
        namespace: 'demo',
        name: 's:latest',
        interval: '30s',
        problem: 'millrace.dev/import-interval: "10s" is less than the 30s that is allowed',
      },
      { namespace: 'other', name: 't:latest', interval: '15m' },
    ]);
  });

  it('are looked at at once when somebody asks for it, and say what came of it', async () => {
    const heard = peer.hear(ImportCompleted);
    for (const { metadata } of await list()) expect(await check(metadata.name)).toMatchObject({ kind: 'object', code: 201 });

    await eventually(async () => {
      expect((await of(served)).status).toMatchObject({ state: 'scheduled', digest: makeImage('first').digest });
      expect((await of(missing)).status).toMatchObject({ state: 'refused', failures: 1, reason: expect.stringContaining('404') as string });
    });
    await eventually(() => expect(heard).toHaveLength(3));
  });

  it.each([
    [`registry=127.0.0.1_PORT`, [served, missing]],
    ['state=refused', [missing]],
    ['state!=refused', [served]],
    ['namespace=other', [served]],
    ['namespace in (demo)', [served, missing]],
    ['whatever', []],
  ])('are selected by %s', async (selector, repositories) => {
    const found = await list(selector.replace('PORT', String(registry.port)));

    expect(found.map(({ spec }) => String(spec['reference']).split('/').slice(1).join('/').split(':')[0]).sort()).toEqual(
      [...repositories].sort(),
    );
  });

  it('of a name that nothing has are not found, and cannot be written', async () => {
    expect(await ask({ verb: 'get', name: 'i-99999' })).toMatchObject({ kind: 'refused', status: { code: 404 } });
    expect(await ask({ verb: 'get', name: 'nonsense' })).toMatchObject({ kind: 'refused', status: { code: 404 } });
    expect(await check('i-99999')).toMatchObject({ kind: 'refused', status: { code: 404 } });
    expect(await ask({ verb: 'delete', name: 'i-1', dryRun: false, user } as never)).toMatchObject({
      kind: 'refused',
      status: { code: 405 },
    });
  });
});

describe('a hint on NATS', () => {
  it('has a push imported while the next turn is far away', async () => {
    const heard = peer.hear(ImportCompleted);
    const digest = await pushImage(registry.host, served, 'latest', makeImage('second'));

    const push = {
      id: 'p',
      eventId: 'p',
      host: registry.host,
      repository: served,
      tags: ['latest'],
      digest,
      registry: 'r',
      observedAt: '2026-01-02T03:04:05Z',
    };
    await peer.tell(RepositoryPushed, push, { id: 'p' });

    await eventually(() => expect(heard.map(({ data }) => data.stream).sort()).toEqual(['s', 't']));
  });
});

describe('the metrics', () => {
  it('say how many references are in which state, what was looked at and how late', async () => {
    const text = await (await fetch(`http://127.0.0.1:${service.port}/metrics`)).text();

    expect(text).toMatch(/^millrace_scheduled_references\{state="refused"\} 1$/m);
    expect(text).toMatch(/^millrace_scheduled_checks_total\{outcome="refused"\} 1$/m);
    expect(text).toMatch(/^millrace_scheduled_check_late_seconds_count [3-9]$/m);
    expect(text).toMatch(/^millrace_scheduled_checks_overdue_seconds 0$/m);
  });
});
