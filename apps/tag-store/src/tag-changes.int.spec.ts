import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { EventData } from '@millrace/contracts/define';
import { MappingPublished, type TagMoved } from '@millrace/contracts/events';
import { ImportCompleted, type ImportedTag, type ImportWanted } from '@millrace/contracts/imports';
import { ApplyImport, ExplainTag } from '@millrace/contracts/requests';
import type { ImageStream } from '@millrace/domain/image-stream';
import { eventually } from '@millrace/testing/eventually';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { aPeer } from '@millrace/testing/service';
import { aPush, aSecretsKey, digest, SetClock } from './testbed.ts';
import { ADMIN, aTagStore, DRY, type Json, type Reply, type TagStoreObjectsBed } from './testbed-objects.ts';

/* What a team does with controls, as the api asks tag-store for it. */

const NS = 'demo';
const NOON = '2026-01-02T12:00:00.000Z';
const REPOSITORY = 'registry.example.test/team/app';
const PATCHED = { patched: true };

let database: Awaited<ReturnType<typeof aDatabase>>;
let nats: Awaited<ReturnType<typeof aNatsServer>>;
let bed: TagStoreObjectsBed;
let peer: Awaited<ReturnType<typeof aPeer>>;
const clock = new SetClock(NOON);
const secretsKey = aSecretsKey();

/** The service on servers that outlive it. */
async function start(): Promise<TagStoreObjectsBed> {
  const stays = () => Promise.resolve();
  const started = await aTagStore({ url: database.url, drop: stays }, { url: nats.url, stop: stays }, { SECRETS_KEY: secretsKey });
  started.setClock(clock);
  return started;
}

beforeAll(async () => {
  [database, nats] = await Promise.all([aDatabase(), aNatsServer()]);
  bed = await start();
  peer = await aPeer(nats.url);
});
afterAll(async () => {
  await bed.stop();
  await peer.close();
  await nats.stop();
  await database.drop();
});
beforeEach(() => clock.set(NOON));

const as = (name: string) => ({ user: { name, groups: ['system:masters'] } });
const act = (stream: string, subresource: string, object: Json = {}, more: object = as('ann')): Promise<Reply> =>
  bed.create(NS, 'tagchanges', object, { name: `${stream}:latest`, subresource, ...more });
const changeOf = async (stream: string): Promise<Json> => (await bed.get(NS, 'tagchanges', `${stream}:latest`)).body;
const streamOf = async (name: string): Promise<Json> => (await bed.get(NS, 'imagestreams', name)).body;
const tagOf = async (stream: string, tag = 'latest'): Promise<Json> =>
  (await streamOf(stream)).status.tags?.find((list: Json) => list.tag === tag);
const topOf = async (stream: string): Promise<string> => (await tagOf(stream)).items?.[0]?.image;
const historyOf = async (stream: string): Promise<string[]> => (await tagOf(stream)).items.map(({ image }: Json) => image);
const aStream = (name: string, tags: Json[] = []) => bed.create(NS, 'imagestreams', { metadata: { name }, spec: { tags } });
const push = (stream: string, of: string) => bed.push(NS, stream, 'latest', { metadata: { name: digest(of) } });
const controlled = (control: Json, more: Json = {}) => ({ name: 'latest', control, ...more });

/** Writes the control as a manifest does that is applied. */
async function setControl(stream: string, control: Json | undefined): Promise<Reply> {
  const { spec, ...object } = await streamOf(stream);
  const others = (spec.tags ?? []).filter(({ name }: Json) => name !== 'latest');
  const own = (spec.tags ?? []).find(({ name }: Json) => name === 'latest') ?? { name: 'latest' };
  return bed.update(NS, 'imagestreams', stream, { ...object, spec: { ...spec, tags: [...others, { ...own, control }] } }, PATCHED);
}

async function told<T>(event: string, stream: string): Promise<T[]> {
  const rows = await bed.sql('SELECT body FROM outbox WHERE event = $1 ORDER BY id', [event]);
  return rows.map((row) => JSON.parse(String(row['body'])) as T & { stream: string }).filter((one) => one.stream === stream);
}
const movesOf = (stream: string) => told<TagMoved>('tag.moved', stream);

