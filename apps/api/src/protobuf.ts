import { badRequest, StatusError } from '@millrace/domain/status';

/*
 * Kubernetes' protobuf, as far as clients insist on it: `kubectl create namespace`, `secret` and `serviceaccount` send nothing else, whatever the
 * server answers. Everybody else sends JSON to a server that speaks JSON.
 */

export const PROTOBUF = 'application/vnd.kubernetes.protobuf';

type Reader = (bytes: Buffer) => unknown;
/** How the field of a number is called and read; `many` fields make a list, `entries` an object; a `flag` is a number. What is not named is skipped. */
type Message = Record<number, { name: string; read: Reader; as?: 'many' | 'entries' } | { name: string; as: 'flag' }>;

const utf8 = new TextDecoder('utf-8', { fatal: true });
const text: Reader = (bytes) => utf8.decode(bytes);
const base64: Reader = (bytes) => bytes.toString('base64');
const message =
  (fields: Message): Reader =>
  (bytes) =>
    readMessage(bytes, fields);
const entry = (value: Reader): Reader => message({ 1: { name: 'key', read: text }, 2: { name: 'value', read: value } });
const texts = (name: string) => ({ name, read: entry(text), as: 'entries' as const });

const metadata = {
  name: 'metadata',
  read: message({
    1: { name: 'name', read: text },
    2: { name: 'generateName', read: text },
    3: { name: 'namespace', read: text },
    5: { name: 'uid', read: text },
    6: { name: 'resourceVersion', read: text },
    11: texts('labels'),
    12: texts('annotations'),
    14: { name: 'finalizers', read: text, as: 'many' },
  }),
};
const reference = message({
  1: { name: 'kind', read: text },
  2: { name: 'namespace', read: text },
  3: { name: 'name', read: text },
  4: { name: 'uid', read: text },
  5: { name: 'apiVersion', read: text },
  6: { name: 'resourceVersion', read: text },
  7: { name: 'fieldPath', read: text },
});
const KINDS: Record<string, Message> = {
  Namespace: { 1: metadata },
  Secret: { 1: metadata, 2: { name: 'data', read: entry(base64), as: 'entries' }, 3: { name: 'type', read: text }, 4: texts('stringData') },
  ServiceAccount: {
    1: metadata,
    2: { name: 'secrets', read: reference, as: 'many' },
    3: { name: 'imagePullSecrets', read: message({ 1: { name: 'name', read: text } }), as: 'many' },
    4: { name: 'automountServiceAccountToken', as: 'flag' },
  },
};
/** What every body begins with: then comes `Unknown`, which says what it holds. */
const MAGIC = Buffer.from('k8s\0');
const UNKNOWN: Message = {
  1: { name: 'type', read: message({ 1: { name: 'apiVersion', read: text }, 2: { name: 'kind', read: text } }) },
  2: { name: 'raw', read: (bytes) => bytes },
};

/** Whether a kind is read from protobuf. */
export const hasProtobuf = (kind: string): boolean => Object.hasOwn(KINDS, kind);

/** The object in a protobuf body that should be of a kind. Throws {@link StatusError} 400 for what cannot be read. */
export function parseProtobuf(body: Buffer, kind: string): object {
  try {
    if (!body.subarray(0, MAGIC.length).equals(MAGIC)) throw new RangeError('it does not begin as Kubernetes’ protobuf does');
    const { type, raw } = readMessage(body.subarray(MAGIC.length), UNKNOWN) as { type?: object; raw?: Buffer };
    return { ...type, ...readMessage(raw ?? Buffer.alloc(0), KINDS[kind] ?? {}) };
  } catch (error) {
    if (!(error instanceof RangeError || error instanceof TypeError)) throw error;
    // Its words are our own, or those of a text that is none: they repeat nothing of the body, which may be a secret.
    throw new StatusError(badRequest(`the object provided is unrecognized (must be of type ${kind}): protobuf: ${error.message}`));
  }
}

const [VARINT, FIXED_64, BYTES, FIXED_32] = [0, 1, 2, 5];

function readMessage(bytes: Buffer, fields: Message): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; shift < 10; shift++) {
      const byte = bytes[at++];
      if (byte === undefined) break;
      value += (byte & 0x7f) * 2 ** (7 * shift);
      if (byte < 0x80) return value;
    }
    throw new RangeError('a number is cut short, or too long');
  };
  const take = (length: number): Buffer => {
    if (length > bytes.length - at) throw new RangeError('a field is longer than what holds it');
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const tag = varint();
    const wire = tag % 8;
    const field = fields[Math.floor(tag / 8)];
    if (wire === VARINT) {
      const value = varint();
      if (field?.as === 'flag') found[field.name] = value !== 0;
    } else if (wire === FIXED_64) take(8);
    else if (wire === FIXED_32) take(4);
    else if (wire !== BYTES) throw new RangeError(`a field of wire type ${wire}`);
    if (wire === BYTES) {
      const value = take(varint());
      if (field && field.as !== 'flag') put(found, field, field.read(value));
    }
  }
  return found;
}

function put(found: Record<string, unknown>, { name, as }: { name: string; as?: 'many' | 'entries' }, value: unknown): void {
  if (as === 'many') found[name] = [...((found[name] as unknown[] | undefined) ?? []), value];
  else if (as === 'entries') {
    const { key = '', value: held = '' } = value as { key?: string; value?: unknown };
    found[name] = { ...(found[name] as object | undefined), [key]: held };
  } else found[name] = value;
}
