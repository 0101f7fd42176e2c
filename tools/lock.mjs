import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Problem } from './process.mjs';

const LONGEST_WAIT_MS = 20 * 60_000;

/** Runs `work` while no other command of this clone installs or builds. A lock of a process that is gone is nobody's. */
export async function withLock(root, work) {
  const file = join(root, '.millrace', 'setup.lock');
  mkdirSync(join(root, '.millrace'), { recursive: true });
  const deadline = performance.now() + LONGEST_WAIT_MS;
  let told = false;
  while (!take(file)) {
    const holder = read(file);
    if (!isAlive(Number(holder))) {
      takeAway(file, holder);
      continue;
    }
    if (performance.now() > deadline)
      throw new Problem(`Process ${holder} has been installing or building this clone for too long. Stop it, or delete ${file}.`);
    if (!told) console.error(`Waiting for process ${holder}, which installs or builds this clone (if it does not, delete ${file}) …`);
    told = true;
    await delay(200);
  }
  try {
    return await work();
  } finally {
    rmSync(file, { force: true });
  }
}

function take(file) {
  const mine = `${file}.${process.pid}`;
  writeFileSync(mine, String(process.pid));
  try {
    linkSync(mine, file); // The lock is there with its content or not at all.
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(mine, { force: true });
  }
}

/** Removes a lock, but not that of somebody who took it a moment ago. */
function takeAway(file, holder) {
  const aside = `${file}.${process.pid}.stale`;
  try {
    renameSync(file, aside);
    if (readFileSync(aside, 'utf8') !== holder) linkSync(aside, file);
  } catch {
    // Somebody else did it.
  } finally {
    rmSync(aside, { force: true });
  }
}

function read(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

function isAlive(pid) {
  if (!(pid > 0) || pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}
