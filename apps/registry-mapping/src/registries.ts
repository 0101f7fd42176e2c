import { Inject, Injectable } from '@nestjs/common';
import { RegistryClient } from '@millrace/oci-registry/registry';
import { guardedConnector } from '@millrace/platform/guarded-connector';
import { CONFIG } from '@millrace/platform/service';
import type { RegistryConfig, RegistryMappingConfig } from './config.ts';
import { dialects } from './dialects.ts';
import type { Dialect } from './dialects/dialect.ts';
import { USER_AGENT } from './dialects/distribution.ts';

/** A registry that tells of its pushes. */
export interface KnownRegistry extends Omit<RegistryConfig, 'dialect'> {
  dialect: Dialect;
}

/** One whose pushes become mappings, with a way to ask it back. */
export interface MappedRegistry extends KnownRegistry {
  client: RegistryClient;
  /** Host as pull specs name it. */
  publicHost: string;
}

/** The registries of the configuration. */
@Injectable()
export class Registries {
  readonly all: readonly KnownRegistry[];
  readonly mapped: readonly MappedRegistry[];
  private readonly byName: ReadonlyMap<string, KnownRegistry>;

  constructor(@Inject(CONFIG) config: RegistryMappingConfig) {
    this.all = config.REGISTRIES.map((one) => ({ ...one, dialect: dialects.get(one.dialect) as Dialect }));
    this.mapped = this.all.flatMap((one) => {
      if (one.mode !== 'mapping' || one.url === undefined) return [];
      const client = new RegistryClient({
        registry: one.url,
        insecure: one.insecure,
        credentials: one.username === undefined ? undefined : { username: one.username, password: one.password ?? '' },
        connect: (options) => guardedConnector({ allow: config.REGISTRY_ALLOW_ADDRESSES }, options),
        timeoutMs: config.REGISTRY_TIMEOUT_MS,
        userAgent: USER_AGENT,
      });
      return [{ ...one, client, publicHost: one.publicHost ?? client.host }];
    });
    this.byName = new Map(this.all.map((one) => [one.name, one]));
  }

  named(name: string): KnownRegistry | undefined {
    return this.byName.get(name);
  }

  async close(): Promise<void> {
    await Promise.all(this.mapped.map(({ client }) => client.close()));
  }
}