const found = (of: string, given: Partial<ImportedTag> = {}): ImportedTag =>
  ({
    tag: 'latest',
    from: `${REPOSITORY}:latest`,
    generation: null,
    importPolicy: { importMode: 'Legacy' },
    referencePolicy: { type: 'Source' },
    makesTag: true,
    result: {
      kind: 'found',
      image: { metadata: { name: digest(of) }, dockerImageReference: `${REPOSITORY}@${digest(of)}`, dockerImageMetadata: {} },
      children: [],
      pullSpec: `${REPOSITORY}@${digest(of)}`,
    },
    ...given,
  }) as ImportedTag;
const askImport = (stream: string, ...tags: ImportedTag[]) =>
  peer.ask(ApplyImport, { id: randomUUID(), namespace: NS, stream, tags, dryRun: false, user: ADMIN });

async function tellImport(stream: ImageStream, ...tags: ImportedTag[]): Promise<void> {
  const { name = '', uid = '' } = stream.metadata;
  const id = randomUUID();
  const position = async () =>
    Number((await bed.sql(`SELECT sequence FROM fact_position WHERE event = 'import.completed'`))[0]?.sequence ?? 0);
  const before = await position();
  await peer.tell(ImportCompleted, { id, namespace: NS, stream: name, streamUid: uid, tags }, { id });
  await eventually(async () => expect(await position()).toBeGreaterThan(before));
}

