/**
 * The conformance suite in one command:
 * `npm run conformance -- [--kinds fn,http,watch,golden] [--server URL --token T --ca F] [--user dev=T] [--filter REGEX] [--verbose] [FILES]`.
 * `fn` cases run against the rules; `http` and `watch` cases and the recordings (`golden`) against a server, which is started for the run
 * unless one is named. Without FILES: what conformance/scope.json counts as built. With FILES: everything in them.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startProduct } from '@millrace/testing/product';

const root = fileURLToPath(new URL('../', import.meta.url));
const runner = join(root, 'conformance', 'run.mjs');
const INTERNAL_REGISTRY = 'image-registry.openshift-image-registry.svc:5000';
const SERVER_KINDS = ['http', 'watch', 'cli'];
/** A user without any rights: what the recordings call him, and his own name. */
const DEV = { alias: 'dev', name: 'developer', token: 'dev-token' };

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    kinds: { type: 'string', default: 'fn,http,watch,golden' },
    server: { type: 'string' },
    token: { type: 'string' },
    ca: { type: 'string' },
    user: { type: 'string', multiple: true },
    filter: { type: 'string' },
    'settle-ms': { type: 'string' },
    verbose: { type: 'boolean', short: 'v', default: false },
  },
});

/** Servers of other shapes, of which recordings have been made. */
const SETUPS: Record<string, { internalRegistry: string; env: Record<string, string> }> = {
  alt1: {
    internalRegistry: '172.30.56.218:5000',
    env: {
      EXTERNAL_REGISTRY_HOST: 'registry.apps.example.test',
      ALLOWED_REGISTRIES: JSON.stringify([
        { domainName: '127.0.0.1:5000', insecure: true },
        { domainName: '127.0.0.1:5001' },
        { domainName: 'docker.io' },
        { domainName: '*.example.test' },
      ]),
    },
  },
  alt2: { internalRegistry: '', env: { IMPORT_MODE: 'PreserveOriginal' } },
};

interface Result {
  section: string;
  id: string;
  status: string;
}
interface Scope {
  /** Section file → cases that are not built yet, with the reason; a section that is not named is not built at all. */
  sections: Record<string, { without?: { filter: string; reason: string }[] }>;
  golden: {
    /** Recording → why it is not replayed; null: it is; with `setup`, on a server that is set up as one of {@link SETUPS}. */
    recordings: Record<string, string | null | { setup: string }>;
    /** What is compared less than conformance/golden-scope.json says, in its own language; these come first. */
    rules: { reason: string }[];
  };
}

const scratch = mkdtempSync(join(tmpdir(), 'conformance-'));
const kinds = new Set(values.kinds.split(','));
const scope = JSON.parse(readFileSync(join(root, 'conformance', 'scope.json'), 'utf8')) as Scope;
const results: Result[] = [];
let broken = 0;

