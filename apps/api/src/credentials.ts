import { hash, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { ANONYMOUS, AUTHENTICATED, MASTERS, type Identity } from '@millrace/domain/access';
import { badRequest, forbidden, StatusError, unauthorized } from '@millrace/domain/status';
import { ConfigError } from '@millrace/platform/config';
import { stringify } from 'yaml';
import { createPrivately, writePrivately } from './certificates.ts';

export const ADMIN = 'millrace-admin';

interface Known {
  hash: Buffer;
  identity: Identity;
}

/** Who a bearer token stands for. Tokens are kept as hashes only and compared in constant time. */
export class Credentials {
  private readonly known = new Map<string, Known>();

  constructor(tokens: Iterable<readonly [token: string, identity: Identity]>) {
    for (const [token, identity] of tokens) {
      const hash = sha256(token);
      this.known.set(hash.toString('latin1'), {
        hash,
        identity: { ...identity, groups: [...new Set([...identity.groups, AUTHENTICATED])] },
      });
    }
  }

  /**
   * The identity of a request: of its token, or the one that an administrator impersonates; anonymous without a token.
   * @throws StatusError 401 for a token nobody has, 403 for an impersonation that is not allowed
   */
  identify(request: IncomingMessage): Identity {
    const { authorization } = request.headers;
    if (authorization === undefined) return ANONYMOUS;
    const token = /^Bearer +([!-~]+) *$/i.exec(authorization)?.[1];
    const identity = token === undefined ? undefined : this.holderOf(token);
    if (!identity) throw new StatusError(unauthorized());
    return impersonates(request) ? impersonated(identity, request) : identity;
  }

  private holderOf(token: string): Identity | undefined {
    const hash = sha256(token);
    const known = this.known.get(hash.toString('latin1'));
    return known && timingSafeEqual(known.hash, hash) ? known.identity : undefined;
  }
}

const sha256 = (text: string): Buffer => hash('sha256', text, 'buffer');

const impersonates = ({ headers }: IncomingMessage): boolean =>
  headers['impersonate-user'] !== undefined || headers['impersonate-group'] !== undefined || headers['impersonate-uid'] !== undefined;

function impersonated(who: Identity, request: IncomingMessage): Identity {
  const name = String(request.headers['impersonate-user'] ?? '');
  if (!name) throw new StatusError(badRequest('Impersonate-Group and Impersonate-Uid need an Impersonate-User'));
  if (!who.groups.includes(MASTERS)) {
    const why = `User "${who.name}" cannot impersonate resource "users" in API group "" at the cluster scope`;
    throw new StatusError(forbidden({ group: '', resource: 'users' }, name, why));
  }
  // Raw, because Node joins repeated headers with commas, which group names may hold.
  const groups = request.rawHeaders.filter((_, i) => i % 2 === 1 && /^impersonate-group$/i.test(request.rawHeaders[i - 1] ?? ''));
  const uid = request.headers['impersonate-uid'];
  return { name, ...(uid ? { uid: String(uid) } : {}), groups: [...new Set([...groups, AUTHENTICATED])] };
}

/** The administrator's token: 32 random bytes, made at the first start and kept in `directory`, mode 0600. */
export function adminToken(directory: string): string {
  const file = join(directory, 'admin-token');
  createPrivately(file, `${randomBytes(32).toString('base64url')}\n`);
  const token = readFileSync(file, 'utf8').trim();
  if (token.length < 32) throw new ConfigError(`${file} holds no usable token: delete it, a new one is made at the next start`);
  return token;
}

/**
 * Kubernetes' static token file: `token,user,uid,"group1,group2"`, groups optional, `#` starts a comment line.
 * @throws ConfigError names the line, never what stands in it
 */
export function parseTokens(csv: string): [token: string, identity: Identity][] {
  const found: [string, Identity][] = [];
  for (const [index, line] of csv.split(/\r?\n/).entries()) {
    if (!line.trim() || line.trimStart().startsWith('#')) continue;
    const cells = cellsOf(line);
    const [token, name, uid, groups] = cells ?? [];
    if (!token || !name || cells === undefined || cells.length < 3)
      throw new ConfigError(`TOKENS, line ${index + 1}: expected token,user,uid,"group1,group2"`);
    if (found.some(([other]) => other === token)) throw new ConfigError(`TOKENS, line ${index + 1}: the same token as on a line before`);
    found.push([
      token,
      {
        name,
        ...(uid ? { uid } : {}),
        groups: (groups ?? '')
          .split(',')
          .map((group) => group.trim())
          .filter(Boolean),
      },
    ]);
  }
  return found;
}

/** Cells of one CSV line; undefined when a quote is not closed. */
function cellsOf(line: string): string[] | undefined {
  const cells: string[] = [];
  let rest = line.trim();
  for (;;) {
    const quoted = /^\s*"((?:[^"]|"")*)"\s*(,|$)/.exec(rest);
    const match = quoted ?? (/^\s*"/.test(rest) ? null : /^([^,]*)(,|$)/.exec(rest));
    if (!match) return undefined;
    cells.push(quoted ? (match[1] ?? '').replaceAll('""', '"') : (match[1] ?? '').trim());
    if (match[2] !== ',') return cells;
    rest = rest.slice(match[0].length);
  }
}

/** Writes the administrator's kubeconfig, mode 0600. */
export function writeKubeconfig(file: string, { server, ca, token }: { server: string; ca: string; token: string }): void {
  const kubeconfig = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'millrace', cluster: { server, 'certificate-authority-data': Buffer.from(ca).toString('base64') } }],
    users: [{ name: ADMIN, user: { token } }],
    contexts: [{ name: 'millrace', context: { cluster: 'millrace', user: ADMIN, namespace: 'demo' } }],
    'current-context': 'millrace',
  };
  writePrivately(file, stringify(kubeconfig, { lineWidth: 0 }));
}
