import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

/**
 * A clone in miniature: the real tools, one package that is rolldown and one that is tsc, and an npm on PATH that installs them and keeps count.
 * Its node_modules hold a pinned Node.js that says so.
 */
let clone: string;
const here = dirname(fileURLToPath(import.meta.url));
const packages = (version = '1.0.0') => ({
  packages: {
    '': { name: 'miniature' },
    'node_modules/tsc': { version, integrity: `sha512-${version}` },
    [`node_modules/node-${process.platform}-${process.arch}`]: {
      version,
      integrity: 'sha512-n',
      optional: true,
      os: process.platform,
      cpu: process.arch,
    },
    'node_modules/node-other-x64': { version, integrity: 'sha512-o', optional: true, os: 'other', cpu: 'x64' },
  },
});

const NPM = `#!/bin/sh
echo "$@" >> calls
rm -rf node_modules; mkdir -p node_modules/half
if [ -e npm-hangs ]; then echo waiting > npm-waits; trap 'exit 130' INT; trap 'exit 143' TERM; while :; do sleep 0.02; done; fi
if [ -e npm-fails ]; then echo "npm warn EBADENGINE Unsupported engine"; echo "npm error the network is down" >&2; exit 7; fi
echo "npm warn EBADENGINE Unsupported engine" >&2
rm -r node_modules/half; mkdir -p node_modules/.bin node_modules/node-${process.platform}-${process.arch}/bin
printf '#!/bin/sh\\nPINNED=yes exec "${process.execPath}" "$@"\\n' > node_modules/node-${process.platform}-${process.arch}/bin/node
chmod +x node_modules/node-${process.platform}-${process.arch}/bin/node
cp tsc.js node_modules/.bin/tsc; cp rolldown.js node_modules/.bin/rolldown`;

beforeEach(() => {
  clone = mkdtempSync(join(tmpdir(), 'millrace-tools-'));
  cpSync(here, join(clone, 'tools'), { recursive: true, filter: (path) => !path.endsWith('.ts') });
  write('package.json', '{"type":"module"}');
  write('package-lock.json', JSON.stringify(packages()));
  write('bin/npm', NPM);
  chmodSync(join(clone, 'bin', 'npm'), 0o755);
  symlinkSync(process.execPath, join(clone, 'bin', 'node'));
  write('apps/cli/src/main.ts', 'export {};');
  write('tsc.js', `console.log('types with', process.env.PINNED, process.argv.slice(2).join(' ')); process.exitCode = 3;`);
  const product = `console.log('product', process.env.PINNED, process.argv.slice(2).join(' '));
    if (process.argv.includes('--stay')) { setInterval(() => {}, 1e6); for (const s of ['SIGINT', 'SIGTERM']) process.once(s, () => { console.log('got', s); process.exit(9); }); }`;
  write(
    'rolldown.js',
    `import { appendFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
    appendFileSync('builds', 'built with ' + process.env.PINNED + '\\n'); rmSync('dist', { recursive: true, force: true }); mkdirSync('dist');
    writeFileSync('dist/millrace.js', ${JSON.stringify(product)});`,
  );
});
afterEach(() => rmSync(clone, { recursive: true, force: true }));

function write(file: string, text: string): void {
  mkdirSync(dirname(join(clone, file)), { recursive: true });
  writeFileSync(join(clone, file), text);
}
const read = (file: string): string => (existsSync(join(clone, file)) ? readFileSync(join(clone, file), 'utf8') : '');
const env = (): NodeJS.ProcessEnv => ({
  PATH: [join(clone, 'node_modules', '.bin'), join(clone, 'bin'), '/usr/bin', '/bin'].join(':'),
  HOME: clone,
});
const run = (...args: string[]) =>
  spawnSync(process.execPath, [join(clone, 'tools', 'run.mjs'), ...args], { cwd: tmpdir(), env: env(), encoding: 'utf8' });
const begin = (...args: string[]): ChildProcess =>
  spawn(process.execPath, [join(clone, 'tools', 'run.mjs'), ...args], { cwd: tmpdir(), env: env(), stdio: ['ignore', 'pipe', 'pipe'] });
const installs = (): number => read('calls').split('\n').filter(Boolean).length;
const builds = (): number => read('builds').split('\n').filter(Boolean).length;

