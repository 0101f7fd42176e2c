import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { Inject, Injectable } from '@nestjs/common';
import { RegistryClient } from '@millrace/oci-registry/registry';
import { guardedConnector } from '@millrace/platform/guarded-connector';
import { CONFIG } from '@millrace/platform/service';
import type { RegistryConfig, RegistryMappingConfig } from './config.ts';
import { USER_AGENT } from './dialects.ts';

/** A registry that tells of its pushes, with a way to ask it back. */
export interface KnownRegistry extends RegistryConfig {
  client: RegistryClient;
  /** Host as pull specs name it. */
  publicHost: string;
}

const digestOf = (text: string): Buffer => createHash('sha256').update(text).digest();
/** Stands in for the secret of a registry that is not there, so that its absence does not show in the time of the answer. */
const NOBODY = 'there is no such registry';

/** The registries of the configuration. */
@Injectable()
export class Registries {
  readonly all: readonly KnownRegistry[];
  private readonly byName: ReadonlyMap<string, KnownRegistry>;

  constructor(@Inject(CONFIG) config: RegistryMappingConfig) {
    this.all = config.REGISTRIES.map((one) => {
      const client = new RegistryClient({
        registry: one.url,
        insecure: one.insecure,
        credentials: one.username === undefined ? undefined : { username: one.username, password: one.password ?? '' },
        connect: (options) => guardedConnector({ allow: config.REGISTRY_ALLOW_ADDRESSES }, options),
        timeoutMs: config.REGISTRY_TIMEOUT_MS,
        userAgent: USER_AGENT,
      });
      return { ...one, client, publicHost: one.publicHost ?? client.host };
    });
    this.byName = new Map(this.all.map((one) => [one.name, one]));
  }

  named(name: string): KnownRegistry | undefined {
    return this.byName.get(name);
  }

  /** The registry of that name, if the request carries its secret. */
  authenticated(name: string, headers: IncomingHttpHeaders): KnownRegistry | undefined {
    const registry = this.byName.get(name);
    const header = registry?.header.toLowerCase() ?? 'authorization';
    const sent = String(headers[header] ?? '');
    const secret = header === 'authorization' ? sent.replace(/^bearer +/i, '') : sent;
    // Of equal length, whatever was sent.
    const right = timingSafeEqual(digestOf(secret), digestOf(registry?.secret ?? NOBODY));
    return right ? registry : undefined;
  }

  async close(): Promise<void> {
    await Promise.all(this.all.map(({ client }) => client.close()));
  }
}
