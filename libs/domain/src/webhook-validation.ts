import type { AddressPolicy } from './address.ts';
import { validateKubernetes } from './kubernetes-target.ts';
import { validateSource } from './secret-source.ts';
import { keyProblem, SIGNINGS } from './signing-key.ts';
import { type FieldError, forbiddenField, invalidValue, required } from './status.ts';
import { namespaceProblems } from './stream-names.ts';
import { literalsOf, MASK, TIMEOUT_SECONDS, type TriggerWebhook } from './trigger-webhook.ts';
import { presetNamed, webhookPresets } from './webhook-presets.ts';
import { isTemplate, splitUrl, urlProblem } from './webhook-url.ts';

export const HEADERS_MAX = 32;
export const PARAMETERS_MAX = 32;
export const TEMPLATE_MAX = 16 * 1_024;
const PARAMETER_MAX = 4_096;
const METHODS = ['POST', 'PUT', 'PATCH'] as const;

/** Everything that is wrong with a webhook as a client wrote it; `allow` says which addresses it may name. */
export function validateWebhook(webhook: TriggerWebhook, path: string, allow: AddressPolicy): FieldError[] {
  const { name = '', url, preset, kubernetes, timeoutSeconds } = webhook;
  const errors: FieldError[] = [];
  if (!name) errors.push(required(`${path}.name`));
  else errors.push(...namespaceProblems(name).map((problem) => invalidValue(`${path}.name`, name, problem)));
  const forms = Object.entries({ url, preset, kubernetes }).filter(([, value]) => value !== undefined && value !== '');
  if (!forms.length) errors.push(required(`${path}.url`));
  else if (forms.length > 1)
    errors.push(forbiddenField(`${path}.${forms[1]?.[0]}`, `${forms[0]?.[0]} is given already; a webhook has one`));
  else if (kubernetes) errors.push(...validateKubernetes(kubernetes, `${path}.kubernetes`, allow), ...unused(webhook, path));
  else errors.push(...validateRequest(webhook, path, allow));
  errors.push(...validateSigning(webhook, path));
  if (timeoutSeconds !== undefined && (timeoutSeconds < TIMEOUT_SECONDS.min || timeoutSeconds > TIMEOUT_SECONDS.max))
    errors.push(
      invalidValue(`${path}.timeoutSeconds`, timeoutSeconds, `must be between ${TIMEOUT_SECONDS.min} and ${TIMEOUT_SECONDS.max}`),
    );
  return errors;
}

const REQUEST_FIELDS = ['parameters', 'parametersFrom', 'method', 'headers', 'headersFrom', 'body', 'contentType'] as const;
const SIGNING_FIELDS = [...(['signing', 'secret', 'secretFrom', 'previousSecret', 'previousSecretFrom', 'previousSecretUntil'] as const)];

/** What a patch has no use for. */
const unused = (webhook: TriggerWebhook, path: string): FieldError[] =>
  [...REQUEST_FIELDS, ...SIGNING_FIELDS]
    // A mask that comes back is no wish.
    .filter((field) => webhook[field] !== undefined && webhook[field] !== MASK)
    .map((field) => forbiddenField(`${path}.${field}`, 'kubernetes says what is sent'));

