import { spawnSync } from 'node:child_process';

/** Whether a client program that a journey drives is on this machine; CI installs them, a bare machine may have none. */
export const hasTool = (name: 'kubectl' | 'skopeo'): boolean =>
  spawnSync(name, name === 'kubectl' ? ['version', '--client'] : ['--version'], { stdio: 'ignore', timeout: 20_000 }).status === 0;
