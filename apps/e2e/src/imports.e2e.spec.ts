import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RegistryServer, startRegistry } from '@millrace/embedded/registry';
import { eventually } from '@millrace/testing/eventually';
import { aTag, aTrigger } from '@millrace/testing/image-trigger';
import { makeImage, makeIndex, pushImage } from '@millrace/testing/images';
import { ProductBed } from '@millrace/testing/product-bed';
import { hasTool } from '@millrace/testing/tools';

const TRIGGERS = '/apis/triggers.millrace.dev/v1/namespaces/imports/imagetriggers';
const SECRET = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;

const scratch = mkdtempSync(join(tmpdir(), 'millrace-imports-'));
/** A registry that knows nothing of the product. */
let outside: RegistryServer;

beforeAll(async () => {
  outside = await startRegistry({ dataDir: join(scratch, 'registry') });
});
afterAll(async () => {
  await outside.stop();
  rmSync(scratch, { recursive: true });
});

const bed = new ProductBed();
const kubectl = bed.scriptedKubectl('imports');
const create = (object: object) => kubectl('create -f -', { apiVersion: 'image.openshift.io/v1', ...object });
const external = (name: string, from: string, given: object = {}) => ({
  kind: 'ImageStreamTag',
  metadata: { name },
  tag: { name: name.split(':')[1], from: { kind: 'DockerImage', name: from }, importPolicy: { insecure: true }, ...given },
});
const imageOf = (tag: string) => kubectl(`get istag ${tag} -o jsonpath={.image.metadata.name}`);

describe.runIf(hasTool('kubectl'))('images of a registry outside, with kubectl', () => {
  it('a tag that names one moves by itself, and fires the trigger that watches it', async () => {
    const made = await pushImage(outside.host, 'team/app', 'latest', makeImage('outside'));
    const webhooks = [{ name: 'hook', url: `${bed.sink.url}/deploy`, secret: SECRET }];
    await bed.create(TRIGGERS, aTrigger('deploy', { from: aTag('app:latest'), webhooks }));
    await create(external('app:latest', `${outside.host}/team/app:latest`));

    await eventually(async () => expect(await imageOf('app:latest')).toBe(made), 20_000);
    await eventually(() => expect(bed.sink.received).toHaveLength(1), 20_000);
    expect(JSON.parse(bed.sink.received[0]?.body ?? '')).toMatchObject({
      data: { current: { image: made, dockerImageReference: `${outside.host}/team/app@${made}` }, cause: { kind: 'import' } },
    });
  });

  it('an import that is asked for moves it to what is there now, and one that brings the same moves nothing', async () => {
    const made = await pushImage(outside.host, 'team/app', 'latest', makeImage('outside, later'));
    const image = { from: { kind: 'DockerImage', name: `${outside.host}/team/app:latest` }, importPolicy: { insecure: true } };
    const object = { kind: 'ImageStreamImport', metadata: { name: 'app' }, spec: { import: true, images: [image] } };
    await create(object);
    await create(object);

    expect(await imageOf('app:latest')).toBe(made);
    await eventually(() => expect(bed.sink.received).toHaveLength(2), 20_000);
    expect(await kubectl('get itag app:latest -o jsonpath={.status.items[*].image}')).toBe([made, makeImage('outside').digest].join(' '));
  });

  it('an index brings the image of one platform, or all of them, as its tag says', async () => {
    const index = makeIndex('outside index');
    await pushImage(outside.host, 'team/multi', 'latest', index);
    await create(external('multi:one', `${outside.host}/team/multi:latest`));
    const whole = { importPolicy: { insecure: true, importMode: 'PreserveOriginal' } };
    await create(external('multi:all', `${outside.host}/team/multi:latest`, whole));

    await eventually(async () => expect(await imageOf('multi:one')).toBe(index.images[0]?.digest), 20_000);
    await eventually(async () => expect(await imageOf('multi:all')).toBe(index.digest), 20_000);
  });

  it('an image that is not there is named in the condition of its tag', async () => {
    await create(external('app:nosuch', `${outside.host}/team/app:nosuch`));

    await eventually(async () => {
      const condition = await kubectl('get itag app:nosuch -o jsonpath={.status.conditions[0].reason}:{.status.conditions[0].message}');
      expect(condition).toBe(`NotFound:dockerimage.image.openshift.io "${outside.host}/team/app:nosuch" not found`);
    }, 20_000);
  });

  it('an image of the bundled registry is imported like any other', async () => {
    const made = await pushImage(bed.product.registry, 'elsewhere/base', 'v1', makeImage('bundled'));
    await create(external('base:v1', `${bed.product.registry}/elsewhere/base:v1`));

    await eventually(async () => expect(await imageOf('base:v1')).toBe(made), 20_000);
  });
});
