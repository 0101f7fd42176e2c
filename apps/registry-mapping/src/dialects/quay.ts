import { z } from 'zod';
import { type Dialect, ignored, malformed, field, type Outcome, PullSpec, pushed, RepositoryName, TagName } from './dialect.ts';

/* Quay's repository notifications of the event "Push to Repository". Nothing in one tells a repeat from the next push of the same tag. */

const Pushed = z.object({
  repository: RepositoryName,
  docker_url: PullSpec,
  updated_tags: z.array(TagName).max(1_000),
});

export const quay: Dialect = {
  name: 'quay',
  proofs: ['path'],
  hosts: ['quay.io'],
  describes: false,
  read: (payload): Outcome[] => {
    // Builds, mirrors and scans name no updated tags.
    if (field(payload, 'docker_url') !== undefined && field(payload, 'updated_tags') === undefined) return [ignored('other-event')];
    const parsed = Pushed.safeParse(payload);
    if (!parsed.success) return [malformed(parsed.error, payload)];
    const { repository, docker_url: url, updated_tags: tags } = parsed.data;
    if (!tags.length) return [pushed({ host: url.host, repository })];
    return tags.map((tag) => pushed({ host: url.host, repository, tag }));
  },
};
