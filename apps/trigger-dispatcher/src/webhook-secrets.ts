import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from 'node:crypto';
import { type Signing, signingOf } from '@millrace/domain/signing-key';
import type { WebhookSpec } from '@millrace/domain/trigger-webhook';

/** What is sealed of a webhook: what of it is a credential, and with it what is sent, where that is not just the event. */
export interface WebhookSecrets {
  /** Empty where it stands in a Secret, and where nothing is signed. */
  secret: string;
  headers: Record<string, string>;
  previousSecret?: string;
  /** The webhook with all of its values; absent where it posts the event itself. */
  send?: WebhookSpec;
}

/** The webhook that sealed secrets belong to. */
export const webhookKey = ({ triggerUid, name }: { triggerUid: string; name: string }): string => `${triggerUid}/${name}`;

/*
 * PKCS #8 of an Ed25519 key is this, then the seed; its SubjectPublicKeyInfo ends with the public key.
 */
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex');
const KEY_BYTES = 32;

/** A key with 32 random bytes. */
export function freshSecret(signing: Signing = 'HMAC'): string {
  if (signing === 'HMAC') return `whsec_${randomBytes(KEY_BYTES).toString('base64')}`;
  const { privateKey } = generateKeyPairSync('ed25519');
  return `whsk_${privateKey.export({ format: 'der', type: 'pkcs8' }).subarray(PKCS8.length).toString('base64')}`;
}

const bytesOf = (key: string): Buffer => Buffer.from(key.slice(key.indexOf('_') + 1), 'base64');

const keyObjects = new Map<string, KeyObject>();
/** Keys that are kept ready; making one of its bytes costs more than to sign. */
const KEY_OBJECTS_MAX = 2_000;

function keyObjectOf(key: string): KeyObject {
  const known = keyObjects.get(key);
  if (known) return known;
  const made =
    signingOf(key) === 'Ed25519'
      ? createPrivateKey({ key: Buffer.concat([PKCS8, bytesOf(key).subarray(0, KEY_BYTES)]), format: 'der', type: 'pkcs8' })
      : createSecretKey(bytesOf(key));
  if (keyObjects.size >= KEY_OBJECTS_MAX) keyObjects.clear();
  keyObjects.set(key, made);
  return made;
}

/** What receivers verify with, `whpk_…`; undefined for a key that they have to know themselves. */
export function publicKeyOf(key: string): string | undefined {
  if (signingOf(key) !== 'Ed25519') return undefined;
  const der = createPublicKey(keyObjectOf(key)).export({ format: 'der', type: 'spki' });
  return `whpk_${der.subarray(-KEY_BYTES).toString('base64')}`;
}

/** What Standard Webhooks 1.0 signs with a key: `v1,` and base64 of HMAC-SHA256 over id, timestamp and body, or `v1a,` and that of Ed25519. */
export function signature({ id, body, key }: { id: string; body: string; key: string }, timestamp: number): string {
  const about = `${id}.${timestamp}.`;
  if (signingOf(key) === 'Ed25519') return `v1a,${sign(null, Buffer.from(about + body), keyObjectOf(key)).toString('base64')}`;
  return `v1,${createHmac('sha256', keyObjectOf(key)).update(about).update(body).digest('base64')}`;
}
