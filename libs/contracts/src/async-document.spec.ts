import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Ajv } from 'ajv';
import addFormats from 'ajv-formats';
import { describe, expect, it } from 'vitest';
import { asyncApiDocument } from './async-document.ts';
import { events } from './events.ts';

const examples = Object.fromEntries(
  events.map((event) => [
    event.name,
    JSON.parse(readFileSync(new URL(`../examples/${event.name}.v1.json`, import.meta.url), 'utf8')) as unknown,
  ]),
);
const document = asyncApiDocument('1.0.0', examples) as {
  channels: Record<string, { address: string }>;
  components: {
    schemas: Record<string, object>;
    messages: Record<string, { payload: { $ref: string }; examples: { payload: unknown }[] }>;
  };
};

describe('the AsyncAPI document', () => {
  it('is valid AsyncAPI 3.0', () => {
    const ajv = new Ajv({ strict: false, allErrors: true });
    addFormats.default(ajv);
    const schema = createRequire(import.meta.url)('@asyncapi/specs/schemas/3.0.0-without-$id.json') as object;
    const valid = ajv.compile(schema);

    expect(valid(document) ? [] : valid.errors).toEqual([]);
  });

  it('has a channel and a message for every event, and the schema of each admits its example', () => {
    expect(Object.keys(document.channels)).toHaveLength(events.length);
    const ajv = new Ajv({ strict: false });
    for (const [name, schema] of Object.entries(document.components.schemas))
      ajv.addSchema(JSON.parse(JSON.stringify(schema).replaceAll('#/components/schemas/', '')) as object, name);
    for (const message of Object.values(document.components.messages)) {
      const validate = ajv.getSchema(message.payload.$ref.replace('#/components/schemas/', ''));
      expect(validate?.(message.examples[0]?.payload), JSON.stringify(validate?.errors)).toBe(true);
    }
  });

  it('every reference leads somewhere', () => {
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"#([^"]+)"/g)].map((match) => match[1] ?? '');

    for (const reference of references) {
      const target = reference
        .slice(1)
        .split('/')
        .reduce<unknown>((node, key) => (node as Record<string, unknown> | undefined)?.[key.replaceAll('~1', '/')], document);
      expect(target, reference).toBeDefined();
    }
  });
});
