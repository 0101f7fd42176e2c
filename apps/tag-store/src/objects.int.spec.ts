import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ObjectAnswer, ObjectQuestion, TagStoreObjects } from '@millrace/contracts/requests';
import { Bus } from '@millrace/platform/bus';
import { type RunningService, startService } from '@millrace/platform/service';
import { Store } from '@millrace/platform/store';
import { aDatabase, aNatsServer } from '@millrace/testing/servers';
import { service } from './main.ts';
import { aSecretsKey } from './testbed.ts';

const INTERNAL = 'registry.test:5000';
const ADMIN = { name: 'admin', groups: ['system:masters', 'system:authenticated'] };
const A = `sha256:${'a'.repeat(64)}`;
const B = `sha256:${'b'.repeat(64)}`;

let database: Awaited<ReturnType<typeof aDatabase>>;
let nats: Awaited<ReturnType<typeof aNatsServer>>;
let running: RunningService;

beforeAll(async () => {
  [database, nats] = await Promise.all([aDatabase(), aNatsServer()]);
  running = await startService(service, {
    DATABASE_URL: database.url,
    NATS_URL: nats.url,
    HTTP_PORT: '0',
    LOG_LEVEL: 'silent',
    SECRETS_KEY: aSecretsKey(),
    INTERNAL_REGISTRY_HOST: INTERNAL,
  });
});

afterAll(async () => {
  await running.stop();
  await nats.stop();
  await database.drop();
});

/* eslint-disable @typescript-eslint/no-explicit-any -- answers are JSON, looked into at known places */
type Json = any;
type Reply = { code: number; body: Json; warnings?: string[] };

const ask = (question: object): Promise<ObjectAnswer> => running.app.get(Bus).ask(TagStoreObjects, ObjectQuestion.parse(question));
const sql = (text: string, parameters: unknown[] = []) => running.app.get(Store).query(text, parameters);

/** Asks as the api would, and shows the answer as a client would see it. */
async function reply(question: Json): Promise<Reply> {
  const answer = await ask(question);
  if (answer.kind === 'refused') return { code: answer.status.code ?? 0, body: answer.status };
  if (answer.kind === 'object') return { code: answer.code, body: answer.object, warnings: answer.warnings };
  if (answer.kind !== 'list') throw new Error(`unexpected answer ${answer.kind}`);
  const { items, resourceVersion, continue: next, remainingItemCount } = answer;
  const kinds: Record<string, string> = { imagestreams: 'ImageStreamList', imagestreamtags: 'ImageStreamTagList', images: 'ImageList' };
  return { code: 200, body: { kind: kinds[question.resource], metadata: { resourceVersion, continue: next, remainingItemCount }, items } };
}

const write = { dryRun: false, user: ADMIN };
const create = (namespace: string, resource: string, object: Json, more: object = {}) =>
  reply({ verb: 'create', resource, namespace: namespace || undefined, object, ...write, ...more });
const get = (namespace: string, resource: string, name: string, more: object = {}) =>
  reply({ verb: 'get', resource, namespace: namespace || undefined, name, ...more });
const list = (namespace: string | undefined, resource: string, more: object = {}) => reply({ verb: 'list', resource, namespace, ...more });
const update = (namespace: string, resource: string, name: string, object: Json, more: object = {}) =>
  reply({ verb: 'update', resource, namespace: namespace || undefined, name, object, ...write, ...more });
const remove = (namespace: string, resource: string, name: string, more: object = {}) =>
  reply({ verb: 'delete', resource, namespace: namespace || undefined, name, ...write, ...more });

const aStream = (name: string, spec: object = {}, metadata: object = {}) => ({
  kind: 'ImageStream',
  apiVersion: 'image.openshift.io/v1',
  metadata: { name, ...metadata },
  spec,
});
const push = (namespace: string, stream: string, tag: string, image: string, at = `e.io/a/b@${image}`) =>
  create(namespace, 'imagestreammappings', {
    kind: 'ImageStreamMapping',
    apiVersion: 'image.openshift.io/v1',
    metadata: { name: stream },
    tag,
    image: { metadata: { name: image }, dockerImageReference: at },
  });
const fromImage = (name: string) => ({ from: { kind: 'DockerImage', name } });

