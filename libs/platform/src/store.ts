import { DataSource, type EntityManager, type EntitySchema, type MixedList, type QueryRunner } from 'typeorm';
import type { EventContract, EventData } from '@millrace/contracts/define';
import { Outbox, type Staged } from './outbox.ts';
import { PlatformTables1763683200000 } from './platform-tables.ts';

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
  publishLater<C extends EventContract>(contract: C, data: EventData<C>, meta: { id: string; time?: Date; traceparent?: string }): void;
  /** Runs as the last thing before COMMIT, after the facts are in the outbox: for a lock that everybody needs and nobody should hold long. */
  beforeCommit(work: () => Promise<unknown>): void;
  /** Runs once, and only if, the transaction has committed. Must not throw. */
  afterCommit(work: () => void): void;
}

/** SQLSTATE classes and codes after which the same transaction may succeed: connection, resources, shutdown, deadlock, serialization. */
const TRANSIENT = /^(08|53|57P0|40001|40P01|55P03|25006)/;
const LOST_CONNECTION =
  /ECONN|EPIPE|ENOENT|ETIMEDOUT|Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|Driver not Connected/i;

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
      migrations: [PlatformTables1763683200000, ...options.migrations],
      migrationsTableName: 'migrations',
      migrationsTransactionMode: 'each',
      synchronize: false,
      logging: false,
      extra: {
        max: options.poolSize,
        options: `-c search_path=${options.schema}`,
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

  /** Runs `work` in one transaction; the facts it staged are in the outbox when it commits, and on their way right after. */
  async transaction<T>(work: (tx: Tx) => Promise<T>, options: { isolation?: 'REPEATABLE READ'; readOnly?: boolean } = {}): Promise<T> {
    const runner = this.dataSource.createQueryRunner();
    const staged: Staged[] = [];
    const ends: Ends = { before: [], after: [] };
    try {
      await runner.connect();
      await runner.query(`BEGIN${options.isolation ? ` ISOLATION LEVEL ${options.isolation}` : ''}${options.readOnly ? ' READ ONLY' : ''}`);
      try {
        const tx = transactionOn(runner, staged, this.outbox, ends);
        const result = await work(tx);
        if (staged.length) await this.outbox.insert(tx, staged);
        for (const last of ends.before) await last();
        await runner.query('COMMIT');
        if (staged.length) this.outbox.wake();
        for (const after of ends.after) after();
        return result;
      } catch (error) {
        await runner.query('ROLLBACK').catch(() => undefined);
        throw error;
      }
    } finally {
      await runner.release().catch(() => undefined);
    }
  }

  /** One statement on its own. */
  async query<T = Record<string, unknown>>(sql: string, parameters: unknown[] = []): Promise<T[]> {
    const runner = this.dataSource.createQueryRunner();
    try {
      return ((await runner.query(sql, parameters, true)).records ?? []) as T[];
    } finally {
      await runner.release().catch(() => undefined);
    }
  }
}

interface Ends {
  before: (() => Promise<unknown>)[];
  after: (() => void)[];
}

function transactionOn(runner: QueryRunner, staged: Staged[], outbox: Outbox, ends: Ends): Tx {
  return {
    manager: runner.manager,
    query: async <T>(sql: string, parameters: unknown[] = []) => ((await runner.query(sql, parameters, true)).records ?? []) as T[],
    run: async (sql, parameters = []) => (await runner.query(sql, parameters, true)).affected ?? 0,
    publishLater: (contract, data, meta) => void staged.push(outbox.stage(contract, data, meta)),
    beforeCommit: (work) => void ends.before.push(work),
    afterCommit: (work) => void ends.after.push(work),
  };
}
