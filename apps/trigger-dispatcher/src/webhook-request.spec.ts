import { describe, expect, it } from 'vitest';
import { completeWebhook, type TriggerWebhook } from '@millrace/domain/trigger-webhook';
import { exampleEvent } from '@millrace/domain/webhook-variables';
import { makeRequest, requestProblems, RequestError, shownUrl } from './webhook-request.ts';

const EVENT = exampleEvent('Deploy', { namespace: 'demo', name: 'web' });
const none = { secret: '', headers: {} };
const hook = (of: TriggerWebhook) => completeWebhook({ name: 'hook', url: 'https://a.example.com/hook', ...of });
const make = (of: TriggerWebhook, values: Record<string, string> = {}, event: object = EVENT) =>
  makeRequest(hook(of), none, new Map(Object.entries(values)), JSON.stringify(event), 'public');
const problems = (of: TriggerWebhook) =>
  requestProblems(hook(of), none, new Map(), { path: 'w', event: EVENT, allow: 'public' }).map(({ field, text }) => `${field}: ${text}`);
const ref = { secretKeyRef: { name: 's', key: 'k' } };

describe('a request', () => {
  it('is made of the event, each value escaped for where it stands', () => {
    const odd = { ...EVENT, data: { ...EVENT.data, tag: 'a"/b?c' } };
    const made = make(
      {
        url: 'https://a.example.com/{{ tag }}?t={{ tag }}',
        body: '{"tag": "{{ tag }}"}',
        headers: { 'x-tag': '{{ tag }}', 'x-none': '{{ data.nothing }}' },
      },
      {},
      odd,
    );

    expect(made).toMatchObject({ method: 'POST', url: 'https://a.example.com/a%22%2Fb%3Fc?t=a%22%2Fb%3Fc', body: '{"tag": "a\\"/b?c"}' });
    expect(made.headers).toEqual({ 'content-type': 'application/json', 'x-tag': 'a"/b?c' });
  });

  it.each([
    ['application/x-www-form-urlencoded', 'image=registry.example.com%2Fdemo'],
    ['text/plain', 'image=registry.example.com/demo'],
  ])('of %s is escaped as that: %s', (contentType, beginning) => {
    expect(make({ body: 'image={{ repository }}', contentType }).body).toContain(beginning);
  });

  it('without a body is the event as it was told', () => {
    const made = make({ headers: { 'x-tag': '{{ tag }}' } });

    expect(JSON.parse(made.body)).toEqual(EVENT);
    expect(made.headers['content-type']).toBe('application/cloudevents+json; charset=utf-8');
  });

  it('with an empty body has none', () => {
    expect(make({ preset: 'portainer-stack', url: '', parameters: { server: 'https://p.example.com', token: 't' } })).toMatchObject({
      ...{ body: '', headers: {} },
    });
  });

  it.each([
    [{ body: '{"a": }' }, 'body: what it comes to is not JSON'],
    [{ body: '\n\n{{ data | nope }}' }, 'body: line 3, column 1: undefined filter: nope'],
    [{ body: '{% for i in (1..9000) %}{{ i }}{% endfor %}', contentType: 'text/plain' }, 'steps'],
    [{ headers: { 'x-a': '{{ "a☃" }}' } }, 'headers[x-a]: must be up to 4096 printable characters'],
    [{ url: 'https://a.example.com{{ parameters.path | raw }}', parameters: { path: '@evil.example/' } }, 'url: '],
    [
      { preset: 'flux-receiver', url: '', parameters: { server: 'https://f.example.com' }, parametersFrom: { path: ref } },
      'parametersFrom[path]: what stands in the secret must match',
    ],
    [{ secretFrom: ref }, 'secretFrom: what stands in the secret must be whsec_'],
  ] as [TriggerWebhook, string][])('of %j cannot be made: %s', (of, message) => {
    const values = { 'parametersFrom.path': '/other', secretFrom: 'whsec_short' };

    expect(() => make(of, values)).toThrow(RequestError);
    expect(() => make(of, values)).toThrow(message);
  });

  it('of an event that is too large for a template cannot be made; as it was told it can', () => {
    const large = { ...EVENT, data: { ...EVENT.data, labels: { a: 'x'.repeat(300_000) } } };

    expect(() => make({ body: '{{ tag }}', contentType: 'text/plain' }, {}, large)).toThrow('more than 256 kB');
    expect(JSON.parse(make({ secretFrom: ref }, {}, large).body)).toEqual(large);
  });

  it('cannot have another line put into a header', () => {
    const odd = { ...EVENT, data: { ...EVENT.data, labels: { a: 'x\r\nx-injected: 1' } } };

    expect(() => make({ headers: { 'x-a': '{{ labels.a }}' } }, {}, odd)).toThrow('headers[x-a]');
  });

  it('shows where it went, without what is secret and without its query', () => {
    const slack = { preset: 'slack', url: '', parametersFrom: { path: ref } };
    const own = { url: 'https://a.example.com/{{ parameters.token }}/{{ tag }}?x={{ parameters.token }}', parameters: { token: 's3cret' } };

    expect(make(slack, { 'parametersFrom.path': '/services/T/B/X' })).toMatchObject({
      ...{ url: 'https://hooks.slack.com/services/T/B/X', shown: 'https://hooks.slack.com/***', credentials: ['/services/T/B/X'] },
    });
    expect(make(own)).toMatchObject({ shown: 'https://a.example.com/***/latest' });
    expect(shownUrl(hook(own))).toBe('https://a.example.com/***/');
  });

  it('counts as success what the receiver answers when it has acted, and not a login page', () => {
    const { judge } = make({ preset: 'github-repository-dispatch', url: '', parameters: { repository: 'a/b', token: 't' } });

    expect(judge?.(204, '')).toEqual({ accepted: true });
    expect(judge?.(200, '<html>')).toEqual({
      accepted: false,
      meaning: 'answered 200, and 204 is what the receiver answers when it has acted',
    });
    expect(judge?.(500, '')).toEqual({ accepted: false });
  });

  it('ends to sign with the previous key when its time is over', () => {
    const [key, before] = [`whsec_${'A'.repeat(32)}`, `whsec_${'B'.repeat(32)}`];
    const keys = (previousSecretUntil?: string) =>
      makeRequest(
        hook({ method: 'PUT', ...(previousSecretUntil ? { previousSecretUntil } : {}) }),
        { secret: key, headers: {}, previousSecret: before },
        new Map(),
        JSON.stringify(EVENT),
        'public',
      ).keys;

    expect(keys()).toEqual([key, before]);
    expect(keys('2999-01-01T00:00:00Z')).toEqual([key, before]);
    expect(keys('2020-01-01T00:00:00Z')).toEqual([key]);
  });

  it('to a cluster is an apply of the image, and its answer is not kept', () => {
    const kubernetes = {
      ...{ server: 'https://k.example.com:6443', tokenFrom: ref, containers: ['web'] },
      object: { apiVersion: 'apps/v1', kind: 'Deployment', namespace: 'shop', name: 'web' },
    };
    const made = make({ url: '', kubernetes }, { 'kubernetes.tokenFrom': 'tok\n' });

    expect(made).toMatchObject({
      ...{ method: 'PATCH', keepsAnswer: false, keys: [], credentials: ['tok'] },
      url: 'https://k.example.com:6443/apis/apps/v1/namespaces/shop/deployments/web?fieldManager=millrace&force=false',
      headers: { 'content-type': 'application/apply-patch+yaml', authorization: 'Bearer tok' },
    });
    expect(() => make({ url: '', kubernetes }, { 'kubernetes.tokenFrom': 'to ken' })).toThrow(
      'kubernetes.tokenFrom: what stands in the secret is no token',
    );
  });
});

