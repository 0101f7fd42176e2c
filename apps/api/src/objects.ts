import { Inject, Injectable } from '@nestjs/common';
import type { IncomingHttpHeaders } from 'node:http';
import { objectsRequestOf, touchedRequestOf, type ObjectAnswer, type ObjectQuestion, type Touched } from '@millrace/contracts/requests';
import type { Owner } from '@millrace/contracts/define';
import type { Resource } from '@millrace/contracts/resources';
import type { Identity } from '@millrace/domain/access';
import { applyConflict, applyFields, updateFields, type Writer } from '@millrace/domain/field-ownership';
import {
  badRequest,
  type FieldError,
  forbiddenField,
  internalError,
  invalid,
  noSuchPath,
  notFound,
  required,
  StatusError,
  tooLarge,
  unavailable,
  type Status,
} from '@millrace/domain/status';
import { AskError, Bus } from '@millrace/platform/bus';
import { CONFIG } from '@millrace/platform/service';
import { decodeBody } from './body.ts';
import type { ApiConfig } from './config.ts';
import { emptyNamespace, isNamespace, makeNamespace } from './namespaces.ts';
import { decodePatch, namesVersion, patched, type JsonObject, type Patch } from './patch.ts';
import { isDryRun, positive, selectionOf, type Target } from './protocol.ts';
import { checkApplied, checkName, checkPlace, checkUnknown, placed, readPatched, readSent } from './sent-object.ts';

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
const MANAGER_LENGTH = 128;
/** How many objects an owner is asked for at a time. */
const PAGE = 500;
/** What an owner's answer to a `get` begins with; then the object follows, and one brace. */
const OBJECT_ANSWER = Buffer.from('{"kind":"object","code":200,"object":');
/** How long an owner may take to say what was touched; then it is asked for the answer itself. */
const TOUCHED_MS = 2_000;
const LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;

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
    const question = { verb: 'list', ...collectionOf(target), ...selection, historyLimit: selection.historyLimit ?? historyLimit } as const;
    // Who wants everything gets it in one answer, but no owner has to put all of it into one message.
    const first = JSON.parse(
      (await this.askBytes(target.resource, { ...question, limit: selection.limit || PAGE })).toString(),
    ) as ObjectAnswer;
    // A list of project requests is none: it says whether one may ask for a project.
    if (first.kind === 'object') return outcomeOf(first);
    const whole = expected(first, 'list');
    if (selection.limit) return listOutcome(whole);
    while (whole.continue) {
      const { resourceVersion: _, exact: __, ...rest } = question;
      const more = await this.ask(target.resource, { ...rest, limit: PAGE, continue: whole.continue }, 'list');
      whole.items.push(...more.items);
      whole.continue = more.continue;
    }
    return listOutcome({ ...whole, remainingItemCount: undefined });
  }

  private async create(request: ObjectRequest): Promise<Outcome> {
    const { target, query, headers, body, user } = request;
    const dryRun = isDryRun('create', query);
    if (target.name !== undefined) {
      const object = body.length === 0 ? {} : decodeBody(body, headers, target.kind);
      return outcomeOf(await this.ask(target.resource, { verb: 'create', ...itemOf(target), object, dryRun, user }, 'object'));
    }
    const { object, warnings } = readSent(request);
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
    const { object, warnings } = readSent(request);
    checkName(object, target);
    // Who owns what is kept from the object that is replaced; where nothing is there, its owner says so.
    const live = keepsOwners(target) ? await this.current(target).catch(absent) : undefined;
    const next = live ? (updateFields(live, object, writerOf(request)) as JsonObject) : object;
    return outcomeOf(
      await this.ask(target.resource, { verb: 'update', ...itemOf(target), object: next, dryRun, user }, 'object'),
      warnings,
    );
  }

  /** Reads, applies, writes with the version that was read; again on conflict, unless the patch itself names the version. */
  private async patch(request: ObjectRequest): Promise<Outcome> {
    const { target, query, headers, body, user } = request;
    const dryRun = isDryRun('patch', query);
    const patch = decodePatch(body, headers);
    checkPatchOptions(patch, query);
    if (patch.kind === 'apply') checkApplied(patch.change, target);
    for (let tries = 1; ; tries++) {
      const current = await this.current(target).catch(patch.kind === 'apply' && isCreatable(target) ? absent : rethrown);
      const { object, unknown } = readPatched(this.patched(current ?? {}, patch, request), target);
      const warnings = checkUnknown(unknown, request);
      if (current === undefined) return this.created(target, placed(object, target), { dryRun, user, warnings });
      checkPlace(object, target);
      checkName(object, target);
      try {
        const question: ObjectQuestion = { verb: 'update', ...itemOf(target), object, dryRun, user, patched: true };
        return outcomeOf(await this.ask(target.resource, question, 'object'), warnings);
      } catch (error) {
        const conflicted = error instanceof StatusError && error.status.code === 409 && error.status.reason === 'Conflict';
        if (!conflicted || namesVersion(patch) || tries === CONFLICT_TRIES) throw error;
      }
    }
  }

  private patched(current: JsonObject, patch: Patch, request: ObjectRequest): JsonObject {
    const owners = keepsOwners(request.target);
    const writer = writerOf(request);
    if (!owners || patch.kind !== 'apply') {
      const object = patched(current, patch, this.config.BODY_LIMIT_BYTES);
      return owners ? (updateFields(current, object, writer) as JsonObject) : object;
    }
    const applied = applyFields(current, patch.change, writer, request.query.get('force') === 'true');
    if (applied.kind === 'conflicts') throw new StatusError(applyConflict(applied.conflicts));
    return applied.object as JsonObject;
  }

  /** The object as an update is based on. */
  private async current(target: Target): Promise<JsonObject> {
    const { object } = await this.ask(target.resource, { verb: 'get', ...itemOf(target), forUpdate: true }, 'object');
    return object as JsonObject;
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

  /** Asks the owner of a resource; a refusal and an owner that is not there are thrown as what the client is told. */
  async ask<K extends ObjectAnswer['kind']>(
    resource: Resource,
    question: ObjectQuestion,
    kind: K,
    timeoutMs?: number,
  ): Promise<Answered<K>> {
    return expected(JSON.parse((await this.askBytes(resource, question, timeoutMs)).toString()) as ObjectAnswer, kind);
  }

  /** What has been touched of an owner's objects. Rejects when it cannot say. */
  touched(owner: Owner, since?: string): Promise<Touched> {
    const request = touchedRequestOf(owner);
    if (!request) throw new Error(`${owner} keeps no account of what is touched`);
    return this.bus.ask(request, { since }, { timeoutMs: TOUCHED_MS });
  }

  private async askBytes({ owner, answersWithinMs }: Resource, question: ObjectQuestion, timeoutMs = answersWithinMs): Promise<Buffer> {
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

const keepsOwners = ({ resource, subresource }: Target): boolean => resource.keepsOwners === true && subresource === undefined;
const isCreatable = ({ resource, subresource }: Target): boolean => subresource === undefined && resource.verbs.includes('create');

function absent(error: unknown): undefined {
  if (error instanceof StatusError && error.status.code === 404) return undefined;
  throw error;
}
function rethrown(error: unknown): never {
  throw error;
}

/** Who writes, for `managedFields`: as the client calls itself, else the program that it is. */
function writerOf({ target: { resource }, query, headers }: ObjectRequest): Writer {
  const program = headers['user-agent']?.split('/', 1)[0] || 'unknown';
  return {
    manager: (query.get('fieldManager') || program).slice(0, MANAGER_LENGTH),
    apiVersion: resource.group ? `${resource.group}/${resource.version}` : resource.version,
    now: `${new Date().toISOString().slice(0, 19)}Z`,
  };
}

/** An apply says who applies; only an apply can be forced. */
function checkPatchOptions(patch: Patch, query: URLSearchParams): void {
  const refused = (field: FieldError) => new StatusError(invalid('meta.k8s.io', 'PatchOptions', '', [field]));
  if (patch.kind === 'apply' && !query.get('fieldManager')) throw refused(required('fieldManager', 'is required for apply patch'));
  if (patch.kind !== 'apply' && query.get('force')) throw refused(forbiddenField('force', 'may not be specified for non-apply patch'));
}