describe('the conformance cases of these objects', async () => {
  const conformance = new URL('../../../conformance/', import.meta.url);
  const { clean, differences, pointer } = (await import(new URL('lib/compare.mjs', conformance).href)) as {
    clean: (value: unknown) => unknown;
    differences: (expected: unknown, got: unknown, at: string) => { pointer: string; expected: unknown; got: unknown }[];
    pointer: (value: unknown, at: string) => unknown;
  };
  interface Step {
    method: string;
    path: string;
    body?: Json;
    headers?: Record<string, string>;
    save?: Record<string, string>;
    expect: Json;
    expectNewest?: Json;
  }
  interface Case {
    id: string;
    title: string;
    kind: string;
    steps: Step[];
  }

  const OWN =
    /^@?(imagestreams|imagestreams\/[^/]+(\/status)?|(imagestreamtags|imagetags|imagestreamimages|imagestreammappings|images)(\/.*)?)(\?.*)?$/;
  const isOwn = ({ kind, steps }: Case) =>
    (kind === 'http' || kind === 'watch') &&
    steps.every(
      (step) => step.method && OWN.test(step.path) && !/Table/.test(step.headers?.['Accept'] ?? '') && !/watch=true/.test(step.path),
    );
  const cases = readdirSync(new URL('cases/', conformance))
    .filter((file) => /^(01|02|03|04|05|06|07|08)-/.test(file))
    .flatMap((file) => JSON.parse(readFileSync(new URL(`cases/${file}`, conformance), 'utf8')) as Case[])
    .filter(isOwn);

  /** The request that a step makes, as the api would ask it; PATCH is get, merge and update. */
  async function play({ method, path, body, headers }: Step & { body?: Json }, namespace: string): Promise<Reply> {
    const [place = '', query = ''] = path.split('?');
    const [resource = '', name, subresource] = place.replace(/^@/, '').split('/');
    const at = { resource, subresource, namespace: place.startsWith('@') ? undefined : namespace };
    const parameters = Object.fromEntries(new URLSearchParams(query));
    const selection = { ...parameters, ...(parameters['limit'] ? { limit: Number(parameters['limit']) } : {}) };
    switch (method) {
      case 'GET':
        return reply(name ? { verb: 'get', ...at, name: decodeURIComponent(name) } : { verb: 'list', ...at, ...selection });
      case 'POST':
        return reply({ verb: 'create', ...at, object: body, ...write });
      case 'PUT':
        return reply({ verb: 'update', ...at, name, object: body, ...write });
      case 'DELETE':
        return reply(name ? { verb: 'delete', ...at, name, ...write } : { verb: 'deletecollection', ...at, ...write });
      case 'PATCH': {
        const current = await reply({ verb: 'get', ...at, name, forUpdate: true });
        const byName = headers?.['Content-Type']?.includes('strategic') ?? false;
        return reply({ verb: 'update', ...at, name, object: merged(current.body, body, byName), patched: true, ...write });
      }
      default:
        throw new Error(`a step with ${method}`);
    }
  }

  function merged(target: Json, patch: Json, byName: boolean): Json {
    if (byName && Array.isArray(patch) && Array.isArray(target))
      return [...target.filter((one) => !patch.some((other) => other.name === one.name)), ...patch];
    if (patch === null || typeof patch !== 'object' || Array.isArray(patch)) return patch;
    const result = { ...(target ?? {}) };
    for (const [key, value] of Object.entries(patch)) result[key] = value === null ? undefined : merged(result[key], value, byName);
    return result;
  }

  it.each(cases.map((one) => [one.id, one.title, one] as const))('%s: %s', async (id, _title, { steps }) => {
    const namespace = `ns-${id.toLowerCase()}`;
    const saved: Record<string, unknown> = {};
    let last: Json = {};
    const filled = (value: unknown): Json =>
      value === undefined
        ? undefined
        : JSON.parse(
            JSON.stringify(value)
              .replaceAll('{{NS}}', namespace)
              .replaceAll('{{INT}}', INTERNAL)
              .replace(/\{\{([A-F])\}\}/g, (_, letter: string) => `sha256:${letter.toLowerCase().repeat(64)}`)
              .replace(/\{\{saved:([^}]+)\}\}/g, (_, name: string) => String(saved[name]))
              .replaceAll('"{{rv}}"', () => JSON.stringify(last.metadata?.resourceVersion ?? ''))
              .replaceAll('"{{last}}"', () => JSON.stringify(last)),
          );
    await reply({ verb: 'deletecollection', resource: 'images', ...write });

    for (const [i, step] of steps.entries()) {
      const { code, body } = await play({ ...step, path: filled(step.path), body: filled(step.body) }, namespace);
      const wanted = { ...step.expect, ...step.expectNewest };
      const where = `step ${i + 1} ${step.method} ${step.path}`;
      expect
        .soft({ where, code, message: code === wanted.code ? undefined : body.message })
        .toEqual({ where, code: wanted.code, message: undefined });
      if (code < 300 && body.metadata?.resourceVersion) last = body;
      for (const [name, at] of Object.entries(step.save ?? {})) saved[name] = pointer(body, at);
      if (wanted.code >= 400 && 'reason' in wanted) expect.soft(body.reason ?? null, where).toEqual(wanted.reason);
      if (wanted.message) expect.soft(body.message.replace(/(resource version to )\d+/, '$1<rv>'), where).toBe(filled(wanted.message));
      for (const [at, value] of Object.entries(wanted.at ?? {}))
        expect.soft(differences(clean(filled(value)), clean(pointer(JSON.parse(JSON.stringify(body)), at)), at), where).toEqual([]);
    }
  });
});

