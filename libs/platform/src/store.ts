import { DataSource, type EntityManager, type EntitySchema, type MixedList, QueryFailedError, type QueryRunner } from 'typeorm';
import type pg from 'pg';
import type { EventContract, EventData } from '@millrace/contracts/define';
import { type FactMeta, Outbox, type Staged } from './outbox.ts';
import { FactsTogether1763850000000, PlatformTables1763683200000 } from './platform-tables.ts';

// eslint-disable-next-line @typescript-eslint/no-unsafe-function-type -- the form in which TypeORM takes entities and migrations
type Classes = Function;

export interface StoreOptions {
  url: string;
  /** The service's own schema; made when it is missing. */
  schema: string;
  poolSize: number;
  entities: MixedList<Classes | EntitySchema>;
  migrations: Classes[];
}

/** One transaction: rows in and out, and the facts that become true with it. */
export interface Tx {
  readonly manager: EntityManager;
  /** Rows that a statement returns. */
  query<T = Record<string, unknown>>(sql: string, parameters?: unknown[]): Promise<T[]>;
  /** Number of rows that a statement changed. */
  run(sql: string, parameters?: unknown[]): Promise<number>;
  /** Tells a fact when, and only when, this transaction commits. */
  publishLater<C extends EventContract>(contract: C, data: EventData<C>, meta: FactMeta): void;
  /** Sends a statement whose answer nobody needs: the next one follows at once, and where it fails so does the transaction. */
  send(sql: string, parameters?: unknown[]): void;
  /** Holds the commit back until the condition is known to hold; where it rejects, the transaction is rolled back. */
  require(condition: Promise<unknown>): void;
  /**
   * The last statement, which travels with COMMIT, after the facts are in the outbox: for a lock that everybody needs and nobody should hold long.
   * `build` is called then; `answered` gets its rows when all of it is committed.
   */
  last(build: () => Statement, answered?: (rows: Record<string, unknown>[]) => void): void;
  /** Runs once, and only if, the transaction has committed. Must not throw. */
  afterCommit(work: () => void): void;
}

export interface TransactionOptions {
  isolation?: 'REPEATABLE READ';
  readOnly?: boolean;
  /** Everything is done, and then undone instead of committed; what is told or runs with a commit is not. */
  dryRun?: boolean;
}

export interface Statement {
  sql: string;
  parameters: unknown[];
}

/** SQLSTATE classes and codes after which the same transaction may succeed: connection, resources, shutdown, deadlock, serialization. */
const TRANSIENT = /^(08|53|57P0|40001|40P01|55P03|25006)/;
const LOST_CONNECTION =
  /ECONN|EPIPE|ENOENT|ETIMEDOUT|Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|Driver not Connected|Query runner already released/i;

/** True for an error that says more about Postgres' state than about the statement. */
export function isTransient(error: unknown): boolean {
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  return (typeof code === 'string' && TRANSIENT.test(code)) || LOST_CONNECTION.test(`${String(code)} ${String(message)}`);
}

/** A service's Postgres: its schema, its migrations, its transactions and the outbox that goes with them. */
export class Store {
  readonly dataSource: DataSource;
  readonly outbox = new Outbox();

  constructor(readonly options: StoreOptions) {
    this.dataSource = new DataSource({
      type: 'postgres',
      url: options.url,
      schema: options.schema,
      entities: options.entities,
      migrations: [PlatformTables1763683200000, FactsTogether1763850000000, ...options.migrations],
      migrationsTableName: 'migrations',
      migrationsTransactionMode: 'each',
      synchronize: false,
      logging: false,
      extra: {
        max: options.poolSize,
        // Plans are kept, and one made while a table was small must not read through it when it has grown. Nothing here is worth compiling.
        options: `-c search_path=${options.schema} -c enable_seqscan=off -c jit=off`,
        // Statements that do not wait for each other's answers share a round trip.
        pipeline: true,
        application_name: `millrace ${options.schema}`,
        connectionTimeoutMillis: 5_000,
        statement_timeout: 60_000,
        keepAlive: true,
      },
      // Without a listener a backend that dies while its connection idles in the pool would end the process.
      poolErrorHandler: () => undefined,
    });
  }

  /** Connects and migrates. Two instances that start together migrate one after the other. */
  async open(): Promise<void> {
    await this.dataSource.initialize();
    const runner = this.dataSource.createQueryRunner();
    try {
      await runner.query('SELECT pg_advisory_lock(hashtext($1))', [`migrate ${this.options.schema}`]);
      await runner.query(`CREATE SCHEMA IF NOT EXISTS "${this.options.schema}"`);
      await this.dataSource.runMigrations();
    } finally {
      await runner.query('SELECT pg_advisory_unlock(hashtext($1))', [`migrate ${this.options.schema}`]).catch(() => undefined);
      await runner.release();
    }
  }

  async close(): Promise<void> {
    if (this.dataSource.isInitialized) await this.dataSource.destroy();
  }

  /** Runs `work` like {@link transaction}. In a dry run all of it is undone: its answer is what it would have been, and no number is used up. */
  write<T>(dryRun: boolean, work: (tx: Tx) => Promise<T>): Promise<T> {
    return this.transaction(work, { dryRun });
  }

