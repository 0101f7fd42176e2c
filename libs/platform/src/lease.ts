import { randomInt } from 'node:crypto';
import pg from 'pg';
import type { Log } from './log.ts';
import { pause } from './backoff.ts';

/** Class of the advisory locks that mean "this instance lives"; claims name the instance by the second key. */
export const ALIVE_LOCKS = 7_713_001;
const LEADER_LOCKS = 7_713_002;

/**
 * What this process holds in Postgres for as long as it lives: an advisory lock that stands for the instance itself, so that
 * claimed work of a killed instance is free at once, and leaderships, of which each has one holder. Both hang on one connection:
 * when the process dies, Postgres gives them up without any timeout.
 */
export class Lease {
  /** Names this instance in claims; changes when the connection had to be made anew. */
  private current = 0;
  private client: pg.Client | undefined;
  private readonly led = new Set<string>();
  private readonly closing = new AbortController();
  private connecting: Promise<void> | undefined;
  /** The connection takes one statement at a time. */
  private turn: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly url: string,
    private readonly scope: string,
    private readonly log: Log,
  ) {}

  /** The id to write into a claim. Rows whose `claimed_by` fails {@link aliveSql} are free. */
  async instance(): Promise<number> {
    await this.connected();
    return this.current;
  }

  /** The same without waiting; undefined while Postgres is away. */
  get present(): number | undefined {
    return this.client ? this.current : undefined;
  }

  /** True while this process is the one holder of the named role; asks Postgres until it is. */
  async leads(role: string): Promise<boolean> {
    await this.connected();
    if (this.led.has(role)) return true;
    const client = this.client;
    if (!client) return false;
    const got = await this.inTurn(client, 'SELECT pg_try_advisory_lock($1, hashtext($2)) AS got', role);
    if (!got || this.client !== client) return false;
    this.led.add(role);
    return true;
  }

  async resign(role: string): Promise<void> {
    if (!this.led.delete(role)) return;
    const { client } = this;
    if (client) await this.inTurn(client, 'SELECT pg_advisory_unlock($1, hashtext($2)) AS got', role).catch(() => undefined);
  }

  private inTurn(client: pg.Client, sql: string, role: string): Promise<boolean> {
    const answer = this.turn.then(async () => {
      const { rows } = await client.query<{ got: boolean }>(sql, [LEADER_LOCKS, `${this.scope} ${role}`]);
      return rows[0]?.got === true;
    });
    this.turn = answer.catch(() => undefined);
    return answer;
  }

  async close(): Promise<void> {
    this.closing.abort();
    await this.client?.end().catch(() => undefined);
    this.drop();
  }

  private connected(): Promise<void> {
    if (this.client) return Promise.resolve();
    this.connecting ??= this.connect().finally(() => (this.connecting = undefined));
    return this.connecting;
  }

  private async connect(): Promise<void> {
    for (let attempt = 0; !this.closing.signal.aborted; attempt++) {
      const client = new pg.Client({
        connectionString: this.url,
        keepAlive: true,
        connectionTimeoutMillis: 5_000,
        application_name: `millrace ${this.scope} lease`,
      });
      client.on('error', () => undefined);
      try {
        await client.connect();
        const id = randomInt(1, 2 ** 31 - 1);
        await client.query('SELECT pg_advisory_lock($1, $2)', [ALIVE_LOCKS, id]);
        client.on('end', () => {
          if (this.client === client) this.drop();
        });
        this.client = client;
        this.current = id;
        return;
      } catch (error) {
        await client.end().catch(() => undefined);
        this.log.warn({ err: error, attempt }, 'lease.unreachable');
        await pause(Math.min(2_000, 100 * 2 ** attempt), this.closing.signal);
      }
    }
    throw new Error('the lease is closed');
  }

  private drop(): void {
    this.client = undefined;
    this.current = 0;
    this.led.clear();
  }
}

/** SQL that is true when the instance in `column` still lives. */
export const aliveSql = (column: string): string =>
  `EXISTS (SELECT 1 FROM pg_locks l WHERE l.locktype = 'advisory' AND l.classid = ${ALIVE_LOCKS} AND l.objid = ${column}::oid AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))`;
