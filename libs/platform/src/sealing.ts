import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { CONFIG } from './service.ts';

const CIPHER = 'aes-256-gcm';
const IV_BYTES = 12;
const TAG_BYTES = 16;

/** What is sealed cannot be read: it was sealed under another SECRETS_KEY, or belongs to another object. */
export class SealError extends Error {
  override name = 'SealError';
}

/** Encrypts credentials for the database: AES-256-GCM, bound to the object that they belong to, so that one row's fit no other row. */
@Injectable()
export class Sealing {
  constructor(@Inject(CONFIG) private readonly config: { SECRETS_KEY: Buffer }) {}

  seal(secrets: object, belongsTo: string): Buffer {
    const iv = randomBytes(IV_BYTES);
    const cipher = createCipheriv(CIPHER, this.config.SECRETS_KEY, iv, { authTagLength: TAG_BYTES });
    cipher.setAAD(Buffer.from(belongsTo));
    const text = Buffer.concat([cipher.update(JSON.stringify(secrets), 'utf8'), cipher.final()]);
    return Buffer.concat([iv, cipher.getAuthTag(), text]);
  }

  /** Throws {@link SealError}. */
  open(sealed: Buffer, belongsTo: string): object {
    try {
      const decipher = createDecipheriv(CIPHER, this.config.SECRETS_KEY, sealed.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES });
      decipher.setAAD(Buffer.from(belongsTo));
      decipher.setAuthTag(sealed.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
      const text = Buffer.concat([decipher.update(sealed.subarray(IV_BYTES + TAG_BYTES)), decipher.final()]);
      return JSON.parse(text.toString()) as object;
    } catch (error) {
      throw new SealError(
        'what is kept cannot be decrypted with this SECRETS_KEY: give the key it was sealed under, or set the secret again',
        { cause: error },
      );
    }
  }
}
