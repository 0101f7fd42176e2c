import { z } from 'zod';
import { type commonConfig, type Config, integer } from '@millrace/platform/config';

/** What import-scheduler reads from the environment, beside what every service reads. */
export const config = {
  HTTP_PORT: integer(0, 65_535).default(8083).describe('Port of health and metrics; 0 takes a free one.'),
  IMPORT_ALLOW_ADDRESSES: z
    .enum(['public', 'private', 'loopback'])
    .default('public')
    .describe(
      'Where registries may be that streams import from: `public` the internet only, `private` also private networks, `loopback` also this machine.',
    ),
};
export type ImportSchedulerConfig = Config<typeof config & typeof commonConfig>;
