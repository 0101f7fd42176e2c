import type { IncomingHttpHeaders } from 'node:http';
import { badRequest, cannotBeHandled, invalid, invalidValue, otherKind, StatusError } from '@millrace/domain/status';
import { decodeBody, mediaTypeOf } from './body.ts';
import { duplicateFields, readFields, type Fields } from './fields.ts';
import type { JsonObject } from './patch.ts';
import { optionsKindOf, type Target } from './protocol.ts';

/** What of a request says which object a client sent, and how strictly it wants it read. */
export interface Sent {
  target: Target;
  query: URLSearchParams;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

/** What may happen to unknown fields, in the order in which the reference names it. */
const FIELD_VALIDATION = ['Ignore', 'Strict', 'Warn'];
/** Kinds whose documentation prints the version that they had before API groups. */
const LEGACY_VERSION_KINDS = new Set(['ImageStreamMapping']);
/** How much of a patched object an error repeats. */
const SHOWN_OF_PATCHED = 2_000;
const WITHHELD = '<contents redacted>';

/** The object of a request's body, at its place: kind, version and namespace filled in and checked. */
export function readSent(request: Sent): { object: JsonObject; warnings: string[] } {
  const { target, headers, body } = request;
  const value = decodeBody(body, headers, target.kind);
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new StatusError(badRequest(`the object provided is unrecognized (must be of type ${target.kind}): the body is no JSON object`));
  const { object, warnings } = versioned(value as JsonObject, target);
  const read = readObject(object, target);
  if (read.mismatch) throw new StatusError(badRequest(`${cannotBeHandled(target.kind)}: ${read.mismatch}`));
  // YAML with a key twice is refused as what it is.
  const duplicate = mediaTypeOf(headers) === 'application/json' ? duplicateFields(body.toString()) : [];
  const unknown = checkUnknown(read.unknown, request, duplicate);
  checkPlace(read.object, target);
  return { object: placed(read.object, target), warnings: [...warnings, ...unknown] };
}

/** The result of a patch, read. A value of a wrong type is the patch's fault. */
export function readPatched(object: JsonObject, target: Target): Fields {
  const fields = readObject(object, target);
  if (fields.mismatch) {
    const why = `${cannotBeHandled(target.kind)}: ${fields.mismatch}`;
    const shown = target.resource.confidential ? WITHHELD : JSON.stringify(object).slice(0, SHOWN_OF_PATCHED);
    throw new StatusError(invalid('', '', '', [invalidValue('patch', shown, why)]));
  }
  return fields;
}

/** Warnings about unknown and repeated fields; with `fieldValidation=Strict` they refuse the request. */
export function checkUnknown(
  paths: readonly string[],
  { target: { kind, verb }, query }: Pick<Sent, 'target' | 'query'>,
  duplicate: readonly string[] = [],
): string[] {
  const mode = query.get('fieldValidation') || 'Warn';
  if (!FIELD_VALIDATION.includes(mode)) {
    const text = `Unsupported value: ${JSON.stringify(mode)}: supported values: ${FIELD_VALIDATION.map((one) => JSON.stringify(one)).join(', ')}`;
    throw new StatusError(
      invalid('meta.k8s.io', optionsKindOf(verb), '', [{ reason: 'FieldValueNotSupported', field: 'fieldValidation', text }]),
    );
  }
  const unknown = [
    ...paths.map((field) => `unknown field ${JSON.stringify(field)}`),
    ...duplicate.map((field) => `duplicate field ${JSON.stringify(field)}`),
  ];
  if (mode === 'Strict' && unknown.length)
    throw new StatusError(badRequest(`${cannotBeHandled(kind)}: strict decoding error: ${unknown.join(', ')}`));
  return mode === 'Warn' ? unknown : [];
}

/** What a client wrote as the shape of its kind says; a subresource with a kind of its own is its owner's to read. */
function readObject(object: JsonObject, { resource, kind }: Target): Fields {
  return resource.schema && kind === resource.kind ? readFields(resource.schema, object) : { object, unknown: [] };
}

/** Kind and apiVersion filled in where they are missing, and refused where they say something else. */
function versioned(object: JsonObject, { kind, resource }: Target): { object: JsonObject; warnings: string[] } {
  const version = resource.group ? `${resource.group}/${resource.version}` : resource.version;
  const given = object['apiVersion'] || version;
  const legacy = given === 'v1' && resource.group === 'image.openshift.io' && LEGACY_VERSION_KINDS.has(kind);
  if (given !== version && !legacy)
    throw new StatusError(
      badRequest(`the API version in the data (${String(given)}) does not match the expected API version (${version})`),
    );
  const givenKind = object['kind'] || kind;
  if (givenKind !== kind) throw new StatusError(otherKind(String(givenKind), { group: resource.group, kind }));
  return {
    object: { ...object, kind, apiVersion: legacy ? given : version },
    warnings: legacy ? [`${kind} in apiVersion "v1" is deprecated: use ${version}`] : [],
  };
}

const metadataOf = (object: JsonObject): JsonObject => {
  const metadata = object['metadata'];
  if (metadata === undefined || metadata === null) return {};
  if (typeof metadata !== 'object' || Array.isArray(metadata)) throw new StatusError(badRequest('metadata must be an object'));
  return metadata;
};

export function checkPlace(object: JsonObject, { namespace, resource }: Target): void {
  const given = metadataOf(object)['namespace'];
  if (given && resource.namespaced && given !== namespace)
    throw new StatusError(badRequest('the namespace of the provided object does not match the namespace sent on the request'));
}

export const placed = (object: JsonObject, { namespace }: Target): JsonObject =>
  namespace === undefined ? object : { ...object, metadata: { ...metadataOf(object), namespace } };

export function checkName(object: JsonObject, { name = '' }: Target): void {
  const given = metadataOf(object)['name'];
  if (!given) throw new StatusError(badRequest(`the name of the object (${name} based on URL) was undeterminable: name must be provided`));
  if (given !== name)
    throw new StatusError(badRequest(`the name of the object (${String(given)}) does not match the name on the URL (${name})`));
}

/** An applied configuration is a whole object: it says what it is. */
export function checkApplied(change: JsonObject, target: Target): void {
  if (!change['apiVersion'] || !change['kind']) throw new StatusError(badRequest('an applied configuration needs apiVersion and kind'));
  versioned(change, target);
  checkPlace(change, target);
  checkName(change, target);
}
