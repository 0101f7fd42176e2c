import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { Triggered } from '@millrace/contracts/events';
import { completeWebhook } from '@millrace/domain/trigger-webhook';
import { webhookPresets } from '@millrace/domain/webhook-presets';
import { validateWebhook } from '@millrace/domain/webhook-validation';
import { makeRequest } from './webhook-request.ts';

const EXAMPLES = new URL('../../../libs/contracts/examples/', import.meta.url);
const SERVER = 'https://receiver.example.com';

/** The contract's own example, as the CloudEvent that webhooks get. */
function anEvent(kind: 'build' | 'deploy'): string {
  const data = JSON.parse(readFileSync(new URL(`${kind}.triggered.v1.json`, EXAMPLES), 'utf8')) as Triggered;
  // A label that would break out of whatever it is put into.
  data.labels = { ...data.labels, note: 'a "quoted" \\ <b>&</b> {{ x }}\n' };
  return JSON.stringify({
    ...{ specversion: '1.0', id: `${data.trigger.uid}.1`, source: '/trigger-dispatcher', type: `dev.millrace.${kind}.triggered.v1` },
    ...{
      subject: `${data.namespace}/${data.stream}:${data.tag}`,
      time: '2026-11-20T09:00:00.000Z',
      datacontenttype: 'application/json',
      data,
    },
  });
}

const text = z.string().min(1);
const texts = z.record(z.string(), z.string());
const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/);
/** What Jenkins, Tekton, Flux and Kargo look into. */
const flat = z.strictObject({
  ...{ id: text, kind: z.enum(['Build', 'Deploy']), image: text, repository: text, digest, namespace: text, stream: text, tag: text },
  ...{ trigger: text, labels: texts, event: z.looseObject({ specversion: z.literal('1.0') }) },
});
const markdown = z.strictObject({ type: z.literal('mrkdwn'), text: z.string().max(3_000) });

/** What is given to each preset, and what its receiver documents that it takes. */
const receivers: Record<string, { parameters: Record<string, string>; body: z.ZodType; headers?: z.ZodType }> = {
  'argocd-kustomize-image': {
    parameters: { server: SERVER, application: 'web', image: 'registry.example.com/team/web', token: 'argo-token' },
    // applicationApplicationPatchRequest
    body: z.strictObject({
      ...{ name: text, appNamespace: text.optional(), project: text.optional(), patchType: z.enum(['merge', 'json']) },
      patch: z
        .string()
        .transform((patch) => JSON.parse(patch) as unknown)
        .pipe(
          z.strictObject({
            spec: z.strictObject({
              source: z.strictObject({ kustomize: z.strictObject({ images: z.array(z.string().regex(/^[^=]+=[^=]+@sha256:/)) }) }),
            }),
          }),
        ),
    }),
  },
  'argocd-sync': {
    parameters: { server: SERVER, application: 'web', appNamespace: 'team', token: 'argo-token' },
    // applicationApplicationSyncRequest
    body: z.strictObject({
      ...{ name: text.optional(), appNamespace: text.optional(), project: text.optional(), revision: text.optional() },
      infos: z.array(z.strictObject({ name: text, value: text })),
    }),
  },
  'flux-receiver': {
    parameters: { server: SERVER, path: `/hook/${'ab12'.repeat(16)}`, token: 'flux-token' },
    body: flat,
    headers: z.looseObject({ 'X-Signature': z.string().regex(/^sha256=[0-9a-f]{64}$/) }),
  },
  'github-repository-dispatch': {
    parameters: { repository: 'team/web', token: 'github-token' },
    body: z.strictObject({
      event_type: text.max(100),
      client_payload: z.record(z.string(), z.unknown()).refine((payload) => Object.keys(payload).length <= 10),
    }),
    headers: z.looseObject({ Accept: z.literal('application/vnd.github+json'), 'X-GitHub-Api-Version': text }),
  },
  'gitlab-pipeline': {
    parameters: { project: 'team/web', token: 'gitlab-token' },
    body: z.strictObject({ token: text, ref: text, variables: texts }),
  },
  'jenkins-dockerhub': {
    parameters: { server: SERVER, token: 'jenkins-token' },
    body: z.strictObject({ push_data: z.strictObject({ tag: text }), repository: z.strictObject({ repo_name: text }) }),
  },
  'jenkins-generic-webhook': { parameters: { server: `${SERVER}/jenkins/`, token: 'jenkins-token' }, body: flat },
  kargo: { parameters: { server: SERVER, path: '/webhooks/generic/abc' }, body: flat },
  'portainer-service': { parameters: { server: `${SERVER}:9443`, token: 'b8a7' }, body: z.literal('') },
  'portainer-stack': { parameters: { server: `${SERVER}:9443`, token: 'b8a7' }, body: z.literal('') },
  slack: {
    parameters: { path: '/services/T000/B000/XXXX' },
    body: z.strictObject({
      text,
      blocks: z
        .array(
          z.discriminatedUnion('type', [
            z.strictObject({ type: z.literal('section'), text: markdown }),
            z.strictObject({ type: z.literal('context'), elements: z.array(markdown).max(10) }),
          ]),
        )
        .max(50),
    }),
  },
  spinnaker: {
    parameters: { server: SERVER, source: 'web', secret: 'spinnaker-secret' },
    body: z.strictObject({
      secret: text.optional(),
      parameters: texts,
      artifacts: z.array(z.strictObject({ type: z.literal('docker/image'), name: text, version: text, reference: text })).length(1),
    }),
  },
  teams: {
    parameters: { server: `${SERVER}:443`, path: '/workflows/1/triggers/manual/paths/invoke?api-version=1&sig=teams-sig' },
    body: z.strictObject({
      type: z.literal('message'),
      attachments: z
        .array(
          z.strictObject({
            contentType: z.literal('application/vnd.microsoft.card.adaptive'),
            contentUrl: z.null(),
            content: z.strictObject({
              $schema: z.url(),
              type: z.literal('AdaptiveCard'),
              version: z.string().regex(/^1\.\d$/),
              body: z.array(
                z.discriminatedUnion('type', [
                  z.strictObject({ type: z.literal('TextBlock'), text, size: text, weight: text, wrap: z.boolean() }),
                  z.strictObject({ type: z.literal('FactSet'), facts: z.array(z.strictObject({ title: text, value: text })) }),
                ]),
              ),
            }),
          }),
        )
        .length(1),
    }),
  },
  'tekton-eventlistener': {
    parameters: { server: SERVER, token: 'tekton-token' },
    body: flat,
    headers: z.looseObject({ 'X-Hub-Signature-256': z.string().regex(/^sha256=[0-9a-f]{64}$/) }),
  },
};

