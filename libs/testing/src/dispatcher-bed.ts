import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest';
import type { EventData } from '@millrace/contracts/define';
import { BuildTriggered, DeployTriggered, type TagMoved } from '@millrace/contracts/events';
import { TriggerObjects, type ObjectAnswer, type ObjectQuestion } from '@millrace/contracts/requests';
import { Clock } from '@millrace/platform/clock';
import type { ServiceDefinition } from '@millrace/platform/service';
import { Store, type StoreOptions } from '@millrace/platform/store';
import { eventually } from './eventually.ts';
import { aTag, aTrigger } from './image-trigger.ts';
import { aDatabase, aNatsServer } from './servers.ts';
import { aPeer, aService, type StartedService } from './service.ts';
import { TagMoves } from './tag-moves.ts';
import { aWebhookSink, type WebhookSink } from './webhook-sink.ts';

type Fired = EventData<typeof DeployTriggered>;
type Told = { data: Fired; header: (name: string) => string }[];

export interface DispatcherOptions {
  env?: Record<string, string>;
  /** The dispatchers go by the `now` of the bed, which stands still until the spec moves it. */
  keepsTime?: boolean;
}

export const aUser = (name: string) => ({ name, groups: ['system:masters'] });

/** A dispatcher with its servers, tags that move, and a receiver; a namespace for each test. To be made at the top of a spec, with the shape of what is answered. */
export class DispatcherBed<Answered extends { code: number; object: object }> {
  nats!: Awaited<ReturnType<typeof aNatsServer>>;
  server!: Awaited<ReturnType<typeof aDatabase>>;
  peer!: Awaited<ReturnType<typeof aPeer>>;
  dispatcher!: StartedService;
  store!: Store;
  tags!: TagMoves;
  sink!: WebhookSink;
  /** What was told in all namespaces. */
  deploys!: Told;
  private allBuilds!: Told;
  namespace = '';
  /** Milliseconds. */
  now = Date.now();
  readonly key = randomBytes(32).toString('base64');
  protected readonly closing: (() => unknown)[] = [];
  private count = 0;

  constructor(
    private readonly service: ServiceDefinition<never>,
    database: Omit<StoreOptions, 'url' | 'poolSize'>,
    private readonly options: DispatcherOptions = {},
  ) {
    beforeAll(async () => {
      [this.nats, this.server] = await Promise.all([aNatsServer(), aDatabase()]);
      this.store = new Store({ ...database, url: this.server.url, poolSize: 2 });
      await this.store.open();
      this.dispatcher = await this.start();
      this.peer = await aPeer(this.nats.url);
      this.tags = new TagMoves(this.peer);
      this.tags.serve();
      this.deploys = this.peer.hear(DeployTriggered);
      this.allBuilds = this.peer.hear(BuildTriggered);
    });
    afterAll(async () => {
      await this.dispatcher.stop();
      await Promise.all([this.peer.close(), this.store.close()]);
      await Promise.all([this.nats.stop(), this.server.drop()]);
    });
    beforeEach(async () => {
      this.anotherNamespace();
      this.sink = await this.aSink();
    });
    afterEach(async () => {
      for (const close of this.closing.splice(0)) await close();
    });
  }

  get env(): Record<string, string> {
    const servers = { DATABASE_URL: this.server.url, NATS_URL: this.nats.url };
    return { ...servers, SECRETS_KEY: this.key, WEBHOOK_ALLOW_ADDRESSES: 'loopback', ...this.options.env };
  }

  async start(env: Record<string, string> = {}): Promise<StartedService> {
    const started = await aService(this.service, { ...this.env, ...env });
    if (this.options.keepsTime) started.app.get(Clock).now = () => new Date(this.now);
    return started;
  }

  anotherNamespace(): void {
    this.namespace = `ns-${++this.count}`;
  }

  /** Asks as ada, for image triggers of the namespace, unless the question says otherwise. */
  async ask(question: Record<string, unknown>): Promise<Answered> {
    const addressed = { resource: 'imagetriggers', namespace: this.namespace, ...question };
    const reads = ['get', 'list', 'changes'].includes(question['verb'] as string);
    const asked = reads ? addressed : { dryRun: false, user: aUser('ada'), ...addressed };
    const answer: ObjectAnswer = await this.peer.ask(TriggerObjects, asked as ObjectQuestion);
    return (answer.kind === 'refused'
      ? { code: answer.status.code, object: answer.status, message: answer.status.message }
      : answer) as unknown as Answered;
  }

  async create(object: object, resource = 'imagetriggers'): Promise<Answered> {
    const made = await this.ask({ verb: 'create', resource, object });
    expect(made.code, JSON.stringify(made.object)).toBe(201);
    return made;
  }

  /** Moves a tag of the namespace. */
  push(tag = 'web:latest', over: Partial<TagMoved> = {}): Promise<TagMoved> {
    return this.tags.push(`${this.namespace}/${tag}`, over);
  }

  async pushTimes(times: number, tag?: string): Promise<void> {
    for (let n = 0; n < times; n++) await this.push(tag);
  }

  /** What was told of deployments of the namespace, of one trigger where it is named. */
  eventsOf(name?: string): Fired[] {
    return this.ofHere(this.deploys).filter(({ trigger }) => name === undefined || trigger.name === name);
  }

  /** Generations that fired a trigger of the namespace, in the order in which they were told. */
  fired(name: string): number[] {
    return this.eventsOf(name).map(({ generation }) => generation);
  }

  get builds(): Fired[] {
    return this.ofHere(this.allBuilds);
  }

  /** Resolves when every move told so far has been acted on: a move of another tag that came after them has fired. */
  async actedOn(): Promise<void> {
    const name = `fence-${randomBytes(4).toString('hex')}`;
    await this.create(aTrigger(name, { from: aTag(`${name}:latest`) }));
    await this.push(`${name}:latest`);
    await eventually(() => expect(this.fired(name)).toEqual([1]));
    // What many follow is brought to them in parts, beside the others.
    await eventually(async () => expect(await this.store.query('SELECT 1 FROM fan_out')).toEqual([]));
  }

  async aSink(options: { port?: number } = {}): Promise<WebhookSink> {
    const sink = await aWebhookSink(options);
    this.closing.push(() => sink.close().catch(() => undefined));
    return sink;
  }

  private ofHere(told: Told): Fired[] {
    return told.map(({ data }) => data).filter(({ trigger }) => trigger.namespace === this.namespace);
  }
}
