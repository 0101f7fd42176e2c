import { describe, expect, it } from 'vitest';
import { Image } from '@millrace/domain/image';
import { ImageStream, ImageStreamTag } from '@millrace/domain/image-stream';
import { duplicateFields, readFields } from './fields.ts';
import type { Json } from './patch.ts';

const object = (json: string): Record<string, Json> => JSON.parse(json) as Record<string, Json>;

describe('unknown fields', () => {
  it.each([
    ['{"metadata":{"name":"a","managedFields":[],"deletionTimestamp":null}}', []],
    ['{"bogus":1}', ['bogus']],
    ['{"bogus":null}', ['bogus']],
    ['{"metadata":{"odd":1}}', ['metadata.odd']],
    ['{"spec":{"tags":[{"name":"a"},{"nme":"b","from":{"kid":"x"}}]}}', ['spec.tags[1].nme', 'spec.tags[1].from.kid']],
    ['{"metadata":{"labels":{"any":"thing"}}}', []],
    ['{"spec":null}', []],
    ['{"status":{"tags":[{"tag":"a","items":[{"imge":""}]}]}}', ['status.tags[0].items[0].imge']],
    ['{"__proto__":1,"constructor":2}', ['__proto__', 'constructor']],
  ])('of %s are %j', (json, expected) => expect(readFields(ImageStream, object(json)).unknown).toEqual(expected));

  it('are told in bounds', () => {
    const many = Object.fromEntries(Array.from({ length: 5_000 }, (_, i) => [`x${i}`, 1]));

    expect(readFields(ImageStream, { spec: many }).unknown).toHaveLength(100);
  });
});

describe('fields that are there more than once', () => {
  it.each([
    ['{"a":1,"b":{"a":1},"c":["a","a"]}', []],
    ['{"a":1,"a":2,"a":3}', ['a']],
    ['{"spec":{"tags":[{"name":"x"},{"name":"y","name":"\\"z"}]},"spec":{}}', ['spec.tags[1].name', 'spec']],
    [String.raw`{"k\"ey":"{\\","k\u0022ey":1}`, ['k"ey']],
    ['{"a":[[{"b":1,"b":1}],{}]}', ['a[0][0].b']],
  ])('of %s are %j', (json, expected) => expect(duplicateFields(json)).toEqual(expected));
});

describe('a value of a wrong type is told in the words of the reference:', () => {
  it.each([
    ['{"spec":{"tags":"x"}}', 'string into Go struct field ImageStreamSpec.spec.tags of type []v1.TagReference'],
    ['{"spec":[]}', 'array into Go struct field ImageStream.spec of type v1.ImageStreamSpec'],
    ['{"metadata":7}', 'number into Go struct field ImageStream.metadata of type v1.ObjectMeta'],
    ['{"metadata":{"labels":{"a":true}}}', 'bool into Go struct field ObjectMeta.metadata.labels of type string'],
    ['{"metadata":{"labels":[]}}', 'array into Go struct field ObjectMeta.metadata.labels of type map[string]string'],
    ['{"spec":{"tags":[{"name":"a"},{"name":{}}]}}', 'object into Go struct field TagReference.spec.tags.name of type string'],
    ['{"spec":{"tags":[{"generation":1.5}]}}', 'number 1.5 into Go struct field TagReference.spec.tags.generation of type int64'],
    ['{"spec":{"tags":[{"from":"x"}]}}', 'string into Go struct field TagReference.spec.tags.from of type v1.ObjectReference'],
    [
      '{"spec":{"tags":[{"importPolicy":{"importMode":1}}]}}',
      'number into Go struct field TagImportPolicy.spec.tags.importPolicy.importMode of type v1.ImportModeType',
    ],
    ['{"spec":{"lookupPolicy":{"local":"yes"}}}', 'string into Go struct field ImageLookupPolicy.spec.lookupPolicy.local of type bool'],
  ])('%s', (json, words) => expect(readFields(ImageStream, object(json)).mismatch).toBe(`json: cannot unmarshal ${words}`));

  it('only the first one is', () => {
    expect(readFields(ImageStream, object('{"spec":1,"metadata":2}')).mismatch).toContain('ImageStream.spec');
  });
});

describe('null', () => {
  it.each([
    ['is absence in a struct', '{"metadata":null,"spec":{"lookupPolicy":null,"tags":null}}', { spec: {} }],
    [
      'is the zero of an item',
      '{"spec":{"tags":[null]},"metadata":{"labels":{"a":null}}}',
      { spec: { tags: [{}] }, metadata: { labels: { a: '' } } },
    ],
  ])('%s: %s', (_, json, expected) => {
    const { object: read, mismatch } = readFields(ImageStream, object(json));

    expect(mismatch).toBeUndefined();
    expect(read).toMatchObject(expected);
  });

  it('stays where the shape knows it', () => {
    expect(readFields(ImageStreamTag, { tag: null }).object).toEqual({ tag: null });
  });

  it('stays within what is kept as it came', () => {
    expect(readFields(Image, object('{"dockerImageMetadata":{"Config":null}}')).object).toEqual({ dockerImageMetadata: { Config: null } });
  });
});
