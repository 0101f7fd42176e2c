import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { CONFIG } from '@millrace/platform/service';
import type { DispatcherConfig } from './config.ts';

/** What of a webhook is a credential: the signing secret, and its headers, which may hold tokens. */
export interface WebhookSecrets {
  secret: string;
  headers: Record<string, string>;
}

const CIPHER = 'aes-256-gcm';
const IV_BYTES = 12;
const TAG_BYTES = 16;

/** The secrets cannot be read: they were sealed under another SECRETS_KEY, or for another webhook. */
export class SealError extends Error {
  override name = 'SealError';
}

/** Encrypts the secrets of webhooks for the database: AES-256-GCM, bound to the webhook so that a row's secret fits no other row. */
@Injectable()
export class Sealing {
  constructor(@Inject(CONFIG) private readonly config: Pick<DispatcherConfig, 'SECRETS_KEY'>) {}

  seal(secrets: WebhookSecrets, webhook: { triggerUid: string; name: string }): Buffer {
    const iv = randomBytes(IV_BYTES);
    const cipher = createCipheriv(CIPHER, this.config.SECRETS_KEY, iv, { authTagLength: TAG_BYTES });
    cipher.setAAD(boundTo(webhook));
    const text = Buffer.concat([cipher.update(JSON.stringify(secrets), 'utf8'), cipher.final()]);
    return Buffer.concat([iv, cipher.getAuthTag(), text]);
  }

  /** Throws {@link SealError}. */
  open(sealed: Buffer, webhook: { triggerUid: string; name: string }): WebhookSecrets {
    try {
      const decipher = createDecipheriv(CIPHER, this.config.SECRETS_KEY, sealed.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES });
      decipher.setAAD(boundTo(webhook));
      decipher.setAuthTag(sealed.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
      const text = Buffer.concat([decipher.update(sealed.subarray(IV_BYTES + TAG_BYTES)), decipher.final()]);
      return JSON.parse(text.toString()) as WebhookSecrets;
    } catch (error) {
      throw new SealError(
        'the secret of the webhook cannot be decrypted with this SECRETS_KEY: give the key it was sealed under, or set spec.webhooks[].secret again',
        { cause: error },
      );
    }
  }
}

/** A Standard Webhooks secret with 32 random bytes. */
export const freshSecret = (): string => `whsec_${randomBytes(32).toString('base64')}`;

const boundTo = ({ triggerUid, name }: { triggerUid: string; name: string }): Buffer => Buffer.from(`${triggerUid}/${name}`);
