import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Outcome } from './dialect.ts';
import { outcomesIn } from '../dialects.ts';
import { distribution } from './distribution.ts';

interface Sent {
  contentType: string;
  body: { events: { id: string; action: string; target: Record<string, unknown> }[] };
}
const sentBy = (version: '2.8' | '3'): Sent[] =>
  JSON.parse(readFileSync(new URL(`../../fixtures/distribution-${version}.json`, import.meta.url), 'utf8')) as Sent[];

const pushesIn = (body: string): Outcome[] => outcomesIn(distribution, body, {});
const DIGEST = `sha256:${'a'.repeat(64)}`;
const anEvent = (change: Record<string, unknown> = {}, target: Record<string, unknown> = {}) => ({
  id: '6aa28cbb-cd33-4279-918d-00e6054458ed',
  timestamp: '2026-11-21T03:31:14.990324607Z',
  action: 'push',
  target: { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: DIGEST, repository: 'demo/web', tag: '1.0', ...target },
  request: { id: 'r', host: 'registry.example.com', method: 'PUT', useragent: 'skopeo/1.9.3' },
  actor: { name: 'ci' },
  source: { addr: 'registry-1:5000', instanceID: '4850f9e3' },
  ...change,
});
const read = (...events: unknown[]): Outcome[] => pushesIn(JSON.stringify({ events }));
const told = (outcome: Outcome | undefined): string =>
  outcome?.kind === 'push' ? `push ${outcome.push.repository}:${outcome.push.tag}` : `${outcome?.kind} ${outcome?.reason}`;

describe.each(['2.8', '3'] as const)('what Distribution %s sends', (version) => {
  const sent = sentBy(version);

  it('is understood, each event for what it is', () => {
    expect(sent.map(({ body }) => pushesIn(JSON.stringify(body)).map(told).join())).toEqual([
      'ignored blob',
      'push demo/web:1.0',
      'ignored by-digest',
      'push demo/web:2.0',
      'ignored pull',
      'ignored mount',
      'ignored delete',
      'ignored pull',
      'ignored blob',
      'push demo/copy:latest',
    ]);
  });

  it('keeps what a push is known by', () => {
    const [outcome] = pushesIn(JSON.stringify(sent[1]!.body));

    expect(outcome).toEqual({
      kind: 'push',
      push: {
        eventId: '6aa28cbb-cd33-4279-918d-00e6054458ed',
        repository: 'demo/web',
        tag: '1.0',
        digest: 'sha256:9ad8f57fe246fd2368993cb7c7f3c0f2665e051d15084766560002b825427759',
        mediaType: 'application/vnd.docker.distribution.manifest.v2+json',
        occurredAt: '2026-11-21T03:31:14.990324607Z',
        actor: version === '3' ? 'ci-robot' : undefined,
        pushedTo: '127.0.0.1:25998',
        instance: '4850f9e3-0d56-49aa-9a80-dd7b4be30a18',
      },
    });
  });
});

describe('an event is a push', () => {
  it.each<[string, Record<string, unknown>, Record<string, unknown>]>([
    ['without a media type', {}, { mediaType: undefined }],
    ['of a media type that nobody knows', {}, { mediaType: 'application/vnd.example+json' }],
    ['without an actor', { actor: {} }, {}],
    ['with an actor of another shape', { actor: 'ci' }, {}],
    ['without request and source', { request: undefined, source: undefined }, {}],
    ['with a time that has an offset', { timestamp: '2026-11-21T04:31:14+01:00' }, {}],
    ['by sha512', {}, { digest: `sha512:${'a'.repeat(128)}` }],
    ['with fields that nobody knows', { color: 'red' }, { references: [{}] }],
    ['of one segment, which the layout may refuse later', {}, { repository: 'web' }],
  ])('%s', (_title, change, target) => {
    expect(read(anEvent(change, target))[0]?.kind).toBe('push');
  });

  it('with NUL characters taken out of what is only told along', () => {
    expect(read(anEvent({ actor: { name: 'c\0i' } }))[0]).toMatchObject({ push: { actor: 'c\uFFFDi' } });
  });
});

