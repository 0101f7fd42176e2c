import type { BigIntStats } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { EMPTY_KEYRING, type Keyring, keyringOf } from '@millrace/domain/keyring';
import { pause } from './backoff.ts';
import type { Log } from './log.ts';
import type { OperatorCredentials } from './pull-credentials.ts';

const LOOK_EVERY_MS = 1_000;
const LENGTH_MAX = 1024 * 1024;

/** The file cannot be used. The message holds nothing of what is in it. */
class FileError extends Error {
  override name = 'FileError';
}

/**
 * A `config.json` as `docker login` writes it, read again whenever it is another: changed, replaced, or swapped behind a link as in a volume of
 * Kubernetes. That is seen by looking, since not every file system tells. While it cannot be used the last good one is, and the log says so once.
 */
export class OperatorCredentialsFile implements OperatorCredentials {
  private readonly stopping = new AbortController();
  private running: Promise<void> = Promise.resolve();
  private current = EMPTY_KEYRING;
  private seen = '';

  constructor(
    /** Empty: there is none. */
    private readonly file: string,
    private readonly log: Log,
    private readonly everyMs = LOOK_EVERY_MS,
  ) {}

  get keyring(): Keyring {
    return this.current;
  }

  async start(): Promise<void> {
    if (!this.file) return;
    await this.look();
    this.running = this.run();
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  private async run(): Promise<void> {
    const { signal } = this.stopping;
    for (;;) {
      await pause(this.everyMs, signal);
      if (signal.aborted) return;
      await this.look();
    }
  }

  private async look(): Promise<void> {
    const { file, log } = this;
    const found = await stat(file, { bigint: true }).catch((error: NodeJS.ErrnoException) => error);
    const seen = found instanceof Error ? `${found.code}` : markOf(found);
    if (seen === this.seen) return;
    this.seen = seen;
    try {
      if (found instanceof Error) throw new FileError(`cannot be read: ${found.code}`);
      this.current = await this.read(found);
      log.info({ file, registries: this.current.entries.length }, 'registry-auth.read');
      for (const { reason } of this.current.broken) log.warn({ file, reason }, 'registry-auth.entry-broken');
    } catch (error) {
      const reason = error instanceof FileError ? error.message : `cannot be read: ${(error as NodeJS.ErrnoException).code}`;
      log.error({ file, reason, used: `the ${this.current.entries.length} registries that were read last` }, 'registry-auth.broken');
    }
  }

  private async read({ size }: BigIntStats): Promise<Keyring> {
    if (size > LENGTH_MAX) throw new FileError(`has more than ${LENGTH_MAX} bytes`);
    const text = await readFile(this.file, 'utf8');
    const type = 'kubernetes.io/dockerconfigjson';
    const keyring = keyringOf([{ name: this.file, type, texts: new Map([['.dockerconfigjson', text]]) }]);
    const [broken] = keyring.broken;
    if (!text.trim()) throw new FileError('is empty');
    if (broken && !keyring.entries.length) throw new FileError(broken.reason);
    return keyring;
  }
}

/** Another one for every other file, and for every other content of the same. */
const markOf = ({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string => [dev, ino, size, mtimeNs, ctimeNs].join(' ');
