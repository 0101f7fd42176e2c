import { Agent, request as httpsRequest } from 'node:https';
import { fuzzRequests, type FuzzRequest } from './fuzz-requests.ts';

export interface FuzzOptions {
  api: string;
  token: string;
  ca: string;
  requests: number;
  seed: number;
  /** Told now and then how many are answered. */
  progress?: (answered: number) => void;
}

export interface FuzzOutcome {
  /** Answers by status. */
  statuses: Record<string, number>;
  /** Requests that were answered wrongly or not at all, the first few, in words. */
  faults: string[];
  slowestMs: number;
}

interface Answer {
  status: number;
  text: string;
  ms: number;
}

const IN_FLIGHT = 16;
/** A watch ends after its second; anything that takes longer than this was not bounded. */
const TIMEOUT_MS = 10_000;
const MOST_FAULTS = 20;
/** What the reference answers with a 5xx too: a version that is not there yet or no number, and an istag whose name is none. */
const REFERENCE_ANSWERS = ['ResourceVersionTooLarge', 'resourceVersion: Invalid value', 'must be of the form <stream_name>:<tag>'];

/** Sends requests that nobody should send, and looks at how they are answered: a 5xx, a broken connection and silence are faults. */
export async function fuzz({ api, token, ca, requests, seed, progress }: FuzzOptions): Promise<FuzzOutcome> {
  const agent = new Agent({ ca, keepAlive: true, maxSockets: IN_FLIGHT });
  const outcome: FuzzOutcome = { statuses: {}, faults: [], slowestMs: 0 };
  let answered = 0;
  for (const batch of fuzzRequests(seed)) {
    const left = batch.slice(0, requests - answered).values();
    const worker = async (): Promise<void> => {
      for (const one of left) {
        const answer = await send(api, one, token, agent).catch((error: unknown) => error as Error);
        answered++;
        const status = answer instanceof Error ? 'none' : String(answer.status);
        outcome.statuses[status] = (outcome.statuses[status] ?? 0) + 1;
        if (!(answer instanceof Error)) outcome.slowestMs = Math.max(outcome.slowestMs, answer.ms);
        const fault = faultOf(answer);
        if (fault && outcome.faults.length < MOST_FAULTS) outcome.faults.push(`${fault}\n  ${inWords(one)}`);
      }
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
    progress?.(answered);
    if (answered >= requests) break;
  }
  agent.destroy();
  return outcome;
}

function faultOf(answer: Answer | Error): string | undefined {
  if (answer instanceof Error) return `no answer: ${answer.message}`;
  const { status, text } = answer;
  if (status < 500) return undefined;
  return REFERENCE_ANSWERS.some((one) => text.includes(one)) ? undefined : `${status}: ${text.slice(0, 300)}`;
}

const inWords = ({ method, path, headers, body }: FuzzRequest): string =>
  `${method} ${path} ${JSON.stringify(headers)} ${JSON.stringify(body?.toString('latin1').slice(0, 500) ?? '')}`;

function send(api: string, { method, path, headers, body }: FuzzRequest, token: string, agent: Agent): Promise<Answer> {
  const begun = performance.now();
  return new Promise((resolve, reject) => {
    const sent = httpsRequest(
      api + path,
      {
        method,
        agent,
        signal: AbortSignal.timeout(TIMEOUT_MS),
        headers: { ...headers, authorization: `Bearer ${token}`, 'content-length': body?.length ?? 0 },
      },
      (response) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => parts.push(part));
        response.once('end', () =>
          resolve({ status: response.statusCode ?? 0, text: Buffer.concat(parts).toString(), ms: performance.now() - begun }),
        );
        response.once('error', reject);
      },
    );
    sent.once('error', reject);
    sent.end(body);
  });
}
