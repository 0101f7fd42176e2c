/*
 * OpenAPI v2 as the protobuf message `openapi.v2.Document`, the only form in which kubectl and oc of many years ask for /openapi/v2. The field
 * numbers are those of the message's public definition; what our document never holds has none here.
 */

type Json = Record<string, unknown>;

/** One field of a message: its number, and how its value is written. */
type Field = readonly [number: number, write: (value: unknown) => Buffer[]];
type Fields = Record<string, Field>;

const varint = (value: number): Buffer => {
  const bytes: number[] = [];
  let left = value;
  while (left > 127) {
    bytes.push((left % 128) + 128);
    left = Math.floor(left / 128);
  }
  return Buffer.from([...bytes, left]);
};
const VARINT = 0;
const DOUBLE = 1;
const BYTES = 2;
const tag = (number: number, wire: number): Buffer => varint(number * 8 + wire);
const bytes = (number: number, value: Buffer): Buffer => Buffer.concat([tag(number, BYTES), varint(value.length), value]);
const text = (number: number, value: unknown): Buffer => bytes(number, Buffer.from(String(value)));

const string = (number: number): Field => [number, (value) => [text(number, value)]];
const boolean = (number: number): Field => [number, (value) => [Buffer.concat([tag(number, VARINT), varint(value ? 1 : 0)])]];
const double = (number: number): Field => [
  number,
  (value) => {
    const eight = Buffer.alloc(8);
    eight.writeDoubleLE(Number(value));
    return [Buffer.concat([tag(number, DOUBLE), eight])];
  },
];
const strings = (number: number): Field => [number, (value) => (value as unknown[]).map((one) => text(number, one))];
const message = (number: number, write: (value: unknown) => Buffer): Field => [number, (value) => [bytes(number, write(value))]];
const messages = (number: number, write: (value: unknown) => Buffer): Field => [
  number,
  (value) => (value as unknown[]).map((one) => bytes(number, write(one))),
];

/** A map as repeated pairs of name and value. */
const named = (number: number, value: unknown, write: (item: unknown) => Buffer): Buffer[] =>
  Object.entries(value as Json).map(([name, item]) => bytes(number, Buffer.concat([text(1, name), bytes(2, write(item))])));

/** Any value, as YAML; JSON is YAML. */
const any = (value: unknown): Buffer => text(2, `${JSON.stringify(value)}\n`);

/** A message of known fields; `x-…` go to its extensions, other fields nowhere. */
function encode(fields: Fields, extension: number | undefined, value: unknown): Buffer {
  const parts: Buffer[] = [];
  const extensions: Json = {};
  for (const [key, item] of Object.entries(value as Json)) {
    const field = Object.hasOwn(fields, key) ? fields[key] : undefined;
    if (key.startsWith('x-')) extensions[key] = item;
    else if (field && item !== undefined) parts.push(...field[1](item));
  }
  if (extension !== undefined) parts.push(...named(extension, extensions, any));
  return Buffer.concat(parts);
}

const schema = (value: unknown): Buffer => encode(SCHEMA, 31, value);
const SCHEMA: Fields = {
  $ref: string(1),
  format: string(2),
  title: string(3),
  description: string(4),
  default: message(5, any),
  maximum: double(7),
  minimum: double(9),
  pattern: string(13),
  required: strings(19),
  enum: messages(20, any),
  additionalProperties: message(21, (value) =>
    typeof value === 'boolean' ? Buffer.concat([tag(2, VARINT), varint(value ? 1 : 0)]) : bytes(1, schema(value)),
  ),
  type: message(22, (value) => text(1, value)),
  items: message(23, (value) => bytes(1, schema(value))),
  allOf: messages(24, schema),
  properties: message(25, (value) => Buffer.concat(named(1, value, schema))),
};

const BODY: Fields = { description: string(1), name: string(2), in: string(3), required: boolean(4), schema: message(5, schema) };
const QUERY: Fields = {
  required: boolean(1),
  in: string(2),
  description: string(3),
  name: string(4),
  type: string(6),
  format: string(7),
  uniqueItems: boolean(20),
};
const PATH: Fields = { ...QUERY, type: string(5), format: string(6), uniqueItems: boolean(19) };

/** ParametersItem → Parameter → that of the body, or NonBodyParameter → of the query or path. */
function parameter(value: unknown): Buffer {
  switch ((value as { in: string }).in) {
    case 'body':
      return bytes(1, bytes(1, encode(BODY, 6, value)));
    case 'path':
      return bytes(1, bytes(2, bytes(4, encode(PATH, 22, value))));
    default:
      return bytes(1, bytes(2, bytes(3, encode(QUERY, 23, value))));
  }
}

const RESPONSE: Fields = { description: string(1), schema: message(2, (value) => bytes(1, schema(value))) };
const response = (value: unknown): Buffer => bytes(1, encode(RESPONSE, 5, value));

const OPERATION: Fields = {
  tags: strings(1),
  description: string(3),
  operationId: string(5),
  produces: strings(6),
  consumes: strings(7),
  parameters: messages(8, parameter),
  responses: message(9, (value) => Buffer.concat(named(1, value, response))),
  schemes: strings(10),
};
const operation = (value: unknown): Buffer => encode(OPERATION, 13, value);

const PATH_ITEM: Fields = {
  get: message(2, operation),
  put: message(3, operation),
  post: message(4, operation),
  delete: message(5, operation),
  patch: message(8, operation),
  parameters: messages(9, parameter),
};
const pathItem = (value: unknown): Buffer => encode(PATH_ITEM, 10, value);

const API_KEY: Fields = { type: string(1), name: string(2), in: string(3), description: string(4) };
const stringArray = (value: unknown): Buffer => Buffer.concat((value as unknown[]).map((one) => text(1, one)));

const DOCUMENT: Fields = {
  swagger: string(1),
  info: message(2, (value) => encode({ title: string(1), version: string(2), description: string(3) }, 7, value)),
  paths: message(8, (value) => Buffer.concat(named(2, value, pathItem))),
  definitions: message(9, (value) => Buffer.concat(named(1, value, schema))),
  security: messages(12, (value) => Buffer.concat(named(1, value, stringArray))),
  securityDefinitions: message(13, (value) => Buffer.concat(named(1, value, (one) => bytes(2, encode(API_KEY, 5, one))))),
};

/** @param document OpenAPI v2 as JSON */
export const openApiMessage = (document: Json): Buffer => encode(DOCUMENT, 16, document);