describe('lists', () => {
  it('a page shows the state of the first one: what is created later is left out', async () => {
    for (const name of ['p1', 'p3', 'p5']) await create('pages', 'imagestreams', aStream(name));
    const first = await list('pages', 'imagestreams', { limit: 2 });
    await create('pages', 'imagestreams', aStream('p4'));
    const second = await list('pages', 'imagestreams', { limit: 2, continue: first.body.metadata.continue });

    expect([...first.body.items, ...second.body.items].map((item) => item.metadata.name)).toEqual(['p1', 'p3', 'p5']);
    expect(first.body.metadata.remainingItemCount).toBe(1);
    expect(second.body.metadata).toEqual({
      resourceVersion: first.body.metadata.resourceVersion,
      continue: undefined,
      remainingItemCount: undefined,
    });
  });

  it('a page, and a list of an exact version, hold what was deleted since', async () => {
    for (const name of ['d1', 'd2', 'd3']) await create('lost', 'imagestreams', aStream(name));
    const first = await list('lost', 'imagestreams', { limit: 1 });
    const { resourceVersion } = first.body.metadata;
    const names = ({ body }: Json) => body.items.map((item: Json) => item.metadata.name);

    await reply({ verb: 'delete', resource: 'imagestreams', namespace: 'lost', name: 'd2', ...write });
    await create('lost', 'imagestreams', aStream('d4'));
    await reply({ verb: 'delete', resource: 'imagestreams', namespace: 'lost', name: 'd4', ...write });

    expect(names(await list('lost', 'imagestreams', { limit: 5, continue: first.body.metadata.continue }))).toEqual(['d2', 'd3']);
    expect(names(await list('lost', 'imagestreams', { resourceVersion, exact: true }))).toEqual(['d1', 'd2', 'd3']);
    expect(names(await list('lost', 'imagestreams', { resourceVersion, exact: true, labelSelector: 'a=b' }))).toEqual([]);
    expect(names(await list('lost', 'imagestreams', { resourceVersion }))).toEqual(['d1', 'd3']);
    await sql(`UPDATE revision SET pruned = value`);
    expect((await list('lost', 'imagestreams', { resourceVersion, exact: true })).body).toMatchObject({
      code: 410,
      message: 'The resourceVersion for the provided list is too old.',
    });
    await sql('UPDATE revision SET pruned = 0');
  });

  it.each([
    ['garbage', String.raw`invalid character '\u0081' looking for beginning of value`],
    ['a b', 'illegal base64 data at input byte 1'],
    ['', undefined],
    ['eyJ2IjoiMSJ9', 'server does not recognize this encoded version "1"'],
    ['eyJ2IjoibWV0YS5rOHMuaW8vdjEifQ', 'incorrect encoded start resourceVersion (version meta.k8s.io/v1)'],
    ['eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MX0', 'encoded start key empty (version meta.k8s.io/v1)'],
  ])('a token that is none, %j, is refused in the words of the reference', async (token, why) => {
    const { body } = await list('any', 'imagestreams', { continue: token, limit: 1 });

    expect(body.message).toBe(why && `invalid continue token: continue key is not valid: ${why}`);
  });

  it('with a selector a page is full of what matches, and does not tell how much remains', async () => {
    for (const [i, team] of ['x', 'y', 'x', 'y', 'x'].entries())
      await create('selected', 'imagestreams', aStream(`s${i}`, {}, { labels: { team } }));
    const first = await list('selected', 'imagestreams', { limit: 2, labelSelector: 'team=x' });
    const second = await list('selected', 'imagestreams', { limit: 2, labelSelector: 'team=x', continue: first.body.metadata.continue });

    expect(first.body.items.map((item: Json) => item.metadata.name)).toEqual(['s0', 's2']);
    expect(first.body.metadata.remainingItemCount).toBeUndefined();
    expect(second.body.items.map((item: Json) => item.metadata.name)).toEqual(['s4']);
  });

  it.each([
    [
      'fieldSelector',
      { fieldSelector: 'spec.foo=1' },
      400,
      '"spec.foo" is not a known field selector: only "metadata.name", "metadata.namespace"',
    ],
    ['labelSelector', { labelSelector: 'a b' }, 400, "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"],
    ['continue', { continue: 'garbage', limit: 1 }, 400, 'invalid continue token: continue key is not valid'],
  ])('a %s that cannot be read is refused', async (_, selection, code, message) => {
    const refused = await list('any', 'imagestreams', selection);

    expect(refused.code).toBe(code);
    expect(refused.body.message).toContain(message);
  });

  it.each([
    ['metadata.name=b', ['b']],
    ['metadata.name!=b', ['a']],
    [`status.dockerImageRepository=${INTERNAL}/fields/a`, ['a']],
    ['spec.dockerImageRepository=e.io/x/y', ['b']],
    ['metadata.namespace=other', []],
  ])('fieldSelector %s finds %j', async (fieldSelector, names) => {
    await create('fields', 'imagestreams', aStream('a'));
    await create('fields', 'imagestreams', aStream('b', { dockerImageRepository: 'e.io/x/y' }));

    expect((await list('fields', 'imagestreams', { fieldSelector })).body.items.map((item: Json) => item.metadata.name)).toEqual(names);
  });

  it('a version of the future is not there yet', async () => {
    const { code, body } = await list('any', 'imagestreams', { resourceVersion: '99999999' });

    expect(code).toBe(504);
    expect(body).toMatchObject({
      reason: 'Timeout',
      message: expect.stringMatching(/^Timeout: Too large resource version: 99999999, current: \d+$/),
      details: { causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }], retryAfterSeconds: 1 },
    });
  });

  it('a token from before the oldest known change has expired', async () => {
    for (const name of ['a', 'b']) await create('old-token', 'imagestreams', aStream(name));
    const token = Buffer.from(JSON.stringify({ v: 'meta.k8s.io/v1', rv: 1, start: 'old-token/a\0' })).toString('base64url');
    await sql('UPDATE revision SET pruned = 2');

    expect(await list('old-token', 'imagestreams', { limit: 1, continue: token })).toMatchObject({
      code: 410,
      body: { reason: 'Expired' },
    });
    await sql('UPDATE revision SET pruned = 0');
  });

  it('an item has no kind, in the order of bytes over all namespaces, and only the newest history where that is wanted', async () => {
    for (const name of ['b-1', 'b', 'a']) await create('order', 'imagestreams', aStream(name));
    for (const image of [A, B, A]) await push('order', 'a', 'v1', image);
    const all = await list(undefined, 'imagestreams', { fieldSelector: 'metadata.namespace=order', historyLimit: 2 });

    expect(all.body.items.map((item: Json) => item.metadata.name)).toEqual(['a', 'b', 'b-1']);
    expect(all.body.items[0].kind).toBeUndefined();
    expect(all.body.items[0].status.tags[0].items.map((item: Json) => item.image)).toEqual([A, B]);
    expect((await get('order', 'imagestreams', 'a', { historyLimit: 1 })).body.status.tags[0].items).toHaveLength(1);
    expect((await get('order', 'imagestreams', 'a')).body.status.tags[0].items).toHaveLength(3);
  });

  it('tags come sorted, of so many streams as a page holds', async () => {
    for (const stream of ['t1', 't2']) {
      await create('tag-pages', 'imagestreams', aStream(stream));
      for (const tag of ['z', 'a']) await push('tag-pages', stream, tag, A);
    }
    const first = await list('tag-pages', 'imagestreamtags', { limit: 1 });
    const second = await list('tag-pages', 'imagestreamtags', { limit: 1, continue: first.body.metadata.continue });

    expect(first.body.items.map((item: Json) => item.metadata.name)).toEqual(['t1:a', 't1:z']);
    expect(second.body.items.map((item: Json) => item.metadata.name)).toEqual(['t2:a', 't2:z']);
    expect(second.body.metadata.continue).toBeUndefined();
    expect(first.body.items[0].image).toEqual({
      metadata: { name: A },
      dockerImageReference: `e.io/a/b@${A}`,
      dockerImageMetadata: { kind: 'DockerImage', apiVersion: 'image.openshift.io/1.0', Id: '', Created: null, ContainerConfig: {} },
      dockerImageMetadataVersion: '1.0',
    });
  });
});

