import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { EventData, Question } from '@millrace/contracts/define';
import { ImportCompleted, ImportWanted, type WantedTag } from '@millrace/contracts/imports';
import { ApplyImport, ImportObjects, PullSecrets, TagStoreObjects } from '@millrace/contracts/requests';
import { notFound } from '@millrace/domain/status';
import { Sealing } from '@millrace/platform/sealing';
import type { MadeImage, MadeIndex } from '@millrace/testing/images';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { aPeer, aService, type StartedService } from '@millrace/testing/service';
import pg from 'pg';
import { service as definition } from './main.ts';

/* What the specs of this room start from: the service, whoever it speaks with over NATS, and a registry that does as it is told. */

/** A registry over plain HTTP. */
export interface ToldRegistry {
  /** `127.0.0.1:PORT` */
  host: string;
  /** Method and path of each request, in order. */
  asked: string[];
  /** What happens to a request; it is answered as it should be unless said otherwise. */
  answer: (request: IncomingMessage, response: ServerResponse, proceed: () => void) => void;
  has: (repository: string, tags: Record<string, MadeImage | MadeIndex>) => void;
  close: () => Promise<void>;
}

export async function aRegistry(): Promise<ToldRegistry> {
  const content = new Map<string, { body: Buffer; type: string }>();
  const tagsOf = new Map<string, Map<string, string>>();
  const server = createServer((request, response) => {
    const [path = ''] = (request.url ?? '').split('?');
    registry.asked.push(`${request.method} ${path}`);
    const [, repository = '', kind, name = ''] = /^\/v2\/(.+)\/(manifests|blobs|tags)\/(.+)$/.exec(path) ?? [];
    const proceed = () => {
      const tags = tagsOf.get(repository);
      if (kind === 'tags' && tags) return response.writeHead(200).end(JSON.stringify({ name: repository, tags: [...tags.keys()] }));
      const found = content.get(tags?.get(name) ?? name);
      if (found) return response.writeHead(200, { 'content-type': found.type }).end(request.method === 'HEAD' ? undefined : found.body);
      return response
        .writeHead(404)
        .end(JSON.stringify({ errors: [{ code: tags ? 'MANIFEST_UNKNOWN' : 'NAME_UNKNOWN', message: 'not here' }] }));
    };
    registry.answer(request, response, () => void proceed());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const put = (image: MadeImage | MadeIndex): void => {
    content.set(image.digest, { body: image.manifest, type: image.mediaType });
    if ('images' in image) image.images.forEach(put);
    else content.set(image.config.digest, { body: image.config.body, type: 'application/octet-stream' });
  };
  const registry: ToldRegistry = {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked: [],
    answer: (_request, _response, proceed) => proceed(),
    has: (repository, tags) => {
      tagsOf.set(
        repository,
        new Map([...(tagsOf.get(repository) ?? []), ...Object.entries(tags).map(([tag, image]) => [tag, image.digest] as const)]),
      );
      Object.values(tags).forEach(put);
    },
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
  return registry;
}

const KEY = Buffer.alloc(32, 7);
const USER = { name: 'dev', groups: ['system:authenticated'] };

/** The service with its neighbours. */
export interface Bed {
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

export async function aBed(env: Record<string, string> = {}): Promise<Bed> {
  const [database, nats] = await Promise.all([aDatabase(), aNatsServer()]);
  const peer = await aPeer(nats.url);
  const applied: Bed['applied'] = [];
  const streams: Bed['streams'] = new Map();
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
  const service = await aService(definition as never, {
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
