import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { parse } from 'yaml';
import type { Status } from '@millrace/domain/status';
import { StatusError } from '@millrace/domain/status';
import { aDatabase } from '@millrace/testing/servers';
import { anInstance, aPush, aStream, digest, following, type Instance, type MappingFact } from './testbed.ts';

const HOST = 'registry.internal:5000';
const [A, B] = ['a', 'b'].map(digest) as [string, string];

let server: Awaited<ReturnType<typeof aDatabase>>;
let one: Instance;
let two: Instance;

beforeAll(async () => {
  server = await aDatabase();
  one = await anInstance({ database: server.url, nats: inject('natsUrl') }, HOST);
  two = await anInstance({ database: server.url, nats: inject('natsUrl') }, HOST);
});
afterAll(async () => {
  await Promise.all([one.close(), two.close()]);
  await server.drop();
});

const user = { name: 'dev', groups: [] };
const mapping = (stream: string, tag: string, image: object, more: object = {}) => ({
  kind: 'ImageStreamMapping',
  apiVersion: 'image.openshift.io/v1',
  metadata: { name: stream },
  tag,
  image,
  ...more,
});
const post = (object: unknown, options: { by?: Instance; dryRun?: boolean } = {}): Promise<Status> =>
  (options.by ?? one).mappings.post({ namespace: 'demo', object, dryRun: options.dryRun ?? false, user }).then(
    ({ status }) => status,
    (error: unknown) => {
      if (error instanceof StatusError) return error.status;
      throw error;
    },
  );
const images = (name: string) => one.store.query<{ reference: string; document: string }>('SELECT * FROM image WHERE name = $1', [name]);
const items = (stream: string, tag: string) =>
  one.store.query(
    `SELECT i.reference, i.image, i.generation::int FROM tag_item i JOIN stream s ON s.uid = i.stream_uid
      WHERE s.namespace = 'demo' AND s.name = $1 AND i.tag = $2 ORDER BY i.position DESC`,
    [stream, tag],
  );

