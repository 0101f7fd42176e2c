import { describe, expect, it } from 'vitest';
import { digest, ProductBed } from '@millrace/testing/product-bed';
import { hasTool } from '@millrace/testing/tools';

const CHANGES = '/apis/control.millrace.dev/v1/namespaces/held/tagchanges';

const bed = new ProductBed();
const kubectl = bed.kubectl('held');
const act = (tag: string, name: string, body: object = {}, query = '') =>
  kubectl(`create --raw ${CHANGES}/${tag}/${name}${query} -f -`, body);
const imageOf = (tag: string) => kubectl(`get istag ${tag} -o jsonpath={.image.metadata.name}`);
const manifest = (name: string, control: object) => ({
  apiVersion: 'image.openshift.io/v1',
  kind: 'ImageStream',
  metadata: { name },
  spec: { tags: [{ name: 'latest', control }] },
});

describe.runIf(hasTool('kubectl'))('a tag that holds changes back, with kubectl', () => {
  it('is rolled back with one command, stays there, and shows what waits', async () => {
    await bed.stream('held/web');
    await bed.push('held/web:latest', 'a');
    await bed.push('held/web:latest', 'b');
    await act('web:latest', 'rollback', { reason: 'errors' });
    await bed.push('held/web:latest', 'c');
    await bed.push('held/web:latest', 'd');

    expect(await imageOf('web:latest')).toBe(digest('a'));
    expect(await kubectl('get tagchanges -A')).toMatch(
      /^NAMESPACE +NAME +DECISION +REASON +PENDING +NEWEST +SINCE +NEXT LOOK\nheld +web:latest +Waiting +Held +2 +sha256:dddddddddddd +\S.* ago *\n$/,
    );
    const described = await kubectl('describe tagchange web:latest');
    expect(described).toMatch(/Reason: +rolled back by \S+ from sha256:b+ to sha256:a+: errors/);
    expect(described).toContain(digest('c'));
    expect(await kubectl('describe is web')).toMatch(/Pending: +2\n/);
  });

  it('says what would become of an image, before what follows the tag is told', async () => {
    const explanation = {
      apiVersion: 'triggers.millrace.dev/v1',
      kind: 'Explanation',
      spec: { from: { kind: 'ImageStreamTag', name: 'web:latest' }, image: digest('c') },
    };

    expect(JSON.parse(await kubectl('create -f - -o jsonpath={.status.tag}', explanation))).toMatchObject({
      outcome: 'waits',
      reason: 'Held',
      current: { image: digest('a') },
      pending: 2,
    });
  });

  it('is released in a rehearsal, and then once', async () => {
    expect(JSON.parse(await act('web:latest', 'release', {}, '?dryRun=All'))).toMatchObject({
      kind: 'TagRelease',
      status: { outcome: 'Moved', superseded: 1, current: { image: digest('d') } },
    });
    expect(await imageOf('web:latest')).toBe(digest('a'));

    await act('web:latest', 'release');

    expect(await imageOf('web:latest')).toBe(digest('d'));
    expect(await kubectl('get tagchanges')).toBe('No resources found in held namespace.\n');
  });

  it('keeps its control through apply, server-side apply, and patches of tools that do not know it', async () => {
    const control = { minimumAge: '1h', holdOnRollback: true };
    const shown = (name: string) => kubectl(`get is ${name} -o jsonpath={.spec.tags[0].control}`);
    expect(await kubectl('apply -f -', manifest('soaked', control))).toContain('created');
    expect(await kubectl('apply -f -', manifest('soaked', control))).toContain('unchanged');
    await kubectl('label is soaked team=web');
    expect(JSON.parse(await shown('soaked'))).toEqual(control);
    expect(await kubectl('apply -f -', manifest('soaked', { minimumAge: '2h' }))).toContain('configured');
    expect(JSON.parse(await shown('soaked'))).toEqual({ minimumAge: '2h' });

    expect(await kubectl('apply --server-side -f -', manifest('owned', control))).toContain('serverside-applied');
    await bed.push('held/owned:latest', 'a');
    await act('owned:latest', 'release', { force: true });
    await bed.push('held/owned:latest', 'b');
    await act('owned:latest', 'release', { force: true });
    await act('owned:latest', 'rollback');
    expect(await kubectl('apply --server-side -f -', manifest('owned', control))).toContain('serverside-applied');
    expect(JSON.parse(await shown('owned'))).toMatchObject({
      ...control,
      hold: { reason: expect.stringContaining('rolled back') as string },
    });
    expect(await kubectl('apply --server-side -f -', manifest('owned', { minimumAge: '1h' }))).toContain('serverside-applied');
    expect(JSON.parse(await shown('owned'))).not.toHaveProperty('holdOnRollback');
    expect(await imageOf('owned:latest')).toBe(digest('a'));
  });

  it('is explained, with what is wrong in its place', async () => {
    expect(await kubectl('explain is.spec.tags.control.minimumAge')).toContain('How long an image must have been the newest');
    expect(await kubectl('explain tagchanges.status.decision')).toContain('lookAt');
    expect(await kubectl('create -f -', manifest('wrong', { minimumAge: 'long' }))).toContain(
      'spec.tags[latest].control.minimumAge: Invalid value: "long"',
    );
    expect(await kubectl('create -f -', manifest('wrong', { minimumage: '1h' }))).toContain(
      'unknown field "spec.tags[0].control.minimumage"',
    );
  });
});
