import { randomBytes } from 'node:crypto';

/** What of a webhook is a credential: the signing secret, and its headers, which may hold tokens. Sealed where it is kept. */
export interface WebhookSecrets {
  secret: string;
  headers: Record<string, string>;
}

/** The webhook that sealed secrets belong to. */
export const webhookKey = ({ triggerUid, name }: { triggerUid: string; name: string }): string => `${triggerUid}/${name}`;

/** A Standard Webhooks secret with 32 random bytes. */
export const freshSecret = (): string => `whsec_${randomBytes(32).toString('base64')}`;