describe('a rollback', () => {
  it('sticks until it is released: what comes waits, and then the tag moves once, to the newest', async () => {
    await aStream('web', [{ name: 'stable', from: { kind: 'ImageStreamTag', name: 'latest' } }]);
    for (const of of ['good', 'bad']) await push('web', of);
    const before = await movesOf('web');

    const rolled = await act('web', 'rollback', { reason: 'errors' });
    expect(rolled).toMatchObject({
      code: 201,
      body: {
        kind: 'TagRollback',
        status: { outcome: 'Moved', previous: { image: digest('bad') }, current: { image: digest('good') }, followers: ['stable'] },
      },
    });

    for (let n = 1; n <= 19; n++) {
      const fact = aPush('web', `new ${n}`, n, { createStream: false });
      await peer.tell(MappingPublished, fact, { id: fact.id });
    }
    await eventually(async () => expect((await changeOf('web')).status.pending).toBe(19));
    const posted = await bed.ask({
      verb: 'create',
      resource: 'imagestreammappings',
      namespace: NS,
      object: {
        metadata: { name: 'web' },
        tag: 'latest',
        image: { metadata: { name: digest('new 20') }, dockerImageReference: `e.io/a@${digest('new 20')}` },
      },
      dryRun: false,
      user: ADMIN,
    });
    expect(posted).toMatchObject({
      kind: 'object',
      code: 201,
      object: { status: 'Success' },
      warnings: [
        expect.stringMatching(
          /^sha256:\w+ is stored, and web:latest stays where it is for now: held until it is released: rolled back by ann/,
        ),
      ],
    });
    await askImport('web', found('imported'));
    await bed.stop();
    bed = await start();

    const hold = `rolled back by ann from ${digest('bad')} to ${digest('good')}: errors`;
    expect(await topOf('web')).toBe(digest('good'));
    expect(await changeOf('web')).toMatchObject({
      kind: 'TagChange',
      apiVersion: 'control.millrace.dev/v1',
      metadata: { name: 'web:latest', namespace: NS },
      spec: { control: { hold: { reason: hold } } },
      status: {
        decision: { kind: 'Waiting', reason: 'Held', message: `held until it is released: ${hold}` },
        pending: 21,
        current: { image: digest('good') },
        newest: { image: digest('imported'), cause: { kind: 'import' } },
      },
    });
    expect((await changeOf('web')).status.changes).toHaveLength(21);

    const rehearsed = await act('web', 'release', {}, { ...as('bob'), ...DRY });
    expect(rehearsed.body.status).toMatchObject({
      outcome: 'Moved',
      message: `web:latest moves to ${digest('imported')}; 20 before it are skipped`,
      previous: { image: digest('good') },
      current: { image: digest('imported') },
      superseded: 20,
      followers: ['stable'],
      pending: 0,
    });
    expect(await topOf('web')).toBe(digest('good'));

    const released = await act('web', 'release', {}, as('bob'));
    expect(released.body.status).toMatchObject({ outcome: 'Moved', superseded: 20 });
    const moves = (await movesOf('web')).slice(before.length);
    expect(moves.map(({ tag, current, superseded, cause }) => [tag, current.image, superseded, cause.kind])).toEqual([
      ['latest', digest('good'), undefined, 'tag'],
      ['stable', digest('good'), undefined, 'follow'],
      ['latest', digest('imported'), 20, 'import'],
      ['stable', digest('imported'), undefined, 'follow'],
    ]);
    expect(await historyOf('web')).toEqual(['imported', 'good', 'bad', 'good'].map(digest));
    expect((await bed.get(NS, 'tagchanges', 'web:latest')).code).toBe(404);
  });

  it('goes one back at a time, never to what was left; or to an image or generation of the history', async () => {
    await aStream('steps');
    for (const of of ['a', 'b', 'c', 'd']) await push('steps', of);

    await act('steps', 'rollback');
    expect(await topOf('steps')).toBe(digest('c'));
    await act('steps', 'rollback');
    expect(await topOf('steps')).toBe(digest('b'));
    await act('steps', 'rollback', { image: digest('d').slice(0, 20) });
    expect(await topOf('steps')).toBe(digest('d'));
    const first = (await tagOf('steps')).items.at(-1);
    expect(await act('steps', 'rollback', { generation: first.generation, image: 'x' })).toMatchObject({ code: 422 });

    expect(await act('steps', 'rollback', { image: digest('nope') })).toMatchObject({
      code: 409,
      body: { message: expect.stringContaining('is no image of its history') as string },
    });
    expect(await act('steps', 'rollback', { generation: 99 })).toMatchObject({ code: 409 });
    expect(await act('steps', 'rollback', { image: digest('d') })).toMatchObject({
      code: 409,
      body: { message: expect.stringContaining('already') as string },
    });
  });

  it('with nothing newer leaves the tag where it is when it is released', async () => {
    await aStream('quiet');
    for (const of of ['a', 'b']) await push('quiet', of);
    await act('quiet', 'rollback');

    expect((await act('quiet', 'release')).body.status).toMatchObject({ outcome: 'Unchanged', message: 'nothing waits' });

    expect(await topOf('quiet')).toBe(digest('a'));
    expect((await streamOf('quiet')).spec.tags).toEqual([expect.not.objectContaining({ control: expect.anything() as unknown })]);
  });

  it('by tagging sets the hold where the control asks for it, and says who and what', async () => {
    await aStream('tagged', [controlled({ holdOnRollback: true })]);
    for (const of of ['a', 'b']) await push('tagged', of);

    const tag = { metadata: { name: 'tagged:latest' }, tag: { from: { kind: 'ImageStreamImage', name: `tagged@${digest('a')}` } } };
    await bed.update(NS, 'imagestreamtags', 'tagged:latest', tag, as('carol'));
    await push('tagged', 'c');

    expect(await topOf('tagged')).toBe(digest('a'));
    expect(await changeOf('tagged')).toMatchObject({
      spec: { control: { holdOnRollback: true, hold: { reason: `rolled back by carol from ${digest('b')} to ${digest('a')}` } } },
      status: { pending: 1 },
    });
  });
});

