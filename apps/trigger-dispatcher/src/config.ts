import { z } from 'zod';
import type { AddressPolicy } from '@millrace/domain/address';
import { commonConfig, integer, SECRETS_KEY, type Config } from '@millrace/platform/config';

const POLICIES: readonly AddressPolicy[] = ['public', 'private', 'loopback'];

/** What trigger-dispatcher reads beside what every service does. */
export const config = {
  HTTP_PORT: integer(0, 65_535).default(8084).describe('Port of health and metrics; 0 takes a free one.'),
  SECRETS_KEY: SECRETS_KEY.describe(
    'Key under which secrets of webhooks lie in the database: 32 random bytes, base64; further ones behind it open what they sealed ' +
      '(docs/credentials.md). Keep it: without it they are lost.',
  ),
  WEBHOOK_ALLOW_ADDRESSES: z
    .string()
    .default('public')
    .transform((text) => text.split(',').map((one) => one.trim()))
    .refine((names) => names.every((name) => POLICIES.includes(name as AddressPolicy)), 'must be public, private or loopback')
    .transform((names): AddressPolicy => POLICIES.findLast((policy) => names.includes(policy)) ?? 'public')
    .describe(
      'How far webhooks may reach: `public` the internet only, `private` also private networks, `loopback` also this machine. Link-local and metadata addresses: never.',
    ),
  WEBHOOK_PARALLEL: integer(1, 10_000).default(512).describe('Webhook calls that one process has in flight at most.'),
  WEBHOOK_PARALLEL_PER_HOST: integer(1, 1_000).default(8).describe('Of these, calls to one host.'),
  FAN_OUT_PART: integer(1, 10_000)
    .default(50)
    .describe(
      'Triggers, or workloads, that one transaction brings a move of a tag to; one that more follow goes out in parts, beside the others.',
    ),
  DELIVERY_RETENTION_HOURS: integer(1, 24 * 365)
    .default(168)
    .describe('How long deliveries that are over, and what fired, stay to be looked at and replayed.'),
  DEAD_LETTER_RETENTION_HOURS: integer(1, 24 * 365)
    .default(720)
    .describe('The same for deliveries that were given up, or wait for a webhook that is disabled.'),
  DELIVERY_GIVE_UP_HOURS: integer(1, 24 * 30)
    .default(72)
    .describe('When a delivery that its receiver keeps refusing is given up. While the receiver takes none, none is.'),
  WEBHOOK_DISABLE_DAYS: integer(1, 365)
    .default(5)
    .describe('For how long a webhook may fail before it is disabled; what is to be delivered to it is kept.'),
};

export type DispatcherConfig = Config<typeof config & typeof commonConfig>;
