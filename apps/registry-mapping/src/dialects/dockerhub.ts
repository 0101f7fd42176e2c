import { z } from 'zod';
import { type Dialect, Epoch, madeId, malformed, pushed, Remark, RepositoryName, TagName } from './dialect.ts';

/* Docker Hub signs nothing and sends no header of ours: its URL is the secret. The event has no id; repository, tag and second identify the push. */

const Pushed = z.object({
  push_data: z.object({ pushed_at: Epoch, tag: TagName, pusher: Remark }),
  repository: z.object({ repo_name: RepositoryName }),
});

export const dockerhub: Dialect = {
  name: 'dockerhub',
  proofs: ['path'],
  hosts: ['docker.io'],
  describes: false,
  read: (payload) => {
    const parsed = Pushed.safeParse(payload);
    if (!parsed.success) return [malformed(parsed.error, payload)];
    const { push_data: push, repository } = parsed.data;
    const eventId = madeId(`${repository.repo_name}:${push.tag}`, push.pushed_at);
    return [pushed({ eventId, repository: repository.repo_name, tag: push.tag, occurredAt: push.pushed_at, actor: push.pusher })];
  },
};
