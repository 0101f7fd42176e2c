import { Validator } from '@seriousme/openapi-schema-validator';
import { describe, expect, it } from 'vitest';
import { resources } from '@millrace/contracts/resources';
import { documentOf, openApiOf } from './openapi.ts';
import { swaggerDocumentOf, swaggerOf } from './openapi-v2.ts';

const groups = [...new Set(resources.map(({ group }) => group))];

describe('the OpenAPI document of', () => {
  it.each(groups)('%s is valid OpenAPI 3.0', async (group) => {
    const { valid, errors } = await new Validator().validate(documentOf(group, resources, '1') as Record<string, unknown>);

    expect(errors).toBeUndefined();
    expect(valid).toBe(true);
  });

  it.each(groups)('%s refers to no schema that it does not have', (group) => {
    const document = documentOf(group, resources, '1') as { components: { schemas: object } };
    const refs = [...JSON.stringify(document).matchAll(/"#\/components\/schemas\/([^"]+)"/g)].map(([, name]) => name ?? '');

    expect(refs.filter((name) => !Object.hasOwn(document.components.schemas, name))).toEqual([]);
  });

  it('image.openshift.io tells which lists are merged by item', () => {
    const schemas = (
      documentOf('image.openshift.io', resources, '1') as { components: { schemas: Record<string, { properties: object }> } }
    ).components.schemas;

    expect(schemas['io.openshift.image.v1.ImageStreamSpec']?.properties).toMatchObject({
      tags: { type: 'array', 'x-kubernetes-patch-merge-key': 'name', 'x-kubernetes-patch-strategy': 'merge' },
    });
    expect(schemas['io.openshift.image.v1.ImageStreamStatus']?.properties).toMatchObject({
      tags: { 'x-kubernetes-patch-merge-key': 'tag' },
    });
  });

  it('each kind offers its patches with fieldValidation, so that clients let the server validate', () => {
    const { paths } = documentOf('image.openshift.io', resources, '1') as { paths: Record<string, Record<string, object>> };

    expect(paths['/apis/image.openshift.io/v1/namespaces/{namespace}/imagestreams/{name}']?.['patch']).toMatchObject({
      'x-kubernetes-group-version-kind': { group: 'image.openshift.io', kind: 'ImageStream', version: 'v1' },
      parameters: expect.arrayContaining([expect.objectContaining({ name: 'fieldValidation' })]),
      requestBody: { content: { 'application/strategic-merge-patch+json': {} } },
    });
  });
});

it('the index names each document with the hash of its content', () => {
  const { index, documents } = openApiOf(resources, '1');

  expect(JSON.parse(index.json.toString())).toMatchObject({
    paths: {
      'apis/image.openshift.io/v1': {
        serverRelativeURL: `/openapi/v3/apis/image.openshift.io/v1?hash=${documents.get('/openapi/v3/apis/image.openshift.io/v1')?.etag}`,
      },
    },
  });
  expect(index.etag).toMatch(/^[0-9A-F]{128}$/);
});

describe('OpenAPI v2', () => {
  it('is valid, over all groups', async () => {
    const { valid, errors } = await new Validator().validate(swaggerDocumentOf(resources, '1'));

    expect(errors).toBeUndefined();
    expect(valid).toBe(true);
  });

  it('has every kind that is served, under its group and version', () => {
    const { definitions } = swaggerDocumentOf(resources, '1') as { definitions: Record<string, Record<string, unknown>> };
    const kinds = Object.values(definitions).flatMap(
      (schema) => (schema['x-kubernetes-group-version-kind'] as { kind: string }[] | undefined)?.map(({ kind }) => kind) ?? [],
    );

    expect(kinds).toEqual(expect.arrayContaining(resources.map(({ kind }) => kind)));
    expect(JSON.stringify(definitions)).not.toContain('#/components/');
  });

  it('is a protobuf message too, that begins with its version', () => {
    const { message } = swaggerOf(resources, '1');

    expect(message.subarray(0, 5)).toEqual(Buffer.from([0x0a, 3, ...Buffer.from('2.0')]));
  });
});
