import { randomUUID } from 'node:crypto';
import type { EventData, Question } from '@millrace/contracts/define';
import { ImportCompleted, ImportWanted, type WantedTag } from '@millrace/contracts/imports';
import { ApplyImport, ImportObjects, PullSecrets, TagStoreObjects } from '@millrace/contracts/requests';
import { notFound } from '@millrace/domain/status';
import { Sealing } from '@millrace/platform/sealing';
import type { ServiceDefinition } from '@millrace/platform/service';
import { aDatabase, aNatsServer } from './servers.ts';
import { aPeer, aService, type StartedService } from './service.ts';
import pg from 'pg';

const KEY = Buffer.alloc(32, 7);
const USER = { name: 'dev', groups: ['system:authenticated'] };

/** import-scheduler among those it speaks with over NATS, which do as they are told. */
export interface ImportBed {
  service: StartedService;
  peer: Awaited<ReturnType<typeof aPeer>>;
  sql: (text: string, parameters?: unknown[]) => Promise<Record<string, unknown>[]>;
  /** Imports that tag-store was asked to apply. */
  applied: Question<typeof ApplyImport>[];
  /** Streams that tag-store has, by name. */
  streams: Map<string, object>;
  /** What tag-store answers of `default`'s secrets: docker config of one registry. */
  secret: (host: string, username: string, password: string) => void;
  /** Posts an import; answers its code and the object, or the refusal. */
  post: (spec: object, given?: { metadata?: object; dryRun?: boolean }) => Promise<{ code: number; body: Record<string, never> & object }>;
  completed: { data: EventData<typeof ImportCompleted> }[];
  /** Tells what a stream wants; answers the stream's uid. */
  want: (stream: string, tags: Partial<WantedTag>[], given?: Partial<EventData<typeof ImportWanted>>) => Promise<string>;
  stop: () => Promise<void>;
}

export async function anImportBed(definition: ServiceDefinition<never>, env: Record<string, string> = {}): Promise<ImportBed> {
  const [database, nats] = await Promise.all([aDatabase(), aNatsServer()]);
  const peer = await aPeer(nats.url);
  const applied: ImportBed['applied'] = [];
  const streams: ImportBed['streams'] = new Map();
  const sealing = new Sealing({ SECRETS_KEY: [KEY] });
  let secrets: object[] = [];
  peer.answer(PullSecrets, () => Promise.resolve({ revision: randomUUID(), secrets } as never));
  peer.answer(TagStoreObjects, (question) => {
    const name = 'name' in question ? (question.name ?? '') : '';
    const object = streams.get(name);
    if (object) return Promise.resolve({ kind: 'object', code: 200, object } as never);
    return Promise.resolve({ kind: 'refused', status: notFound({ group: 'image.openshift.io', resource: 'imagestreams' }, name) } as never);
  });
  peer.answer(ApplyImport, (question) => {
    applied.push(question);
    return Promise.resolve({ kind: 'applied', stream: { metadata: { name: question.stream } }, images: [] } as never);
  });
  const completed = peer.hear(ImportCompleted);
  const service = await aService(definition, {
    DATABASE_URL: database.url,
    NATS_URL: nats.url,
    SECRETS_KEY: KEY.toString('base64'),
    IMPORT_ALLOW_ADDRESSES: 'loopback',
    ...env,
  });
  const client = new pg.Client({ connectionString: database.url, options: '-c search_path=import_scheduler' });
  await client.connect();
  return {
    service,
    peer,
    applied,
    streams,
    completed,
    sql: async (text, parameters) => (await client.query<Record<string, unknown>>(text, parameters)).rows,
    secret: (host, username, password) => {
      const uid = randomUUID();
      const text = JSON.stringify({ auths: { [host]: { username, password } } });
      const sealed = sealing.seal({ '.dockerconfigjson': Buffer.from(text).toString('base64') }, uid).toString('base64');
      secrets = [{ name: 'pull', uid, resourceVersion: '1', type: 'kubernetes.io/dockerconfigjson', registries: [], sealed }];
    },
    post: async (spec, { metadata = { name: 's' }, dryRun = false } = {}) => {
      const object = { kind: 'ImageStreamImport', apiVersion: 'image.openshift.io/v1', metadata, spec };
      const answer = await peer.ask(ImportObjects, {
        verb: 'create',
        resource: 'imagestreamimports',
        namespace: 'default',
        object,
        dryRun,
        user: USER,
      });
      if (answer.kind === 'refused') return { code: answer.status.code ?? 0, body: answer.status as never };
      return { code: answer.kind === 'object' ? answer.code : 0, body: (answer as unknown as { object: never }).object };
    },
    want: async (stream, tags, given = {}) => {
      const streamUid = given.streamUid ?? randomUUID();
      const wanted = tags.map((tag): WantedTag => ({
        tag: 'latest',
        from: '',
        generation: 1,
        due: true,
        failing: false,
        insecure: true,
        scheduled: false,
        importMode: 'Legacy',
        referencePolicy: 'Source',
        ...tag,
      }));
      const fact = { namespace: 'default', stream, streamUid, resourceVersion: '1', gone: false, tags: wanted, ...given };
      await peer.tell(ImportWanted, fact, { id: randomUUID() });
      return streamUid;
    },
    stop: async () => {
      await client.end();
      await service.stop();
      await peer.close();
      await nats.stop();
      await database.drop();
    },
  };
}
