import { statSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ImageStreams, ImageStreamTags, ImageTriggers, Images } from '@millrace/contracts/resources';
import type { RunningService } from '@millrace/platform/service';
import { aNatsServer } from '@millrace/testing/servers';
import { anApi, DEV_TOKEN, type Api } from './fixture-api.ts';
import { anOwner, type MapOwner } from './fixture-owner.ts';

let nats: Awaited<ReturnType<typeof aNatsServer>>;
let api: Api;
let owner: MapOwner;
let services: RunningService[];
let namespace = 0;
let ns: string;
let streams: string;

beforeAll(async () => {
  nats = await aNatsServer();
  const tagStore = await anOwner('tag-store', nats.url);
  const dispatcher = await anOwner('trigger-dispatcher', nats.url);
  owner = tagStore.owner;
  services = [tagStore.service, dispatcher.service];
  dispatcher.owner.put(ImageTriggers, { metadata: { name: 't', namespace: 'only-triggers' } });
  api = await anApi(nats.url, { BODY_LIMIT_BYTES: '200000' });
});
afterAll(async () => {
  await api?.stop();
  for (const service of services ?? []) await service.stop();
  await nats?.stop();
});
beforeEach(() => {
  ns = `n${++namespace}`;
  streams = `/apis/image.openshift.io/v1/namespaces/${ns}/imagestreams`;
  owner.conflicts = 0;
  owner.warnings = undefined;
  owner.asked.length = 0;
});

const stream = (name: string, more: object = {}) => ({
  kind: 'ImageStream',
  apiVersion: 'image.openshift.io/v1',
  metadata: { name },
  ...more,
});

