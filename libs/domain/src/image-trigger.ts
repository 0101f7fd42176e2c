import { z } from 'zod';
import { type AddressPolicy, addressKind, isAllowedAddress } from './address.ts';
import { validateLabels } from './labels.ts';
import { ObjectMeta, ObjectReference, optional } from './object-meta.ts';
import { type FieldError, forbiddenField, invalidValue, required } from './status.ts';
import { formatStreamTag, namespaceProblems, splitStreamTag, streamNameProblems } from './stream-names.ts';

export const TRIGGER_GROUP = 'triggers.millrace.dev';
export const TRIGGER_API_VERSION = 'triggers.millrace.dev/v1';

export const WEBHOOKS_MAX = 32;
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
  })
  .meta({ id: 'TriggerWebhook' });
export type TriggerWebhook = z.infer<typeof TriggerWebhook>;

/** When a tag moves, what is to happen. */
export const ImageTrigger = z
  .object({
    kind: z.string().optional(),
    apiVersion: z.string().optional(),
    metadata: ObjectMeta,
    spec: optional(
      z.object({
        kind: optional(z.string()).describe('Build or Deploy: which event is told'),
        from: optional(ObjectReference).describe('The ImageStreamTag that is followed'),
        paused: optional(z.boolean()).describe('Holds the newest move back until it is false again'),
        fireOnCreate: optional(z.boolean()).describe('Whether the image that the tag already points at fires'),
        webhooks: optional(z.array(TriggerWebhook)),
      }),
    ),
    status: z.unknown().optional(),
  })
  .meta({ id: 'ImageTrigger' });
export type ImageTrigger = z.infer<typeof ImageTrigger>;

export type TriggerKind = 'Build' | 'Deploy';

/** A webhook as it is kept: complete, secrets apart. */
export interface WebhookSpec {
  name: string;
  url: string;
  timeoutSeconds: number;
  headers?: Record<string, string>;
}

/** A spec as it is kept: valid, with its defaults. */
export interface TriggerSpec {
  kind: TriggerKind;
  from: { kind: 'ImageStreamTag'; namespace: string; name: string };
  paused: boolean;
  fireOnCreate: boolean;
  webhooks: WebhookSpec[];
}

/** Fills in what a client left out. Makes sense of a trigger that {@link validateTrigger} finds nothing wrong with. */
export function completeSpec(trigger: ImageTrigger, namespace: string): TriggerSpec {
  const { spec = {} } = trigger;
  const { name, tag } = splitStreamTag(spec.from?.name ?? '');
  return {
    kind: spec.kind === 'Build' ? 'Build' : 'Deploy',
    from: { kind: 'ImageStreamTag', namespace: spec.from?.namespace || namespace, name: formatStreamTag(name, tag) },
    paused: spec.paused ?? false,
    fireOnCreate: spec.fireOnCreate ?? false,
    webhooks: (spec.webhooks ?? []).map(({ name: webhook = '', url = '', timeoutSeconds, headers }) => ({
      name: webhook,
      url: url && new URL(url).href,
      timeoutSeconds: timeoutSeconds ?? TIMEOUT_SECONDS.otherwise,
      ...(headers && Object.keys(headers).length ? { headers } : {}),
    })),
  };
}

/** Everything that is wrong with a trigger as a client wrote it; `allow` says which addresses a webhook may name. */
export function validateTrigger(trigger: ImageTrigger, { namespace, allow }: { namespace: string; allow: AddressPolicy }): FieldError[] {
  const { metadata, spec = {} } = trigger;
  const errors = [...validateMetadata(metadata, namespace), ...validateLabels(metadata)];
  for (const [key, value] of Object.entries(metadata.annotations ?? {}))
    if (value.includes('\0')) errors.push(invalidValue('metadata.annotations', key, 'its value may not hold a NUL character'));
  if (!spec.kind) errors.push(required('spec.kind', 'Build or Deploy'));
  else if (spec.kind !== 'Build' && spec.kind !== 'Deploy') errors.push(notSupported('spec.kind', spec.kind, ['Build', 'Deploy']));
  errors.push(...validateFrom(spec.from));
  const webhooks = spec.webhooks ?? [];
  if (webhooks.length > WEBHOOKS_MAX)
    errors.push(forbiddenField('spec.webhooks', `${webhooks.length} webhooks; a trigger has at most ${WEBHOOKS_MAX}`));
  else webhooks.forEach((webhook, i) => errors.push(...validateWebhook(webhook, `spec.webhooks[${i}]`, allow)));
  const names = webhooks.map((webhook) => webhook.name);
  names.forEach((name, i) => {
    if (name && names.indexOf(name) < i) errors.push(duplicate(`spec.webhooks[${i}].name`, name));
  });
  return errors;
}

const DNS_NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const DNS_NAME_WORDS =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
/** Names are values of labels on deliveries, which hold no more. */
const NAME_LENGTH_MAX = 63;

function validateMetadata({ name = '', generateName = '' }: ObjectMeta, namespace: string): FieldError[] {
  const errors: FieldError[] = [];
  if (!name) errors.push(required('metadata.name', 'name or generateName is required'));
  else if (name.length > NAME_LENGTH_MAX)
    errors.push(invalidValue('metadata.name', name, `must be no more than ${NAME_LENGTH_MAX} characters`));
  else if (!DNS_NAME.test(name)) errors.push(invalidValue(generateName ? 'metadata.generateName' : 'metadata.name', name, DNS_NAME_WORDS));
  if (!namespace) errors.push(required('metadata.namespace'));
  else errors.push(...namespaceProblems(namespace).map((problem) => invalidValue('metadata.namespace', namespace, problem)));
  return errors;
}

function validateFrom(from: ObjectReference | undefined): FieldError[] {
  if (!from) return [required('spec.from', 'the ImageStreamTag to follow')];
  const errors: FieldError[] = [];
  if (from.kind !== 'ImageStreamTag')
    errors.push(
      from.kind
        ? notSupported('spec.from.kind', from.kind, ['ImageStreamTag'])
        : required('spec.from.kind', "valid values are 'ImageStreamTag'"),
    );
  if (from.namespace)
    errors.push(...namespaceProblems(from.namespace).map((problem) => invalidValue('spec.from.namespace', from.namespace, problem)));
  if (!from.name) errors.push(required('spec.from.name', 'stream:tag'));
  else {
    const { name, tag } = splitStreamTag(from.name);
    const problems = streamNameProblems(name).map((problem) => `the stream's name ${problem}`);
    if (/[:/%@\s\0]/.test(tag) || tag.length > 255) problems.push('the tag may not hold ":", "/", "%", "@" or a space');
    errors.push(...problems.map((problem) => invalidValue('spec.from.name', from.name, problem)));
  }
  return errors;
}

function validateWebhook(webhook: TriggerWebhook, path: string, allow: AddressPolicy): FieldError[] {
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
  return [...errors, ...validateHeaders(headers, `${path}.headers`)];
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

const notSupported = (field: string, value: string, supported: string[]): FieldError => ({
  reason: 'FieldValueNotSupported',
  field,
  text: `Unsupported value: ${JSON.stringify(value)}: supported values: ${supported.map((one) => JSON.stringify(one)).join(', ')}`,
});
const duplicate = (field: string, value: string): FieldError => ({
  reason: 'FieldValueDuplicate',
  field,
  text: `Duplicate value: ${JSON.stringify(value)}`,
});