describe('writes', () => {
  it('a dry run answers in full, writes nothing and uses up no number', async () => {
    const dry = { dryRun: true };
    await create('dry', 'imagestreams', aStream('src'));
    await push('dry', 'src', 'v1', A);
    const before = (await list('dry', 'imagestreams')).body;
    const spec = { tags: [{ name: 'v2', from: { kind: 'ImageStreamTag', name: 'src:v1' } }] };

    const made = await create('dry', 'imagestreams', aStream('new', spec), dry);
    const changed = await update('dry', 'imagestreams', 'src', { ...before.items[0], spec }, dry);
    const tagged = await create('dry', 'imagestreamtags', { metadata: { name: 'src:v3' }, tag: fromImage('e.io/x') }, dry);
    const gone = await remove('dry', 'imagestreams', 'src', dry);

    expect(made).toMatchObject({
      code: 201,
      body: { metadata: { name: 'new', generation: 1 }, status: { tags: [{ tag: 'v2', items: [{ image: A }] }] } },
    });
    expect(made.body.metadata.resourceVersion).toBeUndefined();
    expect(changed.body.metadata).toMatchObject({ generation: 2, resourceVersion: before.items[0].metadata.resourceVersion });
    expect(tagged).toMatchObject({ code: 201, body: { tag: { name: 'v3', generation: 2 } } });
    expect(gone.body.status).toBe('Success');
    expect((await list('dry', 'imagestreams')).body).toEqual(before);
    expect((await create('dry', 'imagestreams', aStream('a..b'), dry)).code).toBe(422);
    expect((await create('dry', 'imagestreams', aStream('src'), dry)).code).toBe(409);
  });

  it('an update that changes nothing keeps the resourceVersion', async () => {
    const made = (
      await create('same', 'imagestreams', aStream('s', { tags: [{ name: 'a', ...fromImage('e.io/x') }] }, { labels: { a: 'b' } }))
    ).body;
    const again = await update('same', 'imagestreams', 's', made);

    expect(again.body).toEqual(made);
  });

  it('labels and annotations change the version and not the generation', async () => {
    const made = (await create('meta', 'imagestreams', aStream('s', {}, { annotations: { a: '1' } }))).body;
    const { body } = await update('meta', 'imagestreams', 's', {
      ...made,
      metadata: { ...made.metadata, labels: { x: 'y' }, annotations: {} },
    });

    expect(body.metadata).toMatchObject({ generation: 1, labels: { x: 'y' } });
    expect(body.metadata.annotations).toBeUndefined();
    expect(Number(body.metadata.resourceVersion)).toBeGreaterThan(Number(made.metadata.resourceVersion));
  });

  it('an update needs the current version', async () => {
    const made = (await create('stale', 'imagestreams', aStream('s'))).body;
    await update('stale', 'imagestreams', 's', { ...made, spec: { lookupPolicy: { local: true } } });

    expect((await update('stale', 'imagestreams', 's', made)).body).toMatchObject({
      code: 409,
      message:
        'Operation cannot be fulfilled on imagestreams.image.openshift.io "s": the object has been modified; please apply your changes to the latest version and try again',
    });
    expect((await update('stale', 'imagestreams', 's', aStream('s'))).body).toMatchObject({
      code: 422,
      message:
        'imagestreams.image.openshift.io "s" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update',
    });
    expect((await update('stale', 'imagestreams', 'none', aStream('none'))).code).toBe(404);
    expect((await update('stale', 'imagestreams', 's', { ...made, metadata: { ...made.metadata, uid: 'x' } })).body.message).toContain(
      'Precondition failed: UID',
    );
  });

  it('a name is generated where only its beginning is given', async () => {
    const { body } = await create('generated', 'imagestreams', { metadata: { generateName: 'gen' } });

    expect(body.metadata.name).toMatch(/^gen[a-z0-9]{5}$/);
    expect(body.metadata.generateName).toBe('gen');
    expect((await create('generated', 'imagestreams', { metadata: { generateName: 'gen-' } })).body.message).toMatch(
      /^ImageStream.image.openshift.io "gen-\w{5}" is invalid: metadata.generateName: Invalid value: "gen-": must match/,
    );
  });

  it.each([
    [
      'another namespace',
      { metadata: { name: 's', namespace: 'other' } },
      'the namespace of the provided object does not match the namespace sent on the request',
    ],
    [
      'another kind',
      { kind: 'Image', metadata: { name: 's' } },
      'Image in version "v1" cannot be handled as a ImageStream: converting (v1.Image) to (image.ImageStream): unknown conversion',
    ],
    [
      'another version',
      { apiVersion: 'image.openshift.io/v2', metadata: { name: 's' } },
      'the API version in the data (image.openshift.io/v2) does not match the expected API version (image.openshift.io/v1)',
    ],
    [
      'a field of another type',
      { metadata: { name: 's' }, spec: { tags: 'x' } },
      'ImageStream in version "v1" cannot be handled as a ImageStream: spec.tags: ',
    ],
    ['a text that cannot be stored', { metadata: { name: 's', annotations: { a: '\0' } } }, 'metadata.annotations.a: a NUL character'],
  ])('an object of %s is refused', async (_, object, message) => {
    const refused = await create('bodies', 'imagestreams', object);

    expect(refused.code).toBe(400);
    expect(refused.body.message).toContain(message);
  });

  it('the legacy version is taken with a warning', async () => {
    const { code, warnings, body } = await create('legacy', 'imagestreams', { ...aStream('s'), apiVersion: 'v1' });

    expect([code, body.apiVersion]).toEqual([201, 'image.openshift.io/v1']);
    expect(warnings).toEqual(['apiVersion v1 of ImageStream is a legacy form: write image.openshift.io/v1']);
  });

  it('labels that are none are refused', async () => {
    expect((await create('labels', 'imagestreams', aStream('s', {}, { labels: { 'a b': 'c' } }))).body).toMatchObject({
      code: 422,
      details: { causes: [{ field: 'metadata.labels' }] },
    });
  });

  it('a source in a namespace from which the user may not pull is refused, whether or not it exists', async () => {
    const user = { name: 'eve', groups: ['system:authenticated'] };
    const from = { kind: 'ImageStreamTag', name: 'none:v1', namespace: 'elsewhere' };
    const { code, body } = await create('guarded', 'imagestreams', aStream('s', { tags: [{ name: 'x', from }] }), { user });

    expect(code).toBe(422);
    expect(body.message).toBe(
      'ImageStream.image.openshift.io "s" is invalid: []: Internal error: imagestreams "s" is invalid: spec.tags[x].from: Forbidden: elsewhere/none: "" ""',
    );
  });

  it('a tag that follows a tag of the same write finds it settled', async () => {
    const tags = [
      { name: 'a', from: { kind: 'ImageStreamTag', name: 'b' } },
      { name: 'b', ...fromImage('e.io/x/y:1'), reference: true },
    ];
    const { body } = await create('chained', 'imagestreams', aStream('s', { tags }));

    expect(body.status.tags.map((list: Json) => [list.tag, list.items.length, list.items[0].dockerImageReference])).toEqual([
      ['a', 1, 'e.io/x/y:1'],
      ['b', 1, 'e.io/x/y:1'],
    ]);
  });

  it('a tag put by a person is told as moved by them', async () => {
    await create('told', 'imagestreams', aStream('s'));
    await push('told', 's', 'v1', A);
    await update('told', 'imagestreamtags', 's:v2', {
      metadata: { name: 's:v2' },
      tag: { from: { kind: 'ImageStreamTag', name: 's:v1' } },
    });
    const rows = await sql(`SELECT body FROM outbox WHERE event = 'tag.moved' AND subject LIKE '%.told.s.v2' ORDER BY id`);

    expect(rows.map(({ body }) => JSON.parse(String(body)))).toMatchObject([
      { tag: 'v2', generation: 1, current: { image: A }, cause: { kind: 'tag', actor: 'admin' } },
    ]);
  });

  it('many writers of a few streams wait for each other and all succeed', async () => {
    for (const stream of ['s0', 's1', 's2']) await create('busy', 'imagestreams', aStream(stream));
    const answers = await Promise.all(
      Array.from({ length: 60 }, (_, i) => {
        const [own, other] = [`s${i % 3}`, `s${(i + 1) % 3}`];
        if (i % 4 === 0) return push('busy', own, `push${i}`, A);
        const tag = i % 4 === 1 ? fromImage(`e.io/x:${i}`) : { from: { kind: 'ImageStreamTag', name: `${other}:push0` } };
        return update('busy', 'imagestreamtags', `${own}:tag${i}`, { metadata: { name: `${own}:tag${i}` }, tag });
      }),
    );

    expect(answers.map((answer) => answer.code)).toEqual(answers.map(() => 201));
    const { body } = await get('busy', 'imagestreams', 's1');
    expect(body.metadata.generation).toBe(1 + body.spec.tags.length);
  });
});

