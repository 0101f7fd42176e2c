import { Image } from '@millrace/domain/image';
import { ImageStreamMapping } from '@millrace/domain/image-stream';
import { z } from 'zod';
import { ArtifactPublished } from './cdevents.ts';
import { defineEvent } from './define.ts';
import { ImportCompleted, ImportWanted } from './imports.ts';

const Instant = z.string().describe('RFC 3339');

/** Where an observation comes from. Only observations of one source have an order among each other. */
export const Source = z
  .object({
    registry: z.string().describe('Name under which the registry is configured'),
    eventId: z.string().describe("The registry's own id of the push; a repeat carries the same"),
    observedAt: z.string().describe("When the registry accepted the push, by the registry's clock, RFC 3339 with all its digits"),
    actor: z.string().optional().describe('Who pushed, as the registry says'),
    repository: z.string().optional(),
  })
  .meta({ id: 'Source' });
export type Source = z.infer<typeof Source>;

/** Name under which the observations of registries that publish to NATS are recorded; no registry of a configuration has it. */
export const NATS_SOURCE = 'nats';

/** A registry that can publish to NATS tells the mapping itself, and needs nobody to describe the image. */
export const MappingSubmitted = defineEvent({
  name: 'mapping.submitted',
  stream: 'MILLRACE_MAPPINGS',
  from: 'registry',
  to: ['tag-store'],
  summary: 'A registry that publishes to NATS itself says that an image was pushed: the body is an ImageStreamMapping.',
  data: ImageStreamMapping,
  parameters: ['namespace', 'stream'],
  address: (mapping) => [mapping.metadata.namespace ?? '', mapping.metadata.name ?? ''],
});

export const MappingPublished = defineEvent({
  name: 'mapping.published',
  stream: 'MILLRACE_MAPPINGS',
  from: 'registry-mapping',
  to: ['tag-store'],
  summary: 'A registry accepted a push, and the image is described completely: this tag of this stream now means this image.',
  data: z
    .object({
      id: z.string().describe('The same for every repeat of the same push'),
      namespace: z.string(),
      stream: z.string(),
      tag: z.string(),
      createStream: z.boolean().describe('Whether the stream is made when it is not there yet'),
      image: Image,
      children: z.array(Image).describe("Platform images of an index, so that they can be addressed as the index's parts"),
      source: Source,
    })
    .meta({ id: 'MappingPublished' }),
  parameters: ['namespace', 'stream', 'tag'],
  address: (mapping) => [mapping.namespace, mapping.stream, mapping.tag],
});

/** The dialect is that of the registry's configuration; who may publish on the subject is for NATS to say. */
export const NotificationSubmitted = defineEvent({
  name: 'notification.submitted',
  stream: 'MILLRACE_MAPPINGS',
  from: 'registry',
  to: ['registry-mapping'],
  summary: 'A registry that publishes to NATS itself says what it would tell a webhook: the body is a notification in its dialect.',
  data: z.looseObject({}).meta({ id: 'NotificationSubmitted' }),
  parameters: ['registry'],
  // The subject alone says whose it is.
  address: () => [''],
});

export const RepositoryPushed = defineEvent({
  name: 'repository.pushed',
  stream: 'MILLRACE_EVENTS',
  from: 'registry-mapping',
  to: ['import-scheduler'],
  summary:
    'A registry says that it accepted a push: a hint to look at the tags that follow the repository. What they point at is what the look finds.',
  data: z
    .object({
      id: z.string().describe('The same for every repeat of the same push'),
      host: z
        .string()
        .describe('Of the registry as pull specs name it, with a port where they have one: docker.io, registry.example.com:5000'),
      repository: z.string().describe('Path of the repository in its registry: library/ruby'),
      tags: z.array(z.string()).describe('Which tags were pushed; empty where the registry does not say, then any may have been'),
      digest: z.string().optional().describe('What was pushed, where the registry says and it is one thing'),
      registry: z.string().describe('Name under which the registry is configured'),
      eventId: z
        .string()
        .describe("The registry's own id of the event, or one made of what identifies the push; a repeat carries the same"),
      observedAt: z
        .string()
        .describe('When the registry accepted the push by its own clock, or where it does not say, when it was heard of; RFC 3339'),
      actor: z.string().optional().describe('Who pushed, as the registry says'),
    })
    .meta({ id: 'RepositoryPushed' }),
  parameters: ['host', 'repository'],
  address: (push) => [push.host, push.repository],
});
export type RepositoryPushed = z.infer<typeof RepositoryPushed.data>;

