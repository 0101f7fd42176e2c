import { Identity } from '@millrace/domain/access';
import { Blocker } from '@millrace/domain/change-control';
import { Image } from '@millrace/domain/image';
import { ImageStream } from '@millrace/domain/image-stream';
import { Status } from '@millrace/domain/status';
import { z } from 'zod';
import { defineRequest, type Owner, type RequestContract } from './define.ts';
import { TagTarget } from './events.ts';
import { ImportedTag } from './imports.ts';

/** `table: true` asks for rows that the owner prints (see Table below) beside the objects. */
const Selection = {
  labelSelector: z.string().optional(),
  fieldSelector: z.string().optional(),
  limit: z.int().positive().optional(),
  continue: z.string().optional(),
  resourceVersion: z.string().optional(),
  exact: z.boolean().optional().describe('The list is wanted as it was at that resourceVersion'),
  historyLimit: z.int().positive().optional().describe('How many of the newest history items per tag are wanted; all when absent'),
};

const Addressed = {
  resource: z.string(),
  subresource: z.string().optional(),
  namespace: z.string().optional().describe('Absent for cluster-scoped resources and for lists over all namespaces'),
};

/**
 * What the api asks of the owner of a noun: one shape for every resource. The api has checked protocol and access;
 * the owner checks the object.
 */
export const ObjectQuestion = z
  .discriminatedUnion('verb', [
    z.object({
      verb: z.literal('get'),
      ...Addressed,
      name: z.string(),
      historyLimit: Selection.historyLimit,
      labelSelector: Selection.labelSelector.describe('Of a subresource that is a list, such as imagestreams/secrets'),
      fieldSelector: Selection.fieldSelector,
      forUpdate: z
        .boolean()
        .optional()
        .describe('The object will be patched and written back: a virtual one is answered although it has no image yet'),
    }),
    z.object({ verb: z.literal('list'), ...Addressed, ...Selection }),
    z.object({
      verb: z.literal('create'),
      ...Addressed,
      name: z.string().optional(),
      object: z.unknown(),
      dryRun: z.boolean(),
      user: Identity,
      warnings: z.boolean().optional(),
    }),
    z.object({
      verb: z.literal('update'),
      ...Addressed,
      name: z.string(),
      object: z.unknown(),
      dryRun: z.boolean(),
      user: Identity,
      patched: z.boolean().optional().describe('The object was read, patched and sent back'),
    }),
    z.object({
      verb: z.literal('delete'),
      ...Addressed,
      name: z.string(),
      dryRun: z.boolean(),
      user: Identity,
      preconditions: z.object({ uid: z.string().optional(), resourceVersion: z.string().optional() }).optional(),
    }),
    z.object({ verb: z.literal('deletecollection'), ...Addressed, ...Selection, dryRun: z.boolean(), user: Identity }),
    z.object({
      verb: z.literal('changes'),
      ...Addressed,
      name: z.string().optional(),
      labelSelector: z.string().optional(),
      fieldSelector: z.string().optional(),
      since: z.string().describe('Changes numbered above this resourceVersion'),
      waitMs: z.int().nonnegative().max(30_000).describe('How long to wait for a first change'),
      limit: z.int().positive().max(1000),
    }),
  ])
  .meta({ id: 'ObjectQuestion' });
export type ObjectQuestion = z.infer<typeof ObjectQuestion>;
/** A question with this verb. */
export type Ask<V extends ObjectQuestion['verb']> = Extract<ObjectQuestion, { verb: V }>;

/** `object` is the JSON that the client gets, complete with kind and apiVersion; `code` the HTTP status (200 or 201). */
export const ObjectAnswer = z
  .discriminatedUnion('kind', [
    z.object({ kind: z.literal('object'), code: z.int(), object: z.unknown(), warnings: z.array(z.string()).optional() }),
    z.object({
      kind: z.literal('list'),
      items: z.array(z.unknown()),
      resourceVersion: z.string(),
      continue: z.string().optional(),
      remainingItemCount: z.int().optional(),
    }),
    z.object({
      kind: z.literal('changes'),
      changes: z.array(z.object({ type: z.enum(['ADDED', 'MODIFIED', 'DELETED']), object: z.unknown() })),
      resourceVersion: z.string().describe('Everything up to here has been told'),
    }),
    z.object({ kind: z.literal('refused'), status: Status }),
  ])
  .meta({ id: 'ObjectAnswer' });
export type ObjectAnswer = z.infer<typeof ObjectAnswer>;

const objectsOf = (owner: Owner, summary: string) =>
  defineRequest({ name: 'objects', to: owner, summary, question: ObjectQuestion, answer: ObjectAnswer });

