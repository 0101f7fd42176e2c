import { Inject, Injectable } from '@nestjs/common';
import type { IncomingHttpHeaders } from 'node:http';
import { objectsRequestOf, type ObjectAnswer, type ObjectQuestion } from '@millrace/contracts/requests';
import type { Owner } from '@millrace/contracts/define';
import type { Resource } from '@millrace/contracts/resources';
import type { Identity } from '@millrace/domain/access';
import { badRequest, internalError, noSuchPath, notFound, StatusError, tooLarge, unavailable, type Status } from '@millrace/domain/status';
import { AskError, Bus } from '@millrace/platform/bus';
import { CONFIG } from '@millrace/platform/service';
import { decodeBody } from './body.ts';
import type { ApiConfig } from './config.ts';
import { unknownFields } from './fields.ts';
import { emptyNamespace, isNamespace, makeNamespace } from './namespaces.ts';
import { decodePatch, namesVersion, patched, type Json, type Patch } from './patch.ts';
import { isDryRun, positive, selectionOf, type Target } from './protocol.ts';

/** What a request is answered with, before it takes the form that the client wants. */
export interface Outcome {
  code: number;
  warnings: readonly string[];
  content:
    | { kind: 'object'; object: Record<string, unknown> }
    /** The owner's JSON as it came, not parsed. */
    | { kind: 'json'; json: Buffer }
    | { kind: 'list'; items: Record<string, unknown>[]; metadata: ListMetadata };
}

export interface ListMetadata {
  resourceVersion?: string;
  continue?: string;
  remainingItemCount?: number;
}

/** One request for objects, admitted. */
export interface ObjectRequest {
  target: Target;
  query: URLSearchParams;
  headers: IncomingHttpHeaders;
  body: Buffer;
  user: Identity;
  /** How much history is wanted where the client does not say. */
  historyLimit?: number;
  /** Whether the owner's JSON may be passed on as it is. */
  asIs: boolean;
}

const CONFLICT_TRIES = 5;
/** What an owner's answer to a `get` begins with; then the object follows, and one brace. */
const OBJECT_ANSWER = Buffer.from('{"kind":"object","code":200,"object":');
const LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
/** Kinds whose documentation prints the version that they had before API groups. */
const LEGACY_VERSION_KINDS = new Set(['ImageStreamMapping']);

type JsonObject = { [key: string]: Json };
type Answered<K extends ObjectAnswer['kind']> = Extract<ObjectAnswer, { kind: K }>;

/** The objects of the API: asks their owners, and does what is the same for every kind: decoding, patching, retrying on conflict. */
@Injectable()
export class Objects {
  constructor(
    private readonly bus: Bus,
    @Inject(CONFIG) private readonly config: ApiConfig,
  ) {}

  /** @throws StatusError with what the client is to be told */
  async answer(request: ObjectRequest): Promise<Outcome> {
    switch (request.target.verb) {
      case 'get':
        return this.get(request);
      case 'list':
        return this.list(request);
      case 'create':
        return this.create(request);
      case 'update':
        return this.update(request);
      case 'patch':
        return this.patch(request);
      case 'delete':
      case 'deletecollection':
        return this.delete(request);
      default:
        throw new StatusError(noSuchPath());
    }
  }

  private async get({ target, query, historyLimit, asIs }: ObjectRequest): Promise<Outcome> {
    const question: ObjectQuestion = {
      verb: 'get',
      ...itemOf(target),
      historyLimit: positive(query, 'historyLimit') ?? historyLimit,
      labelSelector: query.get('labelSelector') || undefined,
      fieldSelector: query.get('fieldSelector') || undefined,
    };
    const bytes = await this.askBytes(target.resource, question);
    // An answer of exactly this shape is the object between the first bytes and the last brace; the brace becomes the line's end.
    if (asIs && bytes.subarray(0, OBJECT_ANSWER.length).equals(OBJECT_ANSWER) && bytes.at(-2) === 0x7d) {
      const json = bytes.subarray(OBJECT_ANSWER.length);
      json[json.length - 1] = 0x0a;
      return { code: 200, warnings: [], content: { kind: 'json', json } };
    }
    return outcomeOf(expected(JSON.parse(bytes.toString()) as ObjectAnswer, 'object'));
  }