describe('an event is ignored', () => {
  it.each<[string, Record<string, unknown>, Record<string, unknown>]>([
    ['pull', { action: 'pull' }, {}],
    ['pull', { action: 'pull', id: undefined, timestamp: 'yesterday' }, {}],
    ['mount', { action: 'mount' }, { tag: undefined }],
    ['delete', { action: 'delete' }, { tag: '1.0' }],
    ['blob', {}, { tag: undefined, mediaType: 'application/octet-stream' }],
    ['blob', {}, { tag: undefined, mediaType: undefined }],
    ['by-digest', {}, { tag: undefined }],
    ['by-digest', {}, { tag: '' }],
    ['own-request', { request: { useragent: 'Millrace' } }, {}],
    ['own-request', { request: { useragent: 'Millrace/0.1.0' } }, {}],
  ])('%s: %j %j', (reason, change, target) => {
    expect(read(anEvent(change, target))).toEqual([{ kind: 'ignored', reason }]);
  });
});

describe('an event is malformed', () => {
  it.each<[RegExp, Record<string, unknown>, Record<string, unknown>]>([
    [/^unknown action "rename"$/, { action: 'rename' }, {}],
    [/^action: is missing$/, { action: undefined }, {}],
    [/^action: is missing$/, { action: 7 }, {}],
    [/^id: /, { id: undefined }, {}],
    [/^id: must be up to 200/, { id: '' }, {}],
    [/^id: must be up to 200/, { id: 'a\r\nb' }, {}],
    [/^id: must be up to 200/, { id: 'i'.repeat(201) }, {}],
    [/^timestamp: must be a time/, { timestamp: 'yesterday' }, {}],
    [/^timestamp: /, { timestamp: 1700000000 }, {}],
    [/^target.repository: must be lower-case/, {}, { repository: 'Demo/Web' }],
    [/^target.repository: must be lower-case/, {}, { repository: '../etc' }],
    [/^target.repository: /, {}, { repository: 'a'.repeat(256) }],
    [/^target.tag: must be up to 128/, {}, { tag: '-x' }],
    [/^target.tag: must be up to 128/, {}, { tag: 'a\0b' }],
    [/^target.digest: must be a digest/, {}, { digest: 'sha256:abc' }],
    [/^target.tag: .*; target.digest: /, {}, { tag: undefined, digest: 'sha256:abc' }],
    [/^target: /, { target: 'demo/web' }, {}],
  ])('%s: %j %j', (reason, change, target) => {
    const event = anEvent(change, target);

    expect(read(event)).toMatchObject([{ kind: 'malformed', reason: expect.stringMatching(reason) }]);
  });

  it.each([[null], ['push'], [7], [[]]])('when it is %j', (event) => {
    expect(read(event)).toEqual([{ kind: 'malformed', reason: 'action: is missing', event, eventId: undefined }]);
  });

  it('and keeps its id where it has a usable one', () => {
    expect(read(anEvent({}, { tag: '-x' }))[0]).toMatchObject({ eventId: '6aa28cbb-cd33-4279-918d-00e6054458ed' });
  });

  it('and does not stop the others', () => {
    expect(read(anEvent({ id: '1' }), anEvent({ action: 'rename' }), null, anEvent({ id: '2' })).map(told)).toEqual([
      'push demo/web:1.0',
      'malformed unknown action "rename"',
      'malformed action: is missing',
      'push demo/web:1.0',
    ]);
  });
});

describe('a body', () => {
  it.each([
    ['', /not JSON/],
    ['<html>', /not JSON/],
    ['null', /no list "events"/],
    ['[]', /no list "events"/],
    ['{}', /no list "events"/],
    ['{"events":{}}', /no list "events"/],
    ['"events"', /no list "events"/],
  ])('%j is one malformed event', (body, reason) => {
    expect(pushesIn(body)).toMatchObject([{ kind: 'malformed', reason: expect.stringMatching(reason) }]);
  });

  it('without events says nothing', () => {
    expect(pushesIn('{"events":[]}')).toEqual([]);
  });
});
