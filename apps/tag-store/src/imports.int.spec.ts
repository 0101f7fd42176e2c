import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Answer, EventData } from '@millrace/contracts/define';
import type { ImageCreated, ImportFailed, TagMoved } from '@millrace/contracts/events';
import { ImportCompleted, type ImportedTag, type ImportWanted } from '@millrace/contracts/imports';
import { ApplyImport } from '@millrace/contracts/requests';
import type { ImageManifest } from '@millrace/domain/image';
import type { ImageStream } from '@millrace/domain/image-stream';
import { eventually } from '@millrace/testing/eventually';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { aPeer } from '@millrace/testing/service';
import { digest } from './testbed.ts';
import { ADMIN, aTagStore, type TagStoreObjectsBed } from './testbed-objects.ts';

const NS = 'demo';
const REPOSITORY = 'registry.example.test/team/app';
const CHECKED = 'openshift.io/image.dockerRepositoryCheck';

let bed: TagStoreObjectsBed;
let peer: Awaited<ReturnType<typeof aPeer>>;

beforeAll(async () => {
  const [database, nats] = await Promise.all([aDatabase(), aNatsServer()]);
  bed = await aTagStore(database, nats);
  peer = await aPeer(nats.url);
});
afterAll(async () => {
  await peer.close();
  await bed.stop();
});

const anImage = (of: string, given: object = {}) => ({
  metadata: { name: digest(of) },
  dockerImageReference: `${REPOSITORY}@${digest(of)}`,
  dockerImageMetadata: { kind: 'DockerImage', Id: digest(`config ${of}`), Config: { Labels: { 'org.opencontainers.image.version': of } } },
  ...given,
});
const found = (tag: string, of: string, given: Partial<ImportedTag> = {}, image: object = anImage(of)): ImportedTag =>
  ({
    tag,
    from: `${REPOSITORY}:${tag}`,
    generation: null,
    importPolicy: { importMode: 'Legacy' },
    referencePolicy: { type: 'Source' },
    makesTag: true,
    result: { kind: 'found', image, children: [], pullSpec: `${REPOSITORY}@${digest(of)}` },
    ...given,
  }) as ImportedTag;
const failed = (tag: string, message: string, given: Partial<ImportedTag> = {}): ImportedTag =>
  found(tag, '', { result: { kind: 'failed', reason: 'NotFound', message }, ...given });

const apply = (stream: string, tags: ImportedTag[], dryRun = false): Promise<Answer<typeof ApplyImport>> =>
  peer.ask(ApplyImport, { id: randomUUID(), namespace: NS, stream, tags, dryRun, user: ADMIN });
async function applied(stream: string, ...tags: ImportedTag[]): Promise<ImageStream> {
  const answer = await apply(stream, tags);
  if (answer.kind !== 'applied') throw new Error(answer.status.message);
  return answer.stream;
}

const streamOf = async (name: string): Promise<ImageStream> => (await bed.get(NS, 'imagestreams', name)).body as ImageStream;
const external = (name: string, given: object = {}) => ({ name, from: { kind: 'DockerImage', name: `${REPOSITORY}:${name}` }, ...given });
async function aStream(name: string, spec: object): Promise<ImageStream> {
  return (await bed.create(NS, 'imagestreams', { metadata: { name }, spec })).body as ImageStream;
}

async function told<T>(event: string, stream: string): Promise<T[]> {
  const rows = await bed.sql('SELECT body FROM outbox WHERE event = $1 ORDER BY id', [event]);
  return rows.map((row) => JSON.parse(String(row['body'])) as T & { stream: string }).filter((one) => one.stream === stream);
}
const movesOf = (stream: string) => told<TagMoved>('tag.moved', stream);
const failuresOf = (stream: string) => told<ImportFailed>('import.failed', stream);
const createdBy = (stream: string) => told<ImageCreated>('image.created', stream);
const wishesOf = (stream: string) => told<EventData<typeof ImportWanted>>('import.wanted', stream);

/** Tells what was found in the background, and waits until it was acted on. */
async function complete(stream: ImageStream, tags: ImportedTag[], given: Partial<EventData<typeof ImportCompleted>> = {}): Promise<void> {
  const { name = '', uid = '' } = stream.metadata;
  const id = given.id ?? randomUUID();
  const before = await position();
  await peer.tell(ImportCompleted, { id, namespace: NS, stream: name, streamUid: uid, tags, ...given }, { id });
  await eventually(async () => expect(await position()).toBeGreaterThan(before));
}

