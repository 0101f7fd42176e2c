import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { dirname } from 'node:path';

/** Where it looks for what it is asked about. */
export interface Place {
  kubeconfig: string;
  namespace?: string;
}
/** An object is given as JSON. */
export type Input = string | object;

const LIMIT_MS = 60_000;

/** kubectl as a person sees it: what it writes to stderr comes after what it writes to stdout, whether it fails or not. */
export async function kubectl(place: Place, args: string, input?: Input): Promise<string> {
  const { out, err } = await ended(startKubectl(place, args), input);
  return out + err;
}

/** kubectl as a script takes it: what it writes to stdout; rejects with what it writes to stderr where it fails. */
export async function scriptedKubectl(place: Place, args: string, input?: Input): Promise<string> {
  const { code, out, err } = await ended(startKubectl(place, args), input);
  if (code !== 0) throw new Error(`kubectl ${args} ended with ${code}: ${err}`);
  return out;
}

/** Ends when a command has had its time; its home is where the kubeconfig is, so that nothing of the user's own plays a part. */
export function startKubectl({ kubeconfig, namespace }: Place, args: string): ChildProcessWithoutNullStreams {
  const words = [...(namespace ? ['-n', namespace] : []), ...args.split(' ')];
  const env = { PATH: process.env['PATH'], HOME: dirname(kubeconfig), KUBECONFIG: kubeconfig };
  return spawn('kubectl', words, { env, timeout: LIMIT_MS });
}

async function ended(child: ChildProcessWithoutNullStreams, input?: Input): Promise<{ code: number | null; out: string; err: string }> {
  const said = { out: '', err: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said.out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said.err += text));
  child.stdin.end(typeof input === 'object' ? JSON.stringify(input) : input);
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, ...said };
}