describe('deletion', () => {
  it('is refused where another object is meant', async () => {
    const { uid, resourceVersion } = (await create('guard', 'imagestreams', aStream('s'))).body.metadata;
    const wrongUid = await remove('guard', 'imagestreams', 's', { preconditions: { uid: 'wrong' } });
    const wrongVersion = await remove('guard', 'imagestreams', 's', { preconditions: { resourceVersion: '1' } });
    const right = await remove('guard', 'imagestreams', 's', { preconditions: { uid, resourceVersion } });

    expect(wrongUid.body).toMatchObject({
      code: 409,
      message: `Operation cannot be fulfilled on ImageStream.image.openshift.io "s": the UID in the precondition (wrong) does not match the UID in record (${uid}). The object might have been deleted and then recreated`,
    });
    expect(wrongVersion.code).toBe(409);
    expect(right.body).toMatchObject({ status: 'Success', details: { name: 's', kind: 'imagestreams', uid } });
    expect((await remove('guard', 'imagestreams', 's')).code).toBe(404);
  });

  it('of a tag compares the uid of the stream', async () => {
    await create('guard-tag', 'imagestreams', aStream('s', { tags: [{ name: 'a', ...fromImage('e.io/x') }] }));

    expect((await remove('guard-tag', 'imagestreamtags', 's:a', { preconditions: { uid: 'wrong' } })).body.message).toBe(
      'Operation cannot be fulfilled on imagestreamtags.image.openshift.io "s:a": the UID precondition was not met',
    );
    expect((await remove('guard-tag', 'imagestreamtags', 's:a', { dryRun: true })).code).toBe(200);
    expect((await remove('guard-tag', 'imagestreamtags', 's:a')).code).toBe(200);
    expect((await remove('guard-tag', 'imagestreamtags', 's:a')).code).toBe(404);
  });

  it('of a collection takes what is selected and answers what that was', async () => {
    for (const team of ['x', 'y']) await create('sweep', 'imagestreams', aStream(team, {}, { labels: { team } }));
    const swept = await reply({
      verb: 'deletecollection',
      resource: 'imagestreams',
      namespace: 'sweep',
      labelSelector: 'team=x',
      ...write,
    });

    expect(swept.body.items.map((item: Json) => item.metadata.name)).toEqual(['x']);
    expect((await list('sweep', 'imagestreams')).body.items.map((item: Json) => item.metadata.name)).toEqual(['y']);
  });
});

