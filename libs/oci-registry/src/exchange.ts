import type { Dispatcher } from 'undici';

export interface Exchanged {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  /** Undefined where it is longer than the limit; then no more than that was read. */
  body?: Buffer;
}

/** Time was over before the answer was complete. */
export class TimeUp extends Error {
  override readonly name = 'TimeoutError';
}

const nothing = Buffer.alloc(0);

/**
 * Takes one answer from undici, with its body in memory up to a limit. A tag is asked about so often that what undici does for
 * bodies that are streams, and for signals, would be most of the work.
 */
export class Exchange implements Dispatcher.DispatchHandler {
  /** Rejects with undici's error, or what it was cancelled with. */
  readonly done: Promise<Exchanged>;
  readonly #maxBytes: (status: number) => number;
  #resolve!: (exchanged: Exchanged) => void;
  #reject!: (error: Error) => void;
  #controller?: Dispatcher.DispatchController;
  #cancelled?: Error;
  #status = 0;
  #headers: Exchanged['headers'] = {};
  #limit = 0;
  #length = 0;
  #chunks: Buffer[] = [];

  constructor(maxBytes: (status: number) => number) {
    this.#maxBytes = maxBytes;
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** Also before anything is sent: then nothing will be. */
  cancel(reason: Error): void {
    this.#cancelled = reason;
    this.#reject(reason);
    this.#controller?.abort(reason);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#cancelled) controller.abort(this.#cancelled);
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, headers: Exchanged['headers']): void {
    if (status < 200) return;
    this.#status = status;
    this.#headers = headers;
    this.#limit = this.#maxBytes(status);
    // Of an answer to HEAD the length is that of another answer.
    if (this.#limit > 0 && Number(headers['content-length'] ?? 0) > this.#limit) this.#tooLong(controller);
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#length += chunk.length;
    if (this.#length > this.#limit) this.#tooLong(controller);
    else this.#chunks.push(chunk);
  }

  onResponseEnd(): void {
    const body = this.#length === 0 ? nothing : Buffer.concat(this.#chunks);
    this.#resolve({ status: this.#status, headers: this.#headers, body });
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#reject(error);
  }

  #tooLong(controller: Dispatcher.DispatchController): void {
    this.#resolve({ status: this.#status, headers: this.#headers });
    controller.abort(new Error('the body is too long'));
  }
}

/** The end of a request's time, however many exchanges it takes. */
export class Deadline {
  readonly #timer: NodeJS.Timeout;
  #exchange?: Exchange;
  #over?: TimeUp;

  constructor(timeoutMs: number) {
    this.#timer = setTimeout(() => {
      this.#over = new TimeUp(`no complete answer within ${timeoutMs} ms`);
      this.#exchange?.cancel(this.#over);
    }, timeoutMs);
  }

  holdsFor(exchange: Exchange): void {
    this.#exchange = exchange;
    if (this.#over) exchange.cancel(this.#over);
  }

  clear(): void {
    clearTimeout(this.#timer);
  }
}
