import { randomBytes } from 'node:crypto';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest';
import { TriggerObjects, type ObjectAnswer, type ObjectQuestion } from '@millrace/contracts/requests';
import type { ServiceDefinition } from '@millrace/platform/service';
import { Store, type StoreOptions } from '@millrace/platform/store';
import { aDatabase, aNatsServer } from './servers.ts';
import { aPeer, aService, type StartedService } from './service.ts';
import { TagMoves } from './tag-moves.ts';
import { aWebhookSink, type WebhookSink } from './webhook-sink.ts';

const user = { name: 'ada', groups: ['system:masters'] };

export interface DeliveryObject {
  metadata: { name: string; labels: Record<string, string> };
  spec: { id: string; webhook: string; url: string; host: string; generation: number };
  status: {
    state: string;
    attempts: number;
    waitsFor?: string;
    nextAttemptAt?: string;
    lastAttempt?: { status?: number; error?: string; answer?: string };
    attemptLog?: Record<string, never>[];
  };
}

export interface WebhookStatus {
  name: string;
  state: string;
  since?: string;
  reason?: string;
}

export type Answered = { code: number; object: Record<string, unknown>; items: DeliveryObject[]; continue?: string; message?: string };

/** A dispatcher with its servers, tags that move, and a receiver; a namespace for each test. To be made at the top of a spec. */
export class DeliveriesBed {
  nats!: Awaited<ReturnType<typeof aNatsServer>>;
  server!: Awaited<ReturnType<typeof aDatabase>>;
  peer!: Awaited<ReturnType<typeof aPeer>>;
  dispatcher!: StartedService;
  store!: Store;
  tags!: TagMoves;
  sink!: WebhookSink;
  namespace = '';
  private readonly key = randomBytes(32).toString('base64');
  private readonly closing: (() => unknown)[] = [];
  private count = 0;

  constructor(
    private readonly service: ServiceDefinition<never>,
    database: Omit<StoreOptions, 'url' | 'poolSize'>,
  ) {
    beforeAll(async () => {
      [this.nats, this.server] = await Promise.all([aNatsServer(), aDatabase()]);
      this.store = new Store({ ...database, url: this.server.url, poolSize: 2 });
      await this.store.open();
      this.dispatcher = await this.start();
      this.peer = await aPeer(this.nats.url);
      this.tags = new TagMoves(this.peer);
      this.tags.serve();
    });
    afterAll(async () => {
      await this.dispatcher.stop();
      await Promise.all([this.peer.close(), this.store.close()]);
      await Promise.all([this.nats.stop(), this.server.drop()]);
    });
    beforeEach(async () => {
      this.namespace = `ns-${++this.count}`;
      this.sink = await this.aSink();
    });
    afterEach(async () => {
      await this.ask({ resource: 'imagetriggers', verb: 'deletecollection' });
      for (const close of this.closing.splice(0)) await close();
    });
  }

  start(env: Record<string, string> = {}): Promise<StartedService> {
    return aService(this.service, {
      ...{ DATABASE_URL: this.server.url, NATS_URL: this.nats.url, SECRETS_KEY: this.key, WEBHOOK_ALLOW_ADDRESSES: 'loopback' },
      ...env,
    });
  }

  async ask(question: Record<string, unknown>): Promise<Answered> {
    const addressed = { resource: 'deliveries', namespace: this.namespace, ...question };
    const asked = ['get', 'list', 'changes'].includes(question['verb'] as string) ? addressed : { dryRun: false, user, ...addressed };
    const answer: ObjectAnswer = await this.peer.ask(TriggerObjects, asked as ObjectQuestion);
    return (answer.kind === 'refused'
      ? { code: answer.status.code, object: answer.status, message: answer.status.message }
      : answer) as unknown as Answered;
  }