/** How many facts of imports were acted on, or more where others lie between. */
async function position(): Promise<number> {
  const [row] = await bed.sql(`SELECT sequence FROM fact_position WHERE event = 'import.completed'`);
  return Number(row?.['sequence'] ?? 0);
}

describe('an import that somebody asked for', () => {
  it('makes stream, tag, history, image and move, all of one generation', async () => {
    const stream = await applied('fresh', found('1.0', 'one'), found('1.1', 'two'), failed('nope', 'gone'));

    expect(stream.metadata).toMatchObject({ generation: 1, annotations: { [CHECKED]: expect.any(String) as string } });
    expect(stream.spec.tags?.map(({ name, generation }) => [name, generation])).toEqual([
      ['1.0', 1],
      ['1.1', 1],
      ['nope', 1],
    ]);
    expect(stream.status.tags).toMatchObject([
      { tag: '1.0', items: [{ image: digest('one'), dockerImageReference: `${REPOSITORY}@${digest('one')}`, generation: 1 }] },
      { tag: '1.1', items: [{ image: digest('two') }] },
      {
        tag: 'nope',
        items: null,
        conditions: [{ type: 'ImportSuccess', status: 'False', reason: 'NotFound', message: 'gone', generation: 1 }],
      },
    ]);
    expect((await bed.get('', 'images', digest('one'))).code).toBe(200);
    expect(await movesOf('fresh')).toMatchObject([
      { tag: '1.0', generation: 1, cause: { kind: 'import', actor: ADMIN.name }, labels: { 'org.opencontainers.image.version': 'one' } },
      { tag: '1.1', generation: 1, cause: { kind: 'import' } },
    ]);
  });

  it('tells of each image that it stores first, and of none that was there', async () => {
    await applied('told', found('1.0', 'told one'), found('1.1', 'told two'));
    await applied('told', found('1.2', 'told one'), found('1.3', 'told three'));

    expect((await createdBy('told')).map(({ tag, image, cause }) => [tag, image, cause.kind])).toEqual([
      ['1.0', digest('told one'), 'import'],
      ['1.1', digest('told two'), 'import'],
      ['1.3', digest('told three'), 'import'],
    ]);
  });

  it('that fails tells so once, and again only when the reason is another or the tag was found meanwhile', async () => {
    const unauthorized = found('t', '', { result: { kind: 'failed', reason: 'Unauthorized', message: 'who are you' } });

    for (const imported of [failed('t', 'gone'), failed('t', 'gone'), failed('t', 'gone, in other words'), unauthorized, unauthorized])
      await applied('fails-often', imported);
    await applied('fails-often', found('t', 'there'));
    await applied('fails-often', failed('t', 'gone'));

    expect(await failuresOf('fails-often')).toMatchObject([
      { tag: 't', from: `${REPOSITORY}:t`, reason: 'NotFound', message: 'gone', previous: null, image: '' },
      { reason: 'Unauthorized', message: 'who are you', previous: { reason: 'NotFound', message: 'gone, in other words' }, image: '' },
      { reason: 'NotFound', previous: null, image: digest('there') },
    ]);
  });

  it('tells nothing when it is a dry run', async () => {
    await apply('undone', [failed('a', 'gone'), found('b', 'undone')], true);

    expect([await failuresOf('undone'), await createdBy('undone')]).toEqual([[], []]);
  });

  it('is answered with the stream and the images as they are stored', async () => {
    const answer = await apply('answered', [found('latest', 'answered')]);

    const { body } = await bed.get(NS, 'imagestreams', 'answered');
    expect(answer).toMatchObject({
      kind: 'applied',
      stream: { metadata: { resourceVersion: (body as ImageStream).metadata.resourceVersion } },
      images: [
        { metadata: { name: digest('answered'), uid: expect.any(String) as string, resourceVersion: expect.any(String) as string } },
      ],
    });
  });

  it('of what the tag has adds no item, moves nothing and writes nothing', async () => {
    const first = await applied('again', found('latest', 'same'));
    const second = await applied('again', found('latest', 'same'));

    expect(second.metadata.resourceVersion).toBe(first.metadata.resourceVersion);
    expect(await movesOf('again')).toHaveLength(1);
  });

  it('of an index that was built anew names the new digest, and moves nothing', async () => {
    const manifests = (...entries: [string, string][]) =>
      entries.map(([of, architecture]): ImageManifest => ({
        digest: digest(of),
        mediaType: 'application/vnd.oci.image.manifest.v1+json',
        manifestSize: 1,
        architecture,
        os: architecture === 'unknown' ? 'unknown' : 'linux',
      }));
    const index = (of: string, ...entries: [string, string][]) =>
      found(
        'latest',
        of,
        { importPolicy: { importMode: 'PreserveOriginal' } },
        anImage(of, { dockerImageManifests: manifests(...entries) }),
      );
    await applied('index', index('index 1', ['amd', 'amd64'], ['arm', 'arm64']));
    await applied('index', index('index 2', ['amd', 'amd64'], ['arm', 'arm64'], ['attestation', 'unknown']));
    const rebuilt = await streamOf('index');
    const moved = await applied('index', index('index 3', ['amd', 'amd64'], ['arm 2', 'arm64']));

    expect(rebuilt.status.tags?.[0]?.items).toMatchObject([
      { image: digest('index 2'), dockerImageReference: `${REPOSITORY}@${digest('index 2')}` },
    ]);
    expect(moved.status.tags?.[0]?.items?.map(({ image }) => image)).toEqual([digest('index 3'), digest('index 2')]);
    expect((await movesOf('index')).map(({ current }) => current.image)).toEqual([digest('index 1'), digest('index 3')]);
  });

  it('moves the tags of the stream that follow the one it moves', async () => {
    await applied('followed', found('latest', 'f1'));
    const stream = await streamOf('followed');
    const tags = [...(stream.spec.tags ?? []), { name: 'stable', from: { kind: 'ImageStreamTag', name: 'latest' } }];
    await bed.update(NS, 'imagestreams', 'followed', { ...stream, spec: { ...stream.spec, tags } });
    await applied('followed', found('latest', 'f2'));

    expect((await streamOf('followed')).status.tags).toMatchObject([
      { tag: 'latest', items: [{ image: digest('f2') }, { image: digest('f1') }] },
      { tag: 'stable', items: [{ image: digest('f2') }, { image: digest('f1') }] },
    ]);
  });

  it('keeps the history of a tag that is not found any more, and takes the failure away when it is', async () => {
    await applied('known-good', found('latest', 'good'));
    const broken = await applied('known-good', failed('latest', 'gone'));
    const repaired = await applied('known-good', found('latest', 'good'));

    expect(broken.status.tags).toMatchObject([{ items: [{ image: digest('good') }], conditions: [{ message: 'gone', generation: 2 }] }]);
    expect(repaired.status.tags?.[0]).not.toHaveProperty('conditions');
    expect(repaired.status.tags?.[0]?.items).toHaveLength(1);
    expect(await movesOf('known-good')).toHaveLength(1);
  });

  it('writes nothing in a dry run, and is answered as if', async () => {
    const answer = await apply('dry', [found('latest', 'dry')], true);

    expect(answer).toMatchObject({
      kind: 'applied',
      stream: { spec: { tags: [{ name: 'latest' }] } },
      images: [{ metadata: { name: digest('dry') } }],
    });
    expect((await bed.get(NS, 'imagestreams', 'dry')).code).toBe(404);
    expect((await bed.get('', 'images', digest('dry'))).code).toBe(404);
  });
});

