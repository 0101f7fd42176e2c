import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startProduct, type Product } from '@millrace/testing/product';
import { hasTool } from '@millrace/testing/tools';

const run = promisify(execFile);
const PASSWORD = 'hunter2-hunter2';
const STREAMS = '/apis/image.openshift.io/v1/namespaces/team/imagestreams';

let product: Product;

beforeAll(async () => {
  product = await startProduct();
}, 120_000);
afterAll(async () => {
  await product.stop();
  product.remove();
});

/** What kubectl says; where it fails, what it says of that. */
const kubectl = async (args: string): Promise<string> => {
  try {
    return (await run('kubectl', ['--kubeconfig', product.kubeconfig, ...args.split(' ')], { timeout: 60_000 })).stdout;
  } catch (error) {
    return (error as { stderr: string }).stderr;
  }
};
const apply = (object: object) =>
  new Promise<string>((resolve) => {
    const child = execFile('kubectl', ['--kubeconfig', product.kubeconfig, 'apply', '-f', '-'], (_error, out, err) => resolve(out + err));
    child.stdin?.end(JSON.stringify(object));
  });

describe.runIf(hasTool('kubectl'))('a namespace of the running product', () => {
  it('is made, holds streams, secrets and triggers, and takes them with it', { timeout: 60_000 }, async () => {
    const metadata = { name: 'app', namespace: 'team' };
    const spec = { kind: 'Build', from: { kind: 'ImageStreamTag', name: 'app:latest' } };
    const pull = `--docker-server=e.io --docker-username=u --docker-password=${PASSWORD}`;

    expect(await kubectl('create ns team')).toBe('namespace/team created\n');
    expect(await kubectl('create ns team')).toContain('namespaces "team" already exists');
    expect(await kubectl(`create secret docker-registry creds -n team ${pull}`)).toBe('secret/creds created\n');
    expect(await apply({ apiVersion: 'image.openshift.io/v1', kind: 'ImageStream', metadata })).toContain('created');
    expect(await apply({ apiVersion: 'triggers.millrace.dev/v1', kind: 'ImageTrigger', metadata, spec })).toContain('created');
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
    expect(product.output()).not.toContain(PASSWORD);
    const base64 = Buffer.from(PASSWORD).toString('base64').slice(0, 16);
    const files = readdirSync(product.dataDir, { recursive: true, withFileTypes: true }).filter((file) => file.isFile());
    const holding = files.filter((file) => {
      const text = readFileSync(join(file.parentPath, file.name), 'latin1');
      return text.includes(PASSWORD) || text.includes(base64);
    });

    expect(holding.map((file) => join(file.parentPath, file.name))).toEqual([]);
  });
});