/** Who answers for which resources: one request per owner. */
export const TagStoreObjects = objectsOf(
  'tag-store',
  'Read or write image streams, their tags, images and mappings, namespaces, secrets and service accounts.',
);
export const TriggerObjects = objectsOf(
  'trigger-dispatcher',
  'Read or write image triggers and deliveries, and the workloads and build configs that follow tags.',
);
export const RegistryMappingObjects = objectsOf('registry-mapping', 'Read, retry or drop notifications that wait or could not be used.');
export const ImportObjects = objectsOf('import-scheduler', 'Look at images in registries, and put them into the tags of a stream.');

/** Whoever asked for an import waits for what came of it: the same as import.completed, with an answer. */
export const ApplyImport = defineRequest({
  name: 'apply-import',
  to: 'tag-store',
  summary: 'Put what was found in registries into the tags of a stream, which is made where it is missing.',
  question: z.object({
    id: z.string().describe('The same for every repeat'),
    namespace: z.string(),
    stream: z.string(),
    tags: z.array(ImportedTag),
    dryRun: z.boolean(),
    user: Identity,
  }),
  answer: z.discriminatedUnion('kind', [
    z.object({
      kind: z.literal('applied'),
      stream: ImageStream.describe('As it is now'),
      images: z.array(Image).describe('Those of the import as they are stored: one that was there already stays as it was'),
    }),
    z.object({ kind: z.literal('refused'), status: Status }),
  ]),
});

/**
 * Which objects have changed since a position in the owner's resourceVersions: small enough to be asked before every read that is answered with
 * what the asker has kept.
 */
const Touched = {
  name: 'touched',
  summary: 'Which objects have changed since a resourceVersion, by their names, and how far that goes.',
  question: z.object({
    since: z
      .string()
      .regex(/^\d{1,18}$/)
      .optional()
      .describe('Absent: only the position is wanted'),
  }),
  answer: z.object({
    position: z.string().describe('The newest resourceVersion that was handed out'),
    objects: z
      .array(z.object({ resource: z.string(), namespace: z.string(), name: z.string(), type: z.enum(['ADDED', 'MODIFIED', 'DELETED']) }))
      .optional()
      .describe('Absent where more has changed than is told: anything may have'),
  }),
};
export type Touched = z.infer<typeof Touched.answer>;
export const TagStoreTouched = defineRequest({ ...Touched, to: 'tag-store' });
export const TriggersTouched = defineRequest({ ...Touched, to: 'trigger-dispatcher' });

/** Where a tag stands now; a trigger that begins to watch it takes this as its baseline. */
export const CurrentTag = defineRequest({
  name: 'current-tag',
  to: 'tag-store',
  summary: 'Where a tag stands: its last move, or null when it has never moved.',
  question: z.object({ namespace: z.string(), stream: z.string(), tag: z.string() }),
  answer: z.object({ move: z.unknown().nullable().describe('The last tag.moved of the tag, or null') }),
});

/** A secret for registries as it lies in the database: only who has the key can read it, so that NATS never carries what is in it. */
export const SealedSecret = z
  .object({
    name: z.string(),
    uid: z.string().describe('What the sealed data are bound to'),
    resourceVersion: z.string(),
    type: z.string(),
    registries: z.array(z.string()).describe('For types that do not say it inside: keys of the registries that it is for'),
    keyId: z.string().optional().describe('Which SECRETS_KEY opens it; absent for what was sealed before keys had ids'),
    sealed: z.base64(),
  })
  .meta({ id: 'SealedSecret' });
export type SealedSecret = z.infer<typeof SealedSecret>;

/** With what images are fetched for a namespace. Rung when any of it changes: {@link PULL_SECRETS_BELL}. */
export const PullSecrets = defineRequest({
  name: 'pull-secrets',
  to: 'tag-store',
  summary: 'The secrets of a namespace that images are fetched with, sealed.',
  question: z.object({
    namespace: z.string(),
    known: z.string().optional().describe('The revision that the asker has'),
  }),
  answer: z.object({
    revision: z.string().describe('Another one whenever one of them is made, changed, sealed anew or gone'),
    secrets: z.array(SealedSecret).optional().describe('By name; absent while the known revision is the current one'),
  }),
});

/** A bell, best effort: a secret of some namespace has changed, so who keeps some asks again. */
export const PULL_SECRETS_BELL = 'tag-store.pull-secrets';

const SecretKeyName = z.object({ name: z.string(), key: z.string() });

/**
 * Single values of a namespace's secrets, for what is sent in its name. Each is sealed by itself, bound to {@link sealedValueOf}, so that who has the
 * key reads these and no others. Rung when any of them changes: {@link PULL_SECRETS_BELL}.
 */