describe('what was found in the background', () => {
  it('takes effect in a stream that still asks for it', async () => {
    const stream = await aStream('asked', { tags: [external('latest')] });
    await complete(stream, [found('latest', 'bg', { generation: 1 })]);

    expect(await streamOf('asked')).toMatchObject({
      metadata: { generation: 2 },
      spec: { tags: [{ generation: 2 }] },
      status: { tags: [{ items: [{ image: digest('bg'), generation: 2 }] }] },
    });
  });

  it('changes nothing when it is told again, also after the tag has moved on', async () => {
    const stream = await aStream('repeated', { tags: [external('latest')] });
    const id = randomUUID();
    await complete(stream, [found('latest', 'r1', { generation: 1 })], { id });
    await applied('repeated', found('latest', 'r2'));
    await complete(stream, [found('latest', 'r1', { generation: 1 })], { id });

    expect((await streamOf('repeated')).status.tags?.[0]?.items?.map(({ image }) => image)).toEqual([digest('r2'), digest('r1')]);
  });

  it('is left out where the tag has another source by now', async () => {
    const stream = await aStream('elsewhere', { tags: [external('latest')] });
    const tags = [{ name: 'latest', from: { kind: 'DockerImage', name: `${REPOSITORY}:other` } }];
    await bed.update(NS, 'imagestreams', 'elsewhere', { ...stream, spec: { tags } });
    await complete(stream, [found('latest', 'stale', { generation: 1 })]);

    expect((await streamOf('elsewhere')).status.tags).toBeUndefined();
  });

  it('is nothing to a stream of the same name that was made since', async () => {
    const old = await aStream('remade', { tags: [external('latest')] });
    await bed.remove(NS, 'imagestreams', 'remade');
    await aStream('remade', { tags: [external('latest')] });
    await complete(old, [found('latest', 'old', { generation: 1 })]);

    expect((await streamOf('remade')).status.tags).toBeUndefined();
  });

  it('of a repository is nothing to a stream that wants another by now', async () => {
    const stream = await aStream('whole', { dockerImageRepository: REPOSITORY });
    await complete(stream, [found('1', 'w1', { makesTag: false })], { repository: REPOSITORY });
    await complete(stream, [found('2', 'w2', { makesTag: false })], { repository: 'registry.example.test/another' });

    expect((await streamOf('whole')).spec.tags).toMatchObject([{ name: '1', from: { kind: 'DockerImage', name: `${REPOSITORY}:1` } }]);
  });
});

