import { parse } from 'yaml';
import { z } from 'zod';
import { NATS_SOURCE } from '@millrace/contracts/events';
import { defaultLayout, RepositoryLayout } from '@millrace/domain/repository-layout';
import { type Config, integer, secret } from '@millrace/platform/config';
import { dialects } from './dialects.ts';
import { type Dialect, type Proof, PROOFS } from './dialects/dialect.ts';

const Host = z
  .string()
  .regex(/^[^/\s@?#]+$/, 'must be HOST[:PORT]')
  .transform((host) => host.toLowerCase());
const Secret = z.string().min(8, 'must have 8 characters or more');

const Entry = z.strictObject({
  name: z
    .string()
    .regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, 'must be up to 63 lower-case letters, digits and "-"')
    .refine((name) => name !== NATS_SOURCE, `must not be "${NATS_SOURCE}"`),
  dialect: z.enum([...dialects.keys()]).default('distribution'),
  mode: z.enum(['mapping', 'hint']).optional(),
  url: z
    .string()
    .regex(/^https?:\/\/[^/\s@?#]+\/?$/i, 'must be https://HOST[:PORT] or http://HOST[:PORT]')
    .optional(),
  publicHost: z
    .string()
    .regex(/^[^/\s@?#]+$/, 'must be HOST[:PORT]')
    .optional(),
  hosts: z.array(Host).min(1).max(100).optional(),
  auth: z.enum(PROOFS).optional(),
  secret: z.union([Secret, z.array(Secret).min(1).max(2)], 'must be a text of 8 characters or more, or two of them').optional(),
  header: z
    .string()
    .regex(/^[A-Za-z0-9-]+$/, 'must be the name of an HTTP header')
    .optional(),
  oidc: z
    .strictObject({
      audience: z.string().min(1),
      email: z.email().optional(),
      issuer: z.url({ protocol: /^https?$/ }).default('https://accounts.google.com'),
      jwks: z.url({ protocol: /^https?$/ }).default('https://www.googleapis.com/oauth2/v3/certs'),
    })
    .optional(),
  nats: z.boolean().default(false),
  keyInPath: z.boolean().optional(),
  username: z.string().optional(),
  password: z.string().optional(),
  insecure: z.boolean().default(false),
  layout: RepositoryLayout.default(defaultLayout),
});

/** With what the dialect decides where the entry does not. A path is written down in more places than a header. */
const RegistryConfig = Entry.transform((entry, context) => {
  const dialect = dialects.get(entry.dialect) as Dialect;
  const problem = (path: keyof typeof entry | undefined, message: string) =>
    context.addIssue({ code: 'custom', path: path ? [path] : [], message });
  const mode = entry.mode ?? (dialect.name === 'distribution' ? 'mapping' : 'hint');
  const auth = entry.auth ?? (entry.header !== undefined && dialect.proofs.includes('header') ? 'header' : (dialect.proofs[0] as Proof));
  const secrets = [entry.secret ?? []].flat();
  const hosts = entry.hosts ?? (entry.publicHost || entry.url ? [hostOf(entry)] : (dialect.hosts ?? []));

  if ((entry.username === undefined) !== (entry.password === undefined)) problem(undefined, 'username and password go together');
  if (mode === 'mapping' && !entry.url)
    problem('url', 'is needed to fetch what was pushed; a registry that only gives hints says "mode": "hint"');
  if (mode === 'mapping' && !dialect.describes)
    problem('mode', `notifications of ${dialect.name} do not tell digest and time, so only hints can be made of them`);
  if (!dialect.proofs.includes(auth)) problem('auth', `notifications of ${dialect.name} are known by ${dialect.proofs.join(' or ')}`);
  if (auth === 'oidc' && !entry.oidc) problem('oidc', 'is needed: the audience, and the email, that tokens must have');
  if (auth === 'oidc' && dialect.name === 'gar' && entry.oidc && !entry.oidc.email)
    problem('oidc', 'needs the email of the service account: anybody can have Google sign a token for any audience');
  if (auth !== 'oidc' && !secrets.length && !entry.nats) problem('secret', 'is needed');
  if (auth === 'path' && secrets.some((secret) => !/^[\w.~-]{24,}$/.test(secret)))
    problem('secret', 'must have 24 or more letters, digits and "-._~" where it is a part of the URL');
  if (mode === 'hint' && !hosts.length) problem('hosts', 'is needed: the hosts of pull specs that it may speak of');
  return {
    ...entry,
    mode,
    auth,
    secrets,
    hosts: hosts as readonly string[],
    header: (entry.header ?? dialect.header ?? 'authorization').toLowerCase(),
    keyInPath: entry.keyInPath ?? dialect.keyInPath ?? false,
  };
});

const hostOf = ({ publicHost, url = '' }: { publicHost?: string; url?: string }): string =>
  (publicHost ?? url.replace(/^[a-z]+:\/\//i, '').replace(/\/$/, '')).toLowerCase();

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
    'The registries that tell of their pushes: a list, JSON or YAML, of `{name, dialect?, mode?, url?, publicHost?, hosts?, auth?, secret?, header?, oidc?, ' +
      'nats?, keyInPath?, username?, password?, insecure?, layout?}`. `dialect` is one of ' +
      `${[...dialects.keys()].map((name) => `\`${name}\``).join(', ')} (\`distribution\`). ` +
      '`mode`: `mapping` makes an image stream mapping of a push (the default of `distribution`), `hint` has the tags looked at that follow the repository. ' +
      '`url` is where manifests are fetched; `publicHost` stands in pull specs (host of `url`); `hosts` are those that hints may be about. `auth`: `signature`, ' +
      '`oidc`, `header` or `path`, as far as the dialect has them; `secret`, or two during a change, is the key of signatures, what the registry sends as ' +
      '`Authorization: Bearer <secret>` or as it is in another `header`, or the last segment of the path; `oidc` is `{audience, email?, issuer?, jwks?}`; ' +
      '`nats` takes notifications on `millrace.v1.notification.submitted.<name>` too; `keyInPath` says whether pull specs name the repository manager’s ' +
      'repository; `insecure` takes certificates that cannot be verified; `layout` is `{prefix?, namespace?, stream: segment | last-segment | dashed-path}` ' +
      'and says which stream a repository is (`NAMESPACE/STREAM`).',
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
  HINTS_IN_FLIGHT: integer(1, 1024)
    .default(32)
    .describe(
      'How many notifications are read at the same time that only give hints, or whose sender a signature tells; more are answered 503.',
    ),
  HINT_RETENTION_HOURS: integer(1, 24 * 30)
    .default(72)
    .describe('How long the id of a hint is known, so that a repeat changes nothing. A push that is older is not listened to.'),
  MAPPED_RETENTION_HOURS: integer(1, 24 * 365)
    .default(24)
    .describe('How long a push that became a mapping stays listed. Pushes that could not be used stay until somebody drops them.'),
};
export type RegistryMappingConfig = Config<typeof config>;