  private async list({ target, query, historyLimit }: ObjectRequest): Promise<Outcome> {
    const selection = selectionOf(query);
    const question: ObjectQuestion = {
      verb: 'list',
      ...collectionOf(target),
      ...selection,
      historyLimit: selection.historyLimit ?? historyLimit,
    };
    const answer = JSON.parse((await this.askBytes(target.resource, question)).toString()) as ObjectAnswer;
    // A list of project requests is none: it says whether one may ask for a project.
    return answer.kind === 'object' ? outcomeOf(answer) : listOutcome(expected(answer, 'list'));
  }

  private async create(request: ObjectRequest): Promise<Outcome> {
    const { target, query, headers, body, user } = request;
    const dryRun = isDryRun('create', query);
    if (target.name !== undefined) {
      const object = body.length === 0 ? {} : decodeBody(body, headers, target.kind);
      return outcomeOf(await this.ask(target.resource, { verb: 'create', ...itemOf(target), object, dryRun, user }, 'object'));
    }
    const { object, warnings } = this.decoded(request);
    return this.created(target, object, { dryRun, user, warnings });
  }

  private async created(
    target: Target,
    object: JsonObject,
    { dryRun, user, warnings }: { dryRun: boolean; user: Identity; warnings: readonly string[] },
  ): Promise<Outcome> {
    if (target.namespace !== undefined && !LABEL.test(target.namespace))
      throw new StatusError(notFound({ group: '', resource: 'namespaces' }, target.namespace));
    const answer = await this.ask(target.resource, { verb: 'create', ...collectionOf(target), object, dryRun, user }, 'object');
    if (!dryRun) await makeNamespace(this, target, user);
    return outcomeOf(answer, warnings);
  }

  private async update(request: ObjectRequest): Promise<Outcome> {
    const { target, query, user } = request;
    const dryRun = isDryRun('update', query);
    const { object, warnings } = this.decoded(request);
    checkName(object, target);
    return outcomeOf(await this.ask(target.resource, { verb: 'update', ...itemOf(target), object, dryRun, user }, 'object'), warnings);
  }

  /** Reads, applies, writes with the version that was read; again on conflict, unless the patch itself names the version. */
  private async patch(request: ObjectRequest): Promise<Outcome> {
    const { target, query, headers, body, user } = request;
    const dryRun = isDryRun('patch', query);
    const patch = decodePatch(body, headers);
    if (patch.kind === 'apply') checkApplied(patch.change, target);
    for (let tries = 1; ; tries++) {
      const current = await this.current(target, patch);
      if (current === undefined && patch.kind === 'apply') {
        const warnings = this.checkFields(patch.change, request);
        return this.created(target, placed(patch.change, target), { dryRun, user, warnings });
      }
      const object = patched(current ?? {}, patch, this.config.BODY_LIMIT_BYTES);
      checkPlace(object, target);
      checkName(object, target);
      const warnings = this.checkFields(patch.kind === 'json' ? object : patch.change, request);
      try {
        return outcomeOf(await this.ask(target.resource, { verb: 'update', ...itemOf(target), object, dryRun, user }, 'object'), warnings);
      } catch (error) {
        const conflicted = error instanceof StatusError && error.status.code === 409 && error.status.reason === 'Conflict';
        if (!conflicted || namesVersion(patch) || tries === CONFLICT_TRIES) throw error;
      }
    }
  }