describe('a person who tags', () => {
  it('moves the tag at once, whatever holds pushes back; what waited before is passed over', async () => {
    await aStream('by-hand', [controlled({ minimumAge: '1h' })]);
    await push('by-hand', 'soaking');
    await aStream('source');
    await push('source', 'wanted');

    const tag = { metadata: { name: 'by-hand:latest' }, tag: { from: { kind: 'ImageStreamTag', name: 'source:latest' } } };
    expect((await bed.update(NS, 'imagestreamtags', 'by-hand:latest', tag)).code).toBe(200);
    clock.set('2026-01-02T14:00:00.000Z');
    await bed.lookAtDue();

    expect(await topOf('by-hand')).toBe(digest('wanted'));
    expect((await changeOf('by-hand')).status).toMatchObject({ pending: 0, decisions: [{ kind: 'Dropped', reason: 'Tagged' }] });
  });

  it('is refused a denied image, with the field and the reason', async () => {
    await aStream('denying', [controlled({ deny: [{ image: digest('bad'), reason: 'CVE-7' }] })]);
    await push('denying', 'ok');
    await aStream('offers');
    await push('offers', 'bad');

    const tag = { metadata: { name: 'denying:latest' }, tag: { from: { kind: 'ImageStreamTag', name: 'offers:latest' } } };
    const refused = await bed.update(NS, 'imagestreamtags', 'denying:latest', tag);

    expect(refused).toMatchObject({
      code: 422,
      body: {
        details: {
          causes: [{ field: 'spec.tags[latest].from.name', message: `Forbidden: ${digest('bad')} is denied for this tag: CVE-7` }],
        },
      },
    });
    expect(await topOf('denying')).toBe(digest('ok'));
    await push('denying', 'bad');
    expect(await topOf('denying')).toBe(digest('ok'));
    const { status, ...stream } = await streamOf('denying');
    const items = [{ ...status.tags[0].items[0], image: digest('bad'), dockerImageReference: 'e.io/x' }, ...status.tags[0].items];
    expect(
      await bed.update(
        NS,
        'imagestreams',
        'denying',
        { ...stream, status: { ...status, tags: [{ tag: 'latest', items }] } },
        { subresource: 'status' },
      ),
    ).toMatchObject({ code: 422, body: { details: { causes: [{ field: 'status.tags[latest].items[0].image' }] } } });
  });
});