describe('changes', () => {
  const changesSince = async (since: string, more: object = {}) => {
    const answer = await ask({ verb: 'changes', resource: 'imagestreams', namespace: 'feed', since, waitMs: 0, limit: 100, ...more });
    if (answer.kind !== 'changes') throw new Error(JSON.stringify(answer));
    return answer.changes.map(({ type, object }: Json) => ({ type, name: object.metadata.name, object }));
  };

  it('are told with the whole object, a deletion with the last state and its own number', async () => {
    const start = (await list('feed', 'imagestreams')).body.metadata.resourceVersion;
    const made = (await create('feed', 'imagestreams', aStream('w', {}, { labels: { k: 'v' } }))).body;
    expect(await changesSince(start)).toEqual([{ type: 'ADDED', name: 'w', object: made }]);

    await push('feed', 'w', 'v1', A);
    const pushed = (await get('feed', 'imagestreams', 'w')).body;
    expect(await changesSince(made.metadata.resourceVersion)).toEqual([{ type: 'MODIFIED', name: 'w', object: pushed }]);

    await remove('feed', 'imagestreams', 'w');
    const [gone] = await changesSince(pushed.metadata.resourceVersion);
    expect(gone).toMatchObject({
      type: 'DELETED',
      object: { kind: 'ImageStream', status: pushed.status, metadata: { labels: { k: 'v' } } },
    });
    expect(Number(gone?.object.metadata.resourceVersion)).toBeGreaterThan(Number(pushed.metadata.resourceVersion));
  });

  it('of an object that leaves the selection are told as its deletion', async () => {
    const made = (await create('feed', 'imagestreams', aStream('l', {}, { labels: { k: 'in' } }))).body;
    await update('feed', 'imagestreams', 'l', { ...made, metadata: { ...made.metadata, labels: { k: 'out' } } });

    expect(await changesSince(made.metadata.resourceVersion, { labelSelector: 'k=in' })).toMatchObject([{ type: 'DELETED', name: 'l' }]);
    expect(await changesSince(made.metadata.resourceVersion, { fieldSelector: 'metadata.name=other' })).toMatchObject([
      { type: 'DELETED' },
    ]);
    expect(await changesSince(made.metadata.resourceVersion, { labelSelector: 'k=out' })).toMatchObject([{ type: 'MODIFIED', name: 'l' }]);
  });

  it('of long ago are not known any more', async () => {
    await sql('UPDATE revision SET pruned = 2');
    expect(await reply({ verb: 'changes', resource: 'imagestreams', since: '1', waitMs: 0, limit: 1 })).toMatchObject({
      code: 410,
      body: { reason: 'Expired', message: 'too old resource version: 1 (2)' },
    });
    await sql('UPDATE revision SET pruned = 0');
  });
});

