import { describe, expect, it } from 'vitest';
import { completeSpec, ImageTrigger, validateTrigger } from './image-trigger.ts';

const SECRET = `whsec_${'A'.repeat(32)}`;
const webhook = { name: 'argo', url: 'https://deploy.example.com/hook' };
const from = { kind: 'ImageStreamTag', name: 'web:latest' };

const aTrigger = (spec: Record<string, unknown> = {}, metadata: Record<string, unknown> = {}): ImageTrigger =>
  ImageTrigger.parse({ metadata: { name: 'web-deploy', ...metadata }, spec: { kind: 'Deploy', from, webhooks: [webhook], ...spec } });

const problems = (trigger: ImageTrigger, allow: 'public' | 'private' | 'loopback' = 'public'): string[] =>
  validateTrigger(trigger, { namespace: 'demo', allow, scheduleProblem: () => undefined }).map((error) => `${error.field}: ${error.text}`);

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

  it('has what holds changes back as it was given, and nothing that was not', () => {
    const control = { hold: {}, minimumAge: '24h', coalesce: '30s', storm: { firings: 20, within: '1h' }, dryRun: true };
    const kept = completeSpec(aTrigger({ ...control, approval: null, windows: undefined }), 'demo');

    expect(kept).toMatchObject(control);
    expect(Object.keys(kept)).not.toContain('approval');
    expect(Object.keys(kept)).not.toContain('windows');
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
