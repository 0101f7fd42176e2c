import { describe, expect, it } from 'vitest';
import { completeWebhook, isCredentialHeader, maskHeaders, maskWebhook, requestTemplate, sendingOf, sourcesOf } from './trigger-webhook.ts';
import { validateWebhook } from './webhook-validation.ts';

const problems = (of: Record<string, unknown>): string[] =>
  validateWebhook({ name: 'argo', url: 'https://deploy.example.com/hook', ...of }, 'spec.webhooks[0]', 'public').map(
    (error) => `${error.field}: ${error.text}`,
  );

describe('headers of a webhook', () => {
  it.each([
    'host',
    'Host',
    'content-length',
    'Content-Type',
    'webhook-id',
    'Webhook-Signature',
    'transfer-encoding',
    'connection',
    'traceparent',
    'user-agent',
    'proxy-authorization',
  ])('%s is set by the sender', (name) => {
    expect(problems({ headers: { [name]: 'x' } })).toEqual([
      `spec.webhooks[0].headers[${name}]: Forbidden: the header is set by the sender`,
    ]);
  });

  it.each([
    ['a b', 'x'],
    ['a:b', 'x'],
    ['', 'x'],
    ['x-a', 'line\r\nx-injected: 1'],
    ['x-a', 'nul\0'],
    ['x-a', '☃'],
    ['x-a', 'x'.repeat(5_000)],
  ])('%j: %j is refused', (name, value) => {
    expect(problems({ headers: { [name]: value } })).toHaveLength(1);
  });

  it.each([
    ['Authorization', true],
    ['x-gitlab-token', true],
    ['X-API-Key', true],
    ['cookie', true],
    ['x-env', false],
    ['accept', false],
  ])('%s is masked: %s', (name, masked) => {
    expect(isCredentialHeader(name)).toBe(masked);
    expect(maskHeaders({ [name]: 'value' })).toEqual({ [name]: masked ? '***' : 'value' });
  });

  it('given twice in other letters is refused', () => {
    expect(problems({ headers: { 'x-a': '1', 'X-A': '2' } })).toHaveLength(1);
  });
});

const GITHUB = { preset: 'github-repository-dispatch', parameters: { repository: 'team/web', token: 't' } };
const ref = (name: string, key = 'token') => ({ secretKeyRef: { name, key } });

