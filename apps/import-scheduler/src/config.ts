import { parse } from 'yaml';
import { z } from 'zod';
import { type commonConfig, type Config, importConfig, integer, secret, SECRETS_KEY } from '@millrace/platform/config';

const Pem = z.string().regex(/-----BEGIN [A-Z0-9 ]+-----/, 'must be PEM');
const Proxy = z.url({ protocol: /^https?$/, error: 'must be http://[USER:PASSWORD@]HOST[:PORT]' });
const ReachedRegistries = z.array(
  z
    .strictObject({
      registry: z
        .string()
        .regex(/^[^/\s@?#]+$/, 'must be HOST[:PORT]')
        .transform((host) => host.toLowerCase()),
      ca: Pem.optional(),
      certificate: Pem.optional(),
      key: Pem.optional(),
      proxy: Proxy.or(z.literal('')).optional(),
    })
    .refine(({ certificate, key }) => (certificate === undefined) === (key === undefined), 'certificate and key go together'),
);
/** How one registry is reached, where that is not as every other. */
export type ReachedRegistry = z.infer<typeof ReachedRegistries>[number];

/** A list as JSON or YAML. What is wrong with it is told without the text, which holds keys. */
const ReachedRegistryList = z
  .string()
  .default('[]')
  .transform((text, context): ReachedRegistry[] => {
    let list: unknown;
    try {
      list = parse(text, { logLevel: 'error' }) ?? [];
    } catch {
      context.addIssue('is neither JSON nor YAML');
      return z.NEVER;
    }
    const parsed = ReachedRegistries.safeParse(list);
    if (parsed.success) return parsed.data;
    for (const { path, message } of parsed.error.issues) {
      const [index, ...rest] = path;
      context.addIssue(`${index === undefined ? 'list' : [`registry ${Number(index) + 1}`, ...rest].join('.')}: ${message}`);
    }
    return z.NEVER;
  });

/** What import-scheduler reads from the environment, beside what every service reads. */
export const config = {
  HTTP_PORT: integer(0, 65_535).default(8083).describe('Port of health and metrics; 0 takes a free one.'),
  SECRETS_KEY: SECRETS_KEY.describe(
    'Keys under which tag-store keeps the secrets of namespaces, with which images are fetched: the same as those of tag-store.',
  ),
  REGISTRY_AUTH_FILE: z
    .string()
    .default('')
    .describe(
      'A `config.json` as `docker login` writes it: what every namespace may fetch images with, beside its own secrets. Read again when it changes. ' +
        'Empty: there is none.',
    ),
  INTERNAL_REGISTRY_HOST: z
    .string()
    .default('')
    .describe('Registry of the streams themselves, `host[:port]`, which is always allowed. Empty: there is none.'),
  ...importConfig,
  IMPORT_ALLOW_ADDRESSES: z
    .enum(['public', 'private', 'loopback'])
    .default('public')
    .describe(
      'Where registries may be that streams import from: `public` the internet only, `private` also private networks, `loopback` also this machine.',
    ),
  IMPORT_REGISTRIES: secret(ReachedRegistryList).describe(
    'Registries that are reached in a way of their own: a list, JSON or YAML, of `{registry, ca?, certificate?, key?, proxy?}`. `registry` is `host[:port]` as in pull specs; `ca` ' +
      'is PEM of authorities that are trusted for it beside the usual ones, `certificate` and `key` what we show it, `proxy` its own proxy, or empty for none.',
  ),
  IMPORT_PROXY: secret(Proxy.or(z.literal('')).default('')).describe(
    'Proxy that registries are reached through, `http://[USER:PASSWORD@]HOST[:PORT]`; it resolves their names, and which addresses may be reached is for it to say. Empty: there is none.',
  ),
  IMPORT_NO_PROXY: z
    .string()
    .default('')
    .describe('Hosts that are reached without `IMPORT_PROXY`, as in `NO_PROXY`: `registry.corp,.internal`.'),
  IMPORT_ON_CHANGE: z
    .enum(['true', 'false'])
    .default('true')
    .transform((text) => text === 'true')
    .describe('Whether tags whose spec has changed are imported by themselves, in the background.'),
  IMPORT_TIMEOUT_MS: integer(100, 300_000).default(15_000).describe('How long one request to a registry may take, in milliseconds.'),
  IMPORT_WITHIN_MS: integer(1_000, 140_000)
    .default(120_000)
    .describe('How long all of one import may take, in milliseconds; images that were not looked at by then have failed.'),
  IMPORT_IMAGES_MAX: integer(1, 1_000).default(250).describe('How many images one request may ask for.'),
  IMPORT_TAGS_PER_REPOSITORY: integer(1, 1_000)
    .default(50)
    .describe('How many tags are imported of a repository that is imported as a whole, best first; the others are only named.'),
  IMPORTS_IN_FLIGHT: integer(1, 256).default(8).describe('How many streams one process imports for in the background at the same time.'),
  IMAGES_IN_FLIGHT: integer(1, 1_000).default(32).describe('How many images one process looks at at the same time, whoever wants them.'),
  IMPORT_SCHEDULE: z
    .enum(['true', 'false'])
    .default('true')
    .transform((text) => text === 'true')
    .describe('Whether scheduled tags are looked at from time to time.'),
  IMPORT_INTERVAL_SECONDS: integer(1, 30 * 24 * 3_600)
    .default(900)
    .describe(
      'How often scheduled tags are looked at, unless the annotation `millrace.dev/import-interval` of tag or stream says otherwise.',
    ),
  IMPORT_INTERVAL_MINIMUM_SECONDS: integer(1, 30 * 24 * 3_600)
    .default(30)
    .describe('The shortest interval that the annotation can ask for.'),
  IMPORT_REFUSED_INTERVAL_SECONDS: integer(1, 30 * 24 * 3_600)
    .default(6 * 3_600)
    .describe(
      'How often a reference is looked at that its registry does not have, or does not show us. A new secret, a push or a change wakes it.',
    ),
  IMPORT_CHECKS_IN_FLIGHT: integer(1, 1_000).default(64).describe('Scheduled checks that one process has under way at most.'),
};
export type ImportSchedulerConfig = Config<typeof config & typeof commonConfig>;