function made(preset: string, kind: 'build' | 'deploy') {
  const webhook = completeWebhook({ name: 'hook', preset, parameters: receivers[preset]?.parameters ?? {} });
  return makeRequest(webhook, { secret: '', headers: {} }, new Map(), anEvent(kind), 'public');
}

it('each preset has a receiver here that checks it', () => {
  expect(Object.keys(receivers).toSorted()).toEqual(webhookPresets.map(({ name }) => name));
});

describe.each(webhookPresets.map((preset) => [preset.name, preset] as const))('%s', (name, preset) => {
  it('is valid with the parameters that must be given, and nothing less', () => {
    const { parameters = {} } = receivers[name] ?? {};
    const problems = (given: Record<string, string>) =>
      validateWebhook({ name: 'hook', preset: name, parameters: given }, 'w', 'public').map(({ field }) => field);

    expect(problems(parameters)).toEqual([]);
    const required = Object.entries(preset.parameters).filter(([, parameter]) => parameter.required);
    expect(problems({})).toEqual(required.map(([parameter]) => `w.parameters[${parameter}]`));
  });

  it.each(['build', 'deploy'] as const)('makes of a %s event what its receiver documents', (kind) => {
    const request = made(name, kind);

    const body = request.body === '' ? '' : (JSON.parse(request.body) as unknown);
    expect(receivers[name]?.body.safeParse(body).error).toBeUndefined();
    expect(receivers[name]?.headers?.safeParse(request.headers).error).toBeUndefined();
    expect(request.method).toBe(preset.method);
  });

  it('shows none of its secrets in the URL that is shown', () => {
    const { shown } = made(name, 'deploy');

    for (const [parameter, { secret }] of Object.entries(preset.parameters))
      if (secret && receivers[name]?.parameters[parameter]) expect(shown).not.toContain(receivers[name]?.parameters[parameter]);
  });

  it('says where its receiver documents what it takes', () => {
    expect(preset.documentation.length).toBeGreaterThan(0);
    for (const one of preset.documentation) expect(one).toMatch(/^https:\/\//);
  });
});

it('what is sent is what was sent when it was last looked at', async () => {
  const requests = webhookPresets.flatMap(({ name }) =>
    (['build', 'deploy'] as const).map((kind) => {
      const { method, url, headers, body } = made(name, kind);
      const lines = Object.entries(headers).map(([header, value]) => `${header}: ${value}`);
      return [`# ${name}, ${kind}`, `${method} ${url}`, ...lines, '', body, ''].join('\n');
    }),
  );

  await expect(requests.join('\n')).toMatchFileSnapshot('./webhook-presets.golden.http');
});

it.each([
  ['flux-receiver', 'X-Signature', 'flux-token'],
  ['tekton-eventlistener', 'X-Hub-Signature-256', 'tekton-token'],
])('%s signs the body that is sent as its receiver verifies it', (preset, header, token) => {
  const { body, headers } = made(preset, 'deploy');

  expect(headers[header]).toBe(`sha256=${createHmac('sha256', token).update(body).digest('hex')}`);
});

it('without a token, what only a token is for is not sent', () => {
  const webhook = completeWebhook({ name: 'hook', preset: 'flux-receiver', parameters: { server: SERVER, path: '/hook/ab' } });

  expect(makeRequest(webhook, { secret: '', headers: {} }, new Map(), anEvent('deploy'), 'public').headers).toEqual({
    'content-type': 'application/json',
  });
});
