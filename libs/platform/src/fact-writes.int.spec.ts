import { randomUUID } from 'node:crypto';
import type { NatsConnection } from '@nats-io/transport-node';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { Bus } from './bus.ts';
import { FactWrites, type Message } from './fact-writes.ts';
import { createLog } from './log.ts';

const own = `fact-writes-${randomUUID()}`;
const words = new TextEncoder();
const bus = new Bus({ url: inject('natsUrl'), name: 'fact-writes spec', stopTimeoutMs: 500 }, createLog('silent'));
const writes = new FactWrites();
let connection: NatsConnection;

beforeAll(async () => {
  await bus.open();
  connection = bus.nats;
  await bus.jsm.streams.add({ name: own, subjects: [`${own}.>`], max_msg_size: 1_024 });
  writes.listen(connection);
});

afterAll(async () => {
  await bus.jsm.streams.delete(own);
  await bus.close();
});

const aMessage = (over: Partial<Message> = {}): Message => ({
  subject: `${own}.stored`,
  id: randomUUID(),
  body: words.encode('{}'),
  ...over,
});

describe('facts that are given together', () => {
  it('are stored in that order, under their headers', async () => {
    const messages = [aMessage(), aMessage(), aMessage()];
    const sequences = await writes.store(connection, { 'ce-type': 'one\nline' }, messages);

    const [first = 0] = sequences;
    expect(sequences).toEqual([first, first + 1, first + 2]);
    const kept = await bus.jsm.streams.getMessage(own, { seq: first + 1 });
    expect(Object.fromEntries([...(kept?.header ?? [])].map(([name, [value]]) => [name, value]))).toEqual({
      'ce-type': 'one line',
      'ce-id': messages[1]?.id,
      'Nats-Msg-Id': messages[1]?.id,
    });
  });

  it('and again have the sequences that they had', async () => {
    const messages = [aMessage(), aMessage()];
    const sequences = await writes.store(connection, {}, messages);

    expect(await writes.store(connection, {}, [...messages, aMessage()])).toEqual([...sequences, (sequences[1] ?? 0) + 1]);
  });

  it('none of them, are stored at once', async () => {
    expect(await writes.store(connection, {}, [])).toEqual([]);
  });
});

describe('facts are not stored, which says why,', () => {
  const answering = (answer: string): string => {
    const subject = `${randomUUID()}.odd`;
    connection.subscribe(subject, { callback: (_error, asked) => void asked.respond(words.encode(answer)) });
    return subject;
  };

  it.each([
    [
      'where no stream has their subject',
      () => aMessage({ subject: `${randomUUID()}.nobody` }),
      /nobody cannot be stored: JetStream does not answer/,
    ],
    [
      'where JetStream refuses one',
      () => aMessage({ body: new Uint8Array(2_000) }),
      /stored cannot be stored: message size exceeds maximum allowed/,
    ],
    [
      'where the answer is no JSON',
      () => aMessage({ subject: answering('+OK') }),
      /odd cannot be stored: JetStream gave an answer that is no JSON/,
    ],
    ['where the answer has no sequence', () => aMessage({ subject: answering('{}') }), /odd cannot be stored: JetStream gave no sequence/],
    ['where NATS does not take the subject', () => aMessage({ subject: '' }), /cannot be stored: .*subject/i],
  ])('%s', async (_title, message, why) => {
    await expect(writes.store(connection, {}, [message()])).rejects.toThrow(why);
  });

  it('where the connection is closed before they are', async () => {
    const subject = `${randomUUID()}.silent`;
    connection.subscribe(subject, { callback: () => undefined });
    const storing = writes.store(connection, {}, [aMessage({ subject })]);
    writes.close(new Error('NATS is closed'));

    await expect(storing).rejects.toThrow('NATS is closed');
  });
});
