import { Inject, Injectable } from '@nestjs/common';
import { type ImageReference, withClientDefaults } from '@millrace/domain/image-reference';
import type { ProxyOptions } from '@millrace/oci-registry/connection';
import { Registries, type RegistryAccess } from '@millrace/oci-registry/registries';
import type { RegistryClient } from '@millrace/oci-registry/registry';
import { guardedConnector } from '@millrace/platform/guarded-connector';
import { PullCredentials } from '@millrace/platform/pull-credentials';
import { CONFIG } from '@millrace/platform/service';
import type { ImportSchedulerConfig, ReachedRegistry } from './config.ts';

const USER_AGENT = 'millrace/0.1 (import-scheduler)';

/** The registries that streams name, each asked with the credentials that the stream's namespace has for it, then without any. */
@Injectable()
export class RegistryPool {
  private readonly registries: Registries;
  /** By host, as pull specs name it. */
  private readonly reached: ReadonlyMap<string, ReachedRegistry>;

  constructor(
    private readonly credentials: PullCredentials,
    @Inject(CONFIG)
    config: Pick<
      ImportSchedulerConfig,
      'IMPORT_ALLOW_ADDRESSES' | 'IMPORT_NO_PROXY' | 'IMPORT_PROXY' | 'IMPORT_REGISTRIES' | 'IMPORT_TIMEOUT_MS'
    >,
  ) {
    this.reached = new Map(config.IMPORT_REGISTRIES.map((one) => [one.registry, one]));
    this.registries = new Registries({
      connect: (options) => guardedConnector({ allow: config.IMPORT_ALLOW_ADDRESSES }, options),
      timeoutMs: config.IMPORT_TIMEOUT_MS,
      userAgent: USER_AGENT,
      proxy: through(config.IMPORT_PROXY, config.IMPORT_NO_PROXY),
    });
  }

  /** A client for the image's registry. Rejects where tag-store cannot be asked for credentials. */
  async client(namespace: string, reference: ImageReference, insecure: boolean): Promise<RegistryClient> {
    const { candidates } = await this.credentials.of(namespace, reference);
    const { registry } = withClientDefaults(reference);
    return this.registries.client({
      registry,
      insecure,
      ...wayOf(this.reached.get(registry.toLowerCase())),
      credentials: [...candidates.map(({ credential }) => credential), undefined],
    });
  }

  close(): Promise<void> {
    return this.registries.close();
  }
}

const through = (proxy: string, no?: string): ProxyOptions => (proxy ? { http: proxy, https: proxy, no } : {});

function wayOf(one: ReachedRegistry | undefined): Pick<RegistryAccess, 'ca' | 'clientCertificate' | 'proxy'> {
  if (!one) return {};
  const { ca, certificate: cert, key, proxy } = one;
  return {
    ca,
    ...(cert !== undefined && key !== undefined ? { clientCertificate: { cert, key } } : {}),
    ...(proxy === undefined ? {} : { proxy: through(proxy) }),
  };
}