describe('a posted mapping', () => {
  it('puts its image into the tag at the generation of the stream, and is answered as created', async () => {
    await aStream(one, 'posted', [], 7);

    const answer = await post(mapping('posted', 'latest', { metadata: { name: A }, dockerImageReference: `e.io/a/b@${A}` }));

    expect(answer).toEqual({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 });
    expect(await items('posted', 'latest')).toEqual([{ reference: `e.io/a/b@${A}`, image: A, generation: 7 }]);
    expect((await one.told('posted'))[0]?.cause).toMatchObject({ kind: 'mapping', actor: 'dev' });
  });

  it('changes nothing when it says what is so already', async () => {
    await aStream(one, 'again');
    const object = mapping('again', 'latest', { metadata: { name: A }, dockerImageReference: `e.io/a/b@${A}` });
    const version = () => one.store.query("SELECT resource_version FROM stream WHERE name = 'again'");

    await post(object);
    const before = await version();
    await post(object);

    expect(await items('again', 'latest')).toHaveLength(1);
    expect(await version()).toEqual(before);
  });

  it('replaces in place where only the pull spec, or only the image, is another', async () => {
    await aStream(one, 'collapse');
    await post(mapping('collapse', 'spec', { metadata: { name: A }, dockerImageReference: `e.io/a/b@${A}` }));
    await post(mapping('collapse', 'spec', { metadata: { name: A }, dockerImageReference: `f.io/a/b@${A}` }));
    await post(mapping('collapse', 'image', { metadata: { name: A }, dockerImageReference: 'e.io/a/b:t' }));
    await post(mapping('collapse', 'image', { metadata: { name: B }, dockerImageReference: 'e.io/a/b:t' }));

    expect(await items('collapse', 'spec')).toEqual([{ reference: `f.io/a/b@${A}`, image: A, generation: 1 }]);
    expect(await items('collapse', 'image')).toEqual([{ reference: 'e.io/a/b:t', image: B, generation: 1 }]);
  });

  it('without a pull spec means the image in the internal registry', async () => {
    await aStream(one, 'defaulted');

    await post(mapping('defaulted', 'latest', { metadata: { name: A } }));

    expect(await items('defaulted', 'latest')).toEqual([{ reference: `${HOST}/demo/defaulted@${A}`, image: A, generation: 1 }]);
  });

  it('of an image that is known leaves it untouched; one of the internal registry is then pulled through this stream', async () => {
    const name = digest('managed');
    const managed = {
      metadata: { name, annotations: { 'openshift.io/image.managed': 'true' } },
      dockerImageReference: `${HOST}/demo/first@${name}`,
    };
    await Promise.all([aStream(one, 'first'), aStream(one, 'second'), aStream(one, 'third')]);

    await post(mapping('first', 'latest', managed));
    await post(mapping('second', 'v1', managed));
    await post(mapping('third', 'v1', { metadata: { name }, dockerImageReference: `z.io/q/w@${name}`, dockerImageConfig: 'other' }));

    expect(await items('second', 'v1')).toMatchObject([{ reference: `${HOST}/demo/second@${name}` }]);
    expect(await items('third', 'v1')).toMatchObject([{ reference: `z.io/q/w@${name}` }]);
    const [stored] = await images(name);
    expect(stored?.reference).toBe(`${HOST}/demo/first@${name}`);
    expect(stored?.document).not.toContain('other');
  });

  it('is refused where the stream is missing or something is wrong with it, and leaves no image behind', async () => {
    const name = digest('refused');
    const refused = [
      mapping('nope', 'latest', { metadata: { name }, dockerImageReference: 'e.io/a/b' }),
      mapping('nope', '', { metadata: { name }, dockerImageReference: 'e.io/a/b' }),
      mapping(
        'nope',
        'latest',
        { metadata: { name }, dockerImageReference: 'e.io/a/b' },
        { metadata: { name: 'nope', namespace: 'other' } },
      ),
    ];

    const answers = await Promise.all(refused.map((object) => post(object)));

    expect(answers.map((answer) => [answer.code, answer.message])).toEqual([
      [404, 'imagestreammappings.image.openshift.io "nope" not found'],
      [422, 'ImageStreamMapping.image.openshift.io "nope" is invalid: tag: Required value'],
      [400, 'the namespace of the provided object does not match the namespace sent on the request'],
    ]);
    expect(await images(name)).toEqual([]);
    expect(await one.store.query("SELECT 1 FROM stream WHERE name = 'nope'")).toEqual([]);
  });

  it('in a dry run is checked and answered, and nothing is stored', async () => {
    await aStream(one, 'dry');
    const name = digest('dry');
    const image = { metadata: { name }, dockerImageReference: 'e.io/a/b' };

    expect(await post(mapping('dry', 'latest', image), { dryRun: true })).toMatchObject({ status: 'Success', code: 201 });
    expect(await post(mapping('nope', 'latest', image), { dryRun: true })).toMatchObject({ code: 404 });

    expect(await images(name)).toEqual([]);
    expect(await items('dry', 'latest')).toEqual([]);
  });

  it('as the documentation prints it is taken: its image is the digest of its pull spec', async () => {
    await aStream(one, 'origin-ruby-sample');
    const object = parse(readFileSync(new URL('./mapping.example.yaml', import.meta.url), 'utf8')) as object;

    const answer = await post({ ...object, metadata: { name: 'origin-ruby-sample', namespace: 'demo' } });

    expect(answer.code).toBe(201);
    expect(await items('origin-ruby-sample', 'latest')).toMatchObject([
      { image: 'sha256:47463d94eb5c049b2d23b03a9530bf944f8f967a0fe79147dd6b9135bf7dd13d' },
    ]);
    expect((await one.told('origin-ruby-sample'))[0]?.labels).toMatchObject({ 'io.openshift.build.commit.ref': 'master' });
  });
});

describe('mappings that are posted at once', () => {
  it('to one tag by 32 clients of two instances are all accepted, in one order', async () => {
    await aStream(one, 'crowd', [following('stable', 'latest')]);
    const names = Array.from({ length: 32 }, (_, i) => digest(`crowd ${i}`));

    const answers = await Promise.all(
      names.map((name, i) =>
        post(mapping('crowd', 'latest', { metadata: { name }, dockerImageReference: `e.io/a/b@${name}` }), { by: i % 2 ? one : two }),
      ),
    );

    expect(answers.map((answer) => answer.code)).toEqual(names.map(() => 201));
    const history = await one.history('crowd');
    expect(history.toSorted()).toEqual(names.toSorted());
    expect(await one.history('crowd', 'stable')).toEqual(history);
    const told = (await one.told('crowd')).filter((move) => move.tag === 'latest');
    expect(told.map((move) => move.generation)).toEqual(names.map((_, i) => i + 1));
    expect(told.map((move) => move.current.image)).toEqual(history.toReversed());
    expect(told.map((move) => move.previous?.image)).toEqual([undefined, ...history.toReversed().slice(0, -1)]);
  });

  it('are answered each for itself', async () => {
    await aStream(one, 'mixed');

    const answers = await Promise.all(
      ['mixed', 'nope', 'mixed', 'nope'].map((stream, i) => post(mapping(stream, `t${i}`, { metadata: { name: digest(`mixed ${i}`) } }))),
    );

    expect(answers.map((answer) => answer.code)).toEqual([201, 404, 201, 404]);
    expect(await images(digest('mixed 1'))).toEqual([]);
  });

  it('outlive the death of their connection to Postgres, and happen once', async () => {
    await aStream(one, 'killed');
    const names = Array.from({ length: 40 }, (_, i) => digest(`killed ${i}`));
    let posting = true;
    const killing = (async () => {
      for (let kills = 0; posting && kills < 6; kills++)
        await two.store.query(
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle' AND application_name = 'millrace tag_store'`,
        );
    })();

    const answers = await Promise.all(
      names.map((name) => post(mapping('killed', 'latest', { metadata: { name }, dockerImageReference: `e.io/a/b@${name}` }))),
    ).finally(() => (posting = false));
    await killing;

    expect(new Set(answers.map((answer) => answer.code))).toEqual(new Set([201]));
    expect((await one.history('killed')).toSorted()).toEqual(names.toSorted());
    expect(await one.told('killed')).toHaveLength(names.length);
  });
});