describe('what is wrong with a webhook when it is written', () => {
  it.each([
    [{ body: '{"a": "{{ dta.tag }}"}' }, 'w.body: Invalid value: "***": there is no dta; a template has parameters, event, data'],
    [{ body: '{{ parameters.x | json }}' }, 'there is no parameters.x'],
    [{ body: '{{ body }}' }, 'there is no body'],
    [{ headers: { 'x-a': 'Bearer abc {{ nope }}' } }, 'w.headers[x-a]: Invalid value: "***": there is no nope'],
    [{ url: 'https://a.example.com/{{ nope }}' }, 'w.url: Invalid'],
    [{ body: 'a\n{% if %}' }, 'line 2'],
    [{ body: '{% for i in (1..100000000) %}x{% endfor %}' }, 'w.body: Invalid value: "***": line 1, column 1: it makes more than'],
    [{ body: '{% for i in (1..1900) %}' + 'x'.repeat(1_000) + '{% endfor %}' }, 'it comes to more than 256 kB'],
    [
      { body: '{"a": {{ image }}}' },
      'w.body: Invalid value: "***": what it comes to is not JSON, and contentType says that it is, for an example event',
    ],
    [
      { preset: 'slack', url: '', parameters: { path: '/x' }, body: '{{ parameters.tken | json }}' },
      'w.body: Invalid value: "***": there is no parameters.tken',
    ],
  ] as [TriggerWebhook, string][])('%j: %s', (of, message) => {
    expect(problems(of).join()).toContain(message);
    expect(problems(of).join()).not.toContain('Bearer');
  });

  it.each([
    { body: '{"image": "{{ image }}"}' },
    { headers: { 'x-signature': 'sha256={{ body | hmac_sha256: parameters.key }}' }, parametersFrom: { key: ref } },
    { url: 'https://a.example.com/{{ stream }}/{{ tag }}?c={{ labels["org.opencontainers.image.revision"] }}' },
    { body: '{% for label in labels %}{{ label[0] }}={{ label[1] }}\n{% endfor %}', contentType: 'text/plain' },
    { preset: 'gitlab-pipeline', url: '', parameters: { project: '1', token: 'a"b' } },
  ] as TriggerWebhook[])('%j: nothing', (of) => {
    expect(problems(of)).toEqual([]);
  });
});
