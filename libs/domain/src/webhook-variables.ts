import { formatReference, tryParseReference } from './image-reference.ts';
import type { TriggerKind } from './image-trigger.ts';

/** The CloudEvent of a firing, as much of it as is read here; everything of it can stand in a template. */
export interface FiredEvent {
  id: string;
  type: string;
  data: {
    trigger: { namespace: string; name: string; uid: string };
    namespace: string;
    stream: string;
    tag: string;
    current: { image: string };
    pullSpec: string;
    labels: Record<string, string>;
  };
}

/** What a template of a webhook may name, beside `parameters` and, in headers, `body`. */
export const WEBHOOK_VARIABLES = {
  event: 'The whole CloudEvent',
  data: 'event.data: what fired, see events.md',
  id: 'event.id, the same for every repeat',
  kind: 'Build or Deploy',
  image: 'What to pull: data.pullSpec',
  repository: 'The image without tag and digest',
  digest: 'Digest of the image; empty for a tag that only names an outside image by text',
  namespace: 'Namespace of the stream',
  stream: 'Name of the stream',
  tag: 'The tag that moved',
  labels: 'Labels of the image: labels["org.opencontainers.image.revision"]',
  trigger: 'trigger.namespace, trigger.name, trigger.uid',
} as const satisfies Record<string, string>;

export type WebhookVariables = Record<keyof typeof WEBHOOK_VARIABLES, unknown>;

export function webhookVariables(event: FiredEvent): WebhookVariables {
  const { id, type, data } = event;
  const reference = tryParseReference(data.pullSpec);
  return {
    ...{ event, data, id },
    kind: type.includes('.build.') ? 'Build' : 'Deploy',
    image: data.pullSpec,
    repository: reference ? formatReference({ ...reference, tag: '', id: '' }) : data.pullSpec,
    digest: data.current.image,
    namespace: data.namespace,
    stream: data.stream,
    tag: data.tag,
    labels: data.labels,
    trigger: data.trigger,
  };
}

/** What a template is tried with when it is written. */
export function exampleEvent(kind: TriggerKind, trigger: { namespace: string; name: string }): FiredEvent {
  const image = `sha256:${'0123456789abcdef'.repeat(4)}`;
  const created = '2026-01-01T00:00:00Z';
  const pullSpec = `registry.example.com/${trigger.namespace}/example@${image}`;
  const data = {
    trigger: { ...trigger, uid: '00000000-0000-4000-8000-000000000000' },
    namespace: trigger.namespace,
    ...{ stream: 'example', streamUid: '00000000-0000-4000-8000-000000000001', tag: 'latest', generation: 2 },
    previous: { image: `sha256:${'f'.repeat(64)}`, dockerImageReference: `registry.example.com/example@sha256:${'f'.repeat(64)}`, created },
    current: { image, dockerImageReference: pullSpec, created },
    pullSpec,
    labels: { 'org.opencontainers.image.revision': '0123abc', 'org.opencontainers.image.source': 'https://git.example.com/example' },
    cause: { kind: 'push', id: 'example', registry: 'example', actor: 'example' },
    movedAt: created,
  };
  return {
    ...{ specversion: '1.0', id: `${data.trigger.uid}.example.latest.2`, source: '/trigger-dispatcher' },
    type: `dev.millrace.${kind === 'Build' ? 'build' : 'deploy'}.triggered.v1`,
    ...{ subject: `${trigger.namespace}/example:latest`, time: created, datacontenttype: 'application/json' },
    ...{ traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', data },
  } as FiredEvent;
}
