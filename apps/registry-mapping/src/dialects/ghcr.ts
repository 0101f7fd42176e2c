import { z } from 'zod';
import {
  type Dialect,
  Digest,
  field,
  ignored,
  Instant,
  madeId,
  malformed,
  Maybe,
  pushed,
  Remark,
  RepositoryName,
  TagName,
  textField,
} from './dialect.ts';

/*
 * GitHub's webhooks of packages. A push is told as `package` and as `registry_package`, each delivery under an id of its own: package, tag, version and
 * time make one id of both. GitHub keeps capitals of owners that pull specs do not have.
 */

const lowerCase = z.string().transform((text) => text.toLowerCase());
const Package = z.object({
  name: z.string(),
  updated_at: Maybe(Instant),
  owner: z.object({ login: z.string() }),
  package_version: z.object({
    version: z.string(),
    container_metadata: z.object({
      // Empty for the parts of an index, but sometimes for the index too: then any tag may have moved.
      tag: z.object({ name: z.literal('').or(TagName) }),
      manifest: Maybe(z.object({ digest: Maybe(Digest), media_type: Remark })),
    }),
  }),
});
const IMAGES = new Set(['container', 'docker']);

export const ghcr: Dialect = {
  name: 'ghcr',
  proofs: ['signature'],
  signature: { scheme: 'hmac', header: 'x-hub-signature-256', algorithm: 'sha256', prefix: 'sha256=' },
  hosts: ['ghcr.io'],
  describes: true,
  read: (payload, headers) => {
    const event = headers['x-github-event'];
    if (event === 'ping') return [ignored('ping')];
    if (event !== 'package' && event !== 'registry_package') return [ignored('other-event')];
    const told = field(payload, event);
    const kinds = [textField(told, 'package_type'), textField(told, 'ecosystem')];
    if (!kinds.some((kind) => IMAGES.has(kind.toLowerCase()))) return [ignored('no-image')];

    const parsed = Package.safeParse(told);
    if (!parsed.success) return [malformed(parsed.error, payload, headers['x-github-delivery'])];
    const { name, owner, updated_at: occurredAt, package_version: version } = parsed.data;
    const repository = lowerCase.pipe(RepositoryName).safeParse(`${owner.login}/${name}`);
    if (!repository.success) return [malformed(repository.error, payload, headers['x-github-delivery'])];
    const { tag, manifest } = version.container_metadata;
    const image = { digest: manifest?.digest ?? Digest.safeParse(version.version).data, mediaType: manifest?.media_type };
    return [
      pushed({
        eventId: madeId(`${repository.data}:${tag.name}`, version.version, occurredAt ?? headers['x-github-delivery'] ?? ''),
        repository: repository.data,
        ...(tag.name ? { tag: tag.name, ...image } : {}),
        occurredAt,
        actor: Remark.parse(field(payload, 'sender', 'login')),
      }),
    ];
  },
};