  async trigger(webhooks: Record<string, unknown>[], name = 'deploy', stream = 'web'): Promise<void> {
    const object = { metadata: { name }, spec: { kind: 'Deploy', from: { kind: 'ImageStreamTag', name: `${stream}:latest` }, webhooks } };
    const made = await this.ask({ resource: 'imagetriggers', verb: 'create', object });
    expect(made.code, JSON.stringify(made.object)).toBe(201);
  }

  async change(webhooks: Record<string, unknown>[], name = 'deploy'): Promise<void> {
    const { object } = await this.ask({ resource: 'imagetriggers', verb: 'get', name });
    const spec = { ...(object['spec'] as object), webhooks };
    const changed = await this.ask({ resource: 'imagetriggers', verb: 'update', name, object: { ...object, spec } });
    expect(changed.code, JSON.stringify(changed.object)).toBe(200);
  }

  hook(over: Record<string, unknown> = {}): Record<string, unknown> {
    return { name: 'hook', url: this.sink.url, ...over };
  }

  async webhook(name = 'deploy'): Promise<WebhookStatus> {
    const { object } = await this.ask({ resource: 'imagetriggers', verb: 'get', name });
    return (object['status'] as { webhooks: [WebhookStatus] }).webhooks[0];
  }

  async push(times = 1, stream = 'web'): Promise<void> {
    for (let i = 0; i < times; i++) await this.tags.push(`${this.namespace}/${stream}:latest`);
  }

  async list(labelSelector?: string, fieldSelector?: string): Promise<DeliveryObject[]> {
    const selectors = { ...(labelSelector ? { labelSelector } : {}), ...(fieldSelector ? { fieldSelector } : {}) };
    const answer = await this.ask({ verb: 'list', ...selectors });
    expect(answer.items, answer.message).toBeDefined();
    return answer.items;
  }

  async get(name: string): Promise<DeliveryObject> {
    return (await this.ask({ verb: 'get', name })).object as unknown as DeliveryObject;
  }

  replay(spec: Record<string, unknown> = {}, dryRun = false): Promise<Answered> {
    const object = { apiVersion: 'triggers.millrace.dev/v1', kind: 'DeliveryReplay', metadata: {}, spec };
    return this.ask({ resource: 'deliveryreplays', verb: 'create', object, dryRun });
  }

  /** Which moves of the tag were received, in order. */
  generations(sink = this.sink): number[] {
    return sink.received.map(({ body }) => (JSON.parse(body) as { data: { generation: number } }).data.generation);
  }

  /** Has the endpoint looked at, and probed, at once. */
  async hurry(name = 'hook'): Promise<void> {
    await this.store.query(
      `UPDATE webhook SET due_at = now(), probe_at = least(probe_at, now()) WHERE name = $1 AND disabled_at IS NULL
          AND trigger_uid IN (SELECT uid FROM trigger WHERE namespace = $2)`,
      [name, this.namespace],
    );
    await this.store.query(
      'UPDATE delivery SET next_attempt_at = least(next_attempt_at, now()) WHERE next_attempt_at IS NOT NULL AND namespace = $1 AND webhook = $2',
      [this.namespace, name],
    );
    this.peer.bus.nudge('trigger-dispatcher.deliveries');
  }

  async aSink(options: { port?: number } = {}): Promise<WebhookSink> {
    const sink = await aWebhookSink(options);
    this.closing.push(() => sink.close().catch(() => undefined));
    return sink;
  }

  /** A receiver below HTTP: what it does with each connection is the spec's. */
  async aSocketServer(onConnection: (socket: Socket) => void): Promise<{ url: string; connections: () => number }> {
    let connections = 0;
    const sockets = new Set<Socket>();
    const listening = createServer((socket) => {
      connections++;
      sockets.add(socket);
      socket.on('error', () => undefined);
      onConnection(socket);
    });
    await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve));
    this.closing.push(() => {
      for (const socket of sockets) socket.destroy();
      listening.close();
    });
    return { url: `http://127.0.0.1:${(listening.address() as AddressInfo).port}/`, connections: () => connections };
  }
}
