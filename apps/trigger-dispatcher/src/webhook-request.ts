import type { AddressPolicy } from '@millrace/domain/address';
import { appliedObject, applyQuery, CA_MAX, kubernetesMeaning, objectUrl } from '@millrace/domain/kubernetes-target';
import { keyProblem } from '@millrace/domain/signing-key';
import { type FieldError, invalidValue } from '@millrace/domain/status';
import { isSecretParameter, literalsOf, MASK, requestTemplate, type WebhookSpec } from '@millrace/domain/trigger-webhook';
import { presetNamed } from '@millrace/domain/webhook-presets';
import { type FiredEvent, WEBHOOK_VARIABLES, webhookVariables } from '@millrace/domain/webhook-variables';
import { isTemplate, joinedUrl } from '@millrace/domain/webhook-url';
import { headerProblem, parameterProblem } from '@millrace/domain/webhook-validation';
import { type Escape, render, TemplateError, unknownNames } from './templates.ts';
import type { WebhookSecrets } from './webhook-secrets.ts';
import { type Call, withoutQuery } from './webhook.ts';

/** The request cannot be made: what of the webhook it is, and why. Holds no credential. */
export class RequestError extends Error {
  override name = 'RequestError';
  constructor(
    readonly field: string,
    reason: string,
  ) {
    super(`${field}: ${reason}`);
  }
}

/** What was read from Secrets, by what it is for: `parametersFrom.token`. */
export type SourceValues = ReadonlyMap<string, string>;

/** What of a call is the webhook's; the rest is the delivery's. */
export type Made = Omit<Call, 'id' | 'traceparent' | 'timeoutMs'>;

export const CLOUD_EVENT = 'application/cloudevents+json; charset=utf-8';
/** What is sent as it was told may be larger; a template has to be done with it in a few milliseconds. */
const EVENT_MAX = 256 * 1_024;

/** The event itself, posted. */
export const plainRequest = ({ secret, headers }: WebhookSecrets, url: string, event: string): Made => ({
  ...{ method: 'POST', url, shown: withoutQuery(url), body: event, headers: { ...headers, 'content-type': CLOUD_EVENT } },
  ...{ keys: [secret], credentials: [] },
});

/** What a webhook sends for an event. Throws {@link RequestError}. */
export function makeRequest(
  webhook: WebhookSpec,
  secrets: WebhookSecrets,
  values: SourceValues,
  event: string,
  allow: AddressPolicy,
): Made {
  const variables = webhookVariables(JSON.parse(event) as FiredEvent);
  if (webhook.kubernetes) return applyRequest(webhook, values, variables.image as string, allow);
  const template = requestTemplate(webhook);
  if (!template) throw new RequestError('preset', `${webhook.preset ?? ''} is not a preset of this release; change the webhook`);
  const texts = [template.body ?? '', template.rest, ...Object.values(template.headers)];
  if (event.length > EVENT_MAX && texts.some(isTemplate))
    throw new RequestError('event', `it has more than ${EVENT_MAX / 1_024} kB, which no template is given`);
  const { parameters, credentials } = parametersOf(webhook, values);
  const all = { ...variables, parameters };
  const { contentType = CLOUD_EVENT, succeeds } = template;
  const body = template.body === undefined ? event : rendered('body', template.body, all, escapeOf(contentType));
  if (template.body !== undefined) mustBeJson(body, contentType);
  const joined = joinedUrl(template.base, rendered('url', template.rest, all, 'url'), allow);
  if ('problem' in joined) throw new RequestError('url', joined.problem);
  const headers: Record<string, string> = body === '' ? {} : { 'content-type': contentType };
  const read = Object.keys(webhook.headersFrom ?? {}).map((name) => values.get(`headersFrom.${name}`)?.trim() ?? '');
  const put = (field: string, name: string, value: string) => {
    const problem = headerProblem(value);
    if (problem) throw new RequestError(`${field}[${name}]`, problem);
    if (value) headers[name] = value;
  };
  for (const [name, text] of Object.entries(template.headers))
    put('headers', name, rendered(`headers[${name}]`, text, { ...all, body }, 'none'));
  for (const [i, name] of Object.keys(webhook.headersFrom ?? {}).entries()) put('headersFrom', name, read[i] ?? '');
  return {
    ...{ method: template.method, url: joined.url, shown: shownUrl(webhook, variables), body, headers },
    keys: keysOf(webhook, secrets, values),
    credentials: [...credentials, ...read],
    ...(succeeds ? { judge: (status: number) => judged(status, succeeds) } : {}),
  };
}