describe('the control in the spec', () => {
  it('stays where a PUT leaves it out, goes with an empty one, and goes with a patch that takes it out', async () => {
    const control = { hold: { reason: 'freeze' }, windows: [{ schedule: '0 9 * * *', duration: '8h' }] };
    await aStream('kept', [controlled(control)]);
    const specTag = async () => (await streamOf('kept')).spec.tags?.[0];
    const put = async (tags: Json[], more: object = {}) => {
      const stream = await streamOf('kept');
      return bed.update(NS, 'imagestreams', 'kept', { ...stream, spec: { ...stream.spec, tags } }, more);
    };

    await put([{ name: 'latest' }]);
    expect((await specTag()).control).toEqual(control);
    await bed.update(NS, 'imagestreamtags', 'kept:latest', {
      metadata: { name: 'kept:latest' },
      tag: { from: { kind: 'DockerImage', name: 'e.io/a/b:1' }, reference: true },
    });
    expect((await specTag()).control).toEqual(control);
    await put([{ name: 'latest', control: {} }]);
    expect((await specTag()).control).toBeUndefined();

    await put([{ name: 'latest', control }]);
    await put([{ name: 'latest' }], PATCHED);
    expect((await specTag()).control).toBeUndefined();

    await put([{ name: 'latest', control: { hold: {} } }]);
    expect((await specTag()).control).toEqual({ hold: {} });
    const istag = (await bed.get(NS, 'imagestreamtags', 'kept:latest', { forUpdate: true })).body;
    const { control: _control, ...tag } = istag.tag;
    await bed.update(NS, 'imagestreamtags', 'kept:latest', { ...istag, tag }, PATCHED);
    expect((await specTag()).control).toBeUndefined();
  });

  it('is checked, and what is wrong is told with its path', async () => {
    const wrong = { minimumAge: 'long', windows: [{ schedule: '61 * * * *', duration: '1h' }], deny: [{ image: 'web:1' }] };

    const { code, body } = await aStream('wrong', [controlled(wrong)]);

    expect(code).toBe(422);
    expect(body.details.causes.map(({ field }: Json) => field)).toEqual([
      'spec.tags[latest].control.minimumAge',
      'spec.tags[latest].control.windows[0].schedule',
      'spec.tags[latest].control.deny[0].image',
    ]);
  });

  it('lets what waits take effect when it is taken away, and shows itself before anything comes', async () => {
    await aStream('opened', [controlled({ paused: true })]);
    expect(await tagOf('opened')).toMatchObject({ items: null, control: { decision: { kind: 'UpToDate', reason: 'Paused' }, pending: 0 } });
    for (const of of ['a', 'b']) await push('opened', of);

    await setControl('opened', {});

    expect(await historyOf('opened')).toEqual([digest('b')]);
    expect(await tagOf('opened')).not.toHaveProperty('control');
    expect((await movesOf('opened')).map(({ superseded }) => superseded)).toEqual([1]);
  });

  it('goes with the tag, and what waits with it; a repeat of it does not come back', async () => {
    await aStream('deleted', [controlled({ hold: {} })]);
    const fact = aPush('deleted', 'a', 1, { createStream: false });
    await peer.tell(MappingPublished, fact, { id: fact.id });
    await eventually(async () => expect((await changeOf('deleted')).status.pending).toBe(1));

    expect((await bed.remove(NS, 'imagestreamtags', 'deleted:latest')).code).toBe(200);
    await peer.tell(MappingPublished, fact, { id: fact.id });
    await peer.tell(MappingPublished, aPush('deleted', 'b', 2, { tag: 'other' }), { id: randomUUID() });
    await eventually(async () => expect(await tagOf('deleted', 'other')).toBeDefined());

    expect(await movesOf('deleted')).toMatchObject([{ tag: 'other' }]);
    expect(await tagOf('deleted')).toBeUndefined();

    await aStream('erased', [controlled({ hold: {} })]);
    await push('erased', 'a');
    expect((await bed.remove(NS, 'imagestreams', 'erased')).code).toBe(200);
    expect(await bed.sql('SELECT FROM tag_change c LEFT JOIN stream s ON s.uid = c.stream_uid WHERE s.uid IS NULL')).toEqual([]);
  });

  it('leaves what waits alone where a client writes the status', async () => {
    await aStream('stated', [controlled({ hold: {} })]);
    await push('stated', 'a');
    const { status: _status, ...stream } = await streamOf('stated');

    const written = await bed.update(NS, 'imagestreams', 'stated', { ...stream, status: {} }, { subresource: 'status' });

    expect(written).toMatchObject({ code: 200, body: { status: { tags: [{ tag: 'latest', control: { pending: 1 } }] } } });
  });
});

