import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';

/** What is sent, and how much of the answer is worth having. */
export interface Sent {
  method: string;
  url: string;
  headers: Record<string, string>;
  body?: string;
}

export interface Bounds {
  /** From the beginning to the headers of the answer, connecting included. */
  timeoutMs: number;
  /** What of the answer's body is kept. */
  keptBytes: number;
  /** A body is read so far, so that the connection can be used again; a longer one is cut with its connection. */
  readBytes: number;
  /** And for so long. */
  readMs: number;
}

export interface Exchanged {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
  /** Until the headers were there. */
  ms: number;
}

/** There was no answer in time. */
export class NoAnswer extends Error {
  override name = 'NoAnswer';
}

/**
 * One HTTP exchange at undici's lowest level: no streams, no signals of its own, one timer. It ends when its time is over, also while a connection is
 * still being made. What arrives of a body within the bounds is kept; that it broke off does not matter, the status came before.
 *
 * Rejects with {@link NoAnswer}, the error of the connection, or the reason of the signal.
 */
export function exchange(dispatcher: Dispatcher, sent: Sent, bounds: Bounds, signal: AbortSignal): Promise<Exchanged> {
  return new Promise((resolve, reject) => {
    const one = new Exchange(bounds, signal, resolve, reject);
    if (signal.aborted) return one.end(signal.reason as Error);
    const { origin, pathname, search } = new URL(sent.url);
    const { method, headers, body = null } = sent;
    try {
      dispatcher.dispatch(
        { origin, path: `${pathname}${search}`, method: method as 'POST', headers, body, headersTimeout: 0, bodyTimeout: 0 },
        one,
      );
    } catch (error) {
      one.end(error as Error);
    }
  });
}

/** The exchanges that a signal ends. It has one listener for all: it looks through all that it has for each that comes and goes. */
const underWay = new WeakMap<AbortSignal, Set<Exchange>>();

function underWayOf(signal: AbortSignal): Set<Exchange> {
  const known = underWay.get(signal);
  if (known) return known;
  const made = new Set<Exchange>();
  underWay.set(signal, made);
  signal.addEventListener('abort', () => made.forEach((exchange) => exchange.end(signal.reason as Error)), { once: true });
  return made;
}

class Exchange implements Dispatcher.DispatchHandler {
  private readonly begun = performance.now();
  private timer: NodeJS.Timeout;
  private controller: Dispatcher.DispatchController | undefined;
  private over = false;
  private status = 0;
  private headers: IncomingHttpHeaders = {};
  private ms = 0;
  private kept: Buffer[] = [];
  private bytes = 0;

  constructor(
    private readonly bounds: Bounds,
    private readonly signal: AbortSignal,
    private readonly resolve: (exchanged: Exchanged) => void,
    private readonly reject: (error: Error) => void,
  ) {
    this.timer = setTimeout(() => this.end(new NoAnswer(`no answer within ${bounds.timeoutMs / 1_000} s`)), bounds.timeoutMs);
    underWayOf(signal).add(this);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.controller = controller;
    if (this.over) controller.abort(new Error('it is over'));
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (status < 200 || this.over) return;
    [this.status, this.headers, this.ms] = [status, headers, performance.now() - this.begun];
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.end(), this.bounds.readMs);
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    const { keptBytes, readBytes } = this.bounds;
    // A copy: undici reads the next answer into the same memory.
    if (this.bytes < keptBytes) this.kept.push(Buffer.from(chunk.subarray(0, keptBytes - this.bytes)));
    this.bytes += chunk.length;
    if (this.bytes > readBytes) this.end();
  }

  onResponseEnd(): void {
    this.controller = undefined;
    this.end();
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.controller = undefined;
    this.end(error);
  }

  /** Where the headers were there, whatever came after them is the end of the answer, and no error. */
  end(error?: Error): void {
    if (this.over) return;
    this.over = true;
    clearTimeout(this.timer);
    underWayOf(this.signal).delete(this);
    this.controller?.abort(error ?? new Error('enough of it was read'));
    const { status, headers, ms } = this;
    if (status && !this.signal.aborted) this.resolve({ status, headers, ms, body: Buffer.concat(this.kept).toString() });
    else this.reject(error ?? new Error('the answer ended before it began'));
  }
}
