import type { IncomingHttpHeaders } from 'node:http';
import { badRequest, StatusError, tooLarge, unsupportedMediaType } from '@millrace/domain/status';
import { parse as parseYaml } from 'yaml';
import { hasProtobuf, parseProtobuf, PROTOBUF } from './protobuf.ts';

const MAX_DEPTH = 128;
/** YAML is read far slower than JSON: what is larger comes as JSON, which every client can send. */
const YAML_LIMIT_BYTES = 256 * 1024;
/** The reference's words, protobuf included: clients compare texts. */
const ACCEPTED = 'application/json, application/yaml, application/vnd.kubernetes.protobuf';

export const mediaTypeOf = (headers: IncomingHttpHeaders): string =>
  (headers['content-type'] ?? 'application/json').split(';', 1)[0]?.trim().toLowerCase() || 'application/json';

/**
 * The value of a request body: JSON or YAML, of bounded depth, without what Postgres cannot keep.
 * @param kind what the client means to send, for the texts of errors
 * @throws StatusError 400 for what cannot be read, 413 for YAML that is too long, 415 for other media types
 */
export function decodeBody(body: Buffer, headers: IncomingHttpHeaders, kind: string): unknown {
  refuseEncoded(headers);
  const type = mediaTypeOf(headers);
  switch (type) {
    case 'application/json':
      return parseJson(body, kind);
    case 'application/yaml':
      return parseEither(body, kind);
    default:
      if (type === PROTOBUF && hasProtobuf(kind)) return parseProtobuf(body, kind);
      throw new StatusError(
        unsupportedMediaType(`the body of the request was in an unknown format - accepted media types include: ${ACCEPTED}`),
      );
  }
}

/** A body that a few bytes could blow up is not unpacked. */
export function refuseEncoded(headers: IncomingHttpHeaders): void {
  const encoding = headers['content-encoding'];
  if (encoding && encoding.toLowerCase() !== 'identity')
    throw new StatusError(unsupportedMediaType(`a request body with Content-Encoding ${encoding} is not taken: send it unpacked`));
}

/** JSON where it is JSON (kubectl labels such bodies YAML), else YAML. */
export function parseEither(body: Buffer, kind: string): unknown {
  if (/^\s*[{[]/.test(body.toString('latin1', 0, 64))) {
    try {
      return parseJson(body, kind);
    } catch (error) {
      // YAML's flow style begins like JSON.
      if (!/json parse error/.test((error as Error).message)) throw error;
    }
  }
  if (body.length > YAML_LIMIT_BYTES)
    throw new StatusError(tooLarge(`a YAML body may have at most ${YAML_LIMIT_BYTES} bytes: send JSON instead`));
  let json: string;
  try {
    // Through JSON, so that aliases become copies and only JSON's types remain; an anchor within itself has no end.
    json = JSON.stringify(parseYaml(body.toString(), { maxAliasCount: 64, merge: false, prettyErrors: false, logLevel: 'silent' })) ?? '';
  } catch (error) {
    const why = error instanceof RangeError ? 'it is nested too deeply' : (error as Error).message.split('\n', 1)[0];
    throw new StatusError(badRequest(`${unrecognized(kind)}; yaml parse error: ${why} (${summary(body)})`));
  }
  return parseJson(Buffer.from(json), kind);
}

const unrecognized = (kind: string): string => `the object provided is unrecognized (must be of type ${kind}): couldn't get version/kind`;

export function parseJson(body: Buffer, kind: string): unknown {
  const odd = scan(body);
  const text = body.toString();
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new StatusError(badRequest(`${unrecognized(kind)}; json parse error: ${goMessage(error as Error, text)} (${summary(body)})`));
  }
  if (odd.surrogate && /\\ud[89a-f]/i.test(JSON.stringify(value)))
    throw new StatusError(badRequest('the body holds half of a surrogate pair, which is no text'));
  return value;
}

/** One pass over the bytes before anything is built from them: depth and NUL characters are refused. */
function scan(body: Buffer): { surrogate: boolean } {
  let depth = 0;
  let inString = false;
  let surrogate = false;
  for (let i = 0; i < body.length; i++) {
    const byte = body[i];
    if (inString) {
      if (byte === 0x5c) {
        if (body[i + 1] === 0x75) {
          const escape = body.toString('latin1', i + 2, i + 6).toLowerCase();
          if (escape === '0000') throw new StatusError(badRequest('the body holds a NUL character, which no object may have'));
          surrogate ||= /^d[89a-f]/.test(escape);
        }
        i++;
      } else if (byte === 0x22) inString = false;
    } else if (byte === 0x22) inString = true;
    else if (byte === 0x7b || byte === 0x5b) {
      if (++depth > MAX_DEPTH) throw new StatusError(badRequest(`the body is nested more than ${MAX_DEPTH} levels deep`));
    } else if (byte === 0x7d || byte === 0x5d) depth--;
  }
  return { surrogate };
}

/** What V8 says about broken JSON, in the words of Go that clients of Kubernetes know. */
const GO_WORDS: readonly (readonly [RegExp, string])[] = [
  [/Expected property name|Expected double-quoted property name/, 'looking for beginning of object key string'],
  [/Expected ':' after property name/, 'after object key'],
  [/Expected ',' or '}' after property value/, 'after object key:value pair'],
  [/Expected ',' or '\]' after array element/, 'after array element'],
  [/non-whitespace character after JSON/, 'after top-level value'],
  [/Bad control character/, 'in string literal'],
  [/Bad escaped character/, 'in string escape code'],
];

function goMessage({ message }: Error, text: string): string {
  const position = /at position (\d+)/.exec(message)?.[1];
  const at = position === undefined ? undefined : text[Number(position)];
  if (/Unexpected end|Unterminated/.test(message) || (position !== undefined && at === undefined)) return 'unexpected end of JSON input';
  const character = at ?? /Unexpected token '(.)'/su.exec(message)?.[1];
  if (character === undefined) return message;
  const where = GO_WORDS.find(([said]) => said.test(message))?.[1] ?? 'looking for beginning of value';
  return `invalid character ${character === "'" ? String.raw`'\''` : `'${JSON.stringify(character).slice(1, -1)}'`} ${where}`;
}

/** The first bytes of a body as the reference repeats them: text where it looks like JSON, else hexadecimal. */
function summary(body: Buffer): string {
  if (body.length === 0) return '<empty>';
  const head = body.subarray(0, 30);
  return `${body[0] === 0x7b ? head.toString() : head.toString('hex')}${body.length > 30 ? ' ...' : ''}`;
}