function validateRequest(webhook: TriggerWebhook, path: string, allow: AddressPolicy): FieldError[] {
  const { url = '', preset, method, headers = {}, headersFrom = {}, body, contentType, parametersFrom = {} } = webhook;
  const errors = [...validateParameters(webhook, path)];
  if (preset !== undefined && method !== undefined) errors.push(forbiddenField(`${path}.method`, "it is the preset's"));
  else if (method !== undefined && !METHODS.includes(method as never))
    errors.push(invalidValue(`${path}.method`, method.slice(0, 20), `must be one of ${METHODS.join(', ')}`));
  if (body !== undefined && body.length > TEMPLATE_MAX)
    errors.push(forbiddenField(`${path}.body`, `${body.length} characters; a template has at most ${TEMPLATE_MAX}`));
  if (contentType !== undefined && !/^[a-z0-9!#$&^_.+-]+\/[a-z0-9!#$&^_.+-]+(\s*;\s*[a-z0-9-]+=[\w.+"-]+)*$/i.test(contentType))
    errors.push(invalidValue(`${path}.contentType`, contentType.slice(0, 100), 'must be a media type, such as application/json'));
  errors.push(...validateHeaders(headers, `${path}.headers`));
  errors.push(...validateHeaders(Object.fromEntries(Object.keys(headersFrom).map((name) => [name, ''])), `${path}.headersFrom`));
  const written = new Set(Object.keys(headers).map((name) => name.toLowerCase()));
  for (const [name, source] of Object.entries(headersFrom)) {
    if (written.has(name.toLowerCase())) errors.push(forbiddenField(`${path}.headersFrom[${name}]`, 'headers gives it already'));
    errors.push(...validateSource(source, `${path}.headersFrom[${name}]`));
  }
  for (const [name, source] of Object.entries(parametersFrom)) errors.push(...validateSource(source, `${path}.parametersFrom[${name}]`));
  return [...errors, ...validateUrl(webhook, url, path, allow)];
}

function validateUrl(webhook: TriggerWebhook, url: string, path: string, allow: AddressPolicy): FieldError[] {
  const preset = webhook.preset === undefined ? undefined : presetNamed(webhook.preset);
  if (webhook.preset !== undefined && !preset) return [];
  if (!preset && !isTemplate(url)) {
    const problem = urlProblem(url, allow);
    // The text itself may hold credentials, so it is not repeated.
    return problem ? [invalidValue(`${path}.url`, MASK, problem)] : [];
  }
  const literals = literalsOf(webhook);
  const split = splitUrl(preset?.url ?? url, literals);
  if (preset && !literals['server']) return [];
  const field = preset ? `${path}.parameters[server]` : `${path}.url`;
  if (url.length > TEMPLATE_MAX) return [forbiddenField(field, `a template has at most ${TEMPLATE_MAX} characters`)];
  const problem = split.kind === 'problem' ? split.problem : urlProblem(split.base, allow);
  return problem ? [invalidValue(field, MASK, problem)] : [];
}

function validateParameters({ preset, parameters = {}, parametersFrom = {} }: TriggerWebhook, path: string): FieldError[] {
  const known = preset === undefined ? undefined : presetNamed(preset);
  if (preset !== undefined && !known)
    return [
      {
        reason: 'FieldValueNotSupported',
        field: `${path}.preset`,
        text: `Unsupported value: ${JSON.stringify(preset.slice(0, 100))}: supported values: ${webhookPresets.map(({ name }) => JSON.stringify(name)).join(', ')}`,
      },
    ];
  const errors: FieldError[] = [];
  const count = Object.keys(parameters).length + Object.keys(parametersFrom).length;
  if (count > PARAMETERS_MAX) return [forbiddenField(`${path}.parameters`, `${count} parameters; a webhook has at most ${PARAMETERS_MAX}`)];
  const names = known ? Object.keys(known.parameters) : [];
  for (const name of [...Object.keys(parameters), ...Object.keys(parametersFrom)]) {
    const field = `${path}.${Object.hasOwn(parameters, name) ? 'parameters' : 'parametersFrom'}[${name.slice(0, 100)}]`;
    if (known && !names.includes(name))
      errors.push(forbiddenField(field, `preset ${known.name} has no such parameter; it has ${names.join(', ')}`));
    else if (!known && !/^[A-Za-z][A-Za-z0-9]{0,62}$/.test(name))
      errors.push(
        invalidValue(field, name.slice(0, 100), 'a name of a parameter is up to 63 letters and digits, and begins with a letter'),
      );
  }
  for (const [name, value] of Object.entries(parameters)) {
    const field = `${path}.parameters[${name.slice(0, 100)}]`;
    const parameter = known && Object.hasOwn(known.parameters, name) ? known.parameters[name] : undefined;
    if (Object.hasOwn(parametersFrom, name)) errors.push(forbiddenField(`${path}.parametersFrom[${name}]`, 'parameters gives it already'));
    if (value.length > PARAMETER_MAX || value.includes('\0'))
      errors.push(invalidValue(field, MASK, `must be up to ${PARAMETER_MAX} characters, without NUL`));
    else if (value !== MASK && parameter) errors.push(...parameterProblems(parameter, value, field));
  }
  for (const [name, { required: needed, description }] of Object.entries(known?.parameters ?? {}))
    if (needed && !parameters[name] && !Object.hasOwn(parametersFrom, name))
      errors.push(required(`${path}.parameters[${name}]`, description));
  if (known && Object.hasOwn(parametersFrom, 'server'))
    errors.push(forbiddenField(`${path}.parametersFrom[server]`, 'where it goes is written out'));
  return errors;
}

const parameterProblems = (parameter: { pattern?: string | undefined; secret: boolean }, value: string, field: string): FieldError[] =>
  parameter.pattern === undefined || new RegExp(`^(?:${parameter.pattern})$`, 's').test(value)
    ? []
    : [invalidValue(field, parameter.secret ? MASK : value.slice(0, 100), `must match ${parameter.pattern}`)];

/** What is wrong with the value of a preset's parameter that came from a Secret; undefined where nothing is. */
export function parameterProblem(preset: string, name: string, value: string): string | undefined {
  const parameter = presetNamed(preset)?.parameters[name];
  const [problem] = parameter ? parameterProblems({ ...parameter, secret: true }, value, name) : [];
  return problem && `must match ${parameter?.pattern ?? ''}`;
}

function validateSigning(webhook: TriggerWebhook, path: string): FieldError[] {
  const { signing, secret, secretFrom, previousSecret, previousSecretFrom, previousSecretUntil } = webhook;
  const errors: FieldError[] = [];
  const known = SIGNINGS.find((one) => one === signing);
  if (signing !== undefined && !known)
    errors.push(invalidValue(`${path}.signing`, signing.slice(0, 20), `must be one of ${SIGNINGS.join(', ')}`));
  const given = [
    ['secret', secret, known],
    ['previousSecret', previousSecret, undefined],
  ] as const;
  for (const [field, key, kind] of given) {
    const problem = key && key !== MASK ? keyProblem(key, kind) : undefined;
    if (problem) errors.push(invalidValue(`${path}.${field}`, MASK, problem));
  }
  if (secret && secret !== MASK && secretFrom) errors.push(forbiddenField(`${path}.secretFrom`, 'secret is given already'));
  if (previousSecret && previousSecretFrom) errors.push(forbiddenField(`${path}.previousSecretFrom`, 'previousSecret is given already'));
  if (secretFrom) errors.push(...validateSource(secretFrom, `${path}.secretFrom`));
  if (previousSecretFrom) errors.push(...validateSource(previousSecretFrom, `${path}.previousSecretFrom`));
  if (
    previousSecretUntil !== undefined &&
    Number.isNaN(Date.parse(/^\d{4}-\d\d-\d\dT/.test(previousSecretUntil) ? previousSecretUntil : ''))
  )
    errors.push(
      invalidValue(`${path}.previousSecretUntil`, previousSecretUntil.slice(0, 40), 'must be a time, such as 2027-01-31T12:00:00Z'),
    );
  return errors;
}

const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/;
const OWN_HEADERS =
  /^(host|content-.*|transfer-encoding|connection|keep-alive|upgrade|te|trailer|expect|user-agent|traceparent|tracestate|proxy-.*|webhook-.*|http2-settings)$/i;
const HEADER_WANTED = 'must be up to 4096 printable characters of Latin-1';

/** What is wrong with the value of a header, or undefined. */
export const headerProblem = (value: string): string | undefined =>
  value.length > 4_096 || !/^[\t\x20-\x7e\x80-\xff]*$/.test(value) ? HEADER_WANTED : undefined;

function validateHeaders(headers: Record<string, string>, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const names = Object.keys(headers);
  if (names.length > HEADERS_MAX) return [forbiddenField(path, `${names.length} headers; a webhook has at most ${HEADERS_MAX}`)];
  for (const [name, value] of Object.entries(headers)) {
    if (!HEADER_NAME.test(name)) errors.push(invalidValue(path, name, 'is no name of an HTTP header'));
    else if (OWN_HEADERS.test(name)) errors.push(forbiddenField(`${path}[${name}]`, 'the header is set by the sender'));
    const problem = isTemplate(value) ? (value.length > 4_096 ? HEADER_WANTED : undefined) : headerProblem(value);
    if (problem) errors.push(invalidValue(`${path}[${name}]`, MASK, problem));
  }
  if (new Set(names.map((name) => name.toLowerCase())).size < names.length)
    errors.push(forbiddenField(path, 'a header is given twice; names of headers have no case'));
  return errors;
}
