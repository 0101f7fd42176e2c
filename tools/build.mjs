import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, realpathSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Problem, progress, run } from './process.mjs';

const SOURCES = ['apps', 'libs', 'package.json', 'package-lock.json', 'rolldown.config.js', 'tsconfig.base.json', 'tsconfig.json'];

/** Brings dist/ up to date: the bundle remembers the hash of the sources that it was made of. */
export async function build(root, node) {
  const stampFile = join(root, 'dist', '.sources');
  const stamp = hashOf(root);
  if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp) return;

  const done = progress('Building');
  const rolldown = realpathSync(join(root, 'node_modules', '.bin', 'rolldown'));
  const { code, interrupted, output } = await run(node, [rolldown, '-c'], { cwd: root, quiet: true });
  done(interrupted ? 'interrupted' : code === 0 ? 'done' : 'failed');
  if (interrupted) throw new Problem('The same command builds anew.', { exitCode: interrupted === 'SIGINT' ? 130 : 143 });
  if (code !== 0) throw new Problem(`${output.trim()}\nThe build failed; its words are above.`);
  // rolldown empties dist/ first, so a build that was cut short has no stamp.
  writeFileSync(stampFile, stamp);
}

function hashOf(root) {
  const hash = createHash('sha256');
  for (const file of SOURCES.flatMap((path) => filesIn(root, path)).sort())
    hash
      .update(`${file}\0`)
      .update(readFileSync(join(root, file)))
      .update('\0');
  return hash.digest('hex');
}

function filesIn(root, path) {
  const stats = statSync(join(root, path), { throwIfNoEntry: false });
  if (!stats) return [];
  if (!stats.isDirectory()) return path.endsWith('.spec.ts') ? [] : [path];
  return readdirSync(join(root, path))
    .filter((name) => name !== 'node_modules' && name !== 'dist')
    .flatMap((name) => filesIn(root, `${path}/${name}`));
}
