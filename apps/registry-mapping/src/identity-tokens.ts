import { Inject, Injectable, type OnModuleDestroy } from '@nestjs/common';
import { createRemoteJWKSet, customFetch, errors, jwtVerify, type JWTVerifyGetKey } from 'jose';
import { Agent, fetch } from 'undici';
import { guardedConnector } from '@millrace/platform/guarded-connector';
import { CONFIG } from '@millrace/platform/service';
import type { RegistryConfig, RegistryMappingConfig } from './config.ts';

type Expected = NonNullable<RegistryConfig['oidc']>;

const ALGORITHMS = ['RS256', 'PS256', 'ES256'];
const TOKEN_BYTES = 8 * 1024;
const KEYS_BYTES = 256 * 1024;
const FETCH_MS = 5_000;
/** Unknown keys have the set fetched again, at most this often. */
const COOLDOWN_MS = 30_000;
const CACHE_MS = 600_000;
const CLOCK_TOLERANCE_S = 30;

/** Tokens in which an identity provider, such as Google, says who sends a request. Its keys are fetched with bounds, and kept. */
@Injectable()
export class IdentityTokens implements OnModuleDestroy {
  private readonly agent: Agent;
  private readonly keySets: ReadonlyMap<string, JWTVerifyGetKey>;
  private readonly first: Expected | undefined;

  constructor(@Inject(CONFIG) config: RegistryMappingConfig) {
    const connect = guardedConnector({ allow: config.REGISTRY_ALLOW_ADDRESSES }, { timeout: FETCH_MS });
    this.agent = new Agent({ connect, maxResponseSize: KEYS_BYTES, bodyTimeout: FETCH_MS, headersTimeout: FETCH_MS });
    const expected = config.REGISTRIES.flatMap(({ auth, oidc }) => (auth === 'oidc' && oidc ? [oidc] : []));
    this.first = expected[0];
    this.keySets = new Map(expected.map(({ jwks }) => [jwks, this.keySet(jwks)]));
  }

  /** Whether somebody here is known by tokens, and this may be one. */
  concerns(token: string): boolean {
    return this.first !== undefined && token.length <= TOKEN_BYTES && /^[\w-]+\.[\w-]+\.[\w-]+$/.test(token);
  }

  /** Why a token is not good for a registry; undefined where it is. For none of ours it is looked at as closely, and never good. */
  async problem(token: string, expected?: Expected): Promise<string | undefined> {
    const { issuer, jwks, audience, email } = expected ?? { ...(this.first as Expected), audience: '' };
    const keys = this.keySets.get(jwks);
    if (!keys) return 'no token is expected here';
    try {
      const { payload } = await jwtVerify(token, keys, {
        // Google writes its own name in two ways.
        issuer: [issuer, issuer.replace(/^https:\/\//, '')],
        audience,
        algorithms: ALGORITHMS,
        requiredClaims: ['exp'],
        clockTolerance: CLOCK_TOLERANCE_S,
      });
      if (email !== undefined && (payload['email'] !== email || payload['email_verified'] !== true))
        return 'the token is of another account';
      return expected ? undefined : 'no token is expected here';
    } catch (error) {
      return error instanceof errors.JOSEError
        ? `the token is not valid: ${error.code}`
        : `the keys of ${new URL(jwks).host} cannot be fetched`;
    }
  }

  async onModuleDestroy(): Promise<void> {
    await this.agent.close();
  }

  private keySet(jwks: string): JWTVerifyGetKey {
    return createRemoteJWKSet(new URL(jwks), {
      timeoutDuration: FETCH_MS,
      cooldownDuration: COOLDOWN_MS,
      cacheMaxAge: CACHE_MS,
      [customFetch]: (url, options) => fetch(url, { ...(options as object), dispatcher: this.agent }) as unknown as Promise<Response>,
    });
  }
}
