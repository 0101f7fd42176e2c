import { z } from 'zod';
import { defineEvent } from './define.ts';

/* What is told a second time in the words of CDEvents 0.5.1 (https://cdevents.dev), for tools that know these and not ours. */

const SPEC_VERSION = '0.5.1';
const PUBLISHED = 'dev.cdevents.artifact.published.0.3.0';

/** A move of a tag publishes the image under that tag. What a trigger asks for has not happened yet: whoever builds or deploys tells that. */
export const ArtifactPublished = defineEvent({
  name: 'artifact.published',
  stream: 'MILLRACE_EVENTS',
  from: 'tag-store',
  to: [],
  type: PUBLISHED,
  summary: 'CDEvents: an image is published under a tag. Told with tag.moved where tag-store has CDEVENTS=true.',
  data: z
    .object({
      context: z.object({
        specversion: z.string().default(SPEC_VERSION),
        id: z.string(),
        source: z.string().default('/tag-store'),
        type: z.literal(PUBLISHED).default(PUBLISHED),
        timestamp: z.string().describe('RFC 3339'),
        chainId: z.string().optional().describe('The trace that the push began, as a UUID: events that follow from it have the same'),
      }),
      subject: z.object({
        id: z.string().describe('purl of the image: pkg:oci/…'),
        content: z.object({ user: z.string().optional().describe('Who pushed or tagged') }),
      }),
      customData: z.object({
        namespace: z.string(),
        stream: z.string(),
        streamUid: z.string(),
        tag: z.string(),
        generation: z.int().positive().describe('Of the tag.moved that says the same'),
        pullSpec: z.string(),
        labels: z.record(z.string(), z.string()),
      }),
      customDataContentType: z.literal('application/json').default('application/json'),
    })
    .meta({ id: 'ArtifactPublished' }),
  parameters: ['namespace', 'stream', 'tag'],
  address: ({ customData: { namespace, stream, tag } }) => [namespace, stream, tag],
  about: ({ subject }) => subject.id,
});
export type ArtifactPublished = z.infer<typeof ArtifactPublished.data>;