export const SecretValues = defineRequest({
  name: 'secret-values',
  to: 'tag-store',
  summary: 'Named keys of the secrets of a namespace, sealed.',
  question: z.object({ namespace: z.string(), keys: z.array(SecretKeyName).max(200) }),
  answer: z.object({
    values: z
      .array(
        z.discriminatedUnion('kind', [
          z.object({ kind: z.literal('sealed'), sealed: z.base64().describe('Of {"value": base64}') }),
          z.object({ kind: z.literal('missing'), reason: z.string() }),
          z.object({ kind: z.literal('unreadable'), reason: z.string() }),
        ]),
      )
      .describe('In the order of the question'),
  }),
});

/** What the sealed value of a key is bound to. */
export const sealedValueOf = (namespace: string, { name, key }: z.infer<typeof SecretKeyName>): string => `${namespace}/${name}/${key}`;

/** Asked once for all tags of an object that is written: those that it follows, and those by which it names images. */
export const KnownTags = defineRequest({
  name: 'known-tags',
  to: 'tag-store',
  summary: 'What tags mean now, and whether their streams may be named by name alone.',
  question: z.object({ tags: z.array(z.object({ namespace: z.string(), stream: z.string(), tag: z.string() })).max(1_000) }),
  answer: z.object({
    at: z.string().describe('When tag-store looked, RFC 3339'),
    tags: z
      .array(
        z
          .object({
            streamUid: z.string(),
            local: z.boolean().describe('lookupPolicy.local of the stream'),
            repository: z.string().describe('Repository of the stream; empty where it has none'),
            moves: z.int().nonnegative().describe('How often the tag has moved, also before it was deleted'),
            move: z.unknown().nullable().describe('The last tag.moved with what to pull now; null while the tag means nothing'),
          })
          .nullable(),
      )
      .describe('In the order of the question; null where there is no such stream'),
  }),
});

/** What would become of an image that a push gave a tag now: asked by who explains what would happen. */
export const ExplainTag = defineRequest({
  name: 'explain-tag',
  to: 'tag-store',
  summary: 'What would become of a tag that is given an image now: whether it moves, waits, or does not take it, and why.',
  question: z.object({ namespace: z.string(), stream: z.string(), tag: z.string(), image: z.string().describe('Digest') }),
  answer: z
    .object({
      outcome: z.enum(['moves', 'waits', 'refused', 'unchanged']),
      reason: z
        .string()
        .describe(
          'In one word: Allowed, Current, Held, Paused, AwaitingApproval, TooYoung, OutsideWindow, Denied, Rejected or ApprovalExpired',
        ),
      message: z.string(),
      blockers: z.array(Blocker).optional().describe('Everything that it would wait for'),
      lookAt: z.string().optional().describe('When that would be decided again; absent where only a person can change anything'),
      current: TagTarget.nullable().describe('What the tag points at; null where it points at nothing'),
      pending: z.int().nonnegative().describe('How many changes wait for it now'),
      followers: z.array(z.string()).describe('Tags of the stream that would be given the image too, when the tag moves'),
    })
    .nullable()
    .describe('null where there is no such stream'),
});

/** Every request of the system. */
export const requests: readonly RequestContract[] = [
  TagStoreObjects,
  TriggerObjects,
  RegistryMappingObjects,
  TagStoreTouched,
  TriggersTouched,
  ImportObjects,
  ApplyImport,
  CurrentTag,
  PullSecrets,
  SecretValues,
  KnownTags,
  ExplainTag,
];

/** The request that answers for a resource's owner. */
export function objectsRequestOf(owner: Owner): RequestContract<typeof ObjectQuestion, typeof ObjectAnswer> {
  const found = [TagStoreObjects, TriggerObjects, RegistryMappingObjects, ImportObjects].find((request) => request.to === owner);
  if (!found) throw new Error(`${owner} answers for no resource`);
  return found;
}

/** The request by which an owner tells what has changed; undefined where it keeps no account of that. */
export const touchedRequestOf = (owner: Owner): typeof TagStoreTouched | undefined =>
  [TagStoreTouched, TriggersTouched].find((request) => request.to === owner);

/** How far a service has acted on a JetStream stream; whoever told the facts keeps them until then. Asked of the platform of each. */
export const positionOf = (owner: Owner) =>
  defineRequest({
    name: 'position',
    to: owner,
    summary: 'How far this service has acted on the facts of a stream.',
    question: z.object({ stream: z.string(), event: z.string() }),
    answer: z.object({ streamCreated: z.string(), sequence: z.int().nonnegative() }).nullable(),
  });