describe('who may ask', () => {
  it.each(['/livez', '/healthz', '/readyz', '/version'])('%s answers without a token', async (path) => {
    expect(await api.call(path, { token: null })).toMatchObject({ status: 200 });
  });

  it.each(['/metrics', '/api', '/apis', '/openapi/v2', '/openapi/v3', '/', '/nowhere'])('%s is forbidden without a token', async (path) => {
    const answer = await api.call(path, { token: null });

    expect(answer.status).toBe(403);
    expect(answer.json).toMatchObject({
      kind: 'Status',
      reason: 'Forbidden',
      code: 403,
      details: {},
      message: `forbidden: User "system:anonymous" cannot get path "${path}"`,
    });
  });

  it('objects are forbidden without a token, in the words of Kubernetes', async () => {
    expect((await api.call(streams, { token: null })).json).toEqual({
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message: `imagestreams.image.openshift.io is forbidden: User "system:anonymous" cannot list resource "imagestreams" in API group "image.openshift.io" in the namespace "${ns}"`,
      reason: 'Forbidden',
      details: { group: 'image.openshift.io', kind: 'imagestreams' },
      code: 403,
    });
  });

  it.each([
    ['a token nobody has', 'Bearer nope'],
    ['basic credentials', 'Basic YTpi'],
    ['an empty token', 'Bearer '],
    ['a token with a blank in it', 'Bearer a b'],
  ])('%s is unauthorized', async (_, authorization) => {
    const answer = await api.call(streams, { token: null, headers: { authorization } });

    expect(answer.status).toBe(401);
    expect(answer.json).toEqual({
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message: 'Unauthorized',
      reason: 'Unauthorized',
      code: 401,
    });
  });

  it('a user of the token file may look around and nothing else', async () => {
    expect((await api.call('/apis', { token: DEV_TOKEN })).status).toBe(200);
    expect((await api.call('/metrics', { token: DEV_TOKEN })).status).toBe(403);
    expect((await api.call(`${streams}/x`, { token: DEV_TOKEN })).json.message).toBe(
      `imagestreams.image.openshift.io "x" is forbidden: User "dev" cannot get resource "imagestreams" in API group "image.openshift.io" in the namespace "${ns}"`,
    );
    expect(owner.asked).toHaveLength(0);
  });

  it.each([
    ['POST', '', 'create', 'imagestreams'],
    ['PUT', '/x', 'update', 'imagestreams'],
    ['PATCH', '/x/status', 'patch', 'imagestreams/status'],
    ['DELETE', '/x', 'delete', 'imagestreams'],
    ['DELETE', '', 'deletecollection', 'imagestreams'],
    ['GET', '?watch=true', 'watch', 'imagestreams'],
    ['GET', '?watch=false', 'list', 'imagestreams'],
  ])('%s %s is decided as %s', async (method, path, verb, resource) => {
    const { message } = (await api.call(`${streams}${path}`, { method, token: DEV_TOKEN })).json;

    expect(message).toContain(
      `User "dev" cannot ${verb} resource "${resource}" in API group "image.openshift.io" in the namespace "${ns}"`,
    );
  });

  it('an administrator acts as another user, who then has his own rights only', async () => {
    const as = (headers: Record<string, string | string[]>) => api.call(streams, { headers });

    expect((await as({ 'impersonate-user': 'eve' })).json.message).toContain('User "eve" cannot list');
    expect((await as({ 'impersonate-user': 'eve', 'impersonate-group': ['a,b', 'system:masters'] })).status).toBe(200);
    expect((await as({ 'impersonate-group': 'system:masters' })).status).toBe(400);
  });

  it.each([
    ['GET', '/api/v1/namespaces/demo/secrets', 'list'],
    ['GET', '/api/v1/secrets', 'list'],
    ['GET', '/api/v1/namespaces/demo/secrets?watch=true', 'watch'],
    ['GET', '/api/v1/namespaces/demo/secrets/s', 'get'],
    ['PUT', '/api/v1/namespaces/demo/secrets/s', 'update'],
    ['PATCH', '/api/v1/namespaces/demo/secrets/s', 'patch'],
    ['DELETE', '/api/v1/namespaces/demo/secrets/s', 'delete'],
    ['DELETE', '/api/v1/namespaces/demo/secrets', 'deletecollection'],
  ])('a user without rights is refused %s %s', async (method, path, verb) => {
    const answer = await api.call(path, { method, token: DEV_TOKEN, ...(method === 'GET' ? {} : { body: { data: {} } }) });

    expect(answer.status).toBe(403);
    expect(answer.json.message).toContain(`User "dev" cannot ${verb} resource "secrets"`);
  });

  it('nobody else may', async () => {
    const answer = await api.call(streams, { token: DEV_TOKEN, headers: { 'impersonate-user': 'millrace-admin' } });

    expect(answer.status).toBe(403);
    expect(answer.json.message).toBe(
      'users "millrace-admin" is forbidden: User "dev" cannot impersonate resource "users" in API group "" at the cluster scope',
    );
  });

  it('metrics are for the administrator', async () => {
    expect((await api.call('/metrics')).text).toContain('millrace_api_requests_total');
  });

  it('keys, tokens and the kubeconfig are there when the service is ready, readable by the owner only', async () => {
    const files = ['data/ca.pem', 'data/server.pem', 'data/admin-token', 'config/kubeconfig'];
    for (const file of files) expect(statSync(join(api.directory, file)).mode & 0o777, file).toBe(0o600);
    const [{ cluster }] = api.kubeconfigContent().clusters as [{ cluster: Record<string, string> }];
    expect(cluster['server']).toBe(`https://127.0.0.1:${api.running.port}`);
  });
});

