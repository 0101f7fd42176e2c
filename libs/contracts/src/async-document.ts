import { z } from 'zod';
import type { EventContract } from './define.ts';
import { events } from './events.ts';

/** JSON Schema of every named shape, once, with references between them. */
export function namedSchemas(schemas: readonly z.ZodType[], path: (id: string) => string): Record<string, unknown> {
  const registry = z.registry<{ id: string }>();
  for (const schema of schemas) collectNamed(schema, registry, new Set());
  const { schemas: made } = z.toJSONSchema(registry, { uri: path, io: 'input', unrepresentable: 'any' });
  return Object.fromEntries(Object.entries(made).map(([id, { $schema: _schema, $id: _id, id: __id, ...schema }]) => [id, schema]));
}

/** Walks a schema for the parts that carry an id, so that each is described once. */
function collectNamed(schema: z.ZodType, registry: ReturnType<typeof z.registry<{ id: string }>>, seen: Set<unknown>): void {
  if (seen.has(schema)) return;
  seen.add(schema);
  const id = schema.meta()?.id;
  if (typeof id === 'string' && !registry.has(schema)) registry.add(schema, { id });
  const def = schema.def as unknown as Record<string, unknown>;
  for (const part of Object.values(def)) for (const inner of partsOf(part)) collectNamed(inner, registry, seen);
}

function partsOf(part: unknown): z.ZodType[] {
  if (part instanceof z.ZodType) return [part];
  if (Array.isArray(part)) return part.filter((one): one is z.ZodType => one instanceof z.ZodType);
  if (part !== null && typeof part === 'object') return Object.values(part).filter((one): one is z.ZodType => one instanceof z.ZodType);
  return [];
}

const HEADERS = {
  type: 'object',
  description: 'CloudEvents 1.0, NATS protocol binding, binary mode.',
  properties: {
    'ce-specversion': { type: 'string', const: '1.0' },
    'ce-id': { type: 'string', description: 'Identifies the event; every repeat carries the same. Equal to Nats-Msg-Id.' },
    'ce-source': { type: 'string' },
    'ce-type': { type: 'string' },
    'ce-time': { type: 'string', format: 'date-time' },
    traceparent: { type: 'string', description: 'W3C trace context, carried from the push on.' },
    'Nats-Msg-Id': { type: 'string' },
  },
  required: ['ce-specversion', 'ce-id', 'ce-source', 'ce-type'],
};

const idOf = (event: EventContract): string => event.data.meta()?.id as string;
const channelOf = (event: EventContract): string => event.name.replace('.', '-');

/** AsyncAPI 3.0 of everything that goes over JetStream. */
export function asyncApiDocument(version: string, examples: Record<string, unknown>): Record<string, unknown> {
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'Millrace events',
      version,
      description:
        'Facts that Millrace tells over NATS JetStream. In a token of a subject `.` is written `~`. Unknown fields are to be ignored: a version only ever gains optional ones.',
      license: { name: 'Apache-2.0' },
    },
    servers: { nats: { host: 'localhost:4222', protocol: 'nats' } },
    channels: Object.fromEntries(
      events.map((event) => [
        channelOf(event),
        {
          address: [event.subject, ...event.parameters.map((parameter) => `{${parameter}}`)].join('.'),
          description: `JetStream stream ${event.stream}.`,
          parameters: Object.fromEntries(
            event.parameters.map((parameter) => [parameter, { description: `The ${parameter}, with "." written "~"` }]),
          ),
          messages: { [channelOf(event)]: { $ref: `#/components/messages/${channelOf(event)}` } },
        },
      ]),
    ),
    operations: Object.fromEntries(
      events.map((event) => [
        `${event.from === 'registry' ? 'take' : 'tell'}-${channelOf(event)}`,
        {
          action: event.from === 'registry' ? 'receive' : 'send',
          channel: { $ref: `#/channels/${channelOf(event)}` },
          summary: event.summary,
          description:
            event.from === 'registry' ? `Published by a registry, taken by ${event.to.join(', ')}.` : `Published by ${event.from}.`,
          messages: [{ $ref: `#/channels/${channelOf(event)}/messages/${channelOf(event)}` }],
        },
      ]),
    ),
    components: {
      messages: Object.fromEntries(
        events.map((event) => [
          channelOf(event),
          {
            name: event.type,
            title: event.name,
            summary: event.summary,
            contentType: 'application/json',
            headers: HEADERS,
            payload: { $ref: `#/components/schemas/${idOf(event)}` },
            ...(examples[event.name] ? { examples: [{ payload: examples[event.name] }] } : {}),
          },
        ]),
      ),
      schemas: namedSchemas(
        events.map((event) => event.data),
        (id) => `#/components/schemas/${id}`,
      ),
    },
  };
}