  /** The object that a patch applies to; undefined where server-side apply finds nothing. */
  private async current(target: Target, patch: Patch): Promise<JsonObject | undefined> {
    try {
      const { object } = await this.ask(target.resource, { verb: 'get', ...itemOf(target), forUpdate: true }, 'object');
      return object as JsonObject;
    } catch (error) {
      const absent = error instanceof StatusError && error.status.code === 404 && target.subresource === undefined;
      if (absent && patch.kind === 'apply' && target.resource.verbs.includes('create')) return undefined;
      throw error;
    }
  }

  private async delete({ target, query, headers, body, user }: ObjectRequest): Promise<Outcome> {
    const given = body.length === 0 ? {} : decodeBody(body, headers, 'DeleteOptions');
    if (typeof given !== 'object' || given === null) throw new StatusError(badRequest('the body of a DELETE is DeleteOptions'));
    const { preconditions, dryRun: wanted } = given as {
      preconditions?: { uid?: unknown; resourceVersion?: unknown } | null;
      dryRun?: unknown;
    };
    const dryRun = isDryRun(target.verb, query, wanted);
    if (target.verb === 'deletecollection') {
      const question: ObjectQuestion = { verb: 'deletecollection', ...collectionOf(target), ...selectionOf(query), dryRun, user };
      return listOutcome(await this.ask(target.resource, question, 'list'));
    }
    const conditions = {
      ...(typeof preconditions?.uid === 'string' ? { uid: preconditions.uid } : {}),
      ...(typeof preconditions?.resourceVersion === 'string' ? { resourceVersion: preconditions.resourceVersion } : {}),
    };
    const question: ObjectQuestion = { verb: 'delete', ...itemOf(target), dryRun, user, preconditions: conditions };
    if (isNamespace(target.resource) && !dryRun) {
      // Whatever may refuse it is asked before anything is gone.
      await this.ask(target.resource, { ...question, dryRun: true }, 'object');
      await emptyNamespace(this, target.name ?? '', user);
    }
    return outcomeOf(await this.ask(target.resource, question, 'object'));
  }

  /** The object of a request's body, at its place: kind, version and namespace filled in and checked. */
  private decoded(request: ObjectRequest): { object: JsonObject; warnings: string[] } {
    const { target, headers, body } = request;
    const value = decodeBody(body, headers, target.kind);
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw new StatusError(badRequest(`the object provided is unrecognized (must be of type ${target.kind}): the body is no JSON object`));
    const { object, warnings } = versioned(value as JsonObject, target);
    checkPlace(object, target);
    return { object: placed(object, target), warnings: [...warnings, ...this.checkFields(object, request)] };
  }

  /** Warnings about unknown fields; with `fieldValidation=Strict` they refuse the request. */
  private checkFields(object: JsonObject, { target, query }: ObjectRequest): string[] {
    const mode = query.get('fieldValidation') || 'Warn';
    const { schema } = target.resource;
    if (mode === 'Ignore' || !schema || target.kind !== target.resource.kind) return [];
    if (mode !== 'Warn' && mode !== 'Strict')
      throw new StatusError(badRequest(`fieldValidation is ${JSON.stringify(mode)}: it may be Ignore, Warn or Strict`));
    const unknown = unknownFields(schema, object)
      .filter((field) => !field.includes('$'))
      .map((field) => `unknown field ${JSON.stringify(field)}`);
    if (mode === 'Strict' && unknown.length)
      throw new StatusError(badRequest(`${cannotBeHandled(target.kind, target.kind)}: strict decoding error: ${unknown.join(', ')}`));
    return unknown;
  }

  /** Asks the owner of a resource; a refusal and an owner that is not there are thrown as what the client is told. */
  async ask<K extends ObjectAnswer['kind']>(
    resource: Resource,
    question: ObjectQuestion,
    kind: K,
    timeoutMs?: number,
  ): Promise<Answered<K>> {
    return expected(JSON.parse((await this.askBytes(resource, question, timeoutMs)).toString()) as ObjectAnswer, kind);
  }