describe('the status subresource', () => {
  const item = (image: string, at: string, generation = 1) => ({
    created: '2020-01-01T00:00:00Z',
    dockerImageReference: at,
    image,
    generation,
  });

  it('makes histories what it says, tells what moved, and keeps the spec', async () => {
    const made = (await create('status', 'imagestreams', aStream('s', { tags: [{ name: 'a', ...fromImage('e.io/x') }] }))).body;
    for (const image of [A, B]) await push('status', 's', 'a', image);
    await push('status', 's', 'gone', A);
    const current = (await get('status', 'imagestreams', 's')).body;
    const condition = { type: 'ImportSuccess', status: 'False', generation: 1, reason: 'NotFound', message: 'gone' };
    const tags = [
      { tag: 'a', items: [item(A, 'q/w:1'), item(B, 'q/w:2'), item(A, 'q/w:3')], conditions: [condition] },
      { tag: 'failed', items: null, conditions: [condition] },
      { tag: 'empty', items: [] },
    ];
    const { code, body } = await update(
      'status',
      'imagestreams',
      's',
      { ...current, spec: {}, status: { tags } },
      { subresource: 'status' },
    );

    expect(code).toBe(200);
    expect(body.spec).toEqual(made.spec);
    expect(body.metadata.generation).toBe(1);
    expect(body.status.tags).toEqual([tags[0], tags[1]]);
    expect(Number(body.metadata.resourceVersion)).toBeGreaterThan(Number(current.metadata.resourceVersion));
    expect((await get('status', 'imagestreams', 's')).body).toEqual(body);
    const moves = await sql(`SELECT body FROM outbox WHERE event = 'tag.moved' AND subject LIKE '%.status.s.a' ORDER BY id`);
    expect(moves.map(({ body: move }) => JSON.parse(String(move)).current.image)).toEqual([A, B, A]);
  });

  it('a push after it goes on top', async () => {
    const made = (await create('status', 'imagestreams', aStream('t'))).body;
    await update(
      'status',
      'imagestreams',
      't',
      { ...made, status: { tags: [{ tag: 'a', items: [item(A, 'q/w:1'), item(B, 'q/w:2')] }] } },
      { subresource: 'status' },
    );
    await push('status', 't', 'a', B);

    expect((await get('status', 'imagestreams', 't')).body.status.tags[0].items.map((one: Json) => one.dockerImageReference)).toEqual([
      `e.io/a/b@${B}`,
      'q/w:1',
      'q/w:2',
    ]);
  });
});