/** Everything that is wrong with a webhook's templates and values, as far as an example shows it. `values` has what could be read. */
export function requestProblems(
  webhook: WebhookSpec,
  secrets: WebhookSecrets,
  values: SourceValues,
  { path, event, allow }: { path: string; event: FiredEvent; allow: AddressPolicy },
): FieldError[] {
  const at = (field: string, reason: string): FieldError[] => [invalidValue(`${path}.${field}`, MASK, reason)];
  const names = ['parameters', ...Object.keys(WEBHOOK_VARIABLES)];
  const parameters = Object.keys({ ...literalsOf(webhook), ...webhook.parametersFrom });
  const own = [
    ...(webhook.url && !webhook.preset ? ([['url', webhook.url, names]] as const) : []),
    ...(webhook.body === undefined ? [] : ([['body', webhook.body, names]] as const)),
    ...Object.entries(webhook.headers ?? {}).map(([name, text]) => [`headers[${name}]`, text, [...names, 'body']] as const),
  ];
  const known = webhook.preset ? Object.keys(presetNamed(webhook.preset)?.parameters ?? {}) : parameters;
  for (const [field, text, variables] of own)
    try {
      const [unknown] = unknownNames(text, variables, known);
      if (unknown !== undefined)
        return at(
          field,
          `there is no ${unknown.slice(0, 100)}; a template has ${[...variables, ...known.map((one) => `parameters.${one}`)].join(', ')}`,
        );
    } catch (error) {
      if (error instanceof TemplateError) return at(field, error.message);
      throw error;
    }
  try {
    makeRequest(webhook, secrets, values, JSON.stringify(event), allow);
    return [];
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    // A preset's own templates are right: what its values make of them is not.
    const field = !webhook.preset || own.some(([one]) => one === error.field) ? error.field : 'parameters';
    const reason = field === error.field ? error.message.slice(field.length + 2) : error.message;
    return at(field, `${reason}, for an example event`);
  }
}

/** Where a webhook is sent, as it may be stored and shown: without its query and what is secret, and, where there is no event, what is made of one. */
export function shownUrl(webhook: WebhookSpec, variables: Record<string, unknown> = {}): string {
  if (webhook.kubernetes) return objectUrl(webhook.kubernetes);
  const template = requestTemplate(webhook);
  if (!template) return '';
  const { rest, base } = template;
  const names = [...Object.keys(literalsOf(webhook)), ...Object.keys(webhook.parametersFrom ?? {})];
  const secret = (name: string) => webhook.parametersFrom?.[name] !== undefined || isSecretParameter(webhook.preset, name);
  const parameters = Object.fromEntries(names.map((name) => [name, secret(name) ? MASK : literalsOf(webhook)[name]]));
  try {
    const path = render(rest, { ...variables, parameters }, 'url');
    return withoutQuery(`${base}${path.startsWith('?') ? '' : '/'}${path.replace(/^\//, '')}`);
  } catch {
    return new URL(base).href;
  }
}

/** A login page, and a proxy, answer 200 to whatever comes. */
const judged = (status: number, succeeds: readonly number[]): { accepted: boolean; meaning?: string } =>
  status >= 200 && status < 300 && !succeeds.includes(status)
    ? { accepted: false, meaning: `answered ${status}, and ${succeeds.join(' or ')} is what the receiver answers when it has acted` }
    : { accepted: succeeds.includes(status) };

