import { describe, expect, it } from 'vitest';
import {
  completeSpec,
  ImageTrigger,
  isCredentialHeader,
  maskHeaders,
  secretProblem,
  urlProblem,
  validateTrigger,
} from './image-trigger.ts';

const SECRET = `whsec_${'A'.repeat(32)}`;
const webhook = { name: 'argo', url: 'https://deploy.example.com/hook' };
const from = { kind: 'ImageStreamTag', name: 'web:latest' };

const aTrigger = (spec: Record<string, unknown> = {}, metadata: Record<string, unknown> = {}): ImageTrigger =>
  ImageTrigger.parse({ metadata: { name: 'web-deploy', ...metadata }, spec: { kind: 'Deploy', from, webhooks: [webhook], ...spec } });

const problems = (trigger: ImageTrigger, allow: 'public' | 'private' | 'loopback' = 'public'): string[] =>
  validateTrigger(trigger, { namespace: 'demo', allow }).map((error) => `${error.field}: ${error.text}`);

describe('a trigger', () => {
  it('that is complete has nothing wrong with it', () => {
    expect(problems(aTrigger({ webhooks: [{ ...webhook, secret: SECRET, timeoutSeconds: 30, headers: { 'x-env': 'prod' } }] }))).toEqual(
      [],
    );
  });

  it('may have no webhooks: then its events are on NATS only', () => {
    expect(problems(aTrigger({ webhooks: undefined }))).toEqual([]);
  });

  it.each<[string, Record<string, unknown>, string]>([
    ['no kind', { kind: undefined }, 'spec.kind: Required value: Build or Deploy'],
    ['another kind', { kind: 'Restart' }, 'spec.kind: Unsupported value: "Restart": supported values: "Build", "Deploy"'],
    ['no from', { from: undefined }, 'spec.from: Required value: the ImageStreamTag to follow'],
    ['no kind of from', { from: { name: 'web' } }, "spec.from.kind: Required value: valid values are 'ImageStreamTag'"],
    [
      'an image as from',
      { from: { ...from, kind: 'DockerImage' } },
      'spec.from.kind: Unsupported value: "DockerImage": supported values: "ImageStreamTag"',
    ],
    ['no name of from', { from: { kind: 'ImageStreamTag' } }, 'spec.from.name: Required value: stream:tag'],
    ['a digest as from', { from: { ...from, name: 'web@sha256:0' } }, 'spec.from.name: Invalid value: "web@sha256:0"'],
    ['two tags', { from: { ...from, name: 'web:a:b' } }, 'spec.from.name: Invalid value: "web:a:b"'],
    ['a namespace that is none', { from: { ...from, namespace: 'No' } }, 'spec.from.namespace: Invalid value: "No"'],
    ['a webhook without a name', { webhooks: [{ url: webhook.url }] }, 'spec.webhooks[0].name: Required value'],
    ['a webhook without a URL', { webhooks: [{ name: 'a' }] }, 'spec.webhooks[0].url: Required value'],
    ['a webhook with a bad name', { webhooks: [{ ...webhook, name: 'A b' }] }, 'spec.webhooks[0].name: Invalid value: "A b"'],
    ['two webhooks of one name', { webhooks: [webhook, webhook] }, 'spec.webhooks[1].name: Duplicate value: "argo"'],
    [
      'a short time',
      { webhooks: [{ ...webhook, timeoutSeconds: 0 }] },
      'spec.webhooks[0].timeoutSeconds: Invalid value: 0: must be between 1 and 30',
    ],
    ['a long time', { webhooks: [{ ...webhook, timeoutSeconds: 31 }] }, 'spec.webhooks[0].timeoutSeconds: Invalid value: 31'],
    ['a weak secret', { webhooks: [{ ...webhook, secret: 'hunter2' }] }, 'spec.webhooks[0].secret: Invalid value: "***": must be whsec_'],
    [
      'too many webhooks',
      { webhooks: Array.from({ length: 33 }, (_, i) => ({ ...webhook, name: `w${i}` })) },
      'spec.webhooks: Forbidden: 33 webhooks; a trigger has at most 32',
    ],
  ])('with %s is refused', (_title, spec, problem) => {
    const found = problems(aTrigger(spec));

    expect(found).toHaveLength(1);
    expect(found[0]).toContain(problem);
  });

  it.each<[string, Record<string, unknown>, string]>([
    ['no name', { name: undefined }, 'metadata.name: Required value: name or generateName is required'],
    ['capitals', { name: 'Web' }, 'metadata.name: Invalid value: "Web"'],
    ['a long name', { name: 'a'.repeat(64) }, 'must be no more than 63 characters'],
    ['a label that is none', { labels: { 'a b': 'c' } }, 'metadata.labels: Invalid value: "a b"'],
    [
      'a NUL in an annotation',
      { annotations: { a: 'x\0' } },
      'metadata.annotations: Invalid value: "a": its value may not hold a NUL character',
    ],
  ])('whose metadata has %s is refused', (_title, metadata, problem) => {
    expect(problems(aTrigger({}, metadata)).join('\n')).toContain(problem);
  });

  it('tells everything that is wrong at once', () => {
    expect(problems(aTrigger({ kind: 'x', from: undefined, webhooks: [{ name: 'a', url: 'ftp://x' }] }))).toHaveLength(3);
  });

  it('never repeats a URL or a secret in what is wrong with it', () => {
    const text = problems(aTrigger({ webhooks: [{ name: 'a', url: 'https://user:hunter2@x.example', secret: 'hunter2' }] })).join('\n');

    expect(text).not.toContain('hunter2');
  });
});

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
    expect(problems(aTrigger({ webhooks: [{ ...webhook, headers: { [name]: 'x' } }] }))).toEqual([
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
    expect(problems(aTrigger({ webhooks: [{ ...webhook, headers: { [name]: value } }] }))).toHaveLength(1);
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
    expect(problems(aTrigger({ webhooks: [{ ...webhook, headers: { 'x-a': '1', 'X-A': '2' } }] }))).toHaveLength(1);
  });
});

