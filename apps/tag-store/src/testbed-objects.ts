import { type ObjectAnswer, ObjectQuestion, TagStoreObjects } from '@millrace/contracts/requests';
import { Bus } from '@millrace/platform/bus';
import { Clock } from '@millrace/platform/clock';
import { startService } from '@millrace/platform/service';
import { Store } from '@millrace/platform/store';
import { DueTags } from './due-tags.ts';
import { service } from './main.ts';
import { aSecretsKey } from './testbed.ts';

/* What specs of objects start from: the whole service, asked as the api asks it. */

/* eslint-disable @typescript-eslint/no-explicit-any -- answers are JSON, looked into at known places */
export type Json = any;
export interface Reply {
  code: number;
  body: Json;
}

export const ADMIN = { name: 'admin', groups: ['system:masters', 'system:authenticated'] };
export const INTERNAL = 'registry.test:5000';
export const DRY = { dryRun: true };

/** A running service with its servers, and its objects; `namespace` is empty for a resource that has none. */
export interface TagStoreObjectsBed {
  ask: (question: object) => Promise<ObjectAnswer>;
  /** Asks, and shows the answer as a client would see it. */
  reply: (question: object) => Promise<Reply>;
  create: (namespace: string, resource: string, object: Json, more?: object) => Promise<Reply>;
  get: (namespace: string, resource: string, name: string, more?: object) => Promise<Reply>;
  list: (namespace: string, resource: string, more?: object) => Promise<Reply>;
  update: (namespace: string, resource: string, name: string, object: Json, more?: object) => Promise<Reply>;
  remove: (namespace: string, resource: string, name: string, more?: object) => Promise<Reply>;
  /** Posts a mapping of an image, which may say more of itself. */
  push: (namespace: string, stream: string, tag: string, image: object & { metadata: { name: string } }) => Promise<Reply>;
  sql: (text: string, parameters?: unknown[]) => Promise<Json[]>;
  /** From now on the service takes the time from there. */
  setClock: (clock: Clock) => void;
  /** Decides about what is due, without waiting for the service to do it. */
  lookAtDue: () => Promise<number>;
  stop: () => Promise<void>;
}

export async function aTagStore(
  database: { url: string; drop: () => Promise<void> },
  nats: { url: string; stop: () => Promise<void> },
  env: Record<string, string> = {},
): Promise<TagStoreObjectsBed> {
  const running = await startService(service, {
    DATABASE_URL: database.url,
    NATS_URL: nats.url,
    HTTP_PORT: '0',
    LOG_LEVEL: 'silent',
    SECRETS_KEY: aSecretsKey(),
    INTERNAL_REGISTRY_HOST: INTERNAL,
    ...env,
  });
  const write = { dryRun: false, user: ADMIN };
  const ask = (question: object) => running.app.get(Bus).ask(TagStoreObjects, ObjectQuestion.parse(question));
  const reply = async (question: object): Promise<Reply> => {
    const answer = await ask(question);
    if (answer.kind === 'refused') return { code: answer.status.code ?? 0, body: answer.status };
    return answer.kind === 'object' ? { code: answer.code, body: answer.object } : { code: 200, body: answer };
  };
  const create: TagStoreObjectsBed['create'] = (namespace, resource, object, more) =>
    reply({ verb: 'create', resource, namespace: namespace || undefined, object, ...write, ...more });
  return {
    ask,
    reply,
    create,
    get: (namespace, resource, name, more) => reply({ verb: 'get', resource, namespace: namespace || undefined, name, ...more }),
    list: (namespace, resource, more) => reply({ verb: 'list', resource, namespace: namespace || undefined, ...more }),
    update: (namespace, resource, name, object, more) =>
      reply({ verb: 'update', resource, namespace: namespace || undefined, name, object, ...write, ...more }),
    remove: (namespace, resource, name, more) =>
      reply({ verb: 'delete', resource, namespace: namespace || undefined, name, ...write, ...more }),
    push: (namespace, stream, tag, image) =>
      create(namespace, 'imagestreammappings', {
        metadata: { name: stream },
        tag,
        image: { dockerImageReference: `e.io/a/b@${image.metadata.name}`, ...image },
      }),
    sql: (text, parameters) => running.app.get(Store).query<Json>(text, parameters),
    setClock: (clock) => Object.assign(running.app.get(Clock), { now: () => clock.now() }),
    lookAtDue: () => running.app.get(DueTags).look(),
    stop: async () => {
      await running.stop();
      await nats.stop();
      await database.drop();
    },
  };
}
