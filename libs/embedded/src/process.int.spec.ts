import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ServerProcess, type Exit, type ServerProcessOptions } from './process.ts';

let dir: string;
const started: ServerProcess[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'millrace-process-'));
});
afterEach(async () => {
  await Promise.all(started.splice(0).map((server) => server.kill()));
  rmSync(dir, { recursive: true, force: true });
});

const shell = (script: string, more: Partial<ServerProcessOptions> = {}): ServerProcessOptions => ({
  name: 'The test server',
  command: '/bin/sh',
  args: ['-c', script],
  pidFile: join(dir, 'test.pid'),
  ...more,
});
const start = async (options: ServerProcessOptions): Promise<ServerProcess> => {
  const server = await ServerProcess.start(options);
  started.push(server);
  return server;
};
const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return !/^State:\s+Z/m.test(existsSync('/proc') ? readFileSync(`/proc/${pid}/status`, 'utf8') : '');
  } catch {
    return false;
  }
};

/** Another Node.js process that supervises `sleep 1000` and says its pid. */
async function supervisorElsewhere(): Promise<{ supervisor: number; server: number; sigkill: () => Promise<void> }> {
  const module = JSON.stringify(new URL('./process.ts', import.meta.url).href);
  const options = JSON.stringify({ name: 'The test server', command: 'sleep', args: ['1000'], pidFile: join(dir, 'test.pid') });
  const code = `import { ServerProcess } from ${module}; const s = await ServerProcess.start(${options}); console.log(s.pid); setInterval(() => {}, 1e6);`;
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const sigkill = async (): Promise<void> => {
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  };
  return { supervisor: child.pid ?? -1, server: Number(line.toString()), sigkill };
}

describe('a server process', () => {
  it('is ready when the probe answers, and its lines reach the log', async () => {
    const lines: string[] = [];
    const server = await start(shell('echo one; echo two >&2; exec sleep 1000', { log: (line) => lines.push(line) }));

    const answer = await server.untilReady(async () => (lines.length === 2 ? 'ready' : Promise.reject(new Error('not yet'))));

    expect(answer).toBe('ready');
    expect(lines.toSorted()).toEqual(['one', 'two']);
  });

  it('that ends while starting is an error with its last 50 lines', async () => {
    const server = await start(shell('i=0; while [ $i -lt 60 ]; do echo "line $i"; i=$((i+1)); done; exit 3'));

    const failure = server.untilReady(() => Promise.reject(new Error('no')));

    await expect(failure).rejects.toMatchObject({
      code: 'exited',
      message: expect.stringMatching(/The test server ended while starting \(exit code 3\).*line 59$/s),
    });
    expect(server.lastLines).toHaveLength(50);
    expect(server.lastLines[0]).toBe('line 10');
  });

  it('that never answers is killed and an error', async () => {
    const server = await start(shell('exec sleep 1000'));

    await expect(server.untilReady(() => Promise.reject(new Error('closed')), 200)).rejects.toMatchObject({
      code: 'not-ready',
      message: expect.stringContaining('did not answer within 0.2 s (Error: closed)'),
    });
    expect(server.running).toBe(false);
  });

  it('whose program is missing is an error that names the program', async () => {
    const server = await start(shell('', { command: '/nowhere/nats-server' }));

    await expect(server.untilReady(() => Promise.reject(new Error('no')))).rejects.toMatchObject({
      code: 'exited',
      message: expect.stringContaining('/nowhere/nats-server'),
    });
    expect(existsSync(join(dir, 'test.pid'))).toBe(false);
  });

  it('is stopped by its own signal, and killed when that does not help', async () => {
    const gentle = await start(shell('trap "exit 0" INT; echo up; while :; do sleep 0.02; done', { stopSignal: 'SIGINT' }));
    await vi.waitFor(() => expect(gentle.lastLines).toContain('up'));
    await gentle.stop();
    expect(await gentle.exited).toEqual({ code: 0, signal: null });

    const deaf = await start(shell('trap "" TERM; echo up; while :; do sleep 0.02; done', { stopTimeoutMs: 200 }));
    await vi.waitFor(() => expect(deaf.lastLines).toContain('up'));
    await deaf.stop();
    expect(await deaf.exited).toEqual({ code: null, signal: 'SIGKILL' });
  });

  it('tells of an end that nobody asked for, and only of such', async () => {
    const ends: Exit[] = [];
    const asked = await start(shell('exec sleep 1000', { onExit: (exit) => ends.push(exit) }));
    await asked.kill();
    expect(ends).toEqual([]);

    const crashed = await start(shell('exec sleep 1000', { onExit: (exit) => ends.push(exit) }));
    process.kill(crashed.pid, 'SIGKILL');
    await crashed.exited;
    expect(ends).toEqual([{ code: null, signal: 'SIGKILL' }]);
  });

  it('cannot be started twice on the same data', async () => {
    const first = await start(shell('exec sleep 1000'));

    await expect(start(shell('exec sleep 1000'))).rejects.toMatchObject({
      code: 'in-use',
      message: expect.stringContaining(`process ${process.pid}`),
    });

    await first.stop();
    expect((await start(shell('exec sleep 1000'))).running).toBe(true);
  });

  it('is refused to another process while its supervisor lives', async () => {
    const elsewhere = await supervisorElsewhere();

    await expect(start(shell('exec sleep 1000'))).rejects.toMatchObject({
      code: 'in-use',
      message: expect.stringContaining(`process ${elsewhere.supervisor}`),
    });

    await elsewhere.sigkill();
  });
});

describe('when the supervisor dies by SIGKILL', () => {
  it('the watchdog stops the server', async () => {
    const elsewhere = await supervisorElsewhere();
    expect(alive(elsewhere.server)).toBe(true);

    await elsewhere.sigkill();

    await vi.waitFor(() => expect(alive(elsewhere.server)).toBe(false), { timeout: 5_000 });
  });

  it('and the watchdog with it, the next start on the same data stops the server', async () => {
    const elsewhere = await supervisorElsewhere();
    const watchdog = Number(execFileSync('pgrep', ['-P', String(elsewhere.supervisor), '-f', 'millrace-watchdog'], { encoding: 'utf8' }));
    process.kill(watchdog, 'SIGKILL');
    await elsewhere.sigkill();
    expect(alive(elsewhere.server)).toBe(true);

    const next = await start(shell('exec sleep 1000'));

    expect(alive(elsewhere.server)).toBe(false);
    expect(next.running).toBe(true);
  });

  it.each([
    [
      'of processes that are gone',
      JSON.stringify({ supervisor: { pid: 2 ** 22 + 1, started: '1' }, server: { pid: 2 ** 22 + 2, started: '1' } }),
    ],
    [
      'whose pids now belong to others',
      JSON.stringify({ supervisor: { pid: process.pid, started: '1' }, server: { pid: process.ppid, started: '1' } }),
    ],
    ['that was half written', '{"superv'],
  ])('a pid file %s is nobody’s', async (_, text) => {
    writeFileSync(join(dir, 'test.pid'), text);

    expect((await start(shell('exec sleep 1000'))).running).toBe(true);
    expect(alive(process.ppid)).toBe(true);
  });
});
