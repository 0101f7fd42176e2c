import { z } from 'zod';
import { type commonConfig, type Config, integer, SECRETS_KEY } from '@millrace/platform/config';

/** What import-scheduler reads from the environment, beside what every service reads. */
export const config = {
  HTTP_PORT: integer(0, 65_535).default(8083).describe('Port of health and metrics; 0 takes a free one.'),
  SECRETS_KEY: SECRETS_KEY.describe(
    'The keys of tag-store: what it tells of the credentials of a namespace is sealed with them. 32 random bytes, base64.',
  ),
  REGISTRY_AUTH_FILE: z
    .string()
    .default('')
    .describe(
      'A `config.json` as `docker login` writes it: what every namespace may fetch images with, beside its own secrets. Read again when it changes. ' +
        'Empty: there is none.',
    ),
  IMPORT_ALLOW_ADDRESSES: z
    .enum(['public', 'private', 'loopback'])
    .default('public')
    .describe(
      'Where registries may be that streams import from: `public` the internet only, `private` also private networks, `loopback` also this machine.',
    ),
  IMPORT_TIMEOUT_MS: integer(100, 300_000).default(30_000).describe('How long one request to a registry may take, in milliseconds.'),
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