describe('the URL of a webhook', () => {
  it.each([
    'https://deploy.example.com',
    'http://deploy.example.com:8080/hook?x=1',
    'https://8.8.8.8/',
    'https://[2606:4700::1111]/',
    'https://xn--bcher-kva.example/',
  ])('%s is good', (url) => {
    expect(urlProblem(url, 'public')).toBeUndefined();
  });

  it.each([
    ['deploy', 'absolute URL'],
    ['/hook', 'absolute URL'],
    ['ftp://deploy.example.com', 'https:// or http://'],
    ['file:///etc/passwd', 'https:// or http://'],
    ['https://user:pass@deploy.example.com', 'credentials'],
    ['https://user@deploy.example.com', 'credentials'],
    ['https://deploy.example.com/#x', 'fragment'],
    [`https://deploy.example.com/${'x'.repeat(2_048)}`, '2048'],
    ['http://127.0.0.1/', 'a loopback address is not allowed'],
    ['http://127.1/', 'loopback'],
    ['http://2130706433/', 'loopback'],
    ['http://0x7f.1/', 'loopback'],
    ['http://[::1]/', 'loopback'],
    ['http://[::ffff:127.0.0.1]/', 'loopback'],
    ['http://10.0.0.1/', 'private'],
    ['http://192.168.1.1/', 'private'],
    ['http://[fd00::1]/', 'private'],
    ['http://169.254.169.254/latest/meta-data', 'metadata'],
    ['http://[fe80::1]/', 'link-local'],
    ['http://0.0.0.0/', 'unspecified'],
  ])('%s is refused: %s', (url, problem) => {
    expect(urlProblem(url, 'public')).toContain(problem);
  });

  it.each([
    ['http://127.0.0.1/', 'loopback', true],
    ['http://10.0.0.1/', 'loopback', true],
    ['http://10.0.0.1/', 'private', true],
    ['http://127.0.0.1/', 'private', false],
    ['http://169.254.169.254/', 'loopback', false],
  ] as const)('%s where %s is allowed: %s', (url, allow, good) => {
    expect(urlProblem(url, allow) === undefined).toBe(good);
  });
});

describe('a secret', () => {
  const bytes = (n: number) => `whsec_${Buffer.alloc(n, 7).toString('base64')}`;

  it.each([24, 25, 26, 32, 64])('of %i bytes is good', (n) => {
    expect(secretProblem(bytes(n))).toBeUndefined();
  });

  it.each([
    bytes(23),
    bytes(65),
    bytes(32).slice(6),
    'whsec_',
    'whsec_%%%%',
    `${bytes(32)}\n`,
    `whsec_${'A'.repeat(33)}`,
    `whpk_${'A'.repeat(32)}`,
  ])('%j is refused', (secret) => {
    expect(secretProblem(secret)).toContain('whsec_');
  });
});

describe('the spec that is kept', () => {
  it('has the defaults filled in and URLs in their one form', () => {
    const spec = completeSpec(
      aTrigger({ from: { kind: 'ImageStreamTag', name: 'web' }, webhooks: [{ name: 'a', url: 'HTTPS://Deploy.Example.com' }] }),
      'demo',
    );

    expect(spec).toEqual({
      kind: 'Deploy',
      from: { kind: 'ImageStreamTag', namespace: 'demo', name: 'web:latest' },
      paused: false,
      fireOnCreate: false,
      webhooks: [{ name: 'a', url: 'https://deploy.example.com/', timeoutSeconds: 15 }],
    });
  });

  it('holds no secret', () => {
    expect(JSON.stringify(completeSpec(aTrigger({ webhooks: [{ ...webhook, secret: SECRET }] }), 'demo'))).not.toContain('whsec_');
  });

  it.each([
    ['web', 'web:latest'],
    ['web:', 'web:latest'],
    ['web:1.2', 'web:1.2'],
  ])('of from %s is %s', (name, kept) => {
    expect(completeSpec(aTrigger({ from: { kind: 'ImageStreamTag', name } }), 'demo').from.name).toBe(kept);
  });
});