describe('the first command on a fresh clone', () => {
  it('installs, runs on the pinned Node.js, and keeps the exit code', () => {
    const { status, stdout, stderr } = run('types');

    expect([status, stdout]).toEqual([3, 'types with yes -p tsconfig.json\n']);
    expect(read('calls')).toBe('ci --loglevel=error --no-fund --no-audit --no-update-notifier --include=dev --include=optional\n');
    expect(stderr).toMatch(/^Installing npm packages, once …\n(.* s\n)*Installing npm packages, once: done after \d+ s\n$/);
  });

  it('shows what npm said when the installation fails, and tries again the next time', () => {
    write('npm-fails', '');
    const failed = run('types');
    expect(failed.status).toBe(1);
    expect(failed.stderr).toContain('npm error the network is down\nnpm ci failed (exit code 7)');

    rmSync(join(clone, 'npm-fails'));
    expect(run('types').status).toBe(3);
    expect(installs()).toBe(2);
  });

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('that is interrupted by %s while installing leaves no stamp, and the second run repairs', async (signal, code) => {
    write('npm-hangs', '');
    const child = begin('types');
    await vi.waitFor(() => expect(read('npm-waits')).toBe('waiting\n'), { timeout: 10_000 });

    child.kill(signal);

    expect(await once(child, 'exit')).toEqual([code, null]);
    expect(readdirSync(join(clone, 'node_modules'))).toEqual(['half']);
    rmSync(join(clone, 'npm-hangs'));
    expect(run('types').status).toBe(3);
    expect(readdirSync(join(clone, 'node_modules'))).not.toContain('half');
  });

  it('that is killed while installing is repaired by the second', async () => {
    write('npm-hangs', '');
    const child = begin('types');
    await vi.waitFor(() => expect(read('npm-waits')).toBe('waiting\n'), { timeout: 10_000 });
    const npm = execFileSync('pgrep', ['-P', String(child.pid)], { encoding: 'utf8' })
      .split('\n')
      .map(Number)
      .filter(Boolean);

    child.kill('SIGKILL');
    await once(child, 'exit');
    for (const pid of npm) process.kill(pid, 'SIGKILL');

    rmSync(join(clone, 'npm-hangs'));
    expect(run('types').status).toBe(3);
  });

  it('and another beside it install once', async () => {
    const both = [begin('types'), begin('types')];

    const exits = await Promise.all(both.map((child) => once(child, 'exit')));

    expect(exits).toEqual([
      [3, null],
      [3, null],
    ]);
    expect(installs()).toBe(1);
  });

  it('on a Node.js that is too old says which is needed', () => {
    const old = `data:text/javascript,Object.defineProperty(process.versions, 'node', { value: '20.18.3' })`;

    const { status, stderr } = spawnSync(process.execPath, ['--import', old, join(clone, 'tools', 'run.mjs'), 'types'], {
      env: env(),
      encoding: 'utf8',
    });

    expect(status).toBe(1);
    expect(stderr).toMatch(/^Millrace needs Node\.js 20\.19 or newer to set itself up; this is 20\.18\.3 .*\n$/);
    expect(installs()).toBe(0);
  });

  it('without npm says that npm is missing', () => {
    rmSync(join(clone, 'bin', 'npm'));

    const { status, stderr } = spawnSync(process.execPath, [join(clone, 'tools', 'run.mjs'), 'types'], {
      env: { PATH: join(clone, 'bin') },
      encoding: 'utf8',
    });

    expect(status).toBe(1);
    expect(stderr).toContain('npm was not found on PATH');
  });
});

describe('a later command', () => {
  it('installs nothing, until package-lock.json changes', () => {
    run('types');
    expect(run('types').stderr).toBe('');
    expect(installs()).toBe(1);

    write('package-lock.json', JSON.stringify(packages('1.0.1')));
    run('types');
    expect(installs()).toBe(2);
  });

  it.each([
    ['all of the lock', packages().packages, 0],
    ['another version', packages('0.9.0').packages, 1],
    ['no optional package of this platform', { 'node_modules/tsc': packages().packages['node_modules/tsc'] }, 1],
    ['all but another platform’s package', { ...packages().packages, 'node_modules/node-other-x64': undefined }, 0],
  ])('after an npm ci by hand that left %s installs as needed', (_, present, expected) => {
    execFileSync('/bin/sh', [join(clone, 'bin', 'npm'), 'by', 'hand'], { cwd: clone, stdio: 'ignore' });
    write('node_modules/.package-lock.json', JSON.stringify({ packages: present }));
    rmSync(join(clone, 'calls'));

    expect(run('types').status).toBe(3);
    expect(installs()).toBe(expected);
  });
});

describe('a command that needs the product', () => {
  it('builds it once, with the pinned Node.js, and hands its arguments on', () => {
    const { status, stdout } = run('start', '--port', '8443');

    expect([status, stdout]).toEqual([0, 'product yes start --port 8443\n']);
    expect(read('builds')).toBe('built with yes\n');
    run('start');
    expect(builds()).toBe(1);
  });

  it.each([
    ['a source changes', () => write('apps/cli/src/main.ts', 'export const changed = 1;'), 2],
    ['a source is added', () => write('libs/domain/src/tag.ts', ''), 2],
    ['a source is deleted', () => rmSync(join(clone, 'apps/cli/src/main.ts')), 2],
    ['the build’s configuration changes', () => write('rolldown.config.js', 'export default {};'), 2],
    ['dist/ is deleted', () => rmSync(join(clone, 'dist'), { recursive: true }), 2],
    ['only a spec changes', () => write('apps/cli/src/main.spec.ts', 'changed'), 1],
    ['only a document changes', () => write('docs/architecture.md', 'changed'), 1],
  ])('builds again where it must: %s', (_, change, expected) => {
    run('start');

    change();
    run('start');

    expect(builds()).toBe(expected);
  });

  it('ends with what the build said when that fails', () => {
    write('rolldown.js', `console.error('main.ts: no such export'); process.exit(1);`);

    const { status, stderr } = run('start');

    expect(status).toBe(1);
    expect(stderr).toContain('main.ts: no such export\nThe build failed');
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('hands %s on once and waits for the product to end', async (signal) => {
    const child = begin('start', '--stay');
    let output = '';
    child.stdout?.on('data', (text: Buffer) => (output += text.toString()));
    await vi.waitFor(() => expect(output).toContain('--stay'), { timeout: 10_000 });

    child.kill(signal);

    expect(await once(child, 'close')).toEqual([9, null]);
    expect(output).toBe(`product yes start --stay\ngot ${signal}\n`);
  });
});

it('an unknown command lists those there are, and installs nothing', () => {
  const { status, stderr } = run('toString');

  expect(status).toBe(2);
  expect(stderr).toMatch(/^usage: node tools\/run\.mjs COMMAND \[ARGS\]\n {2}start/);
  expect(installs()).toBe(0);
});