  /** Runs `work` in one transaction; the facts it staged are in the outbox when it commits, and on their way right after. */
  async transaction<T>(work: (tx: Tx) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    const runner = this.dataSource.createQueryRunner();
    const staged: Staged[] = [];
    const ends: Ends = { required: [], last: [], answers: [], after: [], failed: undefined };
    try {
      const client = (await runner.connect()) as pg.PoolClient;
      gather(client);
      // Not waited for: the first statement travels with it. Where it fails, so does the commit, or the connection is gone.
      const begun = settled(
        client.query(`BEGIN${options.isolation ? ` ISOLATION LEVEL ${options.isolation}` : ''}${options.readOnly ? ' READ ONLY' : ''}`),
      );
      try {
        const tx = transactionOn(runner, client, staged, this.outbox, ends);
        const result = await work(tx);
        await Promise.all(ends.required);
        if (options.dryRun) {
          // Where a statement has failed that nobody waited for, so would the commit.
          await Promise.all([begun(), ...ends.answers]);
          if (ends.failed) throw ends.failed;
          await client.query('ROLLBACK').catch(() => undefined);
          return result;
        }
        // Nor are these: COMMIT follows them at once, and does nothing where one of them fails.
        const told = settled(this.outbox.insert(tx, staged));
        const lasts = ends.last.map(({ build, answered }) => {
          const { sql, parameters } = build();
          const answer = tx.query(sql, parameters);
          ends.answers.push(answer);
          const rows = settled(answer);
          return async () => answered?.(await rows());
        });
        const { command } = await client.query('COMMIT');
        if (command !== 'COMMIT') {
          // Which of them it was is known before COMMIT is answered, and told a moment later.
          await Promise.allSettled([told(), ...ends.answers]);
          throw ends.failed ?? new Error('the transaction was rolled back, and no statement of it has failed');
        }
        await begun();
        const facts = await told();
        for (const last of lasts) await last();
        if (staged.length) this.outbox.wake(facts);
        for (const after of ends.after) after();
        return result;
      } catch (error) {
        await client.query('ROLLBACK').catch(() => undefined);
        // Statements that were under way behind a failed one only say that it failed.
        throw (error as { code?: unknown }).code === ABORTED ? (ends.failed ?? error) : error;
      }
    } finally {
      await runner.release().catch(() => undefined);
    }
  }

  /** One statement on its own. */
  async query<T = Record<string, unknown>>(sql: string, parameters: unknown[] = []): Promise<T[]> {
    const runner = this.dataSource.createQueryRunner();
    try {
      return (await runQuery((await runner.connect()) as pg.PoolClient, sql, parameters)).rows as T[];
    } finally {
      await runner.release().catch(() => undefined);
    }
  }
}

/** What is sent to Postgres in this turn of the event loop goes with one call of the system: each wakes the server, which costs more than what it sends. */
function gather(client: pg.PoolClient): void {
  // pg's types have the connection for its clients, and not for those of a pool, which are the same.
  const { stream } = (client as unknown as pg.Client).connection;
  if (stream.writableCorked) return;
  stream.cork();
  process.nextTick(() => stream.uncork());
}

/** Waits later for what is under way; that it failed is told then, and not before. */
function settled<T>(work: Promise<T>): () => Promise<T> {
  work.catch(() => undefined);
  return () => work;
}

/** SQLSTATE of a statement in a transaction that has failed before. */
const ABORTED = '25P02';

/** How much of a statement an error repeats. */
const SHOWN_SQL = 200;
/** Longer texts are lists of many rows, each of its own length. */
const PREPARED_LENGTH_MAX = 6_000;
const PREPARED_MAX = 300;
const SEEN_MAX = 1_000;

const seen = new Map<string, number>();
const prepared = new Map<string, string>();

/** The name under which connections keep a statement parsed and planned; undefined for one that does not come often. */
function nameOf(sql: string): string | undefined {
  if (sql.length > PREPARED_LENGTH_MAX) return undefined;
  const name = prepared.get(sql);
  if (name !== undefined || prepared.size >= PREPARED_MAX) return name;
  const times = (seen.get(sql) ?? 0) + 1;
  if (times < 3) {
    if (seen.size >= SEEN_MAX) seen.clear();
    seen.set(sql, times);
    return undefined;
  }
  seen.delete(sql);
  prepared.set(sql, `s${prepared.size}`);
  return prepared.get(sql);
}

/** Runs a statement; its error names the beginning of it, and none of the data, which may be megabytes and is not for a log. */
async function runQuery(client: pg.PoolClient, sql: string, parameters: unknown[]): Promise<pg.QueryResult> {
  try {
    gather(client);
    return await client.query({ name: nameOf(sql), text: sql, values: parameters });
  } catch (error) {
    Object.assign(error as Error, { where: undefined, detail: undefined });
    throw new QueryFailedError(sql.replaceAll(/\s+/g, ' ').slice(0, SHOWN_SQL), undefined, error as Error);
  }
}

interface Ends {
  required: Promise<unknown>[];
  last: { build: () => Statement; answered?: (rows: Record<string, unknown>[]) => void }[];
  /** Of statements that nobody waits for before COMMIT. */
  answers: Promise<unknown>[];
  after: (() => void)[];
  /** The first error of a statement. */
  failed: unknown;
}

function transactionOn(runner: QueryRunner, client: pg.PoolClient, staged: Staged[], outbox: Outbox, ends: Ends): Tx {
  const noted = (sql: string, parameters: unknown[]) =>
    runQuery(client, sql, parameters).catch((error: unknown) => {
      ends.failed ??= error;
      throw error;
    });
  return {
    manager: runner.manager,
    query: async <T>(sql: string, parameters: unknown[] = []) => (await noted(sql, parameters)).rows as T[],
    run: async (sql, parameters = []) => (await noted(sql, parameters)).rowCount ?? 0,
    publishLater: (contract, data, meta) => void staged.push(outbox.stage(contract, data, meta)),
    send: (sql, parameters = []) => void ends.answers.push(noted(sql, parameters).catch(() => undefined)),
    require: (condition) => {
      condition.catch(() => undefined);
      ends.required.push(condition);
    },
    last: (build, answered) => void ends.last.push({ build, answered }),
    afterCommit: (work) => void ends.after.push(work),
  };
}