try {
  const cases = positionals.length ? positionals.filter((file) => !isRecording(file)) : filesIn('cases', (name) => name in scope.sections);
  const recordings = positionals.length
    ? positionals.filter(isRecording)
    : filesIn('golden', (name) => typeof scope.golden.recordings[name] === 'object');
  const filter = positionals.length ? [] : ['--filter', scopeFilter()];
  if (kinds.has('fn') && cases.length) run('fn', ['fn', '--adapter', join(root, 'conformance', 'adapter.ts'), ...common(filter)], cases);
  const onServer = SERVER_KINDS.filter((kind) => kinds.has(kind));
  if (onServer.length && cases.length)
    // The cases were recorded from a server that imports nothing by itself.
    await withServer((server) => run('cases', ['cases', '--kinds', onServer.join(','), ...server, ...common(filter)], cases), {
      IMPORT_ON_CHANGE: 'false',
      IMPORT_SCHEDULE: 'false',
    });
  if (kinds.has('golden'))
    for (const [name, files] of bySetup(recordings)) {
      const { internalRegistry = INTERNAL_REGISTRY, env = {} } = SETUPS[name] ?? {};
      const provides = ['--provides', name || 'schedule-30s'];
      const replay = (server: string[]) => run('golden', ['golden', ...server, ...provides, ...golden(), ...common([])], files);
      // A recording waits for the schedule to come round.
      await withServer(replay, { IMPORT_INTERVAL_SECONDS: '30', ...env }, internalRegistry);
    }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
const count = (status: string): number => results.filter((result) => result.status === status).length;
console.log(`conformance: ${count('pass')} passed, ${count('fail')} failed, ${results.length - count('pass') - count('fail')} skipped`);
process.exit(broken ? 2 : count('fail') ? 1 : 0);

function common(filter: string[]): string[] {
  return [...(values.verbose ? ['--verbose'] : []), ...(values.filter ? ['--filter', values.filter] : filter)];
}

/** A recording is one JSON object, a file of cases an array. */
function isRecording(file: string): boolean {
  return readFileSync(file, 'utf8').trimStart().startsWith('{');
}

function filesIn(directory: string, inScope: (name: string) => boolean): string[] {
  return readdirSync(join(root, 'conformance', directory))
    .filter((file) => file.endsWith('.json') && inScope(basename(file, '.json')))
    .sort()
    .map((file) => join(root, 'conformance', directory, file));
}

/** Recordings by the server that they need; `''` for the usual one. */
function bySetup(files: readonly string[]): Map<string, string[]> {
  const setups = new Map<string, string[]>();
  for (const file of files) {
    const setup = scope.golden.recordings[basename(file, '.json')];
    const name = typeof setup === 'object' && setup ? setup.setup : '';
    setups.set(name, [...(setups.get(name) ?? []), file]);
  }
  return setups;
}

/** The runner knows positive filters only: what is not built is left out by a negative look-ahead. */
function scopeFilter(): string {
  const without = Object.values(scope.sections).flatMap((section) => section.without ?? []);
  return without.length ? `^(?!(?:${without.map((one) => one.filter).join('|')})$)` : '.';
}

function golden(): string[] {
  const given = values.user ?? (values.server ? [] : [`${DEV.alias}=${DEV.token}`]);
  return [
    ...given.flatMap((user) => ['--user', user]),
    ...(values['settle-ms'] ? ['--settle-ms', values['settle-ms']] : []),
    ...(positionals.length ? [] : ['--scope', goldenScope()]),
  ];
}

/** The scope of the recordings with what this product does not have yet. */
function goldenScope(): string {
  const general = JSON.parse(readFileSync(join(root, 'conformance', 'golden-scope.json'), 'utf8')) as { rules: object[] };
  const file = join(scratch, 'golden-scope.json');
  writeFileSync(file, JSON.stringify({ ...general, rules: [...scope.golden.rules, ...general.rules] }));
  return file;
}

function run(name: string, args: string[], files: string[]): void {
  const json = join(scratch, `${name}.json`);
  const { status } = spawnSync(process.execPath, [runner, ...args, '--json', json, ...files], { cwd: root, stdio: 'inherit' });
  if (status === null || status > 1) broken++;
  else results.push(...((JSON.parse(readFileSync(json, 'utf8')) as { results: Result[] }).results ?? []));
}

async function withServer(
  use: (credentials: string[]) => void,
  env: Record<string, string> = {},
  internalRegistry = INTERNAL_REGISTRY,
): Promise<void> {
  if (values.server)
    return use([
      '--server',
      values.server,
      ...(values.token ? ['--token', values.token] : []),
      ...(values.ca ? ['--ca', values.ca] : ['--insecure']),
    ]);
  const product = await startProduct({
    args: ['--internal-registry', internalRegistry],
    env: { TOKENS: `${DEV.token},${DEV.name},${DEV.name}`, ...env },
  });
  try {
    use(['--kubeconfig', product.kubeconfig]);
  } finally {
    await product.stop();
    product.remove();
  }
}