/** Why a tag moved. */
export const MoveCause = z
  .object({
    kind: z
      .enum(['push', 'mapping', 'tag', 'import', 'follow'])
      .describe('push: a registry; mapping: posted to the API; tag: a person or tool; follow: its source tag moved'),
    id: z.string().describe('Id of the fact or request that led to it'),
    registry: z.string().optional(),
    actor: z.string().optional(),
    follows: z.string().optional().describe('For follow: the tag whose move this is'),
  })
  .meta({ id: 'MoveCause' });
export type MoveCause = z.infer<typeof MoveCause>;

/** What a tag points, or pointed, at. */
export const TagTarget = z
  .object({
    image: z.string().describe('Image name, a digest; empty for a tag that only refers to an external pull spec'),
    dockerImageReference: z.string().describe('Pull spec'),
    created: Instant,
  })
  .meta({ id: 'TagTarget' });
export type TagTarget = z.infer<typeof TagTarget>;

const Moved = z.object({
  namespace: z.string(),
  stream: z.string(),
  streamUid: z.string(),
  tag: z.string(),
  generation: z.int().positive().describe('Counts the moves of this tag of this stream (by streamUid): 1, 2, 3 … without a gap'),
  streamGeneration: z.int().describe('Generation that the history item records'),
  previous: TagTarget.nullable(),
  current: TagTarget,
  pullSpec: z.string().describe("What to pull, by the tag's reference policy"),
  labels: z.record(z.string(), z.string()).describe('Labels of the image config, such as commit and source URL'),
  cause: MoveCause,
  movedAt: Instant,
});

export const TagMoved = defineEvent({
  name: 'tag.moved',
  stream: 'MILLRACE_EVENTS',
  from: 'tag-store',
  to: ['trigger-dispatcher'],
  summary: 'A tag now points at another image.',
  data: Moved.extend({
    superseded: z
      .int()
      .positive()
      .optional()
      .describe('How many newer images than the previous one were skipped: they waited for the tag, and the current one came after them'),
  }).meta({ id: 'TagMoved' }),
  parameters: ['namespace', 'stream', 'tag'],
  address: (move) => [move.namespace, move.stream, move.tag],
});
export type TagMoved = z.infer<typeof TagMoved.data>;

/** Of two of one generation the later one counts; a move of a newer generation says what to pull itself. */
export const PullSpecChanged = defineEvent({
  name: 'pullspec.changed',
  stream: 'MILLRACE_EVENTS',
  from: 'tag-store',
  to: ['trigger-dispatcher'],
  summary: 'A tag points at the image that it did, which is now pulled by another text: its last move, with the new pullSpec.',
  data: Moved.meta({ id: 'PullSpecChanged' }),
  parameters: ['namespace', 'stream', 'tag'],
  address: (move) => [move.namespace, move.stream, move.tag],
});

/**
 * By the tag that it came in through: as many subjects as there are tags, so that the last message of each is the newest image of that tag's
 * own, whatever the tag has been moved to since. With the digest in the subject there would be as many as images.
 */
export const ImageCreated = defineEvent({
  name: 'image.created',
  stream: 'MILLRACE_EVENTS',
  from: 'tag-store',
  to: [],
  summary: 'An image that was not known is stored: by the mapping or import that put it on a tag for the first time.',
  data: z
    .object({
      namespace: z.string(),
      stream: z.string(),
      tag: z.string().describe('The tag that brought it'),
      image: z.string().describe('Image name, a digest'),
      uid: z.string().describe('Of the stored image: one that was deleted and comes again has another'),
      dockerImageReference: z.string().describe('Pull spec under which it is recorded'),
      mediaType: z.string().optional().describe('Of its manifest'),
      size: z.int().optional().describe('Bytes of its layers and config, compressed, where that is known'),
      platforms: z
        .array(z.object({ digest: z.string(), os: z.string(), architecture: z.string(), variant: z.string().optional() }))
        .describe('What it runs on: of an index one for each of its images, which tell no event of their own'),
      labels: z.record(z.string(), z.string()).describe('Labels of the image config, such as commit and source URL'),
      cause: MoveCause,
      createdAt: Instant,
    })
    .meta({ id: 'ImageCreated' }),
  parameters: ['namespace', 'stream', 'tag'],
  address: (created) => [created.namespace, created.stream, created.tag],
});
export type ImageCreated = z.infer<typeof ImageCreated.data>;

