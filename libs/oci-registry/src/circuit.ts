export interface CircuitOptions {
  /** Failures in a row after which a host is left alone. */
  failures?: number;
  /** How long at first; doubled each time that a probe fails. */
  pauseMs?: number;
  longestPauseMs?: number;
}

export interface CircuitState {
  state: 'closed' | 'open' | 'probing';
  failures: number;
  /** Milliseconds since 1970. */
  retryAt?: number;
  /** What the last failure was. */
  last?: string;
}

/**
 * Whether a host is asked at all. After some failures in a row it is left alone for a while; then one request goes to see, and what
 * becomes of it decides for the others. `now` comes in, in milliseconds since 1970.
 */
export class Circuit {
  readonly #threshold: number;
  readonly #pauseMs: number;
  readonly #longestPauseMs: number;
  #failures = 0;
  /** What failed with an internal error; a single thing that does so says nothing about its host. */
  #broken = new Set<string>();
  #hostFailed = false;
  #pauses = 0;
  #openUntil?: number;
  #probing = false;
  #last?: string;

  constructor({ failures = 5, pauseMs = 1_000, longestPauseMs = 30_000 }: CircuitOptions = {}) {
    this.#threshold = failures;
    this.#pauseMs = pauseMs;
    this.#longestPauseMs = longestPauseMs;
  }

  /** 0: the request may go, and `succeeded`, `failed` or `left` must follow. Otherwise how long the host is left alone. */
  enter(now: number): number {
    if (this.#openUntil === undefined) return 0;
    if (this.#openUntil > now) return this.#openUntil - now;
    if (this.#probing) return this.#pauseMs;
    this.#probing = true;
    return 0;
  }

  succeeded(): void {
    this.#failures = 0;
    this.#hostFailed = false;
    this.#broken.clear();
    this.#pauses = 0;
    this.#openUntil = undefined;
    this.#probing = false;
    this.#last = undefined;
  }

  /** `thing`: what failed, where the failure may be its own and not the host's. */
  failed(now: number, message: string, thing?: string): void {
    this.#failures++;
    this.#last = message;
    if (thing === undefined) this.#hostFailed = true;
    else if (this.#broken.size < this.#threshold) this.#broken.add(thing);
    const probed = this.#probing;
    this.#probing = false;
    const opens = this.#failures >= this.#threshold && (this.#hostFailed || this.#broken.size > 1);
    // Of requests that went out together, only the first failure counts as a new try.
    if (!probed && (!opens || this.#openUntil !== undefined)) return;
    this.#openUntil = now + Math.min(this.#longestPauseMs, this.#pauseMs * 2 ** Math.min(this.#pauses++, 20));
  }

  /** The request came to nothing that says anything about the host. */
  left(): void {
    this.#probing = false;
  }

  state(now: number): CircuitState {
    const open = this.#openUntil !== undefined;
    const state = !open ? 'closed' : this.#probing || (this.#openUntil ?? 0) <= now ? 'probing' : 'open';
    return { state, failures: this.#failures, retryAt: this.#openUntil, last: this.#last };
  }
}
