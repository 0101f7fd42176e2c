import { z } from 'zod';
import { KubernetesTarget } from './kubernetes-target.ts';
import { optional } from './object-meta.ts';
import { type SecretKey, secretKeyOf, SecretSource } from './secret-source.ts';
import { type Signing, signingOf } from './signing-key.ts';
import { presetNamed } from './webhook-presets.ts';
import { isTemplate, splitUrl } from './webhook-url.ts';

export const TIMEOUT_SECONDS = { min: 1, max: 30, otherwise: 15 } as const;
/** What stands in a read object where a credential is kept; sent back, it means "as it is". */
export const MASK = '***';

const texts = z.record(z.string(), z.string());
const sources = z.record(z.string(), SecretSource);

/** One receiver. Credentials are written, never read back: `secretSet` says that there is a secret, others are masked. */
export const TriggerWebhook = z
  .object({
    name: optional(z.string()).describe('Unique within the trigger'),
    preset: optional(z.string()).describe('A receiver that is known: kubectl get webhookpresets'),
    parameters: optional(texts).describe('Of the preset, or for templates of your own: {{ parameters.NAME }}'),
    parametersFrom: optional(sources).describe('Parameters that stand in Secrets'),
    url: optional(z.string()).describe('http or https, without credentials; behind the host it may be a template'),
    method: optional(z.string()).describe('POST, PUT or PATCH; POST when absent'),
    headers: optional(texts).describe('Further request headers; values may be templates'),
    headersFrom: optional(sources).describe('Further request headers whose values stand in Secrets'),
    body: optional(z.string()).describe('Template of what is sent; the event as a CloudEvent when absent, nothing when empty'),
    contentType: optional(z.string()).describe('Of the body; application/json when absent'),
    kubernetes: optional(KubernetesTarget).describe('Instead of a URL: a workload in a cluster that gets the image'),
    signing: optional(z.string()).describe('HMAC or Ed25519; HMAC when absent, unless a key of the other kind is kept'),
    secret: optional(z.string()).describe(
      'Standard Webhooks secret: whsec_ and base64 of 24 to 64 bytes, or whsk_ and base64 of an Ed25519 key; made by the server when absent',
    ),
    secretFrom: optional(SecretSource).describe('The secret, from a Secret'),
    previousSecret: optional(z.string()).describe('Signs too, while receivers change over; *** is the one that secret replaces'),
    previousSecretFrom: optional(SecretSource).describe('The same, from a Secret; where its key is not there, it does not sign'),
    previousSecretUntil: optional(z.string()).describe('When the previous secret ends to sign, RFC 3339'),
    secretSet: optional(z.boolean()).describe('Whether a secret is kept; read only'),
    timeoutSeconds: optional(z.int()).describe('How long one attempt may take, 1 to 30; 15 when absent'),
  })
  .meta({ id: 'TriggerWebhook' });
export type TriggerWebhook = z.infer<typeof TriggerWebhook>;

/** A webhook as it is kept: complete, keys that sign apart, and masked where it is read. */
export interface WebhookSpec extends Omit<TriggerWebhook, 'name' | 'timeoutSeconds' | 'secret' | 'secretSet' | 'signing'> {
  name: string;
  timeoutSeconds: number;
  signing?: Signing;
}

const filled = <T extends object>(map: T | undefined): T | undefined => (map && Object.keys(map).length ? map : undefined);

/** Fills in what a client left out of a webhook that validateWebhook finds nothing wrong with. */
export function completeWebhook({ secret, secretSet: _, ...webhook }: TriggerWebhook): WebhookSpec {
  const { name = '', url, headers, parameters, headersFrom, parametersFrom, timeoutSeconds, signing } = webhook;
  const given = secret && secret !== MASK ? signingOf(secret) : undefined;
  const complete = {
    ...webhook,
    name,
    url: url && !isTemplate(url) ? new URL(url).href : url,
    headers: filled(headers),
    parameters: filled(parameters),
    headersFrom: filled(headersFrom),
    parametersFrom: filled(parametersFrom),
    signing: (signing as Signing | undefined) ?? (given === 'Ed25519' ? given : undefined),
    timeoutSeconds: timeoutSeconds ?? TIMEOUT_SECONDS.otherwise,
  };
  return Object.fromEntries(
    Object.entries(complete).filter(([key, value]) => value !== undefined && (value !== '' || key === 'body')),
  ) as unknown as WebhookSpec;
}

/** What a webhook sends where it says more than where: its own templates, or its preset's. */
export interface RequestTemplate {
  method: string;
  /** Where it goes: never a template. */
  base: string;
  /** What follows, a template. */
  rest: string;
  headers: Record<string, string>;
  /** Absent: the event itself. */
  body?: string;
  contentType?: string;
  /** Statuses that mean success; every 2xx when absent. */
  succeeds?: readonly number[];
}

/** Parameters whose values are written out, with the preset's defaults. */
export function literalsOf({ preset, parameters = {} }: WebhookSpec | TriggerWebhook): Record<string, string> {
  const defaults = Object.entries(presetNamed(preset ?? '')?.parameters ?? {}).flatMap(([name, parameter]) =>
    parameter.default === undefined ? [] : [[name, parameter.default] as const],
  );
  // One that is empty is none.
  return { ...Object.fromEntries(defaults), ...Object.fromEntries(Object.entries(parameters).filter(([, value]) => value !== '')) };
}

