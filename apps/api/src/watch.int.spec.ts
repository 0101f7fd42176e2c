import { request as httpsRequest } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Deliveries, ImageStreams, Images } from '@millrace/contracts/resources';
import type { RunningService } from '@millrace/platform/service';
import { eventually } from '@millrace/testing/eventually';
import { aNatsServer } from '@millrace/testing/servers';
import { anApi, type Api } from './fixture-api.ts';
import { anOwner, type MapOwner } from './fixture-owner.ts';

let nats: Awaited<ReturnType<typeof aNatsServer>>;
let api: Api;
let owner: MapOwner;
let service: RunningService;
let namespace = 0;
let ns: string;
let streams: string;

beforeAll(async () => {
  nats = await aNatsServer();
  ({ owner, service } = await anOwner('tag-store', nats.url));
  api = await anApi(nats.url, { WATCH_LIMIT: '3', WATCH_BACKLOG_BYTES: '65536' });
});
afterAll(async () => {
  await api?.stop();
  await service?.stop();
  await nats?.stop();
});
beforeEach(() => {
  ns = `w${++namespace}`;
  streams = `/apis/image.openshift.io/v1/namespaces/${ns}/imagestreams`;
});

interface Event {
  type: string;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- tests look where they like
  object: any;
}

/** An open watch: its events so far, and whether the server has ended it. */
async function watch(path: string, headers: Record<string, string> = {}, { reads = true } = {}) {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const sent = httpsRequest(api.options(path, { headers }), resolve);
    sent.on('error', reject);
    sent.end();
  });
  const open = {
    events: [] as Event[],
    ended: false,
    status: response.statusCode,
    close: () => response.destroy(),
    read: () => response.on('data', read),
  };
  let rest = '';
  response.setEncoding('utf8');
  const read = (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) open.events.push(JSON.parse(line) as Event);
  };
  if (reads) response.on('data', read);
  response.on('error', () => undefined);
  response.on('close', () => (open.ended = true));
  return open;
}
const seen = ({ events }: { events: Event[] }) => events.map(({ type, object }) => `${type} ${object.metadata?.name ?? ''}`.trim());
const put = (name: string, more: object = {}) => owner.put(ImageStreams, { metadata: { name, namespace: ns, ...more } });
const remove = (name: string) => api.call(`${streams}/${name}`, { method: 'DELETE' });

