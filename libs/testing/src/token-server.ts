import { createPrivateKey, randomUUID, sign as signBytes, X509Certificate } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { certificate as certificateOf } from './certificates.ts';

export interface TokenServer {
  /** For a registry's `tokenServer`, with the certificate written to a file of the caller's. */
  realm: string;
  service: string;
  issuer: string;
  /** PEM. */
  certificate: string;
  /** What was asked for, in order: by whom, how, and for which scopes. */
  readonly asked: { account: string; grant: 'basic' | 'anonymous' | 'password' | 'refresh_token'; scopes: string[] }[];
  /** A token as the server would give it to the account. */
  token(account: string, scopes: string[]): string;
  close(): Promise<void>;
}

export interface TokenServerOptions {
  /** Passwords by user name. */
  users?: Record<string, string>;
  /** User names by identity token. */
  identityTokens?: Record<string, string>;
  /** Repositories that an account may pull, by user name; '' is whoever has none. Everything, where not given. */
  mayPull?: (account: string, repository: string) => boolean;
  expiresInSeconds?: number;
}

const service = 'registry.test';
const issuer = 'token-server.test';

/** A token server as registries delegate to: GET with Basic or nothing, POST with OAuth2; tokens are signed, so that Distribution takes them. */
export async function aTokenServer(options: TokenServerOptions = {}): Promise<TokenServer> {
  const { users = {}, identityTokens = {}, mayPull = () => true, expiresInSeconds = 300 } = options;
  const { cert, key } = await certificateOf(issuer);
  const privateKey = createPrivateKey(key);
  const x5c = [new X509Certificate(cert).raw.toString('base64')];
  const asked: TokenServer['asked'] = [];

  const sign = (account: string, scopes: string[]) => {
    const now = Math.floor(Date.now() / 1000);
    const access = scopes.map((scope) => {
      const [type = '', name = '', actions = ''] = scope.split(':');
      return { type, name, actions: mayPull(account, name) ? actions.split(',') : [] };
    });
    const header = { typ: 'JWT', alg: 'ES256', x5c };
    const claims = {
      iss: issuer,
      sub: account,
      aud: service,
      exp: now + expiresInSeconds,
      nbf: now - 60,
      iat: now,
      jti: randomUUID(),
      access,
    };
    const content = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
    const signature = signBytes('sha256', Buffer.from(content), { key: privateKey, dsaEncoding: 'ieee-p1363' });
    return `${content}.${signature.toString('base64url')}`;
  };

  const server = createServer((request, response) => {
    void requestOf(request).then(({ grant, account, secret, scopes }) => {
      const isKnown =
        grant === 'anonymous' || (grant === 'refresh_token' ? secret in identityTokens : account in users && users[account] === secret);
      const name = grant === 'refresh_token' ? (identityTokens[secret] ?? '') : account;
      asked.push({ account: name, grant, scopes });
      response.writeHead(isKnown ? 200 : 401, { 'content-type': 'application/json' });
      if (!isKnown) response.end(JSON.stringify({ details: 'incorrect username or password' }));
      else response.end(JSON.stringify({ token: sign(name, scopes), expires_in: expiresInSeconds }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    realm: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`,
    service,
    issuer,
    certificate: cert,
    asked,
    token: sign,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

interface Asked {
  grant: TokenServer['asked'][number]['grant'];
  account: string;
  secret: string;
  scopes: string[];
}

async function requestOf(request: IncomingMessage): Promise<Asked> {
  if (request.method === 'POST') {
    const form = new URLSearchParams(await text(request));
    const grant = form.get('grant_type') === 'refresh_token' ? 'refresh_token' : 'password';
    const secret = form.get(grant === 'refresh_token' ? 'refresh_token' : 'password') ?? '';
    return { grant, account: form.get('username') ?? '', secret, scopes: (form.get('scope') ?? '').split(' ') };
  }
  const scopes = new URL(request.url ?? '/', 'http://token').searchParams.getAll('scope');
  const [, encoded] = /^Basic (.*)$/.exec(request.headers.authorization ?? '') ?? [];
  if (encoded === undefined) return { grant: 'anonymous', account: '', secret: '', scopes };
  const [account = '', secret = ''] = Buffer.from(encoded, 'base64').toString().split(/:(.*)/s);
  return { grant: 'basic', account, secret, scopes };
}
