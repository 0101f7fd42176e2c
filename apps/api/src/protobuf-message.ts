/* The wire format of protobuf, as far as Kubernetes' messages need it. */

export type Reader = (bytes: Buffer) => unknown;
/** How the field of a number is called and read; `many` fields make a list, `entries` an object; a `flag` is a number. What is not named is skipped. */
export type Message = Record<number, BytesField | { name: string; as: 'flag' | 'number' | 'skipped' }>;
interface BytesField {
  name: string;
  read: Reader;
  as?: 'many' | 'entries';
}

const utf8 = new TextDecoder('utf-8', { fatal: true });
export const text: Reader = (bytes) => utf8.decode(bytes);
export const message =
  (fields: Message): Reader =>
  (bytes) =>
    readMessage(bytes, fields);
/** A message of which nothing may be lost: what is not named must be empty, and an empty text is as good as none. */
export const wholeMessage =
  (fields: Message): Reader =>
  (bytes) =>
    readMessage(bytes, fields, true);
export const entry = (value: Reader): Reader => message({ 1: { name: 'key', read: text }, 2: { name: 'value', read: value } });
export const texts = (name: string) => ({ name, read: entry(text), as: 'entries' as const });

const [VARINT, FIXED_64, BYTES, FIXED_32] = [0, 1, 2, 5];

export function readMessage(bytes: Buffer, fields: Message, whole = false): Record<string, unknown> {
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
    const number = Math.floor(tag / 8);
    const field = fields[number];
    const lose = (something: boolean) => {
      if (whole && something && field?.as !== 'skipped') throw new RangeError(`field ${number} is not read from protobuf: send JSON`);
    };
    if (wire === VARINT) {
      const value = varint();
      if (field?.as === 'flag') found[field.name] = value !== 0;
      else if (field?.as === 'number') found[field.name] = value;
      else lose(value !== 0);
    } else if (wire === FIXED_64) take(8);
    else if (wire === FIXED_32) take(4);
    else if (wire !== BYTES) throw new RangeError(`a field of wire type ${wire}`);
    if (wire === BYTES) {
      const value = take(varint());
      if (field && 'read' in field) {
        const read = field.read(value);
        if (!(whole && read === '' && !field.as)) put(found, field, read);
      } else lose(value.length > 0);
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