function parametersOf(webhook: WebhookSpec, values: SourceValues): { parameters: Record<string, string>; credentials: string[] } {
  const parameters = { ...literalsOf(webhook) };
  const credentials = Object.entries(parameters).flatMap(([name, value]) => (isSecretParameter(webhook.preset, name) ? [value] : []));
  for (const name of Object.keys(webhook.parametersFrom ?? {})) {
    // A file that was made into a secret ends with a line.
    const value = (values.get(`parametersFrom.${name}`) ?? '').replace(/\r?\n$/, '');
    const problem = webhook.preset === undefined ? undefined : parameterProblem(webhook.preset, name, value);
    if (problem) throw new RequestError(`parametersFrom[${name}]`, `what stands in the secret ${problem}`);
    parameters[name] = value;
    credentials.push(value);
  }
  return { parameters, credentials: credentials.filter((one) => one !== '') };
}

function rendered(field: string, text: string, variables: Record<string, unknown>, escape: Escape): string {
  try {
    return render(text, variables, escape);
  } catch (error) {
    throw error instanceof TemplateError ? new RequestError(field, error.message) : error;
  }
}

const isJson = (contentType: string): boolean => /^[^;]*[/+]json\s*(;|$)/i.test(contentType);
const escapeOf = (contentType: string): Escape =>
  isJson(contentType) ? 'json' : /^application\/x-www-form-urlencoded\b/i.test(contentType) ? 'url' : 'none';

function mustBeJson(body: string, contentType: string): void {
  if (body === '' || !isJson(contentType)) return;
  try {
    JSON.parse(body);
  } catch {
    // The text of the error repeats some of the body, which may hold a credential.
    throw new RequestError('body', 'what it comes to is not JSON, and contentType says that it is');
  }
}

/** Keys that sign: the present one, and the one before it while both do. */
function keysOf(webhook: WebhookSpec, secrets: WebhookSecrets, values: SourceValues, now = Date.now()): string[] {
  const until = webhook.previousSecretUntil;
  const overlaps = until === undefined || Date.parse(until) > now;
  const present = webhook.secretFrom ? values.get('secretFrom')?.trim() : secrets.secret;
  const before = webhook.previousSecretFrom ? values.get('previousSecretFrom')?.trim() : secrets.previousSecret;
  const keys = [
    ...(present ? [['secretFrom', present] as const] : []),
    ...(before && overlaps ? [['previousSecretFrom', before] as const] : []),
  ];
  for (const [field, key] of keys) {
    const problem = keyProblem(key);
    if (problem) throw new RequestError(field, `what stands in the secret ${problem.replace(/, or absent$/, '')}`);
  }
  return keys.map(([, key]) => key);
}

/** Server-side apply of the image to an object that is there. */
function applyRequest({ kubernetes = {} }: WebhookSpec, values: SourceValues, image: string, allow: AddressPolicy): Made {
  const token = values.get('kubernetes.tokenFrom')?.trim() ?? '';
  const ca = kubernetes.caFrom ? values.get('kubernetes.caFrom') : kubernetes.ca;
  if (kubernetes.caFrom && !ca?.includes('-----BEGIN CERTIFICATE-----'))
    throw new RequestError('kubernetes.caFrom', 'what stands in the secret is no certificate in PEM');
  if (ca && ca.length > CA_MAX)
    throw new RequestError('kubernetes.caFrom', `what stands in the secret is longer than ${CA_MAX / 1_024} kB`);
  if (!/^[\x21-\x7e]{1,16384}$/.test(token)) throw new RequestError('kubernetes.tokenFrom', 'what stands in the secret is no token');
  const joined = joinedUrl(objectUrl(kubernetes), `?${applyQuery(kubernetes)}`, allow);
  if ('problem' in joined) throw new RequestError('kubernetes.server', joined.problem);
  return {
    ...{ method: 'PATCH', url: joined.url, shown: objectUrl(kubernetes), body: JSON.stringify(appliedObject(kubernetes, image)), keys: [] },
    headers: { 'content-type': 'application/apply-patch+yaml', accept: 'application/json', authorization: `Bearer ${token}` },
    credentials: [token],
    ...(ca ? { ca } : {}),
    // An apply makes what is not there, and would make half an object.
    mustExist: objectUrl(kubernetes),
    judge: (status, answer) => (status < 300 ? {} : { accepted: false, meaning: kubernetesMeaning(status, answer) }),
    keepsAnswer: false,
  };
}
