import { readRateLimit, retryAfter, type Headers } from './rate-limit.ts';

/** Why a request is made. A `check` is background work and leaves room for an `import`, which a person waits for. */
export type Purpose = 'import' | 'check';

/** What a request takes from a quota: registries count manifests that are fetched, some also those that are asked for with HEAD. */
export type Cost = 'manifest' | 'manifest-head' | 'other';

/** What is left for one account at one registry, as far as the registry has told. Times in milliseconds since 1970. */
export interface BudgetState {
  limit?: number;
  remaining?: number;
  /** When the quota is whole again. */
  resetsAt?: number;
  /** Nothing is sent before: the registry asked for it. */
  parkedUntil?: number;
  /** Whether the registry counts HEAD; unknown at first. */
  countsHeads?: boolean;
}

interface Quota {
  limit?: number;
  remaining: number;
  windowMs?: number;
  resetsAt?: number;
  /** After this the quota is no longer true. */
  expiresAt: number;
}

/** Of the quota, what checks leave to imports. */
const RESERVED = 0.2;
const FIRST_PARKING_MS = 2_000;
const LONGEST_PARKING_MS = 6 * 3_600_000;
const LONGEST_BLIND_PARKING_MS = 300_000;
const WINDOW_MS = 3_600_000;
const HEADS_TO_LEARN_FROM = 8;

/**
 * The budget of one account at one registry, shared by all who use it: the quota that the registry tells, and the times at which
 * it wants to be left alone. Pure but for its memory: `now` comes in, in milliseconds since 1970.
 */
export class Budget {
  #quota?: Quota;
  #inFlight = 0;
  #countedAt = -Infinity;
  #parkedUntil = -Infinity;
  #refusals = 0;
  #countsHeads?: boolean;
  /** Answers to HEAD since a remaining number was noted, with no fetched manifest in between. */
  #heads?: { from: number; answers: number };

  constructor({ countsHeads }: { countsHeads?: boolean } = {}) {
    this.#countsHeads = countsHeads;
  }

  /** How long a request of this kind has to wait; 0: it may go now. */
  waitMs(purpose: Purpose, cost: Cost, now: number): number {
    return Math.max(0, this.#parkedUntil - now, this.#quotaWaitMs(purpose, cost, now));
  }

  /** A request goes out. `answered` or `failed` must follow. */
  spend(cost: Cost, now: number): void {
    if (!this.#counts(cost)) return;
    this.#inFlight++;
    this.#countedAt = now;
  }

  failed(cost: Cost): void {
    if (this.#counts(cost)) this.#inFlight = Math.max(0, this.#inFlight - 1);
  }

  /** `refused`: the registry says that these were too many requests. */
  answered(cost: Cost, { status, headers }: { status: number; headers: Headers }, refused: boolean, now: number): void {
    this.failed(cost);
    this.#learn(cost, headers, now);
    const asked = status >= 400 ? retryAfter(headers['retry-after'], now) : undefined;
    if (refused || (status >= 500 && asked !== undefined)) this.#park(asked, now);
    else if (status < 400) this.#refusals = 0;
  }

  state(now: number): BudgetState {
    const quota = this.#current(now);
    return {
      ...(quota && { limit: quota.limit, remaining: quota.remaining, resetsAt: quota.resetsAt }),
      ...(this.#parkedUntil > now && { parkedUntil: this.#parkedUntil }),
      countsHeads: this.#countsHeads,
    };
  }

  #park(asked: number | undefined, now: number): void {
    const { remaining, resetsAt = 0 } = this.#current(now) ?? {};
    const blind = Math.min(LONGEST_BLIND_PARKING_MS, FIRST_PARKING_MS * 2 ** Math.min(this.#refusals++, 20));
    const ms = asked ?? (remaining === 0 && resetsAt > now ? resetsAt - now : blind);
    this.#parkedUntil = Math.max(this.#parkedUntil, now + Math.min(LONGEST_PARKING_MS, ms));
  }

  #quotaWaitMs(purpose: Purpose, cost: Cost, now: number): number {
    const quota = this.#current(now);
    if (!quota || !this.#counts(cost)) return 0;
    const { limit, remaining, windowMs = WINDOW_MS, resetsAt } = quota;
    const free = purpose === 'check' ? remaining - this.#inFlight - Math.ceil((limit ?? remaining) * RESERVED) : remaining;
    if (free > 0) return 0;
    if (resetsAt !== undefined) return resetsAt - now;
    // The window slides: a place becomes free every now and then.
    return this.#countedAt + windowMs / Math.max(1, limit ?? 1) - now;
  }

  #current(now: number): Quota | undefined {
    if (this.#quota && this.#quota.expiresAt <= now) this.#quota = undefined;
    return this.#quota;
  }

  #counts(cost: Cost): boolean {
    return cost === 'manifest' || (cost === 'manifest-head' && this.#countsHeads !== false);
  }

  #learn(cost: Cost, headers: Headers, now: number): void {
    const read = readRateLimit(headers, now);
    if (cost === 'manifest') this.#heads = undefined;
    if (read?.remaining === undefined) return;
    const { limit, remaining, windowMs, resetsInMs } = read;
    const resetsAt = resetsInMs === undefined ? undefined : now + resetsInMs;
    this.#quota = { limit, remaining, windowMs, resetsAt, expiresAt: resetsAt ?? now + (windowMs ?? WINDOW_MS) };
    if (cost === 'manifest-head') this.#learnOfHeads(remaining);
  }

  /** Answers come out of order and others may spend from the same quota, so that several are needed to tell. */
  #learnOfHeads(remaining: number): void {
    if (!this.#heads) {
      this.#heads = { from: remaining, answers: 0 };
      return;
    }
    if (++this.#heads.answers < HEADS_TO_LEARN_FROM) return;
    const counted = this.#heads.from - remaining >= HEADS_TO_LEARN_FROM / 2;
    this.#heads = undefined;
    // What is in flight was counted under the old rule.
    if (counted !== (this.#countsHeads ?? true)) this.#inFlight = 0;
    this.#countsHeads = counted;
  }
}
