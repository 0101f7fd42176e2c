import { createServer, type AddressInfo, type Socket } from 'node:net';
import { afterEach, expect } from 'vitest';
import type { ServiceDefinition } from '@millrace/platform/service';
import type { StoreOptions } from '@millrace/platform/store';
import { DispatcherBed } from './dispatcher-bed.ts';
import { aTag, aTrigger } from './image-trigger.ts';

export interface DeliveryObject {
  metadata: { name: string; uid: string; labels: Record<string, string> };
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

/** What a dispatcher delivers, and how its webhooks fare. To be made at the top of a spec. */
export class DeliveriesBed extends DispatcherBed<Answered> {
  constructor(service: ServiceDefinition<never>, database: Omit<StoreOptions, 'url' | 'poolSize'>) {
    super(service, database);
    // Nothing is left that would be called when its receiver is no more.
    afterEach(async () => void (await this.ask({ resource: 'imagetriggers', verb: 'deletecollection' })));
  }

  /** For deliveries, unless the question says otherwise. */
  override ask(question: Record<string, unknown>): Promise<Answered> {
    return super.ask({ resource: 'deliveries', ...question });
  }

  async trigger(webhooks: Record<string, unknown>[], name = 'deploy', stream = 'web'): Promise<void> {
    await this.create(aTrigger(name, { from: aTag(`${stream}:latest`), webhooks }));
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

  async webhooks(name = 'deploy'): Promise<[WebhookStatus, ...WebhookStatus[]]> {
    const { object } = await this.ask({ resource: 'imagetriggers', verb: 'get', name });
    return (object['status'] as { webhooks: [WebhookStatus] }).webhooks;
  }

  async webhook(name = 'deploy'): Promise<WebhookStatus> {
    return (await this.webhooks(name))[0];
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
