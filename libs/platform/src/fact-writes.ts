import { createInbox, type Msg, type MsgHdrs, type NatsConnection } from '@nats-io/transport-node';

const STORE_MS = 5_000;
const LINE_BREAKS = /[\r\n]+/g;

/** A fact as JetStream is to store it; repeats are known by the id. */
export interface Message {
  subject: string;
  id: string;
  body: Uint8Array;
}

/** Of a fact with this id: for who reads it, and by which JetStream drops repeats. */
export const idHeaders = (id: string): Record<string, string> => ({ 'ce-id': id, 'Nats-Msg-Id': id });

/** Facts that JetStream has been given together. */
interface Storing {
  sequences: number[];
  left: number;
  subject: string;
  settle: (error?: Error) => void;
}

/** Has JetStream store facts, and hears where it has. */
export class FactWrites {
  private readonly inbox = createInbox('_INBOX.millrace');
  private readonly storing = new Map<string, Storing>();
  private given = 0;

  listen(connection: NatsConnection): void {
    connection.subscribe(`${this.inbox}.*`, { callback: (_error, answer) => this.hear(answer) });
  }

  /** Resolves to their sequences. Facts that are given one after the other are stored in that order. Rejects where one of them is not. */
  store(connection: NatsConnection, headers: Readonly<Record<string, string>>, messages: readonly Message[]): Promise<number[]> {
    if (!messages.length) return Promise.resolve([]);
    const key = String(++this.given);
    const common = `NATS/1.0\r\n${linesOf(headers)}`;
    return new Promise((resolve, reject) => {
      const [{ subject } = { subject: '' }] = messages;
      const timer = setTimeout(() => storing.settle(new Error(`${subject} has not been stored within ${STORE_MS} ms`)), STORE_MS);
      const storing: Storing = {
        sequences: messages.map(() => 0),
        ...{ left: messages.length, subject },
        settle: (error) => {
          clearTimeout(timer);
          this.storing.delete(key);
          if (error) reject(error);
          else resolve(storing.sequences);
        },
      };
      this.storing.set(key, storing);
      try {
        for (const [i, { subject, id, body }] of messages.entries())
          connection.publish(subject, body, {
            reply: `${this.inbox}.${key}-${i}`,
            headers: encoded(`${common}${linesOf(idHeaders(id))}\r\n`),
          });
      } catch (error) {
        storing.settle(new Error(`${subject} cannot be stored: ${(error as Error).message}`, { cause: error }));
      }
    });
  }

  /** What waits is not going to be answered. */
  close(error: Error): void {
    for (const storing of [...this.storing.values()]) storing.settle(error);
  }

  private hear(answer: Msg): void {
    const [key = '', place] = answer.subject.slice(this.inbox.length + 1).split('-');
    const storing = this.storing.get(key);
    if (!storing) return;
    const { subject } = storing;
    const told = outcomeOf(answer);
    if (typeof told === 'string') return storing.settle(new Error(`${subject} cannot be stored: ${told}`));
    storing.sequences[Number(place)] = told;
    if (--storing.left === 0) storing.settle();
  }
}

/** The sequence, or why there is none. */
function outcomeOf(answer: Msg): number | string {
  if (answer.headers?.code === 503) return 'JetStream does not answer';
  try {
    const { seq, error } = answer.json<{ seq?: number; error?: { description?: string } }>();
    return error?.description ?? seq ?? 'JetStream gave no sequence';
  } catch {
    return 'JetStream gave an answer that is no JSON';
  }
}

const linesOf = (headers: Readonly<Record<string, string>>): string =>
  Object.entries(headers)
    .map(([name, value]) => `${name}: ${value.replaceAll(LINE_BREAKS, ' ')}\r\n`)
    .join('');

/** The header block of a fact as it goes over the wire. The client's own headers look through all of them for each one that is set. */
function encoded(block: string): MsgHdrs {
  const bytes = Buffer.from(block);
  // What publish asks of headers.
  return { encode: () => bytes } as Partial<MsgHdrs> as MsgHdrs;
}
