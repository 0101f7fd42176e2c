import { z } from 'zod';
import { defineEvent } from './define.ts';

/* What becomes of the receivers of webhooks: told so that who runs one hears of it without looking. */

const Of = {
  trigger: z.object({ namespace: z.string(), name: z.string(), uid: z.string() }),
  webhook: z.string().describe('Name of the webhook within the trigger'),
};

export const WebhookDisabled = defineEvent({
  name: 'webhook.disabled',
  stream: 'MILLRACE_EVENTS',
  from: 'trigger-dispatcher',
  to: [],
  summary: 'A webhook has failed for days, and is no longer called. What is to be delivered to it is kept until it is enabled.',
  data: z
    .object({
      ...Of,
      url: z.string().describe('Without its query'),
      disabledAt: z.string().describe('RFC 3339'),
      failingSince: z.string().describe('First failure after its last success, RFC 3339'),
      failures: z.int().positive().describe('Calls in a row that failed'),
      reason: z.string().describe('What came of the last call'),
    })
    .meta({ id: 'WebhookDisabled' }),
  parameters: ['namespace', 'trigger', 'webhook'],
  address: ({ trigger, webhook }) => [trigger.namespace, trigger.name, webhook],
});

export const WebhookEnabled = defineEvent({
  name: 'webhook.enabled',
  stream: 'MILLRACE_EVENTS',
  from: 'trigger-dispatcher',
  to: [],
  summary: 'A webhook that was disabled is called again: with the oldest delivery first, and when that arrives with all that has waited.',
  data: z
    .object({
      ...Of,
      by: z.enum(['change', 'replay']).describe('change: of the webhook in its trigger; replay: of one of its deliveries'),
      disabledSince: z.string().describe('RFC 3339'),
    })
    .meta({ id: 'WebhookEnabled' }),
  parameters: ['namespace', 'trigger', 'webhook'],
  address: ({ trigger, webhook }) => [trigger.namespace, trigger.name, webhook],
});
export type WebhookEnabled = z.infer<typeof WebhookEnabled.data>;
