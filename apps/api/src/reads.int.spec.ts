import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ImageStreams, ImageStreamTags } from '@millrace/contracts/resources';
import type { RunningService } from '@millrace/platform/service';
import { eventually } from '@millrace/testing/eventually';
import { aNatsServer } from '@millrace/testing/servers';
import { anApi, type Api } from './fixture-api.ts';
import { anOwner, type MapOwner } from './fixture-owner.ts';

let nats: Awaited<ReturnType<typeof aNatsServer>>;
let api: Api;
let other: Api;
let owner: MapOwner;
let service: RunningService;
let namespace = 0;
let ns: string;
let streams: string;

beforeAll(async () => {
  nats = await aNatsServer();
  ({ owner, service } = await anOwner('tag-store', nats.url));
  [api, other] = await Promise.all([anApi(nats.url), anApi(nats.url, { CACHE_BYTES: '100000' })]);
});
afterAll(async () => {
  await Promise.all([api?.stop(), other?.stop()]);
  await service?.stop();
  await nats?.stop();
});
beforeEach(() => {
  ns = `r${++namespace}`;
  streams = `/apis/image.openshift.io/v1/namespaces/${ns}/imagestreams`;
});

const TABLE = { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' };
const put = (name: string, more: object = {}, where = ns) =>
  owner.put(ImageStreams, { metadata: { name, namespace: where, ...more } }).metadata.resourceVersion;
const names = (answer: { json: { items: { metadata: { name: string } }[] } }) => answer.json.items.map(({ metadata }) => metadata.name);
/** How many objects or lists the owner was asked for meanwhile. */
async function questions(work: () => Promise<unknown>): Promise<number> {
  const before = owner.asked.length;
  await work();
  return owner.asked.slice(before).filter(({ verb }) => verb === 'get' || verb === 'list').length;
}

describe('a read', () => {
  it('of what nobody has touched is answered without its owner, with the same bytes', async () => {
    put('a', { labels: { k: 'v' } });
    const first = await api.call(`${streams}/a`);

    let again = first;
    expect(await questions(async () => (again = await api.call(`${streams}/a`)))).toBe(0);

    expect(again.text).toBe(first.text);
    expect(again.json).toMatchObject({ kind: 'ImageStream', metadata: { name: 'a', labels: { k: 'v' } } });
  });

  it('sees every write that was made before it, by whichever api', async () => {
    for (let n = 0; n < 20; n++) {
      const [writer, reader] = n % 2 ? [api, other] : [other, api];
      const object = { kind: 'ImageStream', apiVersion: 'image.openshift.io/v1', metadata: { name: `s${n}`, labels: { n: String(n) } } };
      await writer.call(streams, { method: 'POST', body: object });

      expect((await reader.call(`${streams}/s${n}`)).json.metadata.labels).toEqual({ n: String(n) });
      expect(names(await reader.call(streams))).toHaveLength(n + 1);
    }
    await api.call(`${streams}/s3`, { method: 'DELETE' });
    expect((await other.call(`${streams}/s3`)).status).toBe(404);
    expect(names(await other.call(streams))).not.toContain('s3');
  });

  it('of a tag is made anew when its stream is touched', async () => {
    const tag = `/apis/image.openshift.io/v1/namespaces/${ns}/imagestreamtags/web:latest`;
    owner.put(ImageStreamTags, { metadata: { name: 'web:latest', namespace: ns } });
    put('web');
    await api.call(tag);

    expect(await questions(() => api.call(tag))).toBe(0);
    put('web2');
    expect(await questions(() => api.call(tag))).toBe(0);
    put('web', {}, `${ns}-b`);
    expect(await questions(() => api.call(tag))).toBe(0);
    put('web');
    expect(await questions(() => api.call(tag))).toBe(1);
  });

  it('of one namespace holds when another is written to', async () => {
    put('a');
    await api.call(streams);
    put('b', {}, `${ns}-b`);

    let list = await api.call(streams);
    expect(names(list)).toEqual(['a']);
    expect(await questions(async () => (list = await api.call(streams)))).toBe(0);
    expect(names(list)).toEqual(['a']);
  });

  it('of a list asks only for what has changed since the last, and has the bytes that the owner would give', async () => {
    for (const name of ['b', 'a', 'c-1', 'c']) put(name, { labels: { name } });
    put('z', {}, `${ns}-b`);
    await api.call(streams);
    put('a', { labels: { name: 'new' } });
    put('d');
    await api.call(`${streams}/b`, { method: 'DELETE' });

    let list = await api.call(streams);
    expect(await questions(async () => (list = await api.call(`${streams}?any`)))).toBe(0);
    const owners = await api.call(`${streams}?limit=500`);

    expect(names(list)).toEqual(['a', 'c', 'c-1', 'd']);
    expect(list.text).toBe(owners.text);
    expect(names(await api.call(`${streams}?labelSelector=name%3Dnew`))).toEqual(['a']);
    expect(names(await api.call(`${streams}?fieldSelector=metadata.name!%3Da`))).toEqual(['c', 'c-1', 'd']);
    expect((await api.call(`${streams}?any`, { headers: TABLE })).json.rows).toHaveLength(4);
    expect((await api.call(`${streams}?fieldSelector=nothing%3Da`)).status).toBe(400);
  });

  it('of an empty list is an empty list', async () => {
    expect((await api.call(streams)).text).toMatch(/"metadata":\{"resourceVersion":"\d+"\},"items":\[\]\}\n$/);
  });

  it('of a list begins anew when the owner has forgotten what came after the last', async () => {
    put('a');
    await api.call(streams);
    owner.forgotten = Number(put('b'));

    expect(names(await api.call(streams))).toEqual(['a', 'b']);
    owner.forgotten = 0;
  });

  it('of a list that does not fit is answered by its owner', async () => {
    for (let n = 0; n < 10; n++) put(`s${n}`, { annotations: { text: 'x'.repeat(10_000) } });

    expect(await questions(async () => expect(names(await other.call(streams))).toHaveLength(10))).toBeGreaterThanOrEqual(1);
    put('s10');
    expect(await questions(async () => expect(names(await other.call(streams))).toHaveLength(11))).toBe(1);
  });

  it('of what is not there is asked each time', async () => {
    expect((await api.call(`${streams}/none`)).status).toBe(404);
    put('none');
    expect((await api.call(`${streams}/none`)).status).toBe(200);
  });

  it('is answered in every form, each kept for itself', async () => {
    put('a', { labels: { k: 'v' } });
    const forms = async () => [
      (await api.call(`${streams}/a`)).json.kind,
      (await api.call(`${streams}/a`, { headers: TABLE })).json.kind,
      (await api.call(`${streams}/a`, { headers: { accept: 'application/yaml' } })).text.split('\n')[0],
      (await api.call(`${streams}/a?pretty=true`)).text.split('\n')[1],
    ];
    const once = await forms();

    expect(once).toEqual(['ImageStream', 'Table', 'apiVersion: image.openshift.io/v1', expect.stringMatching(/^ {2}"/)]);
    expect(await forms()).toEqual(once);
  });

  it('of a version that is not there yet is left to the owner', async () => {
    put('a');
    await api.call(streams);
    expect(await questions(() => api.call(`${streams}?resourceVersion=900000`))).toBe(1);
  });

  it('of any version, or one that is known, does not ask what was touched', async () => {
    const version = put('a');
    await api.call(`${streams}/a`);
    const { touchedAsked } = owner;

    await api.call(`${streams}?resourceVersion=${version}`);
    await api.call(`${streams}?resourceVersion=0`);

    expect(owner.touchedAsked).toBe(touchedAsked);
  });

  it('is right when the owner no longer knows what was touched', async () => {
    put('a', { labels: { k: '1' } });
    await api.call(`${streams}/a`);
    const version = put('a', { labels: { k: '2' } });
    owner.forgotten = Number(version);

    expect((await api.call(`${streams}/a`)).json.metadata.labels).toEqual({ k: '2' });
    owner.forgotten = 0;
  });

  it('is answered by its owner where it does not fit into what may be kept', async () => {
    put('large', { annotations: { text: 'x'.repeat(60_000) } });
    expect((await other.call(`${streams}/large`)).status).toBe(200);
    expect(await questions(() => other.call(`${streams}/large`))).toBe(1);

    for (let n = 0; n < 20; n++) put(`s${n}`, { annotations: { text: 'x'.repeat(5_000) } });
    for (let n = 0; n < 20; n++) await other.call(`${streams}/s${n}`);
    expect(await questions(() => other.call(`${streams}/s19`))).toBe(0);
    expect(await questions(() => other.call(`${streams}/s0`))).toBe(1);
  });

  it('is unavailable while the owner is away, and right when it is back', async () => {
    put('before');
    await api.call(`${streams}/before`);
    await service.stop();

    expect((await api.call(`${streams}/before`)).status).toBe(503);
    ({ owner, service } = await anOwner('tag-store', nats.url));

    await eventually(async () => expect((await api.call(`${streams}/before`)).status).toBe(404));
  });
});
