import { z } from 'zod';
import { type AddressPolicy, addressKind, isAllowedAddress } from './address.ts';
import { optional } from './object-meta.ts';
import { type FieldError, forbiddenField, invalidValue, required } from './status.ts';
import { namespaceProblems } from './stream-names.ts';
import { completePace, validatePace, webhookPace, type WebhookPace } from './webhook-pace.ts';

export const HEADERS_MAX = 32;
export const TIMEOUT_SECONDS = { min: 1, max: 30, otherwise: 15 } as const;
/** What stands in a read object where a credential is kept; sent back, it means "as it is". */
export const MASK = '***';

/** One receiver. `secret` and credentials among `headers` are written, never read back: `secretSet` says that there is one. */
export const TriggerWebhook = z
  .object({
    name: optional(z.string()).describe('Unique within the trigger'),
    url: optional(z.string()).describe('http or https, without credentials'),
    secret: optional(z.string()).describe('Standard Webhooks secret, whsec_ and base64 of 24 to 64 bytes; made by the server when absent'),
    secretSet: optional(z.boolean()).describe('Whether a secret is kept; read only'),
    timeoutSeconds: optional(z.int()).describe('How long one attempt may take, 1 to 30; 15 when absent'),
    headers: optional(z.record(z.string(), z.string())).describe('Further request headers'),
    ...webhookPace,
  })
  .meta({ id: 'TriggerWebhook' });
export type TriggerWebhook = z.infer<typeof TriggerWebhook>;

/** A webhook as it is kept: complete, secrets apart. */
export interface WebhookSpec extends WebhookPace {
  name: string;
  url: string;
  timeoutSeconds: number;
  headers?: Record<string, string>;
}

/** Fills in what a client left out of a webhook that {@link validateWebhook} finds nothing wrong with. */
export const completeWebhook = ({ name = '', url = '', timeoutSeconds, headers, ...pace }: TriggerWebhook): WebhookSpec => ({
  name,
  url: url && new URL(url).href,
  timeoutSeconds: timeoutSeconds ?? TIMEOUT_SECONDS.otherwise,
  ...(headers && Object.keys(headers).length ? { headers } : {}),
  ...completePace(pace),
});

/** Everything that is wrong with a webhook as a client wrote it; `allow` says which addresses it may name. */
export function validateWebhook(webhook: TriggerWebhook, path: string, allow: AddressPolicy): FieldError[] {
  const { name = '', url = '', secret, timeoutSeconds, headers = {} } = webhook;
  const errors: FieldError[] = [];
  if (!name) errors.push(required(`${path}.name`));
  else errors.push(...namespaceProblems(name).map((problem) => invalidValue(`${path}.name`, name, problem)));
  if (!url) errors.push(required(`${path}.url`));
  else {
    const problem = urlProblem(url, allow);
    // The text itself may hold credentials, so it is not repeated.
    if (problem) errors.push(invalidValue(`${path}.url`, MASK, problem));
  }
  if (secret && secret !== MASK) {
    const problem = secretProblem(secret);
    if (problem) errors.push(invalidValue(`${path}.secret`, MASK, problem));
  }
  if (timeoutSeconds !== undefined && (timeoutSeconds < TIMEOUT_SECONDS.min || timeoutSeconds > TIMEOUT_SECONDS.max))
    errors.push(
      invalidValue(`${path}.timeoutSeconds`, timeoutSeconds, `must be between ${TIMEOUT_SECONDS.min} and ${TIMEOUT_SECONDS.max}`),
    );
  return [...errors, ...validatePace(webhook, path), ...validateHeaders(headers, `${path}.headers`)];
}

/** What is wrong with a webhook's URL, or undefined. A name is judged again by the addresses that it resolves to. */
export function urlProblem(text: string, allow: AddressPolicy): string | undefined {
  if (text.length > 2_048) return 'must be no more than 2048 characters';
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return 'must be an absolute URL, such as https://deploy.example.com/hook';
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return 'must begin with https:// or http://';
  if (url.username || url.password) return 'may not hold credentials; put them into spec.webhooks[].headers';
  if (url.hash) return 'may not have a fragment';
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  const kind = addressKind(host);
  if (kind !== 'invalid' && !isAllowedAddress(host, allow))
    return `a ${kind} address is not allowed; WEBHOOK_ALLOW_ADDRESSES of the trigger-dispatcher says which are`;
  return undefined;
}

/** What is wrong with a Standard Webhooks secret, or undefined. */
export function secretProblem(secret: string): string | undefined {
  const wanted = 'must be whsec_ followed by base64 of 24 to 64 random bytes, or absent';
  const encoded = /^whsec_((?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?)$/.exec(secret)?.[1];
  if (encoded === undefined) return wanted;
  const bytes = (encoded.length / 4) * 3 - (encoded.endsWith('==') ? 2 : encoded.endsWith('=') ? 1 : 0);
  return bytes >= 24 && bytes <= 64 ? undefined : wanted;
}

const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/;
const OWN_HEADERS =
  /^(host|content-.*|transfer-encoding|connection|keep-alive|upgrade|te|trailer|expect|user-agent|traceparent|tracestate|proxy-.*|webhook-.*|http2-settings)$/i;

function validateHeaders(headers: Record<string, string>, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const names = Object.keys(headers);
  if (names.length > HEADERS_MAX) return [forbiddenField(path, `${names.length} headers; a webhook has at most ${HEADERS_MAX}`)];
  for (const [name, value] of Object.entries(headers)) {
    if (!HEADER_NAME.test(name)) errors.push(invalidValue(path, name, 'is no name of an HTTP header'));
    else if (OWN_HEADERS.test(name)) errors.push(forbiddenField(`${path}[${name}]`, 'the header is set by the sender'));
    if (value.length > 4_096 || !/^[\t\x20-\x7e\x80-\xff]*$/.test(value))
      errors.push(invalidValue(`${path}[${name}]`, MASK, 'must be up to 4096 printable characters of Latin-1'));
  }
  if (new Set(names.map((name) => name.toLowerCase())).size < names.length)
    errors.push(forbiddenField(path, 'a header is given twice; names of headers have no case'));
  return errors;
}

/** Headers whose values are credentials, to be masked wherever a trigger is read. */
export const isCredentialHeader = (name: string): boolean =>
  /auth|cookie|token|secret|password|passwd|credential|api-?key|private|signature/i.test(name);

export function maskHeaders(headers: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, isCredentialHeader(name) ? MASK : value]));
}
