import { parse } from 'yaml';
import { z } from 'zod';
import { NATS_SOURCE } from '@millrace/contracts/events';
import { defaultLayout, RepositoryLayout } from '@millrace/domain/repository-layout';
import { type Config, integer, secret } from '@millrace/platform/config';

const RegistryConfig = z
  .strictObject({
    name: z
      .string()
      .regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, 'must be up to 63 lower-case letters, digits and "-"')
      .refine((name) => name !== NATS_SOURCE, `must not be "${NATS_SOURCE}"`),
    url: z.string().regex(/^https?:\/\/[^/\s@?#]+\/?$/i, 'must be https://HOST[:PORT] or http://HOST[:PORT]'),
    publicHost: z
      .string()
      .regex(/^[^/\s@?#]+$/, 'must be HOST[:PORT]')
      .optional(),
    secret: z.string().min(8, 'must have 8 characters or more'),
    header: z
      .string()
      .regex(/^[A-Za-z0-9-]+$/, 'must be the name of an HTTP header')
      .default('authorization'),
    username: z.string().optional(),
    password: z.string().optional(),
    insecure: z.boolean().default(false),
    layout: RepositoryLayout.default(defaultLayout),
  })
  .refine((one) => (one.username === undefined) === (one.password === undefined), 'username and password go together');

/** A registry that tells of its pushes. */
export type RegistryConfig = z.infer<typeof RegistryConfig>;

const RegistryList = z.array(RegistryConfig).superRefine((list, context) => {
  list.forEach(({ name }, index) => {
    if (list.findIndex((other) => other.name === name) < index)
      context.addIssue({ code: 'custom', path: [index, 'name'], message: `"${name}" is taken by another registry` });
  });
});

/** A list as JSON or YAML. Problems are told with where they are, and without the text, which holds secrets. */
const Registries = z
  .string()
  .default('[]')
  .transform((text, context): RegistryConfig[] => {
    let list: unknown;
    try {
      list = parse(text, { logLevel: 'error' }) ?? [];
    } catch {
      context.addIssue('is neither JSON nor YAML');
      return z.NEVER;
    }
    const parsed = RegistryList.safeParse(list);
    if (parsed.success) return parsed.data;
    for (const { path, message } of parsed.error.issues) {
      const [index, ...rest] = path;
      context.addIssue(`${index === undefined ? 'list' : [`registry ${Number(index) + 1}`, ...rest].join('.')}: ${message}`);
    }
    return z.NEVER;
  });

/** What registry-mapping reads from the environment, beside what every service reads. */
export const config = {
  HTTP_PORT: integer(0, 65_535).default(8081).describe('Port of `POST /notifications/<name>`, health and metrics.'),
  REGISTRIES: secret(Registries).describe(
    'The registries that tell of their pushes: a list, JSON or YAML, of `{name, url, publicHost?, secret, header?, username?, password?, insecure?, ' +
      'layout?}`. `url` is where manifests are fetched; `publicHost` stands in pull specs (host of `url`); `secret` is what the registry sends as ' +
      '`Authorization: Bearer <secret>`, or as it is in another `header`; `insecure` takes certificates that cannot be verified; `layout` is `{prefix?, ' +
      'namespace?, stream: segment | last-segment | dashed-path}` and says which stream a repository is (`NAMESPACE/STREAM`).',
  ),
  REGISTRY_ALLOW_ADDRESSES: z
    .enum(['public', 'private', 'loopback'])
    .default('public')
    .describe('Where registries may be: `public` the internet only, `private` also private networks, `loopback` also this machine.'),
  REGISTRY_TIMEOUT_MS: integer(100, 300_000).default(10_000).describe('How long one request to a registry may take, in milliseconds.'),
  MAPPINGS_IN_FLIGHT: integer(1, 256).default(16).describe('How many pushes of one registry are looked up at the same time, at most.'),
  NOTIFICATION_LIMIT_BYTES: integer(1024, 64 * 1024 * 1024)
    .default(5 * 1024 * 1024)
    .describe('A longer notification is accepted, but not read: it appears as a RegistryNotification with its size.'),
  MAPPED_RETENTION_HOURS: integer(1, 24 * 365)
    .default(24)
    .describe('How long a push that became a mapping stays listed. Pushes that could not be used stay until somebody drops them.'),
};
export type RegistryMappingConfig = Config<typeof config>;
