/**
 * The conformance suite in one command: `npm run conformance -- [--kinds fn,http,watch] [--server URL --token T --ca F] [--filter REGEX] [--verbose] [FILES]`.
 * `fn` cases run against the rules; `http` and `watch` cases against a server, which is started for the run unless one is named.
 * Without FILES: every case that conformance/scope.json counts as built. With FILES: everything in them.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startProduct } from '@millrace/testing/product';

const root = fileURLToPath(new URL('../', import.meta.url));
const runner = join(root, 'conformance', 'run.mjs');
const INTERNAL_REGISTRY = 'image-registry.openshift-image-registry.svc:5000';
const SERVER_KINDS = ['http', 'watch', 'cli'];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    kinds: { type: 'string', default: 'fn,http,watch' },
    server: { type: 'string' },
    token: { type: 'string' },
    ca: { type: 'string' },
    filter: { type: 'string' },
    verbose: { type: 'boolean', short: 'v', default: false },
  },
});

interface Result {
  section: string;
  id: string;
  status: string;
}
interface Scope {
  /** Section file → cases that are not built yet, with the reason; a section that is not named is not built at all. */
  sections: Record<string, { without?: { filter: string; reason: string }[] }>;
}

const scratch = mkdtempSync(join(tmpdir(), 'conformance-'));
const kinds = new Set(values.kinds.split(','));
const scope = JSON.parse(readFileSync(join(root, 'conformance', 'scope.json'), 'utf8')) as Scope;
const results: Result[] = [];
let broken = 0;

try {
  const files = positionals.length ? positionals : scopedFiles();
  if (kinds.has('fn')) run('fn', ['fn', '--adapter', join(root, 'conformance', 'adapter.ts'), ...common()], files);
  const onServer = SERVER_KINDS.filter((kind) => kinds.has(kind));
  if (onServer.length)
    await withServer((credentials) => run('cases', ['cases', '--kinds', onServer.join(','), ...credentials, ...common()], files));
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
const count = (status: string): number => results.filter((result) => result.status === status).length;
console.log(`conformance: ${count('pass')} passed, ${count('fail')} failed, ${results.length - count('pass') - count('fail')} skipped`);
process.exit(broken ? 2 : count('fail') ? 1 : 0);

function common(): string[] {
  return [
    ...(values.verbose ? ['--verbose'] : []),
    ...(values.filter ? ['--filter', values.filter] : positionals.length ? [] : ['--filter', scopeFilter()]),
  ];
}

function scopedFiles(): string[] {
  const directory = join(root, 'conformance', 'cases');
  return readdirSync(directory)
    .filter((file) => basename(file, '.json') in scope.sections)
    .sort()
    .map((file) => join(directory, file));
}

/** The runner knows positive filters only: what is not built is left out by a negative look-ahead. */
function scopeFilter(): string {
  const without = Object.values(scope.sections).flatMap((section) => section.without ?? []);
  return without.length ? `^(?!(?:${without.map((one) => one.filter).join('|')})$)` : '.';
}

function run(name: string, args: string[], files: string[]): void {
  const json = join(scratch, `${name}.json`);
  const { status } = spawnSync(process.execPath, [runner, ...args, '--json', json, ...files], { cwd: root, stdio: 'inherit' });
  if (status === null || status > 1) broken++;
  else results.push(...((JSON.parse(readFileSync(json, 'utf8')) as { results: Result[] }).results ?? []));
}

async function withServer(use: (credentials: string[]) => void): Promise<void> {
  if (values.server)
    return use([
      '--server',
      values.server,
      ...(values.token ? ['--token', values.token] : []),
      ...(values.ca ? ['--ca', values.ca] : ['--insecure']),
    ]);
  const product = await startProduct({ args: ['--internal-registry', INTERNAL_REGISTRY] });
  try {
    use(['--kubeconfig', product.kubeconfig]);
  } finally {
    await product.stop();
    product.remove();
  }
}
