import type { ServerResponse } from 'node:http';

/** How long a client may leave what it was sent unread. */
const STALLED_MS = 30_000;
/** How long it may take to read the last of it. */
const GOODBYE_MS = 10_000;

/** The reader of one watch. It is sent more only when it has taken what it was sent: what waits for it here is one event and what the socket holds. */
export class WatchClient {
  private waits = false;
  private over = false;
  private stalled: NodeJS.Timeout | undefined;

  constructor(
    private readonly response: ServerResponse,
    private readonly heard: { ready: () => void; stalled: () => void; gone: () => void },
  ) {
    response.on('drain', () => {
      clearTimeout(this.stalled);
      this.waits = false;
      if (!this.over) heard.ready();
    });
    response.once('close', () => {
      clearTimeout(this.stalled);
      this.over = true;
      heard.gone();
    });
  }

  /** False when nothing can be sent any more. */
  get open(): boolean {
    return !this.over;
  }

  /** Whether it has taken what it was sent. */
  get ready(): boolean {
    return !this.waits && !this.over;
  }

  send(line: Buffer): void {
    if (this.over || this.response.write(line) || this.waits) return;
    this.waits = true;
    this.stalled = setTimeout(() => this.heard.stalled(), STALLED_MS).unref();
  }

  /** Everything that is sent within `work` travels together. */
  together(work: () => void): void {
    this.response.cork();
    try {
      work();
    } finally {
      this.response.uncork();
    }
  }

  /** Ends the answer, after a last line where one is given; a client that does not read that either is cut off. */
  close(last?: Buffer): void {
    if (this.over) return;
    this.over = true;
    clearTimeout(this.stalled);
    this.response.end(last);
    const cut = setTimeout(() => this.response.destroy(), GOODBYE_MS).unref();
    this.response.once('close', () => clearTimeout(cut));
  }
}
