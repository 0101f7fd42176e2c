import { spawn } from 'node:child_process';
import { constants } from 'node:os';

/** Something the user can act on: printed without a stack. */
export class Problem extends Error {
  forPeople = true;

  constructor(message, { exitCode = 1 } = {}) {
    super(message);
    this.exitCode = exitCode;
  }
}

/**
 * Runs a program to its end. Gives its exit code (128 + number for a signal) and, unless `stdio` is inherited, what it printed.
 * Signals to us go on to it, and we stay until it has ended.
 */
export function run(command, args, { cwd, env = process.env, quiet = false }) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env, stdio: quiet ? ['ignore', 'pipe', 'pipe'] : 'inherit' });
    let output = '';
    let interrupted;
    for (const stream of [child.stdout, child.stderr]) stream?.setEncoding('utf8').on('data', (text) => (output += text));

    const forward = (signal) => {
      interrupted ??= signal;
      // A terminal gives Ctrl-C to all of its foreground processes itself: a second SIGINT would look like an impatient user's.
      if (!(signal === 'SIGINT' && process.stdin.isTTY)) child.kill(signal);
    };
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
    for (const signal of signals) process.on(signal, forward);
    const finish = (settle) => {
      for (const signal of signals) process.off(signal, forward);
      settle();
    };
    child.once('error', (error) => finish(() => reject(error)));
    child.once('close', (code, signal) => finish(() => resolve({ code: code ?? 128 + constants.signals[signal], interrupted, output })));
  });
}

/** Shows that something long is under way: one line that counts on a terminal, else a line every few seconds. Gives `done(text)`. */
export function progress(what) {
  const started = performance.now();
  const seconds = () => Math.round((performance.now() - started) / 1000);
  const live = process.stderr.isTTY;
  const show = () => process.stderr.write(live ? `\r\x1b[K${what} … ${seconds()} s` : `${what} … ${seconds()} s\n`);
  if (live) show();
  else process.stderr.write(`${what} …\n`);
  const timer = setInterval(show, live ? 1_000 : 5_000);
  return (end) => {
    clearInterval(timer);
    process.stderr.write(`${live ? '\r\x1b[K' : ''}${what}: ${end} after ${seconds()} s\n`);
  };
}
