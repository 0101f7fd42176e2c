/**
 * Makes the npm package `@millrace/client` of libs/client: `npm run client-package [-- DIRECTORY]`, into libs/client/dist where none is named. The contracts
 * go into it, so that it needs nothing of this repository; `npm publish DIRECTORY` publishes it.
 */
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, posix, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';
import ts from 'typescript';

const root = fileURLToPath(new URL('../', import.meta.url));
const source = join(root, 'libs', 'client');
const entry = join(source, 'src', 'client.ts');
const target = resolve(process.argv[2] ?? join(source, 'dist'));

/** Rooms that go into the package beside the client's own. */
const ROOMS = ['contracts', 'domain'];
/** How a file of ours is named in an import, a quote before it. */
const IMPORTED = /(["'])(@millrace\/[^"']+|\.\.?\/[^"']+\.ts)\1/g;

interface Manifest {
  name: string;
  version: string;
  dependencies: Record<string, string>;
  private?: boolean;
  exports?: unknown;
}

rmSync(target, { recursive: true, force: true });
mkdirSync(target, { recursive: true });
await bundle();
declarations();
writeFileSync(join(target, 'package.json'), `${JSON.stringify(manifest(), null, 2)}\n`);
copyFileSync(join(source, 'README.md'), join(target, 'README.md'));
copyFileSync(join(root, 'LICENSE'), join(target, 'LICENSE'));
console.log(`${manifest().name} ${manifest().version}: ${target}`);

/** The name, version and dependencies of the room; what it exports are the files made here. */
function manifest() {
  // What is published is what is made here, never the room itself.
  const { private: _private, exports: _own, ...own } = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8')) as Manifest;
  return {
    ...own,
    exports: { '.': { types: './types/client/client.d.ts', default: './client.js' } },
    ...{ types: './types/client/client.d.ts', files: ['client.js', 'types'], sideEffects: false },
  };
}

/** Our own rooms in one file; what package.json names stays outside, and nothing else may. */
async function bundle(): Promise<void> {
  const outside = Object.keys(manifest().dependencies);
  const made = await rolldown({
    input: { client: entry },
    platform: 'node',
    external: (id) => outside.some((name) => id === name || id.startsWith(`${name}/`)),
    tsconfig: join(root, 'tsconfig.json'),
    onLog(level, log, next) {
      if (log.code === 'UNRESOLVED_IMPORT') throw new Error(log.message);
      next(level, log);
    },
  });
  const { output } = await made.write({ dir: target, format: 'esm', entryFileNames: '[name].js', keepNames: true });
  await made.close();
  const foreign = output
    .flatMap((chunk) => (chunk.type === 'chunk' ? chunk.imports : []))
    .filter((id) => !outside.includes(id) && !id.startsWith('node:'));
  if (output.length !== 1 || foreign.length) throw new Error(`the package would need ${foreign.join(', ') || 'more than one file'}`);
}

/** Types of our own rooms beside each other, as far as those of the entry lead to them. */
function declarations(): void {
  const { config } = ts.readConfigFile(join(root, 'tsconfig.base.json'), ts.sys.readFile) as { config: { compilerOptions: object } };
  const ours = Object.fromEntries(ROOMS.map((room) => [`@millrace/${room}/*`, [join(root, 'libs', room, 'src', '*.ts')]]));
  const { options } = ts.convertCompilerOptionsFromJson(
    { ...config.compilerOptions, noEmit: false, declaration: true, emitDeclarationOnly: true, rootDir: join(root, 'libs'), paths: ours },
    root,
  );
  // Wherever it is called from.
  const program = ts.createProgram([entry], { ...options, typeRoots: [join(root, 'node_modules', '@types')] });
  const made = new Map<string, string>();
  const { diagnostics } = program.emit(undefined, (file, text) => made.set(placeOf(file), text));
  const problems = [...ts.getPreEmitDiagnostics(program), ...diagnostics];
  if (problems.length)
    throw new Error(
      ts.formatDiagnostics(problems, { getCanonicalFileName: (name) => name, getCurrentDirectory: () => root, getNewLine: () => '\n' }),
    );
  const wanted = new Set([placeOf(entry).replace(/\.ts$/, '.d.ts')]);
  for (const place of wanted) {
    const text = made.get(place);
    if (text === undefined) throw new Error(`no types were made for ${place}`);
    const path = join(target, 'types', place);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(
      path,
      text.replaceAll(IMPORTED, (_all, quote: string, id: string) => {
        const of = id.startsWith('.') ? posix.join(posix.dirname(place), id) : `${id.slice('@millrace/'.length)}.ts`;
        wanted.add(of.replace(/\.ts$/, '.d.ts'));
        const to = posix.relative(posix.dirname(place), of).replace(/\.ts$/, '.js');
        return `${quote}${to.startsWith('.') ? to : `./${to}`}${quote}`;
      }),
    );
  }
}

/** `libs/contracts/src/events.d.ts` is `contracts/events.d.ts` in the package. */
function placeOf(file: string): string {
  const [room = '', , ...path] = relative(join(root, 'libs'), file).split(sep);
  return [room, ...path].join('/');
}
