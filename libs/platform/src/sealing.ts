import { createCipheriv, createDecipheriv, createHash, createSecretKey, type KeyObject, randomBytes } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { CONFIG } from './service.ts';

/*
 * sealed := "mrk1" id of the key (8 bytes) iv (12) tag (16) ciphertext           before keys had ids: iv tag ciphertext
 */
const CIPHER = 'aes-256-gcm';
const MARK = Buffer.from('mrk1');
const KEY_ID_BYTES = 8;
const IV_BYTES = 12;
const TAG_BYTES = 16;
/** How much of a sealed value says under which key it is. */
export const HEADER_BYTES = MARK.length + KEY_ID_BYTES;

/** What is sealed cannot be read: its key is not among the SECRETS_KEY, or it belongs to another object. */
export class SealError extends Error {
  override name = 'SealError';
  constructor(
    message: string,
    /** The key that is missing, where that is the reason and the value says which. */
    readonly missingKey?: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/**
 * Encrypts credentials for the database: AES-256-GCM, bound to the object that they belong to, so that one row's fit no other row. The first
 * SECRETS_KEY seals; every one opens what says its id.
 */
@Injectable()
export class Sealing {
  // As objects: a cipher that gets bytes takes ten times as long to begin.
  private readonly keys: ReadonlyMap<string, KeyObject>;
  private readonly current: { id: string; key: KeyObject };

  constructor(@Inject(CONFIG) config: { SECRETS_KEY: readonly Buffer[] }) {
    const [key] = config.SECRETS_KEY;
    if (!key) throw new SealError('SECRETS_KEY holds no key');
    this.current = { id: idOf(key), key: createSecretKey(key) };
    this.keys = new Map(config.SECRETS_KEY.map((one) => [idOf(one), createSecretKey(one)]));
  }

  /** Id of the key that seals: 16 hex digits that do not tell the key. */
  get keyId(): string {
    return this.current.id;
  }

  /** What everything begins with that the current key has sealed. */
  get currentHeader(): Buffer {
    return headerOf(this.current.id);
  }

  seal(secrets: object, belongsTo: string): Buffer {
    const iv = randomBytes(IV_BYTES);
    const cipher = createCipheriv(CIPHER, this.current.key, iv, { authTagLength: TAG_BYTES });
    cipher.setAAD(Buffer.from(belongsTo));
    const text = Buffer.concat([cipher.update(JSON.stringify(secrets), 'utf8'), cipher.final()]);
    return Buffer.concat([this.currentHeader, iv, cipher.getAuthTag(), text]);
  }

  /** Throws {@link SealError}. */
  open(sealed: Buffer, belongsTo: string): object {
    const id = keyIdOf(sealed);
    if (id === undefined) return this.openUnmarked(sealed, belongsTo);
    const key = this.keys.get(id);
    if (!key)
      throw new SealError(
        `what is kept cannot be decrypted with this SECRETS_KEY: it was sealed under key ${id}, and given are ${[...this.keys.keys()].join(', ')}; ` +
          'add that key behind the current one and restart, or set the secret again',
        id,
      );
    try {
      return decipher(key, sealed.subarray(HEADER_BYTES), belongsTo);
    } catch (error) {
      throw new SealError(
        `what is kept cannot be decrypted with this SECRETS_KEY, though it was sealed under key ${id}: it is damaged or another object's; set the secret again`,
        undefined,
        { cause: error },
      );
    }
  }

  /** Sealed before values said their key: any may be it. */
  private openUnmarked(sealed: Buffer, belongsTo: string): object {
    let cause: unknown;
    for (const key of this.keys.values())
      try {
        return decipher(key, sealed, belongsTo);
      } catch (error) {
        cause = error;
      }
    throw new SealError(
      'what is kept cannot be decrypted with this SECRETS_KEY; add the key it was sealed under behind the current one and restart, or set the secret again',
      undefined,
      { cause },
    );
  }
}

/** Id of the key that a value was sealed under; undefined for values from before keys had ids. */
export function keyIdOf(sealed: Buffer): string | undefined {
  if (sealed.length < HEADER_BYTES || !sealed.subarray(0, MARK.length).equals(MARK)) return undefined;
  return sealed.subarray(MARK.length, HEADER_BYTES).toString('hex');
}

const headerOf = (id: string): Buffer => Buffer.concat([MARK, Buffer.from(id, 'hex')]);

// Of 32 random bytes a hash tells nothing.
const idOf = (key: Buffer): string =>
  createHash('sha256')
    .update(key)
    .digest('hex')
    .slice(0, 2 * KEY_ID_BYTES);

function decipher(key: KeyObject, sealed: Buffer, belongsTo: string): object {
  const [iv, tag, text] = [
    sealed.subarray(0, IV_BYTES),
    sealed.subarray(IV_BYTES, IV_BYTES + TAG_BYTES),
    sealed.subarray(IV_BYTES + TAG_BYTES),
  ];
  const opening = createDecipheriv(CIPHER, key, iv, { authTagLength: TAG_BYTES });
  opening.setAAD(Buffer.from(belongsTo));
  opening.setAuthTag(tag);
  return JSON.parse(Buffer.concat([opening.update(text), opening.final()]).toString()) as object;
}