describe('an import of a tag that is held', () => {
  const scheduled = {
    from: { kind: 'DockerImage', name: `${REPOSITORY}:latest` },
    importPolicy: { scheduled: true, importMode: 'Legacy' },
  };
  const wishesOf = (stream: string) => told<EventData<typeof ImportWanted>>('import.wanted', stream);

  it('waits, leaves the spec as it is, and is not wanted again because the tag stays', async () => {
    await aStream('follows', [controlled({}, scheduled)]);
    await tellImport(await streamOf('follows'), found('a', { generation: 1 }));
    await setControl('follows', { hold: {} });
    const before = await streamOf('follows');
    const generation = before.spec.tags[0].generation;

    await tellImport(before, found('b', { generation }));
    await tellImport(before, found('b', { generation }));

    const after = await streamOf('follows');
    expect(after.spec).toEqual(before.spec);
    expect(after.metadata.generation).toBe(before.metadata.generation);
    expect(after.status.tags).toMatchObject([{ items: [{ image: digest('a') }], control: { pending: 1, newest: { image: digest('b') } } }]);
    expect((await wishesOf('follows')).at(-1)).toMatchObject({ tags: [{ due: false }] });
    await bed.update(NS, 'imagestreams', 'follows', {
      ...after,
      spec: { ...after.spec, tags: [...after.spec.tags, { name: 'more', from: { kind: 'DockerImage', name: 'e.io/a:1' } }] },
    });
    expect((await wishesOf('follows')).at(-1)?.tags.map(({ tag, due }) => [tag, due])).toEqual([
      ['latest', false],
      ['more', true],
    ]);
  });

  it('for a source that is newer than the tag has been looked at, also where it was refused later', async () => {
    await aStream('resourced', [controlled({ approval: {} }, scheduled)]);
    const before = await streamOf('resourced');
    expect((await wishesOf('resourced')).at(-1)).toMatchObject({ tags: [{ due: true }] });

    await tellImport(before, found('a', { generation: before.spec.tags[0].generation }));
    await act('resourced', 'approve', { image: digest('a'), verdict: 'Reject' });
    const stream = await streamOf('resourced');
    await bed.update(NS, 'imagestreams', 'resourced', { ...stream, spec: { ...stream.spec, lookupPolicy: { local: true } } });

    expect((await wishesOf('resourced')).at(-1)).toMatchObject({ tags: [{ tag: 'latest', due: false }] });
  });

  it('of a denied image has failed, and says so', async () => {
    await aStream('barred', [controlled({ deny: [{ image: digest('bad'), reason: 'CVE-9' }] }, scheduled)]);
    await tellImport(await streamOf('barred'), found('ok', { generation: 1 }));

    const stream = await streamOf('barred');
    await tellImport(stream, found('bad', { generation: stream.spec.tags[0].generation }));

    expect(await tagOf('barred')).toMatchObject({
      items: [{ image: digest('ok') }],
      conditions: [{ type: 'ImportSuccess', status: 'False', reason: 'Denied', message: `${digest('bad')} is denied: CVE-9` }],
    });
  });

  it('that somebody asks for waits too, and sets the source that they named', async () => {
    await aStream('asked', [controlled({ hold: {} })]);

    const answer = await askImport('asked', found('a'));

    expect(answer).toMatchObject({
      kind: 'applied',
      stream: {
        spec: { tags: [{ name: 'latest', from: { name: `${REPOSITORY}:latest` }, control: { hold: {} } }] },
        status: { tags: [{ items: null, control: { pending: 1 } }] },
      },
    });
    expect((await wishesOf('asked')).at(-1)).toMatchObject({ tags: [{ due: false }] });
  });
});

