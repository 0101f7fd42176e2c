import { Gauge, type Registry } from 'prom-client';
import { pause } from './backoff.ts';
import type { Log } from './log.ts';
import { SealError, type Sealing } from './sealing.ts';
import type { Worker } from './service.ts';
import type { Store, Tx } from './store.ts';

/** A table with a column `sealed`. */
export interface SealedTable {
  table: string;
  /** Columns of its primary key, all of them uuid or text. */
  key: readonly string[];
  /** What a value is bound to, from its key. */
  belongsTo: (key: readonly string[]) => string;
}

/** Rows that one transaction seals anew. */
const AT_ONCE = 100;
/** Another instance, which has the older keys only, may seal meanwhile. */
const AGAIN_MS = 60_000;
const SETTLED_MS = 15 * 60_000;

/** What one look through the table came to. */
export interface Resealed {
  /** Values that are under the current key now. */
  sealed: number;
  /** Values that could not be opened, by the id of their key; `unknown` for those that do not say it. */
  missing: Record<string, number>;
  /** Values that are not under the current key: those, and what another instance was at. */
  left: number;
}

/**
 * Brings what older keys have sealed under the current one, while everything stays readable: when it says that nothing is left, the older keys
 * may go. What cannot be opened stays as it is, and is told with the key that is missing.
 */
export class Resealing implements Worker {
  private readonly stopping = new AbortController();
  private running: Promise<void> = Promise.resolve();
  private left = Number.NaN;
  private told = '';

  constructor(
    private readonly of: SealedTable,
    private readonly on: { store: Store; sealing: Sealing; log: Log; metrics: Registry },
  ) {
    const left = () => this.left;
    new Gauge({
      name: 'millrace_sealed_under_other_keys',
      help: 'Values that the first SECRETS_KEY has not sealed, at the last look; at 0 the other keys may go',
      registers: [on.metrics],
      collect() {
        this.set(left());
      },
    });
  }

  start(): void {
    this.running = this.run();
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  /** Goes through the table once. */
  async look(): Promise<Resealed> {
    const result: Resealed = { sealed: 0, missing: {}, left: 0 };
    for (let after: readonly string[] | undefined; !this.stopping.signal.aborted;) {
      const part = await this.on.store.transaction((tx) => this.next(tx, after, result));
      if (!part) break;
      after = part;
    }
    const { table } = this.of;
    const [counted] = await this.on.store.query<{ n: string }>(`SELECT count(*) AS n FROM ${table} WHERE ${this.stale}`, [this.header]);
    result.left = this.left = Number(counted?.n);
    this.tell(result);
    return result;
  }

  private get header(): Buffer {
    return this.on.sealing.currentHeader;
  }

  /** SQL for a value that $1, the header of the current key, does not begin. */
  private get stale(): string {
    return `substring(sealed for ${this.header.length}) <> $1`;
  }

  private async run(): Promise<void> {
    const { signal } = this.stopping;
    while (!signal.aborted) {
      let waitMs = AGAIN_MS;
      try {
        const { sealed, left } = await this.look();
        if (!sealed && !left) waitMs = SETTLED_MS;
      } catch (error) {
        this.on.log.warn({ err: error, table: this.of.table }, 'sealing.reseal-failed');
      }
      await pause(waitMs, signal);
    }
  }

  /** The next rows behind `after`; resolves to the key of the last one, or to undefined where there was none. */
  private async next(tx: Tx, after: readonly string[] | undefined, result: Resealed): Promise<readonly string[] | undefined> {
    const { table, key, belongsTo } = this.of;
    const { sealing } = this.on;
    const places = (from: number) => key.map((_, i) => `$${from + i}`).join(', ');
    const rows = await tx.query<{ sealed: Buffer; [column: string]: unknown }>(
      `SELECT ${key.join(', ')}, sealed FROM ${table}
        WHERE ${this.stale} ${after ? `AND (${key.join(', ')}) > (${places(2)})` : ''}
        ORDER BY ${key.join(', ')} LIMIT ${AT_ONCE} FOR UPDATE SKIP LOCKED`,
      [this.header, ...(after ?? [])],
    );
    let last: readonly string[] | undefined;
    for (const row of rows) {
      last = key.map((column) => String(row[column]));
      try {
        const sealed = sealing.seal(sealing.open(row.sealed, belongsTo(last)), belongsTo(last));
        await tx.run(`UPDATE ${table} SET sealed = $1 WHERE (${key.join(', ')}) = (${places(2)})`, [sealed, ...last]);
        result.sealed++;
      } catch (error) {
        if (!(error instanceof SealError)) throw error;
        const missing = error.missingKey ?? 'unknown';
        result.missing[missing] = (result.missing[missing] ?? 0) + 1;
      }
    }
    return last;
  }

  /** Says what has changed since the last look. */
  private tell({ sealed, missing, left }: Resealed): void {
    const { table } = this.of;
    const { log, sealing } = this.on;
    if (sealed) log.info({ table, rows: sealed, keyId: sealing.keyId }, 'sealing.resealed');
    const now = JSON.stringify([missing, left]);
    if (now === this.told) return;
    this.told = now;
    for (const [keyId, rows] of Object.entries(missing))
      log.error(
        {
          table,
          rows,
          keyId,
          todo: 'add that key behind the first one of SECRETS_KEY and restart; or delete these objects, or set them again',
        },
        'sealing.key-missing',
      );
    if (!left) log.info({ table, keyId: sealing.keyId }, 'sealing.current');
  }
}