describe('a batch of facts', () => {
  it('makes the streams that are missing, and the images with the parts of an index', async () => {
    const [index, part] = [digest('index'), digest('part')];
    const push = aPush('made', 'index', 1);
    await one.apply({
      ...push,
      children: [{ metadata: { name: part }, dockerImageReference: `r@${part}` }],
    } as MappingFact);

    expect(await one.history('made')).toEqual([index]);
    expect(await one.store.query('SELECT * FROM image_child WHERE parent = $1', [index])).toEqual([{ parent: index, child: part }]);
    expect(await images(part)).toHaveLength(1);
    expect(
      await one.store.query("SELECT resource, type FROM change WHERE name IN ('made', $1, $2) ORDER BY revision", [index, part]),
    ).toEqual([
      { resource: 'imagestreams', type: 'ADDED' },
      { resource: 'images', type: 'ADDED' },
      { resource: 'images', type: 'ADDED' },
    ]);
  });

  it('puts aside what cannot be acted on, each with its reason, and acts on the others', async () => {
    const good = aPush('good', 'a', 1);
    const reasons = await one.apply(
      good,
      aPush('absent', 'a', 1, { createStream: false }),
      aPush('bad--name', 'a', 1),
      { ...aPush('good', 'b', 2), image: { metadata: {} } } as MappingFact,
      aPush('good', 'c', 3, { source: { registry: 'main', eventId: 'x', observedAt: 'yesterday' } }),
    );

    expect(await one.history('good')).toEqual([A]);
    expect(reasons.toSorted()).toEqual([
      expect.stringContaining('image.metadata.name: Required value'),
      expect.stringContaining('demo/bad--name: must match'),
      expect.stringContaining('image stream demo/absent does not exist'),
      expect.stringContaining('source.observedAt: "yesterday" is no time'),
    ]);
  });

  it('keeps characters that jsonb does not take', async () => {
    const push = aPush('nul', 'nul', 1);
    const image = { ...push.image, metadata: { ...push.image.metadata, annotations: { note: 'a\0b', path: 'C:\\u0000' } } };

    await one.apply({ ...push, image: { ...image, dockerImageMetadata: { Config: { Env: ['X=\0'] } } } } as MappingFact);

    expect(await one.store.query('SELECT annotations FROM image WHERE name = $1', [digest('nul')])).toEqual([
      { annotations: { note: 'a\uFFFDb', path: 'C:\\u0000' } },
    ]);
  });

  it('of two instances, at the same time and on the same streams, ends in no deadlock and in one order per tag', async () => {
    const batch = (by: string, from: number) =>
      Array.from({ length: 60 }, (_, i) =>
        aPush(`shared-${(i * 7 + from) % 10}`, `${by} ${i}`, i, {
          source: { registry: by, eventId: `${by}${i}`, observedAt: new Date(1e12 + i).toISOString() },
          id: `${by} ${i}`,
        }),
      );

    for (let round = 0; round < 3; round++)
      await Promise.all([one.apply(...batch(`one${round}`, 0)), two.apply(...batch(`two${round}`, 3))]);

    for (let i = 0; i < 10; i++) {
      const history = await one.history(`shared-${i}`);
      expect(history).toHaveLength(36);
      expect((await one.told(`shared-${i}`)).map((move) => move.current.image)).toEqual(history.toReversed());
    }
  });
});
