import { z } from 'zod';
import { type Dialect, field, ignored, malformed, Maybe, pushed, Remark, RepositoryName, TagName, textField } from './dialect.ts';

/* JFrog Artifactory's predefined webhooks of the domain Docker. They have neither id nor time; the checksum is that of the manifest. */

const Pushed = z.object({
  event_type: z.enum(['pushed', 'promoted']),
  data: z.object({
    repo_key: z.string().regex(/^[a-z0-9][a-z0-9._-]{0,63}$/i, 'must be the key of a repository'),
    image_name: RepositoryName,
    tag: TagName,
    sha256: Maybe(z.string().regex(/^[0-9a-f]{64}$/)),
  }),
  source: Remark,
});

export const artifactory: Dialect = {
  name: 'artifactory',
  proofs: ['signature', 'header'],
  signature: { scheme: 'hmac', header: 'x-jfrog-event-auth', algorithm: 'sha256', prefix: '' },
  header: 'x-jfrog-event-auth',
  describes: false,
  keyInPath: true,
  read: (payload) => {
    const domain = textField(payload, 'domain');
    if (domain !== '' && domain !== 'docker') return [ignored('no-image')];
    const event = textField(payload, 'event_type') || textField(payload, 'data', 'event_type');
    if (event === 'deleted') return [ignored('delete')];
    if (event !== '' && event !== 'pushed' && event !== 'promoted') return [ignored('other-event')];
    // The console's own documentation shows the data without what is around it.
    const data = field(payload, 'data') ?? payload;
    const parsed = Pushed.safeParse({ event_type: event || undefined, data, source: field(payload, 'source') });
    if (!parsed.success) return [malformed(parsed.error, payload)];
    const { repo_key: key, image_name: repository, tag, sha256 } = parsed.data.data;
    return [pushed({ key, repository, tag, digest: sha256 && `sha256:${sha256}`, actor: parsed.data.source })];
  },
};
