import { randomBytes, randomUUID } from 'node:crypto';
import { createServer, request, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import type { EventData } from '@millrace/contracts/define';
import type { RepositoryPushed } from '@millrace/contracts/events';
import type { ImportCompleted, ImportWanted } from '@millrace/contracts/imports';
import { Bus } from '@millrace/platform/bus';
import { Clock } from '@millrace/platform/clock';
import type { Fact, FactBatch } from '@millrace/platform/facts';
import { Lease } from '@millrace/platform/lease';
import { PullCredentials } from '@millrace/platform/pull-credentials';
import { Sealing } from '@millrace/platform/sealing';
import { Store } from '@millrace/platform/store';
import { CheckQueue } from './check-queue.ts';
import { Followers } from './followers.ts';
import { Hints } from './hints.ts';
import { ImageLookups } from './image-lookups.ts';
import { OutsideImages } from './outside-images.ts';
import { RegistryPool } from './registry-pool.ts';
import { Schedule } from './schedule.ts';
import { ScheduleMeasures } from './schedule-measures.ts';
import { database } from './tables.ts';
import { WantedImports } from './wanted-imports.ts';

/* What the specs of the schedule start from: instances without their doors, a clock that stands still, and a registry that is watched. */

export type Wanted = EventData<typeof ImportWanted>;
export type Completed = EventData<typeof ImportCompleted>;

/** Stands still until it is moved. */
export class StandingClock extends Clock {
  constructor(public at: number) {
    super();
  }

  override now(): Date {
    return new Date(this.at);
  }

  /** Milliseconds. */
  advance(ms: number): void {
    this.at += ms;
  }
}

export const SECRETS_KEY = randomBytes(32);

export interface Instance {
  store: Store;
  lease: Lease;
  queue: CheckQueue;
  followers: Followers;
  credentials: PullCredentials;
  schedule: Schedule;
  metrics: Registry;
  /** Streams say what they want. */
  want: (...facts: Wanted[]) => Promise<void>;
  /** Registries say what was pushed. */
  hint: (...facts: Partial<RepositoryPushed>[]) => Promise<void>;
  /** Makes every check that is due, and waits until all of it is written down. */
  check: () => Promise<void>;
  /** As a process that is killed: what it has claimed stays claimed. */
  kill: () => Promise<void>;
  close: () => Promise<void>;
}

export const settings = {
  IMPORT_ALLOW_ADDRESSES: 'loopback' as const,
  ALLOWED_REGISTRIES: [],
  INTERNAL_REGISTRY_HOST: '',
  IMPORT_TIMEOUT_MS: 5_000,
  IMPORT_WITHIN_MS: 30_000,
  IMAGES_IN_FLIGHT: 32,
  IMPORT_REGISTRIES: [],
  IMPORT_PROXY: '',
  IMPORT_NO_PROXY: '',
  IMPORT_SCHEDULE: true,
  IMPORT_INTERVAL_SECONDS: 900,
  IMPORT_INTERVAL_MINIMUM_SECONDS: 60,
  IMPORT_REFUSED_INTERVAL_SECONDS: 6 * 3_600,
  IMPORT_CHECKS_IN_FLIGHT: 32,
  STOP_TIMEOUT_MS: 2_000,
};

export async function anInstance(
  urls: { database: string; nats: string },
  clock: Clock,
  given: Partial<typeof settings> = {},
): Promise<Instance> {
  const log = pino({ level: 'silent' });
  const config = { ...settings, ...given };
  const bus = new Bus({ url: urls.nats, name: 'import-scheduler spec', retentionHours: 1, stopTimeoutMs: 500 }, log);
  const store = new Store({ ...database, url: urls.database, poolSize: 8 });
  await Promise.all([bus.open(), store.open()]);
  const lease = new Lease(urls.database, database.schema, log);
  const metrics = new Registry();
  const queue = new CheckQueue(store, clock);
  const credentials = new PullCredentials(bus, new Sealing({ SECRETS_KEY: [SECRETS_KEY] }), log);
  credentials.start();
  const followers = new Followers(store, credentials, clock, config, log);
  const registries = new RegistryPool(credentials, config);
  const images = new OutsideImages(registries, new ImageLookups(registries, config), config);
  const measures = new ScheduleMeasures(metrics, queue, clock);
  const schedule = new Schedule(store, bus, lease, clock, queue, followers, credentials, images, measures, config, log);
  const wanted = new WantedImports(store, followers);
  const hints = new Hints(store, bus, clock, schedule);
  const close = async () => {
    await registries.close();
    await lease.close();
    await store.close();
    await bus.close();
  };
  return {
    ...{ store, lease, queue, followers, credentials, schedule, metrics },
    want: (...facts) => wanted.keep(asBatch(facts)),
    hint: (...facts) => hints.take(asBatch(facts.map(aPush))),
    check: async () => {
      await schedule.round();
      await schedule.settled();
    },
    kill: close,
    close,
  };
}

function asBatch<T>(data: readonly T[]): FactBatch<never> {
  return {
    read: (take: (fact: Fact<never>) => unknown) =>
      data.map((one) => {
        const fact = {
          id: randomUUID(),
          subject: '',
          traceparent: '',
          time: new Date(),
          body: () => '',
          data: one,
        } as unknown as Fact<never>;
        return { origin: fact, made: take(fact) };
      }),
    settle: () => Promise.resolve(),
    refuse: () => Promise.resolve(),
  } as unknown as FactBatch<never>;
}

const aPush = (given: Partial<RepositoryPushed>): RepositoryPushed => {
  const id = randomUUID();
  return { id, eventId: id, registry: 'spec', host: '', repository: '', tags: [], observedAt: '2026-01-02T03:04:05Z', ...given };
};

/** A stream that wants one or more tags; each is scheduled and was imported once, unless said otherwise. */
export function aStream(
  name: string,
  tags: Record<string, Partial<Wanted['tags'][number]> & { from: string }>,
  given: Partial<Wanted> = {},
): Wanted {
  return {
    ...{ namespace: 'demo', stream: name, streamUid: randomUUID(), resourceVersion: '1', gone: false },
    tags: Object.entries(tags).map(([tag, one]) => ({
      ...{
        tag,
        generation: 1,
        due: false,
        failing: false,
        insecure: true,
        scheduled: true,
        importMode: 'Legacy',
        referencePolicy: 'Source',
      },
      ...one,
    })),
    ...given,
  };
}

/** What was told to tag-store so far, in order. */
export const told = async ({ store }: Instance): Promise<Completed[]> =>
  (await store.query<{ body: string }>("SELECT body FROM outbox WHERE event = 'import.completed' ORDER BY id")).map(
    ({ body }) => JSON.parse(body) as Completed,
  );

export interface WatchedRegistry {
  /** `127.0.0.1:PORT`, as pull specs name it. */
  host: string;
  /** Requests since the last call: `HEAD team/app/manifests/1`. */
  asked: () => string[];
  /** How it answers instead of the registry behind it; undefined lets the request through. */
  answer: (
    how:
      | ((
          method: string,
          path: string,
          headers: IncomingMessage['headers'],
        ) => { status: number; headers?: Record<string, string> } | undefined)
      | undefined,
  ) => void;
  close: () => Promise<void>;
}

/** Stands before a registry, counts what it is asked, and fails when it is told to. */
export async function watched(behind: string): Promise<WatchedRegistry> {
  const requests: string[] = [];
  let answer: Parameters<WatchedRegistry['answer']>[0];
  const [hostname, port] = behind.split(':');
  const pass = (from: IncomingMessage, to: ServerResponse) => {
    const { method = '', url = '', headers } = from;
    requests.push(`${method} ${url.replace('/v2/', '')}`);
    const instead = answer?.(method, url, headers);
    if (instead) return void to.writeHead(instead.status, instead.headers).end();
    from.pipe(
      request({ hostname, port, method, path: url, headers }, (answered) => {
        to.writeHead(answered.statusCode ?? 502, answered.headers);
        answered.pipe(to);
      }),
    );
  };
  const server = createServer(pass);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked: () => requests.splice(0),
    answer: (how) => (answer = how),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