describe('what a stream wants from registries', () => {
  it('is told with each change of its spec, and that it is done when it is', async () => {
    const stream = await aStream('wishes', { tags: [external('latest', { importPolicy: { insecure: true, scheduled: true } })] });
    await complete(stream, [found('latest', 'wished', { generation: 1 })]);

    expect(await wishesOf('wishes')).toMatchObject([
      {
        resourceVersion: '0',
        gone: false,
        tags: [{ tag: 'latest', from: `${REPOSITORY}:latest`, generation: 1, due: true, failing: false, insecure: true, scheduled: true }],
      },
      { tags: [{ tag: 'latest', generation: 2, due: false, failing: false }] },
    ]);
    const [, second] = await wishesOf('wishes');
    expect(Number(second?.resourceVersion)).toBeGreaterThan(0);
  });

  it('is told with the failure that the stream knows of', async () => {
    const stream = await aStream('failing', { tags: [external('latest')] });
    await complete(stream, [failed('latest', 'gone', { generation: 1 })]);

    expect((await wishesOf('failing')).at(-1)).toMatchObject({ tags: [{ generation: 2, due: false, failing: true }] });
  });

  it('is told anew when the same is asked for again', async () => {
    const stream = await aStream('asked-again', { tags: [external('latest')] });
    await complete(stream, [found('latest', 'x', { generation: 1 })]);
    const current = await streamOf('asked-again');
    await bed.update(NS, 'imagestreams', 'asked-again', { ...current, spec: { tags: [external('latest', { generation: 0 })] } });

    expect((await wishesOf('asked-again')).at(-1)).toMatchObject({ tags: [{ generation: 3, due: true }] });
  });

  it('is a repository as a whole while it was never imported', async () => {
    const stream = await aStream('repository', { dockerImageRepository: REPOSITORY });
    await complete(stream, [], { repository: REPOSITORY });

    expect((await wishesOf('repository')).map((wanted) => wanted.repository?.due)).toEqual([true, false]);
  });

  it('is not told of streams that want nothing, nor of labels, and once more when the stream goes', async () => {
    const stream = await aStream('silent', { tags: [external('latest')] });
    await bed.update(NS, 'imagestreams', 'silent', { ...stream, metadata: { ...stream.metadata, labels: { a: 'b' } } });
    await bed.remove(NS, 'imagestreams', 'silent');
    await aStream('pushed-to', { tags: [{ name: 'latest' }, { ...external('ref'), reference: true }] });

    expect((await wishesOf('silent')).map(({ gone }) => gone)).toEqual([false, true]);
    expect(await wishesOf('pushed-to')).toEqual([]);
  });
});
