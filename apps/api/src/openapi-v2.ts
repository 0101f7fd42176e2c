import type { Resource } from '@millrace/contracts/resources';
import { documentOf, hashOf } from './openapi.ts';
import { openApiMessage } from './openapi-message.ts';

type Json = Record<string, unknown>;
interface V3 {
  paths: Record<string, Json>;
  components: { schemas: Record<string, Json> };
}

/** OpenAPI v2, as clients before Kubernetes 1.27 ask for it: one document over all groups, as JSON and as the protobuf message that they read. */
export interface Swagger {
  json: Buffer;
  message: Buffer;
  etag: string;
}

export function swaggerOf(resources: readonly Resource[], version: string): Swagger {
  const document = swaggerDocumentOf(resources, version);
  const json = Buffer.from(JSON.stringify(document));
  return { json, message: openApiMessage(document), etag: hashOf(json) };
}

/** The OpenAPI v3 documents of all groups, said in the words of v2. */
export function swaggerDocumentOf(resources: readonly Resource[], version: string): Json {
  const groups = [...new Set(resources.map(({ group }) => group))].sort().map((group) => documentOf(group, resources, version) as V3);
  return {
    swagger: '2.0',
    info: { title: 'Millrace', version },
    paths: Object.fromEntries(groups.flatMap(({ paths }) => Object.entries(paths)).map(([path, item]) => [path, itemOf(item)])),
    definitions: Object.fromEntries(
      groups.flatMap(({ components }) => Object.entries(components.schemas)).map(([name, schema]) => [name, schemaOf(schema)]),
    ),
    securityDefinitions: { BearerToken: { type: 'apiKey', name: 'authorization', in: 'header', description: 'Bearer token' } },
    security: [{ BearerToken: [] }],
  };
}

const METHODS = new Set(['get', 'put', 'post', 'delete', 'patch']);

function itemOf({ parameters, ...methods }: Json): Json {
  return {
    ...Object.fromEntries(Object.entries(methods).map(([name, value]) => [name, METHODS.has(name) ? operationOf(value as Json) : value])),
    ...(parameters ? { parameters: (parameters as Json[]).map(parameterOf) } : {}),
  };
}

function operationOf({ requestBody, parameters = [], responses, ...rest }: Json): Json {
  const sent = (requestBody as { content?: Record<string, { schema: Json }> } | undefined)?.content;
  const [body] = Object.values(sent ?? {});
  return {
    ...rest,
    consumes: sent ? Object.keys(sent) : ['*/*'],
    produces: ['application/json', 'application/yaml'],
    schemes: ['https'],
    parameters: [
      ...(body ? [{ name: 'body', in: 'body', required: true, schema: schemaOf(body.schema) }] : []),
      ...(parameters as Json[]).map(parameterOf),
    ],
    responses: Object.fromEntries(
      Object.entries(responses as Record<string, { description: string; content?: Record<string, { schema: Json }> }>).map(
        ([code, { description, content }]) => {
          const [answer] = Object.values(content ?? {});
          return [code, { description, ...(answer ? { schema: schemaOf(answer.schema) } : {}) }];
        },
      ),
    ),
  };
}

const parameterOf = ({ schema, ...rest }: Json): Json => ({ ...rest, ...(schema as Json) });

/** What v2 has no word for is left out: alternatives are any value. Whole numbers are JavaScript's, which is no limit to tell. */
function schemaOf(value: unknown): Json {
  return rewritten(value) as Json;
}

function rewritten(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(rewritten);
  if (typeof value !== 'object' || value === null) return value;
  const { anyOf: _, oneOf: __, allOf, ...own } = value as Json;
  // A reference with a description of its own: v3 needs a wrapper for it, v2 has none.
  const only = Array.isArray(allOf) && allOf.length === 1 ? (allOf[0] as Json) : undefined;
  const rest = only ? { ...own, ...only } : allOf ? { ...own, allOf } : own;
  const entries = Object.entries(rest).map(([key, item]): [string, unknown] =>
    key === '$ref' && typeof item === 'string'
      ? [key, item.replace('#/components/schemas/', '#/definitions/')]
      : [key, key === 'additionalProperties' && typeof item === 'object' && Object.keys(item ?? {}).length === 0 ? true : rewritten(item)],
  );
  return Object.fromEntries(entries);
}
