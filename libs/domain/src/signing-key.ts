/*
 * Keys that sign webhooks, as Standard Webhooks writes them:
 *
 *   whsec_ base64 of 24 to 64 random bytes           HMAC-SHA256, `v1,`
 *   whsk_  base64 of an Ed25519 seed (32 bytes), or of seed and public key (64)      Ed25519, `v1a,`
 *   whpk_  base64 of the public key (32)             what receivers verify `v1a,` with
 */
export type Signing = 'HMAC' | 'Ed25519';
export const SIGNINGS: readonly Signing[] = ['HMAC', 'Ed25519'];

/** Which signatures a key makes; undefined for what is no key. */
export function signingOf(key: string): Signing | undefined {
  if (key.startsWith('whsec_')) return 'HMAC';
  return key.startsWith('whsk_') ? 'Ed25519' : undefined;
}

const WANTED: Record<Signing, string> = {
  HMAC: 'must be whsec_ followed by base64 of 24 to 64 random bytes, or absent',
  Ed25519: 'must be whsk_ followed by base64 of the 32 bytes of an Ed25519 seed, or of the 64 of seed and public key, or absent',
};

/** What is wrong with a key, or undefined. `signing` is what it is for, where that is said. */
export function keyProblem(key: string, signing?: Signing): string | undefined {
  const is = signingOf(key);
  const wanted = WANTED[signing ?? is ?? 'HMAC'];
  if (!is || (signing && is !== signing)) return wanted;
  const bytes = bytesOf(key.slice(key.indexOf('_') + 1));
  const good = is === 'HMAC' ? bytes !== undefined && bytes >= 24 && bytes <= 64 : bytes === 32 || bytes === 64;
  return good ? undefined : wanted;
}

/** How many bytes a base64 text holds; undefined where it is none. */
function bytesOf(encoded: string): number | undefined {
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(encoded) || encoded.includes('\n')) return undefined;
  return (encoded.length / 4) * 3 - (encoded.endsWith('==') ? 2 : encoded.endsWith('=') ? 1 : 0);
}