/** Undefined for a valid webhook whose preset is no longer there, and for one that patches an object. */
export function requestTemplate(webhook: WebhookSpec): RequestTemplate | undefined {
  const preset = webhook.preset === undefined ? undefined : presetNamed(webhook.preset);
  const url = preset?.url ?? webhook.url;
  const split = url === undefined ? undefined : splitUrl(url, literalsOf(webhook));
  if (split?.kind !== 'split' || (webhook.preset !== undefined && !preset)) return undefined;
  const own = new Set(Object.keys({ ...webhook.headers, ...webhook.headersFrom }).map((name) => name.toLowerCase()));
  const headers = Object.entries(preset?.headers ?? {}).filter(([name]) => !own.has(name.toLowerCase()));
  const body = webhook.body ?? preset?.body;
  const contentType = webhook.contentType ?? preset?.contentType ?? (body === undefined ? undefined : 'application/json');
  return {
    ...{ method: preset?.method ?? webhook.method ?? 'POST', base: split.base, rest: split.rest },
    headers: { ...Object.fromEntries(headers), ...webhook.headers },
    ...(body === undefined ? {} : { body }),
    ...(contentType === undefined ? {} : { contentType }),
    ...(preset?.succeeds ? { succeeds: preset.succeeds } : {}),
  };
}

/** What says what is sent, beside where; how fast and in which order is not among it. */
const SENDING = [
  ...(['name', 'preset', 'parameters', 'parametersFrom', 'url', 'method', 'headers', 'headersFrom', 'body', 'contentType'] as const),
  ...(['kubernetes', 'secretFrom', 'previousSecret', 'previousSecretFrom', 'previousSecretUntil', 'timeoutSeconds'] as const),
];
const OF_ANY: readonly string[] = ['name', 'url', 'headers', 'timeoutSeconds'];

/** Of a webhook, what says what is sent; undefined where that is just the event, posted to a URL with some headers. */
export function sendingOf(webhook: WebhookSpec): WebhookSpec | undefined {
  const fields = SENDING.filter((field) => webhook[field] !== undefined);
  const written = [webhook.url ?? '', ...Object.values(webhook.headers ?? {})];
  if (fields.every((field) => OF_ANY.includes(field)) && !written.some(isTemplate)) return undefined;
  return Object.fromEntries(fields.map((field) => [field, webhook[field]])) as unknown as WebhookSpec;
}

/** Whether what a webhook sends is signed: an API server has no use for that. */
export const isSigned = ({ kubernetes }: WebhookSpec): boolean => kubernetes === undefined;

/** What a webhook takes from Secrets: by what it is for, in a fixed order. */
export function sourcesOf(webhook: WebhookSpec): { use: string; key: SecretKey; optional?: true }[] {
  const { parametersFrom = {}, headersFrom = {}, secretFrom, previousSecretFrom, kubernetes } = webhook;
  const one = (use: string, source: SecretSource | undefined, more: { optional?: true } = {}) =>
    source ? [{ use, key: secretKeyOf(source), ...more }] : [];
  return [
    ...Object.entries(parametersFrom).flatMap(([name, source]) => one(`parametersFrom.${name}`, source)),
    ...Object.entries(headersFrom).flatMap(([name, source]) => one(`headersFrom.${name}`, source)),
    ...one('secretFrom', secretFrom),
    ...one('previousSecretFrom', previousSecretFrom, { optional: true }),
    ...one('kubernetes.tokenFrom', kubernetes?.tokenFrom),
    ...one('kubernetes.caFrom', kubernetes?.caFrom),
  ];
}

/** Headers, and parameters of no preset, whose values are credentials, to be masked wherever a trigger is read. */
export const isCredentialHeader = (name: string): boolean =>
  /auth|cookie|token|secret|password|passwd|credential|api-?key|private|signature/i.test(name);

/** Parameters that are credentials: as the preset says, or by their names. */
export function isSecretParameter(preset: string | undefined, name: string): boolean {
  const parameters = preset === undefined ? undefined : presetNamed(preset)?.parameters;
  const parameter = parameters && Object.hasOwn(parameters, name) ? parameters[name] : undefined;
  return parameter ? parameter.secret : isCredentialHeader(name);
}

const masked = (map: Record<string, string>, isSecret: (name: string) => boolean): Record<string, string> =>
  Object.fromEntries(Object.entries(map).map(([name, value]) => [name, isSecret(name) ? MASK : value]));

export const maskHeaders = (headers: Record<string, string>): Record<string, string> => masked(headers, isCredentialHeader);

/** The webhook as it is read. */
export function maskWebhook(webhook: WebhookSpec): WebhookSpec {
  const { headers, parameters, previousSecret } = webhook;
  return {
    ...webhook,
    ...(headers ? { headers: maskHeaders(headers) } : {}),
    ...(parameters ? { parameters: masked(parameters, (name) => isSecretParameter(webhook.preset, name)) } : {}),
    ...(previousSecret ? { previousSecret: MASK } : {}),
  };
}