describe('a webhook', () => {
  it.each([
    ['with a preset', { ...GITHUB, url: undefined }],
    [
      'whose preset takes a parameter from a secret',
      { ...GITHUB, url: undefined, parameters: { repository: 'team/web' }, parametersFrom: { token: ref('github') } },
    ],
    ['with a template of its own', { body: '{"image": "{{ image }}"}', headers: { 'x-tag': '{{ tag }}' }, method: 'PUT' }],
    ['with a header from a secret', { headersFrom: { authorization: ref('ci', 'header') } }],
    ['with a secret by reference and the one before it', { secretFrom: ref('s'), previousSecretFrom: ref('s', 'before') }],
    ['with a previous secret for a while', { previousSecret: '***', previousSecretUntil: '2027-01-31T12:00:00Z' }],
    ['whose preset is given an empty parameter', { ...GITHUB, url: undefined, parameters: { ...GITHUB.parameters, server: '' } }],
    ['with Ed25519', { signing: 'Ed25519' }],
    ['with another media type', { body: 'a=b', contentType: 'application/x-www-form-urlencoded; charset=utf-8' }],
  ])('%s is good', (_what, of) => {
    expect(problems(of)).toEqual([]);
  });

  it.each([
    [{ ...GITHUB }, 'preset: Forbidden: url is given already'],
    [{ url: undefined }, 'url: Required'],
    [{ preset: 'nope', url: undefined }, 'preset: Unsupported value: "nope": supported values: "argocd-kustomize-image"'],
    [{ ...GITHUB, url: undefined, parameters: { token: 't' } }, 'parameters[repository]: Required value: owner/name'],
    [
      { ...GITHUB, url: undefined, parameters: { ...GITHUB.parameters, repo: 'x' } },
      'parameters[repo]: Forbidden: preset github-repository-dispatch has no such parameter; it has server, repository',
    ],
    [
      { ...GITHUB, url: undefined, parameters: { repository: 'a/b/../c', token: 't' } },
      'parameters[repository]: Invalid value: "a/b/../c": must match',
    ],
    [{ ...GITHUB, url: undefined, parametersFrom: { token: ref('x') } }, 'parametersFrom[token]: Forbidden: parameters gives it already'],
    [
      { ...GITHUB, url: undefined, parametersFrom: { server: ref('x') } },
      'parametersFrom[server]: Forbidden: where it goes is written out',
    ],
    [{ ...GITHUB, url: undefined, method: 'PUT' }, "method: Forbidden: it is the preset's"],
    [
      { preset: 'tekton-eventlistener', url: undefined, parameters: { server: 'http://127.0.0.1:8080' } },
      'parameters[server]: Invalid value: "***": a loopback address',
    ],
    [
      { preset: 'tekton-eventlistener', url: undefined, parameters: { server: 'https://a.example.com/{{ tag }}' } },
      'parameters[server]: Invalid',
    ],
    [{ parameters: { 'a.b': 'x' } }, 'a name of a parameter'],
    [{ parameters: { a: 'x'.repeat(5_000) } }, 'up to 4096 characters'],
    [{ parametersFrom: { a: {} } }, 'parametersFrom[a].secretKeyRef: Required'],
    [{ parametersFrom: { a: ref('A b') } }, 'parametersFrom[a].secretKeyRef.name: Invalid'],
    [{ url: 'https://{{ tag }}.example.com/' }, 'the host may not be made of an event'],
    [{ method: 'DELETE' }, 'must be one of POST, PUT, PATCH'],
    [{ body: 'x'.repeat(20_000) }, 'body: Forbidden: 20000 characters'],
    [{ contentType: 'json' }, 'contentType: Invalid'],
    [{ contentType: 'a/b\r\nx: y' }, 'contentType: Invalid'],
    [{ headers: { 'x-a': '1' }, headersFrom: { 'X-A': ref('s') } }, 'headersFrom[X-A]: Forbidden: headers gives it already'],
    [{ headersFrom: { host: ref('s') } }, 'the header is set by the sender'],
    [{ signing: 'RSA' }, 'signing: Invalid value: "RSA": must be one of HMAC, Ed25519'],
    [{ signing: 'Ed25519', secret: `whsec_${'A'.repeat(32)}` }, 'must be whsk_'],
    [{ secret: `whsec_${'A'.repeat(32)}`, secretFrom: ref('s') }, 'secretFrom: Forbidden: secret is given already'],
    [{ previousSecret: 'nonsense' }, 'previousSecret: Invalid value: "***"'],
    [{ previousSecretUntil: 'tomorrow' }, 'previousSecretUntil: Invalid'],
    [{ url: undefined, kubernetes: {}, body: 'x' }, 'body: Forbidden: kubernetes says what is sent'],
  ] as [Record<string, unknown>, string][])('%j is refused: %s', (of, message) => {
    expect(problems(of).join('\n')).toContain(message);
  });

  it('keeps nothing but where it goes where it posts the event itself', () => {
    const plain = completeWebhook({ name: 'a', url: 'https://a.example.com', headers: { 'x-a': '1' } });

    expect(plain).toEqual({ name: 'a', url: 'https://a.example.com/', headers: { 'x-a': '1' }, timeoutSeconds: 15 });
    expect(sendingOf(plain)).toBeUndefined();
    for (const more of [
      { body: '' },
      { headers: { 'x-a': '{{ tag }}' } },
      { url: 'https://a.example.com/{{ tag }}' },
      { method: 'PUT' },
      { secretFrom: ref('s') },
    ])
      expect(sendingOf({ ...plain, ...more })).toEqual({ ...plain, ...more });
  });

  it('with a preset sends what the preset says, but for what it says itself', () => {
    const own = completeWebhook({ name: 'a', ...GITHUB, body: '{}', headers: { authorization: 'Basic x', 'x-a': '1' } });

    expect(requestTemplate(own)).toMatchObject({
      ...{ method: 'POST', base: 'https://api.github.com', rest: '/repos/{{ parameters.repository | raw }}/dispatches', body: '{}' },
      headers: { Accept: 'application/vnd.github+json', authorization: 'Basic x', 'x-a': '1' },
    });
    expect(requestTemplate(own)?.headers).not.toHaveProperty('Authorization');
  });

  it('with an empty parameter has the default of its preset', () => {
    const webhook = completeWebhook({ name: 'a', ...GITHUB, parameters: { ...GITHUB.parameters, server: '' } });

    expect(requestTemplate(webhook)?.base).toBe('https://api.github.com');
  });

  it('is read without its credentials: what the preset says is one, and what is named like one', () => {
    const read = maskWebhook(completeWebhook({ name: 'a', ...GITHUB, headers: { Authorization: 'x', Accept: 'y' }, previousSecret: 'z' }));
    const own = maskWebhook(completeWebhook({ name: 'a', url: 'https://a.example.com', parameters: { apiToken: 'x', ref: 'main' } }));

    expect(read).toMatchObject({
      parameters: { repository: 'team/web', token: '***' },
      headers: { Authorization: '***', Accept: 'y' },
      previousSecret: '***',
    });
    expect(own.parameters).toEqual({ apiToken: '***', ref: 'main' });
  });

  it('says which secrets it reads, and what for', () => {
    const webhook = completeWebhook({
      ...{ name: 'a', ...GITHUB, parametersFrom: { token: ref('github') }, headersFrom: { 'x-a': ref('a', 'b') } },
      ...{ secretFrom: ref('s'), previousSecretFrom: ref('p') },
    });

    expect(sourcesOf(webhook).map(({ use, key }) => `${use}=${key.name}/${key.key}`)).toEqual([
      'parametersFrom.token=github/token',
      'headersFrom.x-a=a/b',
      'secretFrom=s/token',
      'previousSecretFrom=p/token',
    ]);
  });
});
