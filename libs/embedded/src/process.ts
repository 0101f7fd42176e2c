import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

/** Why an embedded server is not there: `code` for programs, the message for people, with what to do. */
export class EmbeddedServerError extends Error {
  override name = 'EmbeddedServerError';
  readonly code: 'program-missing' | 'port-taken' | 'in-use' | 'exited' | 'not-ready' | 'unreachable-files';

  constructor(details: { code: EmbeddedServerError['code']; message: string; cause?: unknown }) {
    super(details.message, { cause: details.cause });
    this.code = details.code;
  }
}

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** What every embedded server is asked to do, beside its own options. */
export interface ServerHooks {
  /** One line of the server's own log, without the line end. */
  log?: (line: string) => void;
  /** The server ended although nobody called `stop` or `kill`. */
  onExit?: (exit: Exit, lastLines: readonly string[]) => void;
}

export interface ServerProcessOptions extends ServerHooks {
  /** As people call it: `PostgreSQL`. */
  name: string;
  command: string;
  args: readonly string[];
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  uid?: number;
  gid?: number;
  /** Says who runs on these data. Kept beside the data, not in them. */
  pidFile: string;
  /** The signal that ends it in order; `SIGTERM` where not given. */
  stopSignal?: NodeJS.Signals;
  /** After this long `stop` uses SIGKILL. */
  stopTimeoutMs?: number;
}

const KEPT_LINES = 50;

/**
 * A server as a child process that does not outlive this one.
 *
 * It runs in a process group of its own, so that Ctrl-C in a terminal reaches only us and we stop servers in our order. Should we die without a word
 * (SIGKILL, out of memory), a watchdog stops it: a shell that blocks on a pipe which only we hold open, because Node has no `prctl(PR_SET_PDEATHSIG)`.
 * Should the watchdog be gone too, the next start on the same data finds the orphan through the pid file and stops it.
 */
export class ServerProcess {
  readonly exited: Promise<Exit>;
  readonly #child: ChildProcess;
  readonly #options: ServerProcessOptions;
  readonly #lines: string[] = [];
  #exit: Exit | undefined;
  #asked = false;

  /** @throws EmbeddedServerError `in-use` when another live process runs a server on these data. */
  static async start(options: ServerProcessOptions): Promise<ServerProcess> {
    await claim(options);
    try {
      return new ServerProcess(options);
    } catch (cause) {
      rmSync(options.pidFile, { force: true });
      throw new EmbeddedServerError({
        code: 'exited',
        message: `${options.name} could not be started from ${options.command}: ${String(cause)}`,
        cause,
      });
    }
  }

