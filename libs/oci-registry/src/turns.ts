import type { Purpose } from './budget.ts';

/** Nobody's turn came within the time. */
export class NoTurn extends Error {
  override readonly name = 'NoTurn';
}

interface Waiter {
  begin: () => void;
}

/**
 * Who may send to a host next. At most `total` requests are under way, of them at most `forChecks` checks; imports go before checks,
 * and within each the tenants take turns, so that one with thousands of tags does not keep the others waiting.
 */
export class Turns {
  readonly #waiting: Record<Purpose, Map<string, Waiter[]>> = { import: new Map(), check: new Map() };
  #underWay = 0;
  #checks = 0;

  constructor(
    private readonly total: number,
    private readonly forChecks: number,
  ) {}

  /** Undefined: the turn is taken. Otherwise wait for it; it rejects with `NoTurn` after `withinMs`. `end` must follow either. */
  take(purpose: Purpose, tenant: string, withinMs: number): Promise<void> | undefined {
    if (this.#isFree(purpose)) {
      this.#begin(purpose);
      return undefined;
    }
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        begin: () => {
          clearTimeout(timer);
          resolve();
        },
      };
      const timer = setTimeout(() => {
        this.#forget(purpose, tenant, waiter);
        reject(new NoTurn(`no turn within ${withinMs} ms, ${this.#underWay} requests are under way`));
      }, withinMs);
      const queue = this.#waiting[purpose].get(tenant);
      if (queue) queue.push(waiter);
      else this.#waiting[purpose].set(tenant, [waiter]);
    });
  }

  end(purpose: Purpose): void {
    this.#underWay--;
    if (purpose === 'check') this.#checks--;
    for (const each of ['import', 'check'] as const) {
      while (this.#waiting[each].size > 0 && this.#isFree(each)) {
        this.#begin(each);
        this.#next(this.#waiting[each])?.begin();
      }
    }
  }

  #isFree(purpose: Purpose): boolean {
    return this.#underWay < this.total && (purpose === 'import' || this.#checks < this.forChecks);
  }

  #begin(purpose: Purpose): void {
    this.#underWay++;
    if (purpose === 'check') this.#checks++;
  }

  /** The longest waiting of the tenant whose turn it is; the tenant goes to the end of the row. */
  #next(tenants: Map<string, Waiter[]>): Waiter | undefined {
    const [first] = tenants;
    if (!first) return undefined;
    const [tenant, queue] = first;
    const waiter = queue.shift();
    tenants.delete(tenant);
    if (queue.length) tenants.set(tenant, queue);
    return waiter;
  }

  #forget(purpose: Purpose, tenant: string, waiter: Waiter): void {
    const queue = this.#waiting[purpose].get(tenant)?.filter((each) => each !== waiter) ?? [];
    if (queue.length) this.#waiting[purpose].set(tenant, queue);
    else this.#waiting[purpose].delete(tenant);
  }
}