/** The last message of a tag is what its import last failed by: it holds until a later `tag.moved` of it, or until its conditions say so. */
export const ImportFailed = defineEvent({
  name: 'import.failed',
  stream: 'MILLRACE_EVENTS',
  from: 'tag-store',
  to: [],
  summary: 'What a tag should point at cannot be imported, or now for another reason. Told when that changes, not with every try.',
  data: z
    .object({
      namespace: z.string(),
      stream: z.string(),
      streamUid: z.string(),
      tag: z.string(),
      from: z.string().describe('Pull spec for which it was looked'),
      reason: z.string().describe('In one word: NotFound, Unauthorized, …'),
      message: z.string().describe('For people'),
      previous: z
        .object({ reason: z.string(), message: z.string() })
        .nullable()
        .describe('What it failed by before; null where it had not'),
      image: z.string().describe('Image that the tag goes on pointing at; empty where it has none'),
      generation: z.int().describe('Generation of the spec that the condition of the tag names'),
      failedAt: Instant,
    })
    .meta({ id: 'ImportFailed' }),
  parameters: ['namespace', 'stream', 'tag'],
  address: (failure) => [failure.namespace, failure.stream, failure.tag],
});
export type ImportFailed = z.infer<typeof ImportFailed.data>;

/** A workload, DeploymentConfig or BuildConfig that a tag's image was put into. */
export const TriggeredObject = z
  .object({
    apiVersion: z.string(),
    kind: z.string(),
    namespace: z.string(),
    name: z.string(),
    uid: z.string(),
    generation: z.int().positive().describe('Generation of the object with the image in it'),
    patch: z
      .array(z.object({ op: z.enum(['add', 'replace']), path: z.string(), value: z.unknown() }))
      .describe('What has changed in the object because of the tag: a JSON patch (RFC 6902)'),
    containers: z
      .array(z.object({ name: z.string(), image: z.string(), imagePullPolicy: z.string() }))
      .optional()
      .describe('Containers that got the image, with the pull policy that they have or get by default'),
    build: z
      .object({
        name: z.string(),
        triggeredBy: z.array(z.unknown()).describe('All causes of the build, as the Build has them'),
      })
      .optional()
      .describe('Of a BuildConfig: the Build that was made'),
  })
  .meta({ id: 'TriggeredObject' });
export type TriggeredObject = z.infer<typeof TriggeredObject>;

const Triggered = z.object({
  trigger: z.object({ namespace: z.string(), name: z.string(), uid: z.string() }),
  namespace: z.string(),
  stream: z.string(),
  tag: z.string(),
  generation: z.int().positive().describe('The move of the tag that fired'),
  previous: TagTarget.nullable(),
  current: TagTarget,
  pullSpec: z.string(),
  labels: z.record(z.string(), z.string()),
  cause: MoveCause,
  movedAt: Instant,
  missed: z
    .object({ first: z.int().positive(), last: z.int().positive() })
    .optional()
    .describe('Moves of the tag before this one that did not fire: something held them back, or they were never heard of'),
  between: z
    .array(z.object({ generation: z.int().positive(), image: z.string(), movedAt: Instant }))
    .optional()
    .describe('What the wait or the burst has skipped, oldest first; of many the newest. `missed` counts them all'),
  waited: z
    .object({
      since: Instant.describe('When the change came'),
      for: z.array(z.string()).describe('What it waited for: Held, Paused, AwaitingApproval, TooYoung, OutsideWindow, Coalescing, Storm'),
      approvedBy: z.array(z.string()).optional(),
      releasedBy: z.string().optional(),
    })
    .optional()
    .describe('Where it did not fire at once'),
  object: TriggeredObject.optional().describe('Where no ImageTrigger fired: the object that follows the tag. `trigger` names it too'),
});

export const BuildTriggered = defineEvent({
  name: 'build.triggered',
  stream: 'MILLRACE_EVENTS',
  from: 'trigger-dispatcher',
  to: [],
  summary: 'A trigger of kind Build fired, or a BuildConfig follows the tag: build with this image.',
  data: Triggered.meta({ id: 'BuildTriggered' }),
  parameters: ['namespace', 'stream', 'tag', 'trigger'],
  address: (fired) => [fired.namespace, fired.stream, fired.tag, `${fired.trigger.namespace}/${fired.trigger.name}`],
});

export const DeployTriggered = defineEvent({
  name: 'deploy.triggered',
  stream: 'MILLRACE_EVENTS',
  from: 'trigger-dispatcher',
  to: [],
  summary: 'A trigger of kind Deploy fired, or a workload follows the tag: deploy this image.',
  data: Triggered.meta({ id: 'DeployTriggered' }),
  parameters: ['namespace', 'stream', 'tag', 'trigger'],
  address: (fired) => [fired.namespace, fired.stream, fired.tag, `${fired.trigger.namespace}/${fired.trigger.name}`],
});
export type Triggered = z.infer<typeof Triggered>;

/** Every event of the system. */
export const events = [
  MappingSubmitted,
  MappingPublished,
  NotificationSubmitted,
  RepositoryPushed,
  ImportWanted,
  ImportCompleted,
  TagMoved,
  PullSpecChanged,
  ImageCreated,
  ImportFailed,
  BuildTriggered,
  DeployTriggered,
  ArtifactPublished,
] as const;
