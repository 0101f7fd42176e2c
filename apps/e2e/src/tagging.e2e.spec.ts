import { describe, expect, it } from 'vitest';
import { digest, ProductBed } from '@millrace/testing/product-bed';
import { hasTool } from '@millrace/testing/tools';

const A = digest('a');
const B = digest('b');

const bed = new ProductBed();
const kubectl = bed.kubectl('tags');
const imageOf = (tag: string) => kubectl(`get istag ${tag} -o jsonpath={.image.metadata.name}`);
const tagged = (name: string, from: object) => ({
  ...{ apiVersion: 'image.openshift.io/v1', kind: 'ImageStreamTag', metadata: { name } },
  tag: { name: name.split(':')[1], from },
});

describe.runIf(hasTool('kubectl'))('tagging with kubectl', () => {
  it('an alias follows its tag, a tag of an image stays, and an older image is tagged to roll back', async () => {
    await bed.stream('tags/app');
    await bed.push('tags/app:latest', 'a');
    expect(await kubectl('create -f -', tagged('app:prod', { kind: 'ImageStreamTag', name: 'latest' }))).toBe(
      'imagestreamtag.image.openshift.io/app:prod created\n',
    );
    await kubectl('create -f -', tagged('app:v1', { kind: 'ImageStreamImage', name: `app@${A}` }));
    await bed.push('tags/app:latest', 'b');
    expect(await imageOf('app:prod')).toBe(B);
    expect(await imageOf('app:v1')).toBe(A);

    const back = { tag: { from: { kind: 'ImageStreamImage', name: `app@${A}` } } };
    await kubectl(`patch istag app:prod --type merge -p ${JSON.stringify(back)}`);

    expect(await kubectl('get itag app:prod -o jsonpath={.status.items[*].image}')).toBe([A, B, A].join(' '));
  });

  it('tags are printed, with what puts images into them and how many there were', async () => {
    expect(await kubectl('get itag --no-headers')).toMatch(
      new RegExp(`^app:latest +Push +image/${B} +2 .*\\napp:prod +Tag +image/${A} +3 .*\\napp:v1 +Tag +image/${A} +1 `),
    );
    expect(await kubectl('get istag -o name')).toBe(
      ['latest', 'prod', 'v1'].map((tag) => `imagestreamtag.image.openshift.io/app:${tag}\n`).join(''),
    );
  });

  it('a tag is deleted by either name, and a missing one is told', async () => {
    expect(await kubectl('delete istag app:v1')).toContain('imagestreamtag.image.openshift.io "app:v1" deleted');
    expect(await kubectl('delete itag app:prod')).toContain('imagetag.image.openshift.io "app:prod" deleted');
    expect(await kubectl('delete itag app:prod')).toBe('Error from server (NotFound): imagetags.image.openshift.io "app:prod" not found\n');
  });

  it('a dry run of a tag writes none, and a source that is not there is named', async () => {
    const copy = tagged('app:copy', { kind: 'ImageStreamTag', name: 'none:v1' });
    expect(await kubectl('create -f -', copy)).toContain('spec.tags[copy].from.name: Not found: "none:v1"');
    const external = tagged('app:external', { kind: 'DockerImage', name: 'quay.io/x/y:1' });
    expect(await kubectl('create --dry-run=server -f -', external)).toContain('app:external created (server dry run)');
    expect(await kubectl('get is app -o jsonpath={.spec.tags}')).toBe('');
  });
});
