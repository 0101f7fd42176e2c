import { describe, expect, it } from 'vitest';
import { decodingProblem } from './decoding.ts';
import { ImageStream, ImageTag } from './image-stream.ts';

const problem = (sent: object, kind = 'ImageStream', schema: typeof ImageStream | typeof ImageTag = ImageStream) => {
  const parsed = schema.safeParse({ metadata: {}, ...sent });
  return parsed.success
    ? 'nothing'
    : decodingProblem(kind, schema, parsed.error, sent).replace(/^\w+ in version "v1" cannot be handled as a \w+: /, '');
};

describe('a value of another type', () => {
  it.each([
    [{ spec: { tags: 'x' } }, 'json: cannot unmarshal string into Go struct field ImageStreamSpec.spec.tags of type []v1.TagReference'],
    [{ spec: 'x' }, 'json: cannot unmarshal string into Go struct field ImageStream.spec of type v1.ImageStreamSpec'],
    [{ spec: { tags: [{ from: 'x' }] } }, 'json: cannot unmarshal string into Go struct field TagReference.spec.tags.from of type v1.ObjectReference'],
    [{ spec: { tags: [{ name: 1 }] } }, 'json: cannot unmarshal number into Go struct field TagReference.spec.tags.name of type string'],
    [{ spec: { tags: [{ generation: 1.5 }] } }, 'json: cannot unmarshal number 1.5 into Go struct field TagReference.spec.tags.generation of type int64'],
    [{ spec: { tags: [{ reference: {} }] } }, 'json: cannot unmarshal object into Go struct field TagReference.spec.tags.reference of type bool'],
    [{ spec: { tags: [{ importPolicy: [] }] } }, 'json: cannot unmarshal array into Go struct field TagReference.spec.tags.importPolicy of type v1.TagImportPolicy'],
    [{ spec: { lookupPolicy: { local: 'no' } } }, 'json: cannot unmarshal string into Go struct field ImageLookupPolicy.spec.lookupPolicy.local of type bool'],
    [{ metadata: { labels: { a: true } } }, 'json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string'],
    [{ metadata: { labels: [] } }, 'json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of type map[string]string'],
  ])('%j: %s', (sent, said) => expect(problem(sent)).toBe(said)); // prettier-ignore

  it('is told of every kind', () => {
    expect(problem({ spec: { from: 1 } }, 'ImageTag', ImageTag)).toBe(
      'json: cannot unmarshal number into Go struct field TagReference.spec.from of type v1.ObjectReference',
    );
  });
});

it('what is wrong in another way is said in our words', () => {
  expect(problem({ status: { tags: [{ tag: 'a', items: [{ created: 'yesterday' }] }] } })).toBe(
    'status.tags.0.items.0.created: must be a time such as 2026-01-02T03:04:05Z',
  );
  expect(problem({ status: { tags: [{}] } })).toBe('status.tags.0.tag: Invalid input: expected string, received undefined');
});
