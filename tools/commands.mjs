import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from './build.mjs';
import { install } from './install.mjs';
import { withLock } from './lock.mjs';
import { Problem, run } from './process.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** One step: a program of node_modules, or a script of the clone, on the pinned Node.js. */
const tool = (name, ...args) => ({ file: join('node_modules', '.bin', name), args });
const script = (file, ...args) => ({ file, args });
// Small heaps, and buffers that go back to the system: the program's work is in Postgres, and V8 and glibc left alone keep what a burst made them take.
const { nodeFlags, nodeEnvironment } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const product = (...args) => ({ nodeArgs: nodeFlags, env: nodeEnvironment, file: join('dist', 'millrace.js'), args });

const conformance = (...args) => script(join('tools', 'conformance.ts'), ...args);

// The rule about walls between rooms is skipped where Nx has not yet looked at the rooms.
const rooms = { ...tool('nx', 'show', 'projects'), quiet: true };
const lint = [rooms, tool('eslint', '.'), tool('prettier', '--check', '--log-level=warn', '.')];
const types = [tool('tsc', '-p', 'tsconfig.json')];
const test = (args) => [tool('vitest', 'run', ...args), ...(args.length === 0 ? [conformance()] : [])];

/** What each command does, in order; the first step that fails ends it. `built`: dist/ is brought up to date before. */
const COMMANDS = {
  start: { about: 'start everything on this machine', built: true, steps: (args) => [product('start', ...args)] },
  listen: { about: 'show events and receive webhooks of a running start', built: true, steps: (args) => [product('listen', ...args)] },
  test: { about: 'all tests and the conformance suite; with arguments, those of vitest only', built: true, steps: test },
  conformance: { about: 'the conformance suite', built: true, steps: (args) => [conformance(...args)] },
  fuzz: {
    about: 'requests that nobody should send, 100,000 of them',
    built: true,
    steps: (args) => [script(join('tools', 'fuzz.ts'), ...args)],
  },
  bench: { about: 'the figures of docs/benchmarks.md', built: true, steps: (args) => [script(join('bench', 'run.ts'), ...args)] },
  lint: { about: 'style and walls', steps: () => lint },
  types: { about: 'the type checker', steps: () => types },
  docs: {
    about: 'write docs/generated anew; --check: fail when it is stale',
    steps: (args) => [script(join('tools', 'docs.ts'), ...args)],
  },
  'client-package': {
    about: 'the npm package of libs/client, into libs/client/dist or a directory',
    steps: (args) => [script(join('tools', 'client-package.ts'), ...args)],
  },
  build: { about: 'bring dist/ up to date', built: true, steps: () => [] },
  check: { about: 'lint, types and test, as CI does', built: true, steps: () => [...lint, ...types, ...test([])] },
};

/** Brings the clone up to date and runs one command. Gives the exit code. */
export async function main([name, ...args]) {
  const command = Object.hasOwn(COMMANDS, name ?? '') ? COMMANDS[name] : undefined;
  if (!command) {
    const list = Object.entries(COMMANDS).map(([each, { about }]) => `  ${each.padEnd(12)} ${about}`);
    console.error(`usage: node tools/run.mjs COMMAND [ARGS]\n${list.join('\n')}`);
    return 2;
  }
  const node = await withLock(root, async () => {
    await install(root);
    const pinned = pinnedNode();
    if (command.built) await build(root, pinned);
    return pinned;
  });
  for (const { nodeArgs = [], env = {}, file, args: stepArgs, quiet = false } of command.steps(args)) {
    const options = { cwd: root, env: { ...environment(node), ...env }, quiet };
    const { code, output } = await run(node, [...nodeArgs, realpathSync(join(root, file)), ...stepArgs], options);
    if (code !== 0) {
      if (quiet) console.error(output.trim());
      return code;
    }
  }
  return 0;
}

/** Programs that a step starts by name find the pinned Node.js too. */
function environment(node) {
  const path = [dirname(node), join(root, 'node_modules', '.bin'), process.env.PATH]
    .filter(Boolean)
    .join(process.platform === 'win32' ? ';' : ':');
  return { ...process.env, PATH: path };
}

const OLDEST_TO_RUN = [22, 22];

/** The Node.js that npm installed for this platform, else the running one when it is new enough for the product. */
function pinnedNode() {
  const pinned = join(root, 'node_modules', `node-${process.platform}-${process.arch}`, 'bin', 'node');
  if (existsSync(pinned)) return pinned;
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > OLDEST_TO_RUN[0] || (major === OLDEST_TO_RUN[0] && minor >= OLDEST_TO_RUN[1])) return process.execPath;
  throw new Problem(
    `Millrace pins no Node.js for ${process.platform}-${process.arch}, and this one, ${process.versions.node}, is older than ${OLDEST_TO_RUN.join('.')}. ` +
      'Install a newer one from https://nodejs.org or with your version manager, then run the same command again.',
  );
}
