import { describe, expect, it } from 'vitest';
import { type NamedTag, tagsNamedIn, withLocalNames } from './local-names.ts';
import { tagKey } from './trigger-annotation.ts';

const DIGEST = `sha256:${'a'.repeat(64)}`;
const found: Record<string, NamedTag> = {
  'demo/app:v1': { local: true, repository: 'int/demo/app', image: DIGEST, pullSpec: `ext.io/x/app:v1@${DIGEST}` },
  'demo/app:later': { local: true, repository: 'int/demo/app' },
  'demo/app:outside': { local: true, repository: 'int/demo/app', pullSpec: 'ext.io/x/app:outside' },
  'demo/other:v1': { local: false, repository: 'int/demo/other', image: DIGEST, pullSpec: `int/demo/other@${DIGEST}` },
};
const everyStream = { annotations: { 'alpha.image.policy.openshift.io/resolve-names': '*' } };
const deployment = (image: string, metadata: object = {}, templateMetadata: object = {}) => ({
  metadata: { namespace: 'demo', ...metadata },
  spec: { template: { metadata: templateMetadata, spec: { containers: [{ name: 'web', image }] } } },
});
const imageOf = (object: unknown): string | undefined => (object as ReturnType<typeof deployment>).spec.template.spec.containers[0]?.image;
const resolved = (object: ReturnType<typeof deployment>, old?: ReturnType<typeof deployment>, kind = 'Deployment') =>
  imageOf(withLocalNames(kind, object, old, (tag) => found[tagKey(tag)]));

describe('an image that is named by a stream', () => {
  it.each<[string, ReturnType<typeof deployment>, string]>([
    ['becomes what the tag means, by its digest', deployment('app:v1'), `ext.io/x/app@${DIGEST}`],
    ['of a tag without an image is looked for in the stream’s own repository', deployment('app:later'), 'int/demo/app:later'],
    ['of a tag that only names a pull spec is too', deployment('app:outside'), 'int/demo/app:outside'],
    ['stays where the stream is not local', deployment('other:v1'), 'other:v1'],
    ['stays where there is no such stream', deployment('nope:v1'), 'nope:v1'],
    ['stays where it has a registry', deployment('ext.io/app:v1'), 'ext.io/app:v1'],
    ['stays where it has a digest', deployment(`app@${DIGEST}`), `app@${DIGEST}`],
    ['stays where a controller owns the object', deployment('app:v1', { ownerReferences: [{ controller: true }] }), 'app:v1'],
    ['is looked up in every stream where the object asks for that', deployment('other:v1', everyStream), `int/demo/other@${DIGEST}`],
    ['is looked up in every stream where its template asks for that', deployment('other:v1', {}, everyStream), `int/demo/other@${DIGEST}`],
    ['is then its last segment', deployment('team/other:v1', everyStream), `int/demo/other@${DIGEST}`],
    ['stays where it is no text that can be read', deployment(' '), ' '],
  ])('%s', (_title, object, image) => {
    expect(resolved(object)).toBe(image);
  });

  it.each<[string, ReturnType<typeof deployment>, ReturnType<typeof deployment>, string, string]>([
    ['is resolved when it has changed', deployment('app:v1'), deployment('x'), 'Deployment', `ext.io/x/app@${DIGEST}`],
    ['stays when it has not', deployment('app:v1'), deployment('app:v1'), 'Deployment', 'app:v1'],
    [
      'is resolved when the object begins to ask for every stream',
      deployment('other:v1', everyStream),
      deployment('other:v1'),
      'Deployment',
      `int/demo/other@${DIGEST}`,
    ],
    ['stays on the update of a Job', deployment('app:v1'), deployment('x'), 'Job', 'app:v1'],
  ])('%s', (_title, object, old, kind, image) => {
    expect(resolved(object, old, kind)).toBe(image);
  });

  it('is asked for once, however many containers have it', () => {
    const object = {
      metadata: { namespace: 'demo' },
      spec: {
        containers: [
          { name: 'a', image: 'app:v1' },
          { name: 'b', image: 'app:v1' },
          { name: 'c', image: 'ext.io/a' },
        ],
      },
    };

    expect(tagsNamedIn('Pod', object).map(tagKey)).toEqual(['demo/app:v1']);
  });
});
