import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ProductBed } from '@millrace/testing/product-bed';
import { hasTool } from '@millrace/testing/tools';

const PASSWORD = 'hunter2-hunter2';
const STREAM_SECRETS = '/apis/image.openshift.io/v1/namespaces/pull/imagestreams/any/secrets';
const DEV = 'a-developer-without-rights';

const bed = new ProductBed({ args: ['--log-level', 'trace'], env: { TOKENS: `${DEV},developer,u1,"developers"` } });
const kubectl = bed.kubectl('pull');

describe.runIf(hasTool('kubectl'))('credentials for a registry', () => {
  it('are made, linked and read back with kubectl', { timeout: 60_000 }, async () => {
    const login = `--docker-server=quay.io --docker-username=robot --docker-password=${PASSWORD}`;
    const linked = () => kubectl('get serviceaccount default -o jsonpath={.imagePullSecrets[*].name}');

    expect(await kubectl(`create secret docker-registry quay ${login}`)).toBe('secret/quay created\n');
    expect(await kubectl('create serviceaccount robot')).toBe('serviceaccount/robot created\n');
    expect(await kubectl('patch serviceaccount default -p {"imagePullSecrets":[{"name":"quay"}]}')).toBe(
      'serviceaccount/default patched\n',
    );
    expect(await kubectl('patch serviceaccount default -p {"imagePullSecrets":[{"name":"hub"}]}')).toBe('serviceaccount/default patched\n');

    expect((await linked()).split(' ').sort()).toEqual(['hub', 'quay']);
    expect((await kubectl('get sa -o name')).split('\n').filter(Boolean)).toEqual(
      ['builder', 'default', 'deployer', 'robot'].map((name) => `serviceaccount/${name}`),
    );
    expect(await kubectl('get sa')).toMatch(/^NAME +SECRETS +AGE\n/);
    const kept = await kubectl('get secret quay -o jsonpath={.data.\\.dockerconfigjson}');
    expect(JSON.parse(Buffer.from(kept, 'base64').toString())).toMatchObject({
      auths: { 'quay.io': { username: 'robot', password: PASSWORD } },
    });
    expect(JSON.parse(await kubectl(`get --raw ${STREAM_SECRETS}`))).toMatchObject({ items: [{ metadata: { name: 'quay' } }] });
  });

  it('are applied, changed and refused', { timeout: 60_000 }, async () => {
    const manifest = (password: string, more: object = {}) => ({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'applied', annotations: { 'millrace.dev/registry': 'ghcr.io/team' } },
      type: 'kubernetes.io/basic-auth',
      stringData: { username: 'u', password },
      ...more,
    });

    expect(await kubectl('apply -f -', manifest(PASSWORD))).toBe('secret/applied created\n');
    expect(await kubectl('apply -f -', manifest(`${PASSWORD}-2`))).toBe('secret/applied configured\n');
    expect(await kubectl('get secret applied -o jsonpath={.data.password}')).toBe(Buffer.from(`${PASSWORD}-2`).toString('base64'));

    const mistyped = await kubectl('patch secret applied --type=merge -p {"type":3}');
    expect(mistyped).toContain('json: cannot unmarshal number into Go struct field');
    const refused = [
      mistyped,
      await kubectl('patch secret applied --type=json -p [{"op":"test","path":"/data/password","value":"x"}]'),
      await kubectl('create -f -', manifest(PASSWORD, { kind: 'Secret', metadata: { name: 'No Name' } })),
      await kubectl('create -f -', manifest(PASSWORD, { metadata: { name: 'x' }, type: 'kubernetes.io/dockerconfigjson' })),
      await kubectl('create --validate=false -f -', manifest(PASSWORD, { metadata: { name: 'x' }, data: { a: `${PASSWORD}?` } })),
    ];
    for (const said of refused) {
      expect(said).toMatch(/invalid|does not apply|rejected|BadRequest|error/i);
      expect(said).not.toContain(PASSWORD);
      expect(said).not.toContain(Buffer.from(PASSWORD).toString('base64').slice(0, 16));
    }
  });

  it('are nothing to who has no right to them', { timeout: 60_000 }, async () => {
    for (const args of [
      'get secrets',
      'get secret quay',
      'get secrets -A',
      'get secrets -w',
      `get --raw ${STREAM_SECRETS}`,
      'patch secret quay -p {"data":{}}',
      'delete secret quay',
      'create secret generic mine --from-literal=a=b',
    ]) {
      const said = await kubectl(`${args} --token ${DEV} --kubeconfig ${bed.product.kubeconfig} --user nobody-of-the-file`);
      expect(said).not.toContain('quay.io');
    }
    const as = await kubectl('get secrets --as eve');
    expect(as).toContain('Error from server (Forbidden): secrets is forbidden: User "eve" cannot list resource "secrets"');
  });

  it('are in no log, and in no file of the database or of NATS', async () => {
    const planted = [
      PASSWORD,
      ...[0, 1, 2].map((shift) =>
        Buffer.from(`${'.'.repeat(shift)}${PASSWORD}`)
          .toString('base64')
          .slice(4, 16),
      ),
    ];
    const files = readdirSync(bed.product.dataDir, { recursive: true, withFileTypes: true }).filter((file) => file.isFile());
    const holding = (text: string) => planted.filter((one) => text.includes(one));

    expect(holding(bed.product.output())).toEqual([]);
    expect(readFileSync(join(bed.product.dataDir, 'millrace.log'), 'utf8')).toContain('request.answered');
    expect(files.some((file) => file.parentPath.includes('jetstream'))).toBe(true);
    for (const file of files)
      expect([file.name, ...holding(readFileSync(join(file.parentPath, file.name), 'latin1'))]).toEqual([file.name]);
  });
});
