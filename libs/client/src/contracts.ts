import { ArtifactPublished } from '@millrace/contracts/cdevents';
import { BuildTriggered, DeployTriggered, ImageCreated, ImportFailed, PullSpecChanged, TagMoved } from '@millrace/contracts/events';
import type { z } from 'zod';

/** What is told to whoever wants to hear it, by name. What services tell each other is not in it. */
export const contracts = {
  'tag.moved': TagMoved,
  'pullspec.changed': PullSpecChanged,
  'image.created': ImageCreated,
  'import.failed': ImportFailed,
  'build.triggered': BuildTriggered,
  'deploy.triggered': DeployTriggered,
  'artifact.published': ArtifactPublished,
} as const;

export type EventName = keyof typeof contracts;
export type EventData<N extends EventName> = z.output<(typeof contracts)[N]['data']>;

export const eventNames = Object.keys(contracts) as EventName[];

/** JetStream stream of all of them. */
export const STREAM = TagMoved.stream;

/** Which event a subject is of, by its third and fourth token. */
export function eventNameOf(subject: string): EventName | undefined {
  const name = subject.split('.').slice(2, 4).join('.');
  return Object.hasOwn(contracts, name) ? (name as EventName) : undefined;
}
