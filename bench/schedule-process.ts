/** One scheduler in a process of its own, for the bench `schedule`: told by messages what to do, answers with what it took. */
import { pino } from 'pino';
import { PullSecrets } from '@millrace/contracts/requests';
import { Clock } from '@millrace/platform/clock';
import { anInstance } from '@millrace/import-scheduler/schedule-testbed';
import { Bus } from '@millrace/platform/bus';

/** What is to be followed: `tags` tags each of `repositories` repositories at `registry`, as named by {@link repositoryOf}. */
export interface Followed {
  registry: string;
  repositories: number;
  tags: number;
  /** What each of them is served as. */
  digest: string;
}
export type Order =
  | { kind: 'follow'; followed: Followed }
  /** Makes every check at once. */
  | { kind: 'all' }
  /** Lets one period pass, at the clock's own pace while something is done, and skips what is idle. */
  | { kind: 'period'; intervalMs: number };
export interface Took {
  checks: number;
  seconds: number;
  cpuSeconds: number;
  residentMiB: number;
  latestMs: number;
}

export const repositoryOf = (n: number | ''): string => `bench/app-${n}`;
const POLL_MS = 500;
const PERIOD_MS = 900_000;

/** Runs as fast as the real one between ticks. */
class SkippingClock extends Clock {
  private base = Date.now();
  private since = performance.now();

  override now(): Date {
    return new Date(this.base + (performance.now() - this.since));
  }

  /** On to the next tick, unless that is over already. */
  tick(): void {
    const now = this.now().getTime();
    this.base = Math.max(now, Math.ceil((now + 1) / POLL_MS) * POLL_MS);
    this.since = performance.now();
  }
}

const [database = '', nats = ''] = process.argv.slice(2);
const clock = new SkippingClock();
const one = await anInstance({ database, nats }, clock, { IMPORT_CHECKS_IN_FLIGHT: 64 });
const tagStore = new Bus({ url: nats, name: 'bench', stopTimeoutMs: 500 }, pino({ level: 'silent' }));
await tagStore.open();
tagStore.serve(PullSecrets, () => Promise.resolve({ revision: '0', secrets: [] }));

async function follow({ registry, repositories, tags, digest }: Followed): Promise<void> {
  await one.store.query('DELETE FROM wanted_stream');
  await one.store.query('DELETE FROM scheduled_import');
  // As a fact of each stream does, at once.
  await one.store.query(
    `INSERT INTO wanted_stream (stream_uid, namespace, name, resource_version) SELECT md5('s' || n)::uuid, 'bench', 's' || n, 1 FROM generate_series(0, $1 - 1) n`,
    [repositories],
  );
  await one.store.query(
    `INSERT INTO wanted_tag (stream_uid, tag, source, generation, insecure, scheduled, import_mode, reference_policy)
     SELECT md5('s' || n)::uuid, 't' || t, $1 || n || ':t' || t, 1, true, true, 'Legacy', 'Source' FROM generate_series(0, $2 - 1) n, generate_series(0, $3 - 1) t`,
    [`${registry}/${repositoryOf('')}`, repositories, tags],
  );
  await one.store.query(
    `INSERT INTO scheduled_tag (stream_uid, tag, namespace, interval_ms) SELECT stream_uid, tag, 'bench', $1 FROM wanted_tag`,
    [PERIOD_MS],
  );
  while ((await one.followers.seat()) > 0);
  await one.store.query('UPDATE scheduled_import SET digest = $1', [digest]);
  await one.store.query('UPDATE scheduled_tag SET digest = $1', [digest]);
  await one.store.query('ANALYZE');
}

const makeAllDue = () =>
  one.store.query('UPDATE scheduled_import SET next_check_at = to_timestamp($1::float8 / 1000)', [clock.now().getTime()]);

async function measured(work: () => Promise<void>): Promise<Took> {
  const begun = performance.now();
  const before = process.cpuUsage();
  const start = clock.now().getTime();
  let resident = 0;
  const sampler = setInterval(() => (resident = Math.max(resident, process.memoryUsage.rss())), 100);
  await work();
  clearInterval(sampler);
  const { user, system } = process.cpuUsage(before);
  const [row] = await one.store.query<{ checks: number; latest: number }>(
    `SELECT count(*)::int AS checks, coalesce(extract(epoch FROM max(checked_at - next_check_at + interval '15 minutes')) * 1000, 0)::float8 AS latest
       FROM scheduled_import WHERE checked_at >= to_timestamp($1::float8 / 1000)`,
    [start],
  );
  return {
    checks: row?.checks ?? 0,
    seconds: (performance.now() - begun) / 1000,
    cpuSeconds: (user + system) / 1e6,
    residentMiB: resident / 1024 / 1024,
    latestMs: row?.latest ?? 0,
  };
}

async function period(intervalMs: number): Promise<void> {
  const end = clock.now().getTime() + intervalMs;
  while (clock.now().getTime() < end) {
    clock.tick();
    await one.check();
  }
}

process.on('message', (order: Order) => {
  const work =
    order.kind === 'follow'
      ? follow(order.followed)
      : measured(order.kind === 'all' ? () => makeAllDue().then(() => one.check()) : () => period(order.intervalMs));
  void work.then((took) => process.send?.(took ?? {}));
});
process.send?.('ready');