  private constructor(options: ServerProcessOptions) {
    this.#options = options;
    const { command, args, cwd, env, uid, gid } = options;
    const child = spawn(command, args, { cwd, env: env ?? process.env, uid, gid, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    if (child.pid !== undefined) record(options.pidFile, { supervisor: identity(process.pid), server: identity(child.pid) });
    const dismiss = child.pid === undefined ? () => undefined : watch(child.pid, options.stopSignal ?? 'SIGTERM');
    for (const stream of [child.stdout, child.stderr])
      if (stream) createInterface({ input: stream }).on('line', (line) => this.#keep(line));

    const ended = Promise.withResolvers<Exit>();
    this.exited = ended.promise;
    const end = (exit: Exit): void => {
      if (this.#exit) return;
      this.#exit = exit;
      dismiss();
      rmSync(options.pidFile, { force: true });
      ended.resolve(exit);
      if (!this.#asked) options.onExit?.(exit, this.lastLines);
    };
    // 'close' comes after the last log line; a process that could not be spawned has 'error' only.
    child.once('close', (code, signal) => end({ code, signal }));
    child.once('error', (error) => {
      this.#keep(error.message);
      if (child.pid === undefined) end({ code: null, signal: null });
    });
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  get running(): boolean {
    return this.#exit === undefined;
  }

  get lastLines(): readonly string[] {
    return this.#lines;
  }

  /** Ends it in order; SIGKILL after `stopTimeoutMs`. Calling it again waits for the same end. */
  async stop(): Promise<void> {
    this.#asked = true;
    if (!this.running) return;
    this.#child.kill(this.#options.stopSignal ?? 'SIGTERM');
    const bound = new AbortController();
    const late = delay(this.#options.stopTimeoutMs ?? 10_000, 'late' as const, { signal: bound.signal }).catch(() => 'ended' as const);
    const first = await Promise.race([this.exited, late]);
    bound.abort();
    if (first === 'late') await this.kill();
  }

  /** Ends it at once, as a crash would. */
  async kill(): Promise<void> {
    this.#asked = true;
    if (!this.running) return;
    this.#child.kill('SIGKILL');
    await this.exited;
  }

  /**
   * Repeats `probe` until it answers. An error of the probe means "not yet".
   * @throws EmbeddedServerError `exited` or `not-ready`, with the last log lines; the server is then gone.
   */
  async untilReady<T>(probe: () => Promise<T>, timeoutMs = 60_000): Promise<T> {
    const deadline = performance.now() + timeoutMs;
    let lastError: unknown;
    while (this.running && performance.now() < deadline) {
      try {
        return await probe();
      } catch (error) {
        lastError = error;
      }
      await Promise.race([delay(30), this.exited]);
    }
    const { name } = this.#options;
    if (this.running) {
      await this.kill();
      const message = `${name} did not answer within ${timeoutMs / 1000} s (${String(lastError)}).${this.#tail()}`;
      throw new EmbeddedServerError({ code: 'not-ready', message, cause: lastError });
    }
    const { code, signal } = await this.exited;
    throw new EmbeddedServerError({
      code: 'exited',
      message: `${name} ended while starting (${signal ?? `exit code ${code}`}).${this.#tail()}`,
    });
  }

  #keep(line: string): void {
    this.#lines.push(line);
    if (this.#lines.length > KEPT_LINES) this.#lines.shift();
    this.#options.log?.(line);
  }

  #tail(): string {
    return this.#lines.length === 0 ? '' : ` Its last words:\n${this.#lines.map((line) => `  ${line}`).join('\n')}`;
  }
}

// Blocks until our end of the pipe says "done" or is closed by our death. $1 is the server's pid, $2 the signal that ends it.
const WATCHDOG = `read -r word && exit 0
kill -"$2" "$1" 2>/dev/null
i=0
while kill -0 "$1" 2>/dev/null && [ $i -lt 100 ]; do sleep 0.1; i=$((i + 1)); done
kill -KILL "$1" 2>/dev/null`;

function watch(pid: number, signal: NodeJS.Signals): () => void {
  const dog = spawn('/bin/sh', ['-c', WATCHDOG, 'millrace-watchdog', String(pid), signal.slice(3)], {
    detached: true,
    cwd: '/',
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  const { stdin } = dog;
  dog.on('error', () => undefined);
  stdin.on('error', () => undefined);
  dog.unref();
  if ('unref' in stdin && typeof stdin.unref === 'function') stdin.unref();
  return () => stdin.end('done\n');
}

/** A process, told apart from a later one with the same pid by when it started. */
interface Identity {
  pid: number;
  started: string;
}

interface Claim {
  supervisor: Identity;
  server?: Identity;
}

async function claim({ name, pidFile, stopSignal = 'SIGTERM' }: ServerProcessOptions): Promise<void> {
  mkdirSync(dirname(pidFile), { recursive: true });
  for (let attempt = 0; attempt < 3; attempt += 1) {
    try {
      record(pidFile, { supervisor: identity(process.pid) }, 'wx');
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const known = read(pidFile);
    if (known && isAlive(known.supervisor) && (known.supervisor.pid !== process.pid || isAlive(known.server))) {
      const message = `${name} already runs on ${dirname(pidFile)}, started by process ${known.supervisor.pid}. Stop that one, or choose another data directory.`;
      throw new EmbeddedServerError({ code: 'in-use', message });
    }
    if (known?.server) await endOrphan(known.server, stopSignal);
    rmSync(pidFile, { force: true });
  }
  throw new EmbeddedServerError({
    code: 'in-use',
    message: `${name}: several processes start on ${dirname(pidFile)} at the same time. Start one only.`,
  });
}

async function endOrphan(orphan: Identity, stopSignal: NodeJS.Signals): Promise<void> {
  for (const signal of [stopSignal, 'SIGKILL'] as const) {
    if (!isAlive(orphan)) return;
    try {
      process.kill(orphan.pid, signal);
    } catch {
      return; // It ended meanwhile.
    }
    for (let waited = 0; waited < 10_000 && isAlive(orphan); waited += 50) await delay(50);
  }
}

function record(pidFile: string, claimed: Claim, flag: 'w' | 'wx' = 'w'): void {
  writeFileSync(pidFile, JSON.stringify(claimed), { mode: 0o600, flag });
}

function read(pidFile: string): Claim | undefined {
  try {
    return JSON.parse(readFileSync(pidFile, 'utf8')) as Claim;
  } catch {
    return undefined; // Half written by a process that died: nobody's.
  }
}

function identity(pid: number): Identity {
  return { pid, started: startOf(pid) ?? '' };
}

function isAlive(it: Identity | undefined): boolean {
  return it !== undefined && startOf(it.pid) === it.started;
}

/** When a process started, in the system's own words; undefined when there is no such process (a zombie counts as none). */
function startOf(pid: number): string | undefined {
  try {
    if (process.platform === 'linux') {
      // The program's name may hold blanks and brackets; the state and the start time are the 1st and 20th field after it.
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /s, '')
        .split(' ');
      return fields[0] === 'Z' ? undefined : fields[19];
    }
    return (
      execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], {
        encoding: 'utf8',
        timeout: 5_000,
        env: { ...process.env, LC_ALL: 'C' },
      }).trim() || undefined
    );
  } catch {
    return undefined;
  }
}
