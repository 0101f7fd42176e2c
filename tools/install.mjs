import { createHash } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { Problem, progress, run } from './process.mjs';

/** Makes node_modules what package-lock.json says. An install that was cut short leaves no stamp, so the next one begins anew. */
export async function install(root) {
  const lockFile = join(root, 'package-lock.json');
  const stampFile = join(root, 'node_modules', '.millrace-installed');
  const stamp = createHash('sha256').update(`${process.platform}-${process.arch}\n`).update(readFileSync(lockFile)).digest('hex');
  if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp) return;
  if (!installedByHand(root, lockFile)) await npmCi(root);
  writeFileSync(`${stampFile}.${process.pid}`, stamp);
  renameSync(`${stampFile}.${process.pid}`, stampFile);
}

/** True where a plain `npm ci` or `npm install` has done the work: npm writes its own list of what is there when it is through. */
function installedByHand(root, lockFile) {
  try {
    const wanted = JSON.parse(readFileSync(lockFile, 'utf8')).packages;
    const present = JSON.parse(readFileSync(join(root, 'node_modules', '.package-lock.json'), 'utf8')).packages;
    return Object.entries(wanted).every(([path, entry]) => {
      if (!path.includes('node_modules/')) return true;
      const there = present[path];
      return there ? there.version === entry.version && there.integrity === entry.integrity : mayBeMissing(entry);
    });
  } catch {
    return false;
  }
}

/** What is optional may be missing, but not what is made for this platform: the pinned Node.js and PostgreSQL come so. */
function mayBeMissing({ optional, devOptional, os = [], cpu = [], libc }) {
  return (optional || devOptional) === true && !(libc === undefined && os.includes(process.platform) && cpu.includes(process.arch));
}

async function npmCi(root) {
  const done = progress('Installing npm packages, once');
  const { command, args } = npm();
  const options = ['ci', '--loglevel=error', '--no-fund', '--no-audit', '--no-update-notifier', '--include=dev', '--include=optional'];
  let result;
  try {
    result = await run(command, [...args, ...options], { cwd: root, env: withoutOurs(root), quiet: true });
  } catch (error) {
    done('failed');
    if (error.code === 'ENOENT')
      throw new Problem('npm was not found on PATH. It comes with Node.js: install it, then run the same command again.');
    throw error;
  }
  if (result.interrupted) {
    done('interrupted');
    throw new Problem('The same command begins the installation anew.', { exitCode: result.interrupted === 'SIGINT' ? 130 : 143 });
  }
  if (result.code !== 0) {
    done('failed');
    throw new Problem(
      `${result.output.trim()}\nnpm ci failed (exit code ${result.code}); its words are above. The same command tries again.`,
    );
  }
  done('done');
}

/** npm as it runs us, or the one on PATH. */
function npm() {
  const running = process.env.npm_execpath;
  if (running && /npm-cli\.[cm]?js$/.test(running) && existsSync(running)) return { command: 'node', args: [running] };
  return { command: process.platform === 'win32' ? 'npm.cmd' : 'npm', args: [] };
}

/** The environment without our node_modules/.bin: npm is about to delete the Node.js in there, and must not run on it. */
function withoutOurs(root) {
  const ours = resolve(root, 'node_modules');
  const path = (process.env.PATH ?? '').split(delimiter).filter((directory) => !resolve(directory).startsWith(ours));
  return { ...process.env, PATH: path.join(delimiter) };
}
