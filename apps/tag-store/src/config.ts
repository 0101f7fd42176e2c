import { z } from 'zod';
import type { Config } from '@millrace/platform/config';
import { importConfig, integer, SECRETS_KEY } from '@millrace/platform/config';

/** What tag-store reads from the environment, beside what every service reads. */
export const config = {
  HTTP_PORT: integer(0, 65_535).default(8082).describe('Port of health and metrics.'),
  INTERNAL_REGISTRY_HOST: z
    .string()
    .default('')
    .describe(
      'Registry that holds a repository `<namespace>/<stream>` for every stream, as `host[:port]`; makes up ' +
        '`status.dockerImageRepository`. Empty: there is none.',
    ),
  EXTERNAL_REGISTRY_HOST: z
    .string()
    .default('')
    .describe(
      'The same registry as seen from outside, for `status.publicDockerImageRepository`. Empty: it is not to be reached from there.',
    ),
  ...importConfig,
  SECRETS_KEY: SECRETS_KEY.describe(
    'Key under which secrets of namespaces lie in the database: 32 random bytes, base64; further ones behind it open what they sealed ' +
      '(docs/credentials.md). Keep it: without it they are lost.',
  ),
  CDEVENTS: z
    .enum(['true', 'false'])
    .default('false')
    .transform((text) => text === 'true')
    .describe('Whether each `tag.moved` is told as a CDEvent too, `artifact.published` (docs/events.md).'),
  CHANGE_RETENTION_MINUTES: integer(1, 60 * 24 * 30)
    .default(60)
    .describe('How long a watch that was interrupted can go on where it stopped; after that it has to list anew.'),
};
export type TagStoreConfig = Config<typeof config>;