describe('images', () => {
  const digest = (letter: string) => `sha256:${letter.repeat(64)}`;

  it('take their layers from the manifest that comes with them; only pull spec, labels and annotations change later', async () => {
    const name = digest('1');
    const manifest = JSON.stringify({
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: { digest: digest('2'), size: 10 },
      layers: [{ digest: digest('3'), size: 5, mediaType: 'layer' }],
    });
    const config = JSON.stringify({ architecture: 'amd64', os: 'linux', config: { Labels: { a: 'b' }, Healthcheck: {} } });
    const made = await create('', 'images', {
      metadata: { name, annotations: { 'image.openshift.io/manifestBlobStored': 'true' } },
      dockerImageReference: `e.io/x@${name}`,
      dockerImageManifest: manifest,
      dockerImageConfig: config,
    });
    expect(made.body).toMatchObject({
      kind: 'Image',
      dockerImageMetadata: { kind: 'DockerImage', Id: digest('2'), Architecture: 'amd64', Size: 15, Config: { Labels: { a: 'b' } } },
      dockerImageLayers: [{ name: digest('3'), size: 5, mediaType: 'layer' }],
      dockerImageManifestMediaType: 'application/vnd.oci.image.manifest.v1+json',
    });
    expect(made.body.dockerImageManifest).toBeUndefined();
    expect(made.body.dockerImageMetadata.Config.Healthcheck).toBeUndefined();

    const wanted = {
      ...made.body,
      dockerImageReference: 'f.io/y',
      dockerImageLayers: [],
      dockerImageMetadata: {},
      metadata: { ...made.body.metadata, labels: { l: '1' } },
    };
    const changed = await update('', 'images', name, wanted);
    expect(changed.body).toMatchObject({
      dockerImageReference: 'f.io/y',
      metadata: { labels: { l: '1' } },
      dockerImageLayers: made.body.dockerImageLayers,
    });
    expect(changed.body.dockerImageMetadata).toEqual(made.body.dockerImageMetadata);
    expect((await update('', 'images', name, made.body)).code).toBe(409);
    expect((await create('', 'images', made.body)).body.message).toBe(`images.image.openshift.io "${name}" already exists`);
  });

  it('are found as parts of an index of the history', async () => {
    const [index, child] = [digest('4'), digest('5')];
    const entry = {
      digest: child,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      manifestSize: 1,
      architecture: 'arm64',
      os: 'linux',
    };
    await create('', 'images', { metadata: { name: index }, dockerImageReference: `e.io/m@${index}`, dockerImageManifests: [entry] });
    await create('', 'images', { metadata: { name: child }, dockerImageReference: `e.io/m@${child}` });
    await create('parts', 'imagestreams', aStream('s', {}, { annotations: { own: 'x' } }));
    await push('parts', 's', 'v1', index);

    for (const id of [child, 'sha256:5555', '555'])
      expect(await get('parts', 'imagestreamimages', `s@${id}`)).toMatchObject({
        code: 200,
        body: { kind: 'ImageStreamImage', metadata: { name: `s@${id}`, annotations: { own: 'x' } }, image: { metadata: { name: child } } },
      });
  });

  it('are listed page by page and deleted by name or selector', async () => {
    await reply({ verb: 'deletecollection', resource: 'images', ...write });
    for (const letter of ['6', '7', '8'])
      await create('', 'images', { metadata: { name: digest(letter), labels: { letter } }, dockerImageReference: 'e.io/x' });
    const first = await list(undefined, 'images', { limit: 2 });
    expect(first.body.items.map((item: Json) => item.metadata.name)).toEqual([digest('6'), digest('7')]);
    expect(first.body.metadata.remainingItemCount).toBe(1);
    expect((await list(undefined, 'images', { fieldSelector: `metadata.name=${digest('8')}` })).body.items).toHaveLength(1);

    expect((await remove('', 'images', digest('6'))).body.details).toMatchObject({ name: digest('6'), kind: 'images' });
    const swept = await reply({ verb: 'deletecollection', resource: 'images', labelSelector: 'letter=7', ...write });
    expect(swept.body.items).toHaveLength(1);
    expect((await list(undefined, 'images')).body.items.map((item: Json) => item.metadata.name)).toEqual([digest('8')]);
  });
});

describe('facts that were put aside', () => {
  it('are listed, replayed and dropped', async () => {
    const fact = (id: string, stream: string) => [
      'mapping.published',
      `millrace.v1.mapping.published.dead.${stream}.v1`,
      id,
      '{}',
      JSON.stringify({
        id,
        namespace: 'dead',
        stream,
        tag: 'v1',
        createStream: false,
        image: { metadata: { name: A }, dockerImageReference: `e.io/a/b@${A}` },
        children: [],
        source: { registry: 'r', eventId: id, observedAt: '2026-01-01T00:00:00Z' },
      }),
      'no such stream',
      1,
    ];
    for (const parameters of [fact('one', 's'), fact('two', 'none')])
      await sql(
        'INSERT INTO dead_fact (event, subject, event_id, headers, body, reason, attempts) VALUES ($1, $2, $3, $4, $5, $6, $7)',
        parameters,
      );
    await create('dead', 'imagestreams', aStream('s'));
    const listed = (await list(undefined, 'deadfacts')).body.items;
    const [first, second] = listed.map((item: Json) => item.metadata.name);

    expect(listed).toMatchObject([
      { spec: { event: 'mapping.published', data: { stream: 's' } }, status: { reason: 'no such stream', attempts: 1 } },
      { spec: { data: { stream: 'none' } } },
    ]);
    expect((await get('', 'deadfacts', first)).body).toMatchObject({ kind: 'DeadFact', apiVersion: 'ops.millrace.dev/v1' });
    const replay = (name: string) => reply({ verb: 'create', resource: 'deadfacts', subresource: 'replay', name, object: {}, ...write });
    expect(await replay(first)).toMatchObject({ code: 201, body: { status: 'Success' } });
    expect((await get('dead', 'imagestreamtags', 's:v1')).body.image.metadata.name).toBe(A);
    expect(await replay(second)).toMatchObject({ code: 409, body: { message: expect.stringContaining('it was refused again') } });
    expect((await remove('', 'deadfacts', second)).body.status).toBe('Success');
    expect((await get('', 'deadfacts', second)).code).toBe(404);
  });
});

it('a verb that a resource does not have is not allowed', async () => {
  for (const question of [
    { verb: 'list', resource: 'imagestreammappings' },
    { verb: 'deletecollection', resource: 'imagestreamtags', ...write },
    { verb: 'delete', resource: 'imagestreamimages', name: 's@x', ...write },
    { verb: 'get', resource: 'imagestreams', subresource: 'scale', name: 's' },
  ])
    expect((await reply(question)).code).toBe(405);
});
