import { sizeOf, type Waiting } from './outbox.ts';

/** What is kept in memory of facts on their way out; what is more is read from the outbox. */
const BYTES_MAX = 24 * 1024 * 1024;
/** Ids remembered while one below them is missing. */
const READ_MAX = 50_000;

/** What a look into the outbox saw beside the facts. */
export interface Look {
  /** Of transactions: every one below `oldest` had ended, none from `next` on had begun. */
  oldest: bigint;
  next: bigint;
  /** The last id that the outbox had given to anybody. */
  lastId: number;
  /** False where more waited than was read. */
  complete: boolean;
}

/**
 * Facts that this instance has committed, to be published without reading them back. They are given out only while no id is missing: a missing
 * one may belong to another instance, or to a transaction under way, and may have to be published first. Then the outbox has to be looked into,
 * until every transaction that can own the missing id has ended.
 */
export class FreshFacts {
  private readonly rows = new Map<number, Waiting>();
  private bytes = 0;
  private count = 0;
  /** Every row up to this id has been given out, or will never be. Undefined: not known yet. */
  private upTo: number | undefined;
  /** Read above `upTo`. */
  private readonly read = new Set<number>();
  /** `id` will be what `upTo` is when all transactions before `next` have ended. */
  private candidate: { id: number; next?: bigint } | undefined;

  add(rows: readonly Waiting[]): void {
    for (const row of rows) {
      const id = Number(row.id);
      const bytes = sizeOf(row).kept;
      if (this.read.has(id) || (this.upTo !== undefined && id <= this.upTo) || this.bytes + bytes > BYTES_MAX) continue;
      this.rows.set(id, row);
      this.bytes += bytes;
      this.count += row.facts.length;
    }
  }

  /** More than is published while another batch is worked on. */
  get crowded(): boolean {
    return this.bytes > BYTES_MAX / 3;
  }

  /** Facts. */
  get size(): number {
    return this.count;
  }

  /** There are facts here that may not be given out. */
  get incomplete(): boolean {
    return this.rows.size > 0 && (this.upTo === undefined || !this.rows.has(this.upTo + 1));
  }

  /** The next rows, in the order of their ids, up to so many facts and bytes of them; none where one before them is missing. */
  take(facts: number, bytes: number): Waiting[] {
    const taken: Waiting[] = [];
    if (this.upTo === undefined) return taken;
    for (let [count, size] = [0, 0]; ; this.upTo++) {
      const row = this.rows.get(this.upTo + 1);
      if (!row) break;
      count += row.facts.length;
      size += sizeOf(row).sent;
      if (taken.length > 0 && (count > facts || size > bytes)) break;
      taken.push(row);
      this.forget(this.upTo + 1);
    }
    this.advance();
    return taken;
  }

  /** To be told of every look into the outbox: these rows were read there, and are given out by the reader. */
  looked(rows: readonly Waiting[], { oldest, next, lastId, complete }: Look): void {
    for (const { id } of rows) {
      this.forget(Number(id));
      this.read.add(Number(id));
    }
    this.advance();
    if (this.read.size > READ_MAX) this.clear();
    if (!complete) return;
    const { candidate } = this;
    if (!candidate) this.candidate = { id: lastId };
    // A transaction has its number shortly after the id of its first row at the latest: by the second look.
    else if (candidate.next === undefined) candidate.next = next;
    else if (oldest >= candidate.next) {
      this.upTo = Math.max(candidate.id, this.upTo ?? 0);
      this.candidate = undefined;
      for (const id of this.rows.keys()) if (id <= this.upTo) this.forget(id);
      this.advance();
    }
  }

  /** Nothing is known any more. */
  clear(): void {
    this.rows.clear();
    this.read.clear();
    this.bytes = 0;
    this.count = 0;
    this.upTo = undefined;
    this.candidate = undefined;
  }

  private forget(id: number): void {
    const row = this.rows.get(id);
    if (!row) return;
    this.bytes -= sizeOf(row).kept;
    this.count -= row.facts.length;
    this.rows.delete(id);
  }

  private advance(): void {
    if (this.upTo === undefined) return;
    while (this.read.delete(this.upTo + 1)) this.upTo++;
    for (const id of this.read) if (id <= this.upTo) this.read.delete(id);
  }
}