describe('objects', () => {
  it('a get passes the JSON of the owner on', async () => {
    const stored = owner.put(ImageStreams, { metadata: { name: 'web', namespace: ns }, spec: { lookupPolicy: { local: false } } });

    const answer = await api.call(`${streams}/web`);

    expect(answer).toMatchObject({ status: 200, headers: { 'content-type': 'application/json' } });
    expect(answer.json).toEqual(stored);
    expect(answer.text.endsWith('}\n')).toBe(true);
  });

  it('a get with warnings has them as headers', async () => {
    owner.put(ImageStreams, { metadata: { name: 'web', namespace: ns } });
    owner.warnings = ['it is "old"\nand tired', 'second'];

    const answer = await api.call(`${streams}/web`);

    expect(answer.json.metadata.name).toBe('web');
    expect(answer.headers['warning']).toBe(String.raw`299 - "it is \"old\" and tired", 299 - "second"`);
  });

  it.each(['web:1.0', 'web%3A1.0', 'web%3a1%2E0'])('names may be escaped: %s', async (name) => {
    owner.put(ImageStreamTags, { metadata: { name: 'web:1.0', namespace: ns } });

    expect((await api.call(`/apis/image.openshift.io/v1/namespaces/${ns}/imagestreamtags/${name}`)).json.metadata.name).toBe('web:1.0');
  });

  it('the 404 of the owner is the answer', async () => {
    const answer = await api.call(`${streams}/none`);

    expect(answer.status).toBe(404);
    expect(answer.json).toMatchObject({ reason: 'NotFound', message: 'imagestreams.image.openshift.io "none" not found' });
  });

  it('a list names its kind once, and carries how to continue', async () => {
    for (const name of ['a', 'b', 'c']) owner.put(ImageStreams, { metadata: { name, namespace: ns } });

    const { json } = await api.call(`${streams}?limit=2`);
    const rest = await api.call(`${streams}?limit=2&continue=${json.metadata.continue}`);

    expect(json).toMatchObject({ kind: 'ImageStreamList', apiVersion: 'image.openshift.io/v1', metadata: { remainingItemCount: 1 } });
    expect(json.items).toHaveLength(2);
    expect(json.items[0]).not.toHaveProperty('kind');
    expect(rest.json.items.map((item: { metadata: { name: string } }) => item.metadata.name)).toEqual(['c']);
    expect(rest.json.metadata).toEqual({ resourceVersion: expect.stringMatching(/^\d+$/) });
  });

  it('a list without a limit that only the owner can make is asked for in pages and answered as one', async () => {
    for (let i = 0; i < 501; i++) owner.put(ImageStreams, { metadata: { name: `s${i}`, namespace: ns } });

    const { json } = await api.call(`${streams}?limit=1&resourceVersion=0&historyLimit=1`);

    expect(json.items).toHaveLength(501);
    expect(json.metadata).toEqual({ resourceVersion: expect.any(String) });
    expect(owner.asked.filter(({ verb }) => verb === 'list')).toHaveLength(2);
  });

  it.each([
    ['resourceVersionMatch=Exact', 'Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided'],
    ['resourceVersionMatch=Exact&resourceVersion=0', 'Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'],
    ['resourceVersionMatch=Odd&resourceVersion=1', 'Unsupported value: "Odd": supported values: "Exact", "NotOlderThan", ""'],
    ['resourceVersionMatch=Exact&resourceVersion=1&continue=x', 'Forbidden: resourceVersionMatch is forbidden when continue is provided'],
  ])('a list with %s is refused', async (query, text) => {
    expect((await api.call(`${streams}?${query}`)).json).toMatchObject({
      code: 422,
      message: `ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: ${text}`,
    });
  });

  it('selectors of a list that only the owner can make reach it as they are', async () => {
    await api.call(`${streams}?historyLimit=2&labelSelector=a%3Db&fieldSelector=metadata.name%3Dx&limit=0&resourceVersion=0`);

    expect(owner.asked.at(-1)).toEqual({
      verb: 'list',
      resource: 'imagestreams',
      namespace: ns,
      labelSelector: 'a=b',
      fieldSelector: 'metadata.name=x',
      historyLimit: 2,
      limit: 500,
    });
  });

  it('a create is placed in the namespace of its path', async () => {
    const answer = await api.call(streams, { method: 'POST', body: { metadata: { name: 'made' } } });

    expect(answer.status).toBe(201);
    expect(answer.json).toMatchObject({ kind: 'ImageStream', metadata: { name: 'made', namespace: ns } });
    expect(owner.asked.at(-1)).toMatchObject({ user: { name: 'millrace-admin', groups: ['system:masters', 'system:authenticated'] } });
  });

  it('YAML is taken, and given', async () => {
    const body = 'kind: ImageStream\napiVersion: image.openshift.io/v1\nmetadata:\n  name: y\n';
    const made = await api.call(streams, { method: 'POST', body, headers: { 'content-type': 'application/yaml' } });
    const read = await api.call(`${streams}/y`, { headers: { accept: 'application/yaml' } });

    expect(made.status).toBe(201);
    expect(read.headers['content-type']).toBe('application/yaml');
    expect(read.text).toMatch(/^apiVersion: image.openshift.io\/v1\nkind: ImageStream\nmetadata:\n {2}creationTimestamp: "2026/);
  });

  it('unknown fields are warned about, refused or ignored as asked', async () => {
    const body = { ...stream('u'), bogus: 1, spec: { nope: true, tags: [{ name: 'a', odd: 1 }] } };

    const warned = await api.call(streams, { method: 'POST', body });
    const strict = await api.call(`${streams}?fieldValidation=Strict`, { method: 'POST', body: { ...stream('u2'), bogus: 1 } });
    const ignored = await api.call(`${streams}?fieldValidation=Ignore`, { method: 'POST', body: { ...stream('u3'), bogus: 1 } });

    expect(warned).toMatchObject({ status: 201 });
    expect(warned.headers['warning']).toBe(
      String.raw`299 - "unknown field \"bogus\"", 299 - "unknown field \"spec.nope\"", 299 - "unknown field \"spec.tags[0].odd\""`,
    );
    expect(strict.status).toBe(400);
    expect(strict.json.message).toBe(
      'ImageStream in version "v1" cannot be handled as a ImageStream: strict decoding error: unknown field "bogus"',
    );
    expect(ignored).toMatchObject({ status: 201, headers: expect.not.objectContaining({ warning: expect.anything() }) });
  });

  it('a field that is there twice is warned about, or refused', async () => {
    const body = '{"metadata":{"name":"twice"},"spec":{},"spec":{}}';
    const warned = await api.call(streams, { method: 'POST', body, headers: { 'content-type': 'application/json' } });
    const strict = await api.call(`${streams}?fieldValidation=Strict`, {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json' },
    });

    expect(warned.headers['warning']).toBe(String.raw`299 - "duplicate field \"spec\""`);
    expect(strict.json.message).toContain('strict decoding error: duplicate field "spec"');
  });

  it('fieldValidation is one of three', async () => {
    const { json } = await api.call(`${streams}?fieldValidation=Odd`, { method: 'POST', body: stream('o') });

    expect(json).toMatchObject({
      code: 422,
      message:
        'CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Odd": supported values: "Ignore", "Strict", "Warn"',
    });
  });

  it('a mapping in the version that its documentation prints is taken with a warning, and reaches the owner as it is', async () => {
    const body = { kind: 'ImageStreamMapping', apiVersion: 'v1', metadata: { name: 'web' }, tag: 'latest', image: {} };

    const answer = await api.call(`/apis/image.openshift.io/v1/namespaces/${ns}/imagestreammappings`, { method: 'POST', body });

    expect(answer.status).toBe(201);
    expect(answer.headers['warning']).toContain('use image.openshift.io/v1');
    expect(owner.asked.at(-1)).toMatchObject({ object: { apiVersion: 'v1' } });
  });

  it('a dry run says so to the owner, and only All is one', async () => {
    const dry = await api.call(`${streams}?dryRun=All`, { method: 'POST', body: stream('dry') });
    const bogus = await api.call(`${streams}?dryRun=bogus`, { method: 'POST', body: stream('dry') });

    expect(dry.status).toBe(201);
    expect((await api.call(`${streams}/dry`)).status).toBe(404);
    expect(bogus.json).toMatchObject({
      code: 422,
      message: 'CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["bogus"]: supported values: "All"',
    });
  });

  it('a delete passes preconditions and dryRun on', async () => {
    owner.put(ImageStreams, { metadata: { name: 'd', namespace: ns } });
    const remove = (body: object) => api.call(`${streams}/d`, { method: 'DELETE', body });

    expect((await remove({ preconditions: { uid: 'wrong' } })).status).toBe(409);
    expect((await remove({ kind: 'DeleteOptions', apiVersion: 'v1', dryRun: ['All'], propagationPolicy: 'Background' })).status).toBe(200);
    expect((await api.call(`${streams}/d`)).status).toBe(200);
    expect((await remove({})).json).toMatchObject({ status: 'Success', details: { name: 'd', kind: 'imagestreams' } });
    expect((await api.call(`${streams}/d`)).status).toBe(404);
  });

  it('a collection is deleted and told', async () => {
    for (const name of ['a', 'b']) owner.put(ImageStreams, { metadata: { name, namespace: ns } });

    const answer = await api.call(streams, { method: 'DELETE' });

    expect(answer.json).toMatchObject({ kind: 'ImageStreamList', items: [{ metadata: { name: 'a' } }, { metadata: { name: 'b' } }] });
    expect((await api.call(streams)).json.items).toEqual([]);
  });

  it('a large answer is packed for clients that can unpack it', async () => {
    owner.put(ImageStreams, { metadata: { name: 'large', namespace: ns, annotations: { text: 'x'.repeat(300_000) } } });

    const packed = await api.call(`${streams}/large`, { headers: { 'accept-encoding': 'gzip' } });
    const plain = await api.call(`${streams}/large`);

    expect(packed.headers['content-encoding']).toBe('gzip');
    expect(packed.bytes.length).toBeLessThan(10_000);
    expect(gunzipSync(packed.bytes).toString()).toBe(plain.text);
  });

  it('pretty answers are indented', async () => {
    owner.put(ImageStreams, { metadata: { name: 'p', namespace: ns } });

    expect((await api.call(`${streams}/p?pretty=true`)).text).toMatch(/^\{\n {2}"metadata": \{\n {4}"name"/);
  });
});

describe('patches', () => {
  const patch = (name: string, type: string, body: unknown, query = '') =>
    api.call(`${streams}/${name}${query}`, {
      method: 'PATCH',
      body: JSON.stringify(body),
      headers: { 'content-type': `application/${type}` },
    });

  beforeEach(() => {
    owner.put(ImageStreams, { metadata: { name: 'p', namespace: ns }, spec: { tags: [{ name: 'a' }, { name: 'b' }] } });
  });

  it('a merge patch replaces lists', async () => {
    expect((await patch('p', 'merge-patch+json', { spec: { tags: [{ name: 'c' }] } })).json.spec.tags).toEqual([{ name: 'c' }]);
  });

  it('a strategic merge patch merges tags by name and obeys directives', async () => {
    const change = {
      spec: {
        '$setElementOrder/tags': [{ name: 'b' }],
        tags: [
          { name: 'a', $patch: 'delete' },
          { name: 'b', reference: true },
        ],
      },
    };

    expect((await patch('p', 'strategic-merge-patch+json', change)).json.spec.tags).toEqual([{ name: 'b', reference: true }]);
  });

  it('a JSON patch is done operation by operation', async () => {
    const answer = await patch('p', 'json-patch+json', [
      { op: 'test', path: '/metadata/name', value: 'p' },
      { op: 'remove', path: '/spec/tags/0' },
      { op: 'add', path: '/metadata/labels', value: { x: 'y' } },
    ]);

    expect(answer.json).toMatchObject({ metadata: { labels: { x: 'y' } }, spec: { tags: [{ name: 'b' }] } });
  });

  it('one that does not fit is 422', async () => {
    const answer = await patch('p', 'json-patch+json', [{ op: 'test', path: '/metadata/name', value: 'other' }]);

    expect(answer.json).toMatchObject({
      code: 422,
      reason: 'Invalid',
      message: 'the server rejected our request due to an error in our request',
    });
  });

  it('a conflict with another writer is tried again, five times', async () => {
    owner.conflicts = 4;
    expect((await patch('p', 'merge-patch+json', { metadata: { labels: { a: 'b' } } })).status).toBe(200);
    owner.conflicts = 5;
    expect((await patch('p', 'merge-patch+json', { metadata: { labels: { a: 'c' } } })).json).toMatchObject({
      code: 409,
      reason: 'Conflict',
    });
  });

  it('a patch that names its version is not', async () => {
    const answer = await patch('p', 'merge-patch+json', { metadata: { resourceVersion: '1', labels: { a: 'b' } } });

    expect(answer.status).toBe(409);
    expect(owner.asked.filter(({ verb }) => verb === 'update')).toHaveLength(1);
  });

  it('server-side apply creates what is not there, merges into what is, and takes out what its manager leaves out', async () => {
    const apply = (tags: object[], query: string) =>
      patch('applied', 'apply-patch+yaml', { ...stream('applied'), spec: { tags } }, `?fieldManager=${query}`);

    expect(await apply([{ name: 'a' }], 'me')).toMatchObject({ status: 201 });
    expect((await apply([{ name: 'b' }], 'you')).json.spec.tags).toEqual([{ name: 'a' }, { name: 'b' }]);
    expect((await apply([{ name: 'c' }], 'me')).json.spec.tags).toEqual([{ name: 'b' }, { name: 'c' }]);
    expect((await apply([{ name: 'b', reference: true }], 'you')).status).toBe(200);
    expect((await apply([{ name: 'b', reference: false }], 'me')).json).toMatchObject({
      code: 409,
      message: 'Apply failed with 1 conflict: conflict with "you": .spec.tags[name="b"].reference',
    });
    expect((await apply([{ name: 'b', reference: false }], 'me&force=true')).json.spec.tags).toEqual([{ name: 'b', reference: false }]);
  });

  it('a replace of what was applied becomes the owner of what it changes', async () => {
    await patch('owned', 'apply-patch+yaml', { ...stream('owned'), spec: { tags: [{ name: 'a' }] } }, '?fieldManager=me');

    const { json } = await api.call(`${streams}/owned?fieldManager=editor`, {
      method: 'PUT',
      body: { ...stream('owned'), spec: { tags: [{ name: 'a', reference: true }] } },
    });

    expect(json.metadata.managedFields).toMatchObject([
      { manager: 'me', operation: 'Apply' },
      { manager: 'editor', operation: 'Update', fieldsV1: { 'f:spec': { 'f:tags': { 'k:{"name":"a"}': { 'f:reference': {} } } } } },
    ]);
  });

  it.each([
    ['apply-patch+yaml', '', 'fieldManager: Required value: is required for apply patch'],
    ['merge-patch+json', '?force=true', 'force: Forbidden: may not be specified for non-apply patch'],
  ])('a patch of type %s with "%s" is refused', async (type, query, text) => {
    expect((await patch('p', type, stream('p'), query)).json).toMatchObject({
      code: 422,
      message: `PatchOptions.meta.k8s.io "" is invalid: ${text}`,
    });
  });

  it('a patch to another name or namespace, or of an unknown type, is refused', async () => {
    expect((await patch('p', 'merge-patch+json', { metadata: { name: 'q' } })).status).toBe(400);
    expect((await patch('p', 'merge-patch+json', { metadata: { namespace: 'q' } })).status).toBe(400);
    expect((await patch('p', 'json', {})).status).toBe(415);
    expect((await patch('none', 'merge-patch+json', {})).status).toBe(404);
  });
});

describe('what does not exist', () => {
  const at = (path: string) => `/apis/image.openshift.io/v1/namespaces/${ns}/${path}`;
  const NOT_ALLOWED = { code: 405, reason: 'MethodNotAllowed', message: 'the server does not allow this method on the requested resource' };
  const NO_PATH = { code: 404, reason: 'NotFound', message: 'the server could not find the requested resource', details: {} };

  it.each([
    ['GET', 'imagestreammappings', NOT_ALLOWED],
    ['GET', 'imagestreammappings/s', NO_PATH],
    ['GET', 'imagestreamimages', NO_PATH],
    ['DELETE', 'imagestreamtags', NOT_ALLOWED],
    ['POST', 'imagestreams/s', NOT_ALLOWED],
    ['PUT', 'imagestreams', NOT_ALLOWED],
    ['OPTIONS', 'imagestreams/s', NOT_ALLOWED],
    ['DELETE', 'imagestreams/s/status', NOT_ALLOWED],
    ['GET', 'imagestreams/s/nosuch', NO_PATH],
    ['GET', 'nosuch', NO_PATH],
    ['GET', 'images', NO_PATH],
  ])('%s %s', async (method, path, expected) => {
    expect((await api.call(at(path), { method })).json).toMatchObject(expected);
  });

  it.each([
    ['POST', '/apis/image.openshift.io/v1/imagestreams', NOT_ALLOWED],
    ['DELETE', '/apis/image.openshift.io/v1/imagestreams', NOT_ALLOWED],
    ['GET', '/apis/image.openshift.io/v1/imagestreams/x', NO_PATH],
    ['POST', '/apis', NOT_ALLOWED],
    ['GET', '/api/v1/services', NO_PATH],
    ['DELETE', '/api/v1/namespaces', NOT_ALLOWED],
  ])('%s %s', async (method, path, expected) => {
    expect((await api.call(path, { method })).json).toMatchObject(expected);
  });

  it.each([
    '/apis/image.openshift.io/v2/imagestreams',
    '/apis/image.openshift.io/v1/namespaces/a/imagestreams/s/status/more',
    '/apis/nosuch.dev/v1',
    '/openapi/v3/apis/nosuch.dev/v1',
    '/nosuch',
  ])('%s is no page of this server, and no group of it either', async (path) => {
    expect(await api.call(path)).toMatchObject({
      status: 404,
      text: '404 page not found\n',
      headers: { 'content-type': 'text/plain; charset=utf-8' },
    });
  });

  it('HEAD is answered 405 without a body', async () => {
    expect(await api.call(at('imagestreams/s'), { method: 'HEAD' })).toMatchObject({ status: 405, text: '' });
  });

  it('a watch of tags is refused in the words of the reference', async () => {
    expect((await api.call(at('imagestreamtags?watch=true'))).json).toMatchObject({
      code: 405,
      message: 'watch is not supported on resources of kind "imagestreamtags.image.openshift.io"',
      details: { group: 'image.openshift.io', kind: 'imagestreamtags' },
    });
  });
});

describe('OpenAPI', () => {
  it('a document under its hash may be kept for ever, and one under an old hash for a while', async () => {
    const { paths } = (await api.call('/openapi/v3')).json;
    const current = await api.call(paths['apis/image.openshift.io/v1'].serverRelativeURL);
    const old = await api.call('/openapi/v3/apis/image.openshift.io/v1?hash=OLD');

    expect(current.headers['cache-control']).toMatch(/^public, immutable/);
    expect(old.headers['cache-control']).toBe('public, max-age=60');
    expect(old.text).toBe(current.text);
  });

  it.each(['/openapi/v2', '/openapi/v3', '/openapi/v3/apis/image.openshift.io/v1'])('%s is sent once to who keeps it', async (path) => {
    const { etag } = (await api.call(path)).headers;

    expect(await api.call(path, { headers: { 'if-none-match': String(etag) } })).toMatchObject({ status: 304, text: '' });
  });

  it.each(['application/com.github.proto-openapi.spec.v2@v1.0+protobuf', 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf'])(
    'v2 is a message to who accepts %s only',
    async (accept) => {
      const answer = await api.call('/openapi/v2', { headers: { accept } });

      expect(answer.headers['content-type']).toBe('application/com.github.proto-openapi.spec.v2.v1.0+protobuf');
      expect(answer.bytes.subarray(0, 5).toString()).toBe('\n\u00032.0');
    },
  );

  it('v3 is JSON only', async () => {
    const headers = { accept: 'application/com.github.proto-openapi.spec.v3@v1.0+protobuf' };

    expect((await api.call('/openapi/v3/apis/image.openshift.io/v1', { headers })).status).toBe(406);
  });
});

describe('namespaces', () => {
  const NAMESPACES = '/api/v1/namespaces';
  const TRIGGERS = (namespace: string) => `/apis/triggers.millrace.dev/v1/namespaces/${namespace}/imagetriggers`;
  const trigger = { metadata: { name: 't' }, spec: {} };
  const questions = (from: number) => owner.asked.slice(from).filter(({ resource }) => resource === 'namespaces');

  it('are objects like others, under two names', async () => {
    expect((await api.call(NAMESPACES, { method: 'POST', body: { metadata: { name: 'made' } } })).status).toBe(201);

    expect((await api.call(`${NAMESPACES}/made`)).json).toMatchObject({ kind: 'Namespace', apiVersion: 'v1', metadata: { name: 'made' } });
    expect((await api.call(NAMESPACES)).json).toMatchObject({ kind: 'NamespaceList', apiVersion: 'v1' });
    expect((await api.call('/apis/project.openshift.io/v1/projects')).json).toMatchObject({ kind: 'ProjectList' });
    expect((await api.call(`${NAMESPACES}/never`)).json.message).toBe('namespaces "never" not found');
  });

  it('are made where another service than their owner gets an object, once it has it', async () => {
    await api.call(TRIGGERS('only-triggers'), { method: 'POST', body: trigger });
    await api.call(`${TRIGGERS('rehearsed')}?dryRun=All`, { method: 'POST', body: trigger });
    const again = await api.call(TRIGGERS('only-triggers'), { method: 'POST', body: { ...trigger, metadata: { name: 'second' } } });

    expect(again.status).toBe(201);
    expect((await api.call(`${NAMESPACES}/only-triggers`)).status).toBe(200);
    expect((await api.call(`${NAMESPACES}/rehearsed`)).status).toBe(404);
  });

  it('go with what other services hold of them, unless they stay', async () => {
    for (const name of ['goes', 'stays']) await api.call(TRIGGERS(name), { method: 'POST', body: trigger });
    const asked = owner.asked.length;
    const body = { preconditions: { uid: 'another' } };

    expect((await api.call(`${NAMESPACES}/stays`, { method: 'DELETE', body })).status).toBe(409);
    expect((await api.call(`${NAMESPACES}/stays?dryRun=All`, { method: 'DELETE' })).status).toBe(200);
    expect((await api.call(`${NAMESPACES}/goes`, { method: 'DELETE' })).status).toBe(200);

    expect((await api.call(`${TRIGGERS('stays')}/t`)).status).toBe(200);
    expect((await api.call(`${TRIGGERS('goes')}/t`)).status).toBe(404);
    expect((await api.call(`${NAMESPACES}/goes`)).status).toBe(404);
    expect(questions(asked).flatMap((one) => (one.verb === 'delete' ? [`${one.name} ${one.dryRun}`] : []))).toEqual([
      'stays true',
      'stays true',
      'goes true',
      'goes false',
    ]);
  });

  it('nothing is created in one that cannot exist', async () => {
    const answer = await api.call('/apis/image.openshift.io/v1/namespaces/No_Name/imagestreams', { method: 'POST', body: stream('x') });

    expect(answer.json).toMatchObject({ code: 404, details: { name: 'No_Name', kind: 'namespaces' } });
  });
});

describe('forms', () => {
  const TABLE = 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json';
  beforeEach(() => {
    owner.put(ImageStreams, {
      metadata: { name: 'web', namespace: ns },
      status: { dockerImageRepository: 'r/web', tags: [{ tag: '1', items: [{ created: '2020-01-01T00:00:00Z' }] }] },
    });
  });

  it('a list is printed as a table with the metadata of each object', async () => {
    const { json } = await api.call(streams, { headers: { accept: TABLE } });

    expect(json).toMatchObject({ kind: 'Table', apiVersion: 'meta.k8s.io/v1', metadata: { resourceVersion: expect.any(String) } });
    expect(json.rows[0].cells).toEqual(['web', 'r/web', '1', expect.stringMatching(/ years ago$/)]);
    expect(json.rows[0].object).toMatchObject({ kind: 'PartialObjectMetadata', metadata: { name: 'web' } });
    expect(json.rows[0].object).not.toHaveProperty('status');
  });

  it('for a row the owner is asked for no more history than it shows', async () => {
    await api.call(`${streams}/web`, { headers: { accept: TABLE } });

    expect(owner.asked.at(-1)).toMatchObject({ verb: 'get', historyLimit: 1 });
  });

  it.each([
    ['None', null],
    ['Object', { kind: 'ImageStream' }],
  ])('includeObject=%s', async (included, expected) => {
    const { json } = await api.call(`${streams}/web?includeObject=${included}`, { headers: { accept: TABLE } });

    if (expected) expect(json.rows[0].object).toMatchObject(expected);
    else expect(json.rows[0].object).toBeNull();
  });

  it('metadata alone', async () => {
    const all = await api.call(streams, { headers: { accept: 'application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io' } });
    const one = await api.call(`${streams}/web`, { headers: { accept: 'application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io' } });

    expect(all.json).toMatchObject({
      kind: 'PartialObjectMetadataList',
      items: [{ kind: 'PartialObjectMetadata', metadata: { name: 'web' } }],
    });
    expect(one.json).toEqual({
      kind: 'PartialObjectMetadata',
      apiVersion: 'meta.k8s.io/v1',
      metadata: expect.objectContaining({ name: 'web' }),
    });
  });

  it('what cannot be given is 406, also where only protobuf is wanted', async () => {
    for (const accept of ['text/html', 'application/json;as=Nope;v=v1;g=meta.k8s.io', 'application/vnd.kubernetes.protobuf'])
      expect((await api.call(`${streams}/web`, { headers: { accept } })).json).toMatchObject({ code: 406, reason: 'NotAcceptable' });
    expect((await api.call(`${streams}/web`, { headers: { accept: 'application/vnd.kubernetes.protobuf,application/json' } })).status).toBe(
      200,
    );
  });
});

describe('owners that do not answer', () => {
  it('one that does not run is 503 with its name and when to come again', async () => {
    const answer = await api.call('/apis/ops.millrace.dev/v1/registrynotifications');

    expect(answer.status).toBe(503);
    expect(answer.headers['retry-after']).toBe('1');
    expect(answer.json).toMatchObject({
      reason: 'ServiceUnavailable',
      message: 'the service registry-mapping is not running: start it, then try again',
    });
  });

  it('an owner that fails is 500 and tells nothing of its inside', async () => {
    const answer = await api.call(`${streams}/x/status`, { method: 'PUT', body: '{"metadata":{"name":"x"}}' });
    expect(answer.status).toBe(404);
    owner.put(Images, { metadata: { name: 'broken' } });
    Object.defineProperty(owner, 'warnings', {
      configurable: true,
      get: () => {
        throw new Error('postgres://user:secret@host');
      },
    });
    try {
      const failed = await api.call('/apis/image.openshift.io/v1/images/broken');

      expect(failed.json).toMatchObject({
        code: 500,
        message: 'Internal error occurred: the service tag-store failed: its log names the reason',
      });
    } finally {
      Object.defineProperty(owner, 'warnings', { configurable: true, writable: true, value: undefined });
    }
  });
});
