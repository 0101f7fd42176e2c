import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** How long a client may leave what it was sent unread. */
const STALLED_MS = 30_000;
/** How long it may take to read the last of it. */
const GOODBYE_MS = 10_000;
const NEW_LINE = Buffer.from('\r\n');

/**
 * A line as it goes over the wire: one chunk of an HTTP body. Framed once, it is written to every socket as it is; that is most of what an event
 * costs where many watch.
 */
export const framed = (line: Buffer): Buffer => Buffer.concat([Buffer.from(`${line.length.toString(16)}\r\n`), line, NEW_LINE]);

/** The reader of one watch. It is sent more only when it has taken what it was sent: what waits for it here is one event and what the socket holds. */
export class WatchClient {
  private waits = false;
  private over = false;
  private stalled: NodeJS.Timeout | undefined;
  private readonly drained = () => {
    clearTimeout(this.stalled);
    this.waits = false;
    if (!this.over) this.heard.ready();
  };

  private constructor(
    private readonly response: ServerResponse,
    private readonly socket: Socket,
    private readonly heard: { ready: () => void; stalled: () => void; gone: () => void },
  ) {
    socket.on('drain', this.drained);
    response.once('close', () => {
      clearTimeout(this.stalled);
      socket.off('drain', this.drained);
      this.over = true;
      heard.gone();
    });
  }

  /** Answers 200 and begins the body; undefined where the client has gone. */
  static async open(
    response: ServerResponse,
    headers: Record<string, string>,
    heard: { ready: () => void; stalled: () => void; gone: () => void },
  ): Promise<WatchClient | undefined> {
    response.writeHead(200, { ...headers, 'transfer-encoding': 'chunked' });
    response.flushHeaders();
    // A pipelined request gets its socket when those before it are answered.
    if (!response.socket && !response.destroyed) await Promise.race([once(response, 'socket'), once(response, 'close')]);
    return response.socket && !response.destroyed ? new WatchClient(response, response.socket, heard) : undefined;
  }

  /** False when nothing can be sent any more. */
  get open(): boolean {
    return !this.over;
  }

  /** Whether it has taken what it was sent. */
  get ready(): boolean {
    return !this.waits && !this.over;
  }

  /** Takes a {@link framed} line. */
  send(frame: Buffer): void {
    if (this.over || this.socket.write(frame) || this.waits) return;
    this.waits = true;
    this.stalled = setTimeout(() => this.heard.stalled(), STALLED_MS).unref();
  }

  /** Everything that is sent within `work` travels together. */
  together(work: () => void): void {
    this.socket.cork();
    try {
      work();
    } finally {
      this.socket.uncork();
    }
  }

  /** Ends the answer, after a last frame where one is given; a client that does not read that either is cut off. */
  close(last?: Buffer): void {
    if (this.over) return;
    this.over = true;
    clearTimeout(this.stalled);
    if (last) this.socket.write(last);
    this.response.end();
    const cut = setTimeout(() => this.response.destroy(), GOODBYE_MS).unref();
    this.response.once('close', () => clearTimeout(cut));
  }
}
