import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { aTag, aTrigger } from '@millrace/testing/image-trigger';
import { ProductBed } from '@millrace/testing/product-bed';
import { hasTool } from '@millrace/testing/tools';

const PASSWORD = 'hunter2-hunter2';
const STREAMS = '/apis/image.openshift.io/v1/namespaces/team/imagestreams';

const bed = new ProductBed();
const kubectl = bed.kubectl();

describe.runIf(hasTool('kubectl'))('a namespace of the running product', () => {
  it('is made, holds streams, secrets and triggers, and takes them with it', { timeout: 60_000 }, async () => {
    const stream = { apiVersion: 'image.openshift.io/v1', kind: 'ImageStream', metadata: { name: 'app', namespace: 'team' } };
    const trigger = aTrigger('app', { kind: 'Build', from: aTag('app:latest') }, { namespace: 'team' });
    const pull = `--docker-server=e.io --docker-username=u --docker-password=${PASSWORD}`;

    expect(await kubectl('create ns team')).toBe('namespace/team created\n');
    expect(await kubectl('create ns team')).toContain('namespaces "team" already exists');
    expect(await kubectl(`create secret docker-registry creds -n team ${pull}`)).toBe('secret/creds created\n');
    expect(await kubectl('apply -f -', stream)).toContain('created');
    expect(await kubectl('apply -f -', trigger)).toContain('created');
    expect(await kubectl('get projects -o name')).toContain('project.project.openshift.io/team');
    expect(JSON.parse(await kubectl(`get --raw ${STREAMS}/app/secrets`))).toMatchObject({ items: [{ metadata: { name: 'creds' } }] });
    expect(await kubectl(`get --raw ${STREAMS}/app/layers --as eve`)).toContain(
      'User "eve" cannot get resource "imagestreams/layers" in API group "image.openshift.io" in the namespace "team"',
    );

    expect(await kubectl('delete ns team')).toBe('namespace "team" deleted\n');

    expect(await kubectl('get ns team')).toContain('namespaces "team" not found');
    expect(await kubectl('get is,itrig,secrets -A -o name')).toBe('');
  });

  it('shows what is secret in no log and no file of the database', () => {
    expect(bed.product.output()).not.toContain(PASSWORD);
    const base64 = Buffer.from(PASSWORD).toString('base64').slice(0, 16);
    const files = readdirSync(bed.product.dataDir, { recursive: true, withFileTypes: true }).filter((file) => file.isFile());
    const holding = files.filter((file) => {
      const text = readFileSync(join(file.parentPath, file.name), 'latin1');
      return text.includes(PASSWORD) || text.includes(base64);
    });

    expect(holding.map((file) => join(file.parentPath, file.name))).toEqual([]);
  });
});