describe('a watch', () => {
  it('with a selector tells what comes to be selected as ADDED, what leaves as DELETED, and nothing of others', async () => {
    put('in', { labels: { k: 'v' } });
    put('out');
    const open = await watch(`${streams}?watch=true&labelSelector=k%3Dv`);
    await eventually(() => expect(seen(open)).toEqual(['ADDED in']));

    put('out', { labels: { k: 'v' } });
    put('in', { labels: { k: 'w' } });
    put('in', { labels: { k: 'x' } });
    put('in', { labels: { k: 'v' } });
    put('in', { labels: { k: 'v', more: '' } });

    await eventually(() => expect(seen(open)).toEqual(['ADDED in', 'ADDED out', 'DELETED in', 'ADDED in', 'MODIFIED in']));
    expect(open.events[2]?.object.metadata.labels).toEqual({ k: 'v' });
    open.close();
  });

  it('without a version begins with what is there', async () => {
    put('a');
    const open = await watch(`${streams}?watch=true`);
    await eventually(() => expect(seen(open)).toEqual(['ADDED a']));
    put('a', { labels: { x: 'y' } });
    await remove('a');
    await eventually(() => expect(seen(open)).toEqual(['ADDED a', 'MODIFIED a', 'DELETED a']));
    const versions = open.events.map(({ object }) => Number(object.metadata.resourceVersion));
    expect(versions).toEqual(versions.toSorted((a, b) => a - b));
    expect(open.events[0]?.object).toMatchObject({ kind: 'ImageStream', apiVersion: 'image.openshift.io/v1' });
    open.close();
  });

  it('from a version has what came after it', async () => {
    const { metadata } = put('a');
    put('b');
    const open = await watch(`${streams}?watch=1&resourceVersion=${metadata.resourceVersion}`);
    await eventually(() => expect(seen(open)).toEqual(['ADDED b']));
    open.close();
  });

  it('answers at once, also when nothing has happened', async () => {
    const { metadata } = put('a');
    const before = performance.now();
    const open = await watch(`${streams}?watch=true&resourceVersion=${metadata.resourceVersion}`);
    expect(open.status).toBe(200);
    expect(performance.now() - before).toBeLessThan(2_000);
    open.close();
  });

  it('ends at its time limit, with a bookmark before it where bookmarks are allowed', async () => {
    const { metadata } = put('a');
    const open = await watch(`${streams}?watch=true&resourceVersion=${metadata.resourceVersion}&timeoutSeconds=3&allowWatchBookmarks=true`);
    await eventually(() => expect(open.ended).toBe(true));
    expect(open.events).toEqual([
      {
        type: 'BOOKMARK',
        object: {
          kind: 'ImageStream',
          apiVersion: 'image.openshift.io/v1',
          metadata: { resourceVersion: expect.stringMatching(/^\d+$/) },
          spec: { lookupPolicy: { local: false } },
          status: { dockerImageRepository: '' },
        },
      },
    ]);
  });

  it('with sendInitialEvents says where the beginning ends', async () => {
    put('a');
    const open = await watch(`${streams}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true`);
    await eventually(() => expect(seen(open)).toEqual(['ADDED a', 'BOOKMARK']));
    expect(open.events[1]?.object.metadata.annotations).toEqual({ 'k8s.io/initial-events-end': 'true' });
    open.close();
  });

  it('from a version that is forgotten is one ERROR event', async () => {
    owner.forgotten = 50;
    const open = await watch(`${streams}?watch=true&resourceVersion=1`);
    await eventually(() => expect(open.ended).toBe(true));
    expect(open.events).toMatchObject([
      { type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired', message: 'too old resource version: 1 (50)' } },
    ]);
    owner.forgotten = 0;
  });

  it('follows one object, also by the old path', async () => {
    put('one');
    put('two');
    const old = await watch(`/apis/image.openshift.io/v1/watch/namespaces/${ns}/imagestreams/one`);
    const selected = await watch(`${streams}?watch=true&fieldSelector=metadata.name%3Done`);
    put('two', { labels: { x: 'y' } });
    put('one', { labels: { x: 'y' } });
    for (const open of [old, selected]) {
      await eventually(() => expect(seen(open)).toEqual(['ADDED one', 'MODIFIED one']));
      open.close();
    }
  });

  it('of images is cluster wide', async () => {
    const open = await watch('/apis/image.openshift.io/v1/images?watch=true');
    owner.put(Images, { metadata: { name: `sha256:${ns}` } });
    await eventually(() => expect(seen(open)).toContain(`ADDED sha256:${ns}`));
    open.close();
  });

  it('is fed with others of its kind from one question to the owner', async () => {
    const open = [await watch(`${streams}?watch=true`), await watch(`${streams}?watch=true`)];
    const questions = owner.asked.length;

    put('a');
    put('a', { labels: { x: 'y' } });

    for (const one of open) await eventually(() => expect(seen(one)).toEqual(['ADDED a', 'MODIFIED a']));
    const changes = owner.asked.slice(questions).filter(({ verb, resource }) => verb === 'changes' && resource === 'imagestreams');
    expect(changes.length).toBeLessThanOrEqual(3);
    for (const one of open) one.close();
  });

  it('of one namespace tells nothing of another', async () => {
    const [here, everywhere] = [await watch(`${streams}?watch=true`), await watch(`/apis/image.openshift.io/v1/imagestreams?watch=true`)];

    owner.put(ImageStreams, { metadata: { name: 'there', namespace: `${ns}-b` } });
    put('here');

    await eventually(() => expect(seen(everywhere)).toEqual(expect.arrayContaining(['ADDED there', 'ADDED here'])));
    await eventually(() => expect(seen(here)).toEqual(['ADDED here']));
    for (const one of [here, everywhere]) one.close();
  });

  it('from a version before what the api has kept is told by the owner what came since', async () => {
    const { metadata } = put('a');
    for (let n = 0; n < 5; n++) put('filler', { annotations: { text: 'x'.repeat(30_000) } });
    const keeps = await watch(`${streams}?watch=true`);
    for (let n = 0; n < 5; n++) put('filler', { annotations: { text: 'y'.repeat(30_000) } });
    await eventually(() => expect(keeps.events.length).toBeGreaterThan(5));

    const open = await watch(`${streams}?watch=true&resourceVersion=${metadata.resourceVersion}`);

    put('last');
    await eventually(() => expect(seen(open).at(-1)).toBe('ADDED last'));
    expect(seen(open).filter((one) => one.endsWith(' filler'))).toHaveLength(10);
    for (const one of [keeps, open]) one.close();
  });

  it('whose client does not read is sent away with the reason, and others go on', async () => {
    const slow = await watch(`${streams}?watch=true`, {}, { reads: false });
    const quick = await watch(`${streams}?watch=true`);

    for (let n = 0; n < 80; n++) put('large', { annotations: { n: String(n), text: 'x'.repeat(200_000) } });
    await eventually(() => expect(quick.events.at(-1)?.object.metadata.annotations.n).toBe('79'), 20_000);

    expect(quick.events).toHaveLength(80);
    slow.read();
    await eventually(() => expect(slow.ended).toBe(true));
    expect(slow.events.length).toBeLessThan(80);
    expect(slow.events.at(-1)).toMatchObject({ type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired' } });
    expect(slow.events.at(-1)?.object.message).toContain('the watch was too slow');
    quick.close();
  });

  it('is ended with 410 when the owner has forgotten what its followers have not heard', async () => {
    put('a');
    const open = await watch(`${streams}?watch=true`);
    await eventually(() => expect(seen(open)).toEqual(['ADDED a']));

    owner.forgotten = 1_000_000;
    put('b');
    await eventually(() => expect(open.ended).toBe(true));
    owner.forgotten = 0;

    expect(open.events.at(-1)).toMatchObject({ type: 'ERROR', object: { code: 410, reason: 'Expired' } });
    const again = await watch(`${streams}?watch=true`);
    await eventually(() => expect(seen(again)).toEqual(['ADDED a', 'ADDED b']));
    again.close();
  });

  it('prints rows, with the columns once', async () => {
    put('a');
    const open = await watch(`${streams}?watch=true`, { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' });
    await eventually(() => expect(open.events).toHaveLength(1));
    put('a', { labels: { x: 'y' } });
    await eventually(() => expect(open.events).toHaveLength(2));
    expect(open.events[0]?.object).toMatchObject({
      kind: 'Table',
      columnDefinitions: expect.any(Array),
      rows: [{ cells: ['a', '', '', ''] }],
    });
    expect(open.events[1]?.object.columnDefinitions).toBeNull();
    open.close();
  });

  it('of a resource that has no changes to tell is refused', async () => {
    const answer = await api.call(`/apis/triggers.millrace.dev/v1/namespaces/${ns}/${Deliveries.resource}?watch=true`);
    expect(answer.status).toBe(Deliveries.verbs.includes('watch') ? 503 : 405);
  });

  it('from a version that is no number is refused as the reference does', async () => {
    expect((await api.call(`${streams}?watch=true&resourceVersion=abc`)).json).toMatchObject({
      code: 500,
      message: 'resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax',
    });
  });

  it('beyond the limit is told to come later, and a closed one makes room', async () => {
    const open = [await watch(`${streams}?watch=true`), await watch(`${streams}?watch=true`), await watch(`${streams}?watch=true`)];
    const refused = await api.call(`${streams}?watch=true`);
    expect(refused).toMatchObject({ status: 429, headers: { 'retry-after': '10' } });
    for (const one of open) one.close();
    const again = await eventually(async () => {
      const one = await watch(`${streams}?watch=true`);
      expect(one.status).toBe(200);
      return one;
    });
    again.close();
  });

  it('outlives a restart of its owner', async () => {
    put('before');
    const open = await watch(`${streams}?watch=true`);
    await eventually(() => expect(seen(open)).toEqual(['ADDED before']));
    await service.stop();
    const version = owner.put(ImageStreams, { metadata: { name: 'x', namespace: 'elsewhere' } }).metadata.resourceVersion;
    ({ owner, service } = await anOwner('tag-store', nats.url));
    while (
      Number(owner.put(ImageStreams, { metadata: { name: 'filler', namespace: 'elsewhere' } }).metadata.resourceVersion) < Number(version)
    );
    put('after');
    await eventually(() => expect(seen(open)).toEqual(['ADDED before', 'ADDED after']), 20_000);
    open.close();
  });

  it('ends when the server stops', async () => {
    const other = await anApi(nats.url);
    const sent = httpsRequest(other.options(`${streams}?watch=true`, {}));
    sent.end();
    const response = await new Promise<IncomingMessage>((resolve) => sent.once('response', resolve));
    sent.on('error', () => undefined);
    response.on('error', () => undefined);
    const closed = new Promise((resolve) => response.once('close', resolve));
    response.resume();
    const before = performance.now();
    await other.stop();
    await closed;
    expect(performance.now() - before).toBeLessThan(3_000);
  });
});