describe('tagchanges', () => {
  it('are listed over namespaces with why each waits; tags without a control are none', async () => {
    await aStream('listed', [controlled({ hold: { reason: 'freeze' } }), { name: 'free' }]);
    await push('listed', 'a');
    await bed.push(NS, 'listed', 'free', { metadata: { name: digest('a') } });

    const { body } = await bed.list('', 'tagchanges', { fieldSelector: 'metadata.name=listed:latest' });
    expect(body.items).toMatchObject([
      { metadata: { name: 'listed:latest', namespace: NS }, spec: { control: { hold: { reason: 'freeze' } } }, status: { pending: 1 } },
    ]);
    expect(body.items[0].status).not.toHaveProperty('changes');
    expect((await bed.list('elsewhere', 'tagchanges')).body.items).toEqual([]);
    expect((await bed.get(NS, 'tagchanges', 'listed:free')).code).toBe(404);
    expect((await bed.get(NS, 'tagchanges', 'listed')).code).toBe(400);
  });

  it('are approved for the image that is meant, by people who each count once', async () => {
    await aStream('voted', [controlled({ approval: { required: 2 } })]);
    await push('voted', 'a');
    await push('voted', 'b');

    expect(await act('voted', 'approve', { image: digest('a') })).toMatchObject({
      code: 409,
      body: { message: expect.stringContaining(`the newest change is ${digest('b')}`) as string },
    });
    expect(await act('voted', 'approve', {})).toMatchObject({ code: 422, body: { details: { causes: [{ field: 'image' }] } } });
    expect(await act('voted', 'approve', { image: digest('b'), verdict: 'Perhaps' })).toMatchObject({ code: 422 });
    expect(await act('voted', 'approve', { image: digest('b'), surprise: true })).toMatchObject({
      code: 400,
      body: { message: expect.stringContaining('TagApproval in version "v1" cannot be handled as a TagApproval: body: ') as string },
    });
    expect(await act('voted', 'approve', { kind: 'TagRelease' })).toMatchObject({
      code: 400,
      body: {
        message: expect.stringContaining(
          'TagRelease in version "v1" cannot be handled as a TagApproval: converting (v1.TagRelease) to (control.TagApproval)',
        ) as string,
      },
    });
    const first = await act('voted', 'approve', { image: digest('b'), comment: 'looks fine' }, as('ann'));
    expect(first.body.status).toMatchObject({ outcome: 'Waiting', message: '1 of 2 have approved it' });
    expect((await act('voted', 'approve', { image: digest('b') }, as('ann'))).body.status.outcome).toBe('Waiting');
    expect((await act('voted', 'approve', { image: digest('b') }, { ...as('bob'), ...DRY })).body.status.outcome).toBe('Moved');
    expect((await changeOf('voted')).status.newest.verdicts).toMatchObject([{ user: 'ann', verdict: 'Approve' }]);

    expect((await act('voted', 'approve', { image: digest('b') }, as('bob'))).body.status).toMatchObject({
      outcome: 'Moved',
      superseded: 1,
    });

    expect(await topOf('voted')).toBe(digest('b'));
    expect(await act('voted', 'approve', { image: digest('b') })).toMatchObject({ code: 409 });
  });

  it('are released by force past age, windows and approval, and not past a pause', async () => {
    await aStream('forced', [controlled({ minimumAge: '1d', approval: {}, hold: {} })]);
    await push('forced', 'a');

    expect((await act('forced', 'release', { image: digest('x') })).code).toBe(409);
    expect((await act('forced', 'release')).body.status).toMatchObject({ outcome: 'Waiting', pending: 1 });
    expect((await act('forced', 'release', { force: true, image: digest('a') })).body.status.outcome).toBe('Moved');

    await setControl('forced', { paused: true });
    await push('forced', 'b');
    expect((await act('forced', 'release', { force: true })).body.status).toMatchObject({ outcome: 'Waiting', message: 'paused' });
  });

  it('change the version of their stream with everything that they show', async () => {
    await aStream('watched', [controlled({ approval: { required: 2 } })]);
    const version = async () => BigInt((await streamOf('watched')).metadata.resourceVersion);
    const versions = [await version()];

    await push('watched', 'a');
    versions.push(await version());
    await act('watched', 'approve', { image: digest('a') });
    versions.push(await version());
    const since = String(versions[0]);
    const feed = await bed.reply({
      verb: 'changes',
      resource: 'imagestreams',
      namespace: NS,
      name: 'watched',
      since,
      waitMs: 0,
      limit: 10,
    });

    expect(versions).toEqual([...versions].sort((a, b) => (a < b ? -1 : 1)));
    expect(new Set(versions).size).toBe(3);
    expect(feed.body.changes).toMatchObject([{ type: 'MODIFIED', object: { status: { tags: [{ control: { pending: 1 } }] } } }]);
  });
});

describe('the question what would become of an image', () => {
  const explain = (stream: string, of: string) => peer.ask(ExplainTag, { namespace: NS, stream, tag: 'latest', image: digest(of) });

  it('is answered by what holds the tag back, and changes nothing', async () => {
    await aStream('explained', [controlled({ minimumAge: '1h', deny: [{ image: digest('bad') }] })]);
    await push('explained', 'a');
    clock.set('2026-01-02T12:20:00.000Z');

    expect(await explain('explained', 'a')).toMatchObject({
      outcome: 'waits',
      reason: 'TooYoung',
      lookAt: '2026-01-02T13:00:00.000Z',
      pending: 1,
    });
    expect(await explain('explained', 'b')).toMatchObject({ outcome: 'waits', lookAt: '2026-01-02T13:20:00.000Z', current: null });
    expect(await explain('explained', 'bad')).toMatchObject({ outcome: 'refused', reason: 'Denied' });
    expect(await explain('nowhere', 'a')).toBeNull();

    await setControl('explained', {});
    expect(await explain('explained', 'a')).toMatchObject({ outcome: 'unchanged', current: { image: digest('a') } });
    expect(await explain('explained', 'b')).toMatchObject({ outcome: 'moves' });
  });
});
