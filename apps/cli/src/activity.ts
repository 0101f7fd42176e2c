import { Writable } from 'node:stream';

/** Lines of the services' logs that say what happened to images and tags, and what to print of them. */
const told: Record<string, (line: Line) => string | undefined> = {
  'push.mapped': (line) => `push      ${line.repository}:${line.tag}`,
  'tag.moved': (line) => `tag       ${line.namespace}/${line.stream}:${line.tag} → ${short(line.image)} (move ${line.generation})`,
  'trigger.fired': (line) => `trigger   ${line.trigger} fired a ${String(line.kind).toLowerCase()} for ${line.tag}`,
  'delivery.attempted': (line) => `webhook   ${line.url} ${line.outcome}${line.status ? ` (${line.status})` : ''}`,
};

type Line = Record<string, unknown> & { msg?: string; level?: string; err?: { message?: string }; service?: string };

const short = (image: unknown): string => String(image).slice(0, 19);

/** Takes log lines, keeps all of them through `keep`, and prints those a person at the terminal wants to see. */
export function activity(print: (text: string) => void, keep: (line: string) => void): Writable {
  return new Writable({
    decodeStrings: false,
    write(chunk: string | Buffer, _encoding, done) {
      for (const text of chunk.toString().split('\n')) {
        if (!text) continue;
        keep(`${text}\n`);
        const spoken = speak(text);
        if (spoken) print(spoken);
      }
      done();
    },
  });
}

function speak(text: string): string | undefined {
  let line: Line;
  try {
    line = JSON.parse(text) as Line;
  } catch {
    return undefined;
  }
  if (line.level === 'error' || line.level === 'fatal')
    return `error     ${line.service}: ${line.msg}${line.err?.message ? `: ${line.err.message}` : ''}`;
  return told[line.msg ?? '']?.(line);
}
