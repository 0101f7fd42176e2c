import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import type { TagMoved } from '@millrace/contracts/events';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { aTagStore, INTERNAL, type TagStoreObjectsBed } from './testbed-objects.ts';

const A = `sha256:${'a'.repeat(64)}`;

let bed: TagStoreObjectsBed;
let namespace: string;
let count = 0;

beforeAll(async () => {
  bed = await aTagStore(await aDatabase(), await aNatsServer());
});
afterAll(() => bed.stop());
beforeEach(() => {
  namespace = `ns-${++count}`;
});

const told = async (): Promise<TagMoved[]> =>
  (await bed.sql(`SELECT body FROM outbox WHERE event = 'pullspec.changed' ORDER BY id`))
    .map(({ body }) => JSON.parse(body as string) as TagMoved)
    .filter((move) => move.namespace === namespace);

/** Replaces the spec of stream `app`, in which tag `latest` was pushed. */
async function specified(spec: object): Promise<void> {
  const { body } = await bed.get(namespace, 'imagestreams', 'app');
  expect((await bed.update(namespace, 'imagestreams', 'app', { ...body, spec })).code).toBe(200);
}

async function pushed(): Promise<void> {
  await bed.create(namespace, 'imagestreams', { metadata: { name: 'app' }, spec: {} });
  await bed.push(namespace, 'app', 'latest', { metadata: { name: A } });
}

it('another reference policy is told with the new pull spec, once, although no tag moves', async () => {
  await pushed();
  const tags = [{ name: 'latest', referencePolicy: { type: 'Local' } }];

  await specified({ tags });
  await specified({ tags, lookupPolicy: { local: true } });

  expect(await told()).toMatchObject([
    { tag: 'latest', generation: 1, current: { image: A }, pullSpec: `${INTERNAL}/${namespace}/app@${A}` },
  ]);
});

it('a tag that leaves the spec is pulled from where it came again', async () => {
  await pushed();
  await specified({ tags: [{ name: 'latest', referencePolicy: { type: 'Local' } }] });

  await specified({});

  expect((await told()).map(({ pullSpec }) => pullSpec)).toEqual([`${INTERNAL}/${namespace}/app@${A}`, `e.io/a/b@${A}`]);
});

it('a tag that moves with the change tells its move, and nothing beside it', async () => {
  await pushed();

  await specified({
    tags: [{ name: 'latest', reference: true, from: { kind: 'DockerImage', name: 'e.io/other:1' }, referencePolicy: { type: 'Local' } }],
  });

  expect(await told()).toEqual([]);
  expect(
    await bed.sql(
      `SELECT body::jsonb ->> 'pullSpec' AS text FROM outbox WHERE event = 'tag.moved' AND body::jsonb ->> 'namespace' = $1 ORDER BY id`,
      [namespace],
    ),
  ).toEqual([{ text: `e.io/a/b@${A}` }, { text: 'e.io/other:1' }]);
});

it('nothing is told of a change that leaves every pull spec as it is, and nothing in a dry run', async () => {
  await pushed();
  const { body } = await bed.get(namespace, 'imagestreams', 'app');

  await specified({ tags: [{ name: 'latest', annotations: { a: 'b' } }] });
  await bed.update(
    namespace,
    'imagestreams',
    'app',
    { ...body, spec: { tags: [{ name: 'latest', referencePolicy: { type: 'Local' } }] } },
    { dryRun: true },
  );

  expect(await told()).toEqual([]);
});