  private async askBytes({ owner }: Resource, question: ObjectQuestion, timeoutMs?: number): Promise<Buffer> {
    try {
      return await this.bus.askBytes(objectsRequestOf(owner), question, { timeoutMs });
    } catch (error) {
      throw error instanceof AskError ? new StatusError(statusOf(error, owner, question), { cause: error }) : error;
    }
  }
}

function statusOf({ code }: AskError, owner: Owner, { verb }: ObjectQuestion): Status {
  const reads = verb === 'get' || verb === 'list' || verb === 'changes';
  switch (code) {
    case 'no-owner':
      return unavailable(`the service ${owner} is not running: start it, then try again`);
    case 'closed':
      return unavailable('the api is not connected to NATS: try again shortly');
    case 'timeout':
      return unavailable(
        `the service ${owner} has not answered in time${reads ? '' : ': whether the change was made is not known, look before you try again'}`,
      );
    case 'too-large':
      return reads
        ? tooLarge('the answer is too large: list fewer objects with limit, or less of them with historyLimit')
        : tooLarge('the object is larger than NATS carries: raise its max_payload, or send less');
    case 'failed':
      return internalError(`the service ${owner} failed: its log names the reason`);
    default:
      return code satisfies never;
  }
}

function expected<K extends ObjectAnswer['kind']>(answer: ObjectAnswer, kind: K): Answered<K> {
  if (answer.kind === 'refused') throw new StatusError(answer.status);
  if (answer.kind !== kind) throw new Error(`an owner answered ${answer.kind} where ${kind} was asked for`);
  return answer as Answered<K>;
}

const outcomeOf = ({ code, object, warnings = [] }: Answered<'object'>, further: readonly string[] = []): Outcome => ({
  code,
  warnings: [...further, ...warnings],
  content: { kind: 'object', object: object as Record<string, unknown> },
});

const listOutcome = ({ items, resourceVersion, continue: next, remainingItemCount }: Answered<'list'>): Outcome => ({
  code: 200,
  warnings: [],
  content: {
    kind: 'list',
    items: items as Record<string, unknown>[],
    metadata: { resourceVersion: resourceVersion || undefined, continue: next || undefined, remainingItemCount },
  },
});

const collectionOf = ({ resource, namespace, subresource }: Target) => ({ resource: resource.resource, namespace, subresource });
const itemOf = (target: Target) => ({ ...collectionOf(target), name: target.name ?? '' });

const cannotBeHandled = (kind: string, as: string): string => `${kind} in version "v1" cannot be handled as a ${as}`;

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
  if (givenKind !== kind) {
    const group = resource.group.split('.', 1)[0];
    throw new StatusError(
      badRequest(
        `${cannotBeHandled(String(givenKind), kind)}: converting (v1.${String(givenKind)}) to (${group}.${kind}): unknown conversion`,
      ),
    );
  }
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

function checkPlace(object: JsonObject, { namespace, resource }: Target): void {
  const given = metadataOf(object)['namespace'];
  if (given && resource.namespaced && given !== namespace)
    throw new StatusError(badRequest('the namespace of the provided object does not match the namespace sent on the request'));
}

const placed = (object: JsonObject, { namespace }: Target): JsonObject =>
  namespace === undefined ? object : { ...object, metadata: { ...metadataOf(object), namespace } };

function checkName(object: JsonObject, { name = '' }: Target): void {
  const given = metadataOf(object)['name'];
  if (!given) throw new StatusError(badRequest(`the name of the object (${name} based on URL) was undeterminable: name must be provided`));
  if (given !== name)
    throw new StatusError(badRequest(`the name of the object (${String(given)}) does not match the name on the URL (${name})`));
}

/** An applied configuration is a whole object: it says what it is. */
function checkApplied(change: JsonObject, target: Target): void {
  if (!change['apiVersion'] || !change['kind']) throw new StatusError(badRequest('an applied configuration needs apiVersion and kind'));
  versioned(change, target);
  checkPlace(change, target);
  checkName(change, target);
}
