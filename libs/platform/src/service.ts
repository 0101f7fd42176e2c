import 'reflect-metadata';
import { Module, type DynamicModule, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';
import type { EventContract, Owner, RequestContract } from '@millrace/contracts/define';
import { positionOf } from '@millrace/contracts/requests';
import { Bus } from './bus.ts';
import { commonConfig, databaseConfig, maskedConfig, readConfig, type Config, type ConfigShape } from './config.ts';
import { DeadFacts } from './dead-facts.ts';
import { MillraceTransport } from './doors.ts';
import { FactConsumer, positionIn, type FactHandler } from './facts.ts';
import { Health, HealthController, METRICS } from './health.ts';
import { Lease } from './lease.ts';
import { createLog, type Log } from './log.ts';
import { Relay } from './relay.ts';
import { Store, type StoreOptions } from './store.ts';

export const LOG = Symbol('log');
export const CONFIG = Symbol('config');

/** Work that a service does by the clock or by itself: started when everything is up, stopped before anything is closed. */
export interface Worker {
  start(): void | Promise<void>;
  stop(): Promise<void>;
}

/** What a program is made of; `startService` does the rest. */
export interface ServiceDefinition<S extends ConfigShape = ConfigShape> {
  name: Owner;
  /** Keys beside those every service reads; must have HTTP_PORT. */
  config: S;
  /** The service's own tables; absent for a service without a database. */
  database?: Pick<StoreOptions, 'schema' | 'entities' | 'migrations'>;
  module: Type;
  /** Classes of the module that run by themselves, in the order in which they start. */
  workers?: Type<Worker>[];
  /** Options of the HTTP server that depend on the configuration, such as TLS and the body limit. */
  http?: (config: Config<S>) => Promise<Record<string, unknown>> | Record<string, unknown>;
  /** Extends the HTTP application before it listens. */
  prepare?: (app: NestFastifyApplication) => void | Promise<void>;
  /** Runs when its port is known and before it says that it is ready. */
  listening?: (app: NestFastifyApplication) => void | Promise<void>;
}

export interface RunningService {
  name: Owner;
  /** Where its HTTP port listens. */
  port: number;
  app: NestFastifyApplication;
  /** Takes no more work, finishes what is in flight, closes; at most STOP_TIMEOUT_MS. */
  stop(): Promise<void>;
}

@Module({})
class PlatformModule {}

/** Reads the configuration, connects, migrates, opens the doors and listens. Rejects, with everything closed again, when one of them fails. */
export async function startService(
  definition: ServiceDefinition,
  env: Record<string, string | undefined>,
  given?: { log?: Log },
): Promise<RunningService> {
  const shape = { ...commonConfig, ...(definition.database ? databaseConfig : {}), ...definition.config };
  const config = readConfig(shape, env) as Config<typeof commonConfig & typeof databaseConfig> & { HTTP_PORT: number };
  const log = (given?.log ?? createLog(config.LOG_LEVEL)).child({ service: definition.name });
  log.info({ config: maskedConfig(shape, config as never), node: process.version }, 'service.starting');

  const metrics = new Registry();
  collectDefaultMetrics({ register: metrics });
  const health = new Health();
  const bus = new Bus(
    {
      url: config.NATS_URL,
      name: `millrace ${definition.name}`,
      retentionHours: config.EVENT_RETENTION_HOURS,
      stopTimeoutMs: config.STOP_TIMEOUT_MS,
    },
    log,
  );
  const store = definition.database && new Store({ ...definition.database, url: config.DATABASE_URL, poolSize: config.DATABASE_POOL });
  const lease = store && new Lease(config.DATABASE_URL, store.options.schema, log);
  const deadFacts = store && new DeadFacts(store);
  const closers: (() => Promise<unknown>)[] = [() => bus.close()];

  try {
    await Promise.all([bus.open(), store?.open()]);
    health.add('nats', () => bus.check());
    if (store) {
      closers.push(() => store.close());
      health.add('postgres', async () => void (await store.query('SELECT 1')));
    }
    if (lease) closers.push(() => lease.close());

    const platform: DynamicModule = {
      module: PlatformModule,
      global: true,
      controllers: [HealthController],
      providers: [
        { provide: Bus, useValue: bus },
        { provide: Health, useValue: health },
        { provide: METRICS, useValue: metrics },
        { provide: LOG, useValue: log },
        { provide: CONFIG, useValue: config },
        ...(store ? [{ provide: Store, useValue: store }] : []),
        ...(lease ? [{ provide: Lease, useValue: lease }] : []),
        ...(deadFacts ? [{ provide: DeadFacts, useValue: deadFacts }] : []),
      ],
    };
    platform.exports = platform.providers?.map((provider) => (provider as { provide: Type }).provide);

    const adapter = new FastifyAdapter({
      logger: false,
      forceCloseConnections: true,
      ...(await definition.http?.(config as never)),
    } as never);
    const root: DynamicModule = { module: class Root {}, imports: [platform, definition.module] };
    const app = await NestFactory.create<NestFastifyApplication>(root, adapter, {
      logger: false,
      bodyParser: false,
      abortOnError: false,
    });
    closers.push(() => app.close());

    const consumers: FactConsumer[] = [];
    const counted = new Counter({
      name: 'millrace_facts_total',
      help: 'Facts acted on, by event and outcome',
      labelNames: ['event', 'outcome'],
      registers: [metrics],
    });
    app.connectMicroservice(
      {
        strategy: new MillraceTransport({
          onEvent: (contract: EventContract, options, handler) => {
            if (!store || !lease || !deadFacts)
              throw new Error(`${definition.name} follows ${contract.name} but has no database to keep its position in`);
            const on = {
              store,
              bus,
              lease,
              log,
              handled: (facts: number, outcome: string) => counted.inc({ event: contract.name, outcome }, facts),
            };
            consumers.push(new FactConsumer(contract, handler as FactHandler, options, on));
            deadFacts.register(contract, handler as FactHandler);
          },
          onRequest: (contract: RequestContract, handler) => bus.serve(contract, handler as never),
        }),
      },
      { inheritAppConfig: false },
    );
    await definition.prepare?.(app);
    await app.init();

    const relayed = new Counter({ name: 'millrace_outbox_published_total', help: 'Facts published from the outbox', registers: [metrics] });
    const relay =
      store && lease && new Relay(definition.name, store, bus, lease, log, config.EVENT_RETENTION_HOURS, (rows) => relayed.inc(rows));
    if (store) {
      new Gauge({
        name: 'millrace_outbox_waiting',
        help: 'Facts in the outbox that JetStream has not stored yet',
        registers: [metrics],
        async collect() {
          const [row] = await store
            .query<{ n: string }>(
              'SELECT coalesce(sum(coalesce(json_array_length(facts::json), 1)), 0) AS n FROM outbox WHERE sequence IS NULL',
            )
            .catch(() => []);
          this.set(Number(row?.n ?? Number.NaN));
        },
      });
      bus.serve(positionOf(definition.name), (question) => positionIn(store, question));
    }

    await app.startAllMicroservices();
    // Until NATS has heard of them, questions to this service would be told that nobody answers.
    await bus.check(config.STOP_TIMEOUT_MS);
    relay?.start();
    for (const consumer of consumers) consumer.start();
    const workers = (definition.workers ?? []).map((type) => app.get(type));
    for (const worker of workers) await worker.start();
    await app.listen(config.HTTP_PORT, config.HTTP_HOST);
    const port = (app.getHttpServer().address() as { port: number }).port;
    await definition.listening?.(app);
    log.info({ port }, 'service.ready');

    const stop = async () => {
      health.stop();
      await Promise.all([...consumers, ...workers].map((one) => one.stop()));
      await relay?.stop();
      for (const close of closers.toReversed()) await close().catch((error: unknown) => log.warn({ err: error }, 'service.close-failed'));
      log.info({}, 'service.stopped');
    };
    let stopped: Promise<void> | undefined;
    return { name: definition.name, port, app, stop: () => (stopped ??= withinBound(stop(), config.STOP_TIMEOUT_MS, log)) };
  } catch (error) {
    for (const close of closers.toReversed()) await close().catch(() => undefined);
    throw error;
  }
}

async function withinBound(work: Promise<void>, ms: number, log: Log): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const bound = new Promise<void>((resolve) => {
    timer = setTimeout(() => {
      log.warn({ ms }, 'service.stop-cut-short');
      resolve();
    }, ms);
  });
  await Promise.race([work, bound]);
  clearTimeout(timer);
}
