import { Inject, Injectable } from '@nestjs/common';
import { type ImageReference, withClientDefaults } from '@millrace/domain/image-reference';
import { Registries } from '@millrace/oci-registry/registries';
import type { RegistryClient } from '@millrace/oci-registry/registry';
import { guardedConnector } from '@millrace/platform/guarded-connector';
import { PullCredentials } from '@millrace/platform/pull-credentials';
import { CONFIG } from '@millrace/platform/service';
import type { ImportSchedulerConfig } from './config.ts';

const USER_AGENT = 'millrace/0.1 (import-scheduler)';

/** The registries that streams name, each asked with the credentials that the stream's namespace has for it, then without any. */
@Injectable()
export class RegistryPool {
  private readonly registries: Registries;

  constructor(
    private readonly credentials: PullCredentials,
    @Inject(CONFIG) config: Pick<ImportSchedulerConfig, 'IMPORT_ALLOW_ADDRESSES' | 'IMPORT_TIMEOUT_MS'>,
  ) {
    this.registries = new Registries({
      connect: (options) => guardedConnector({ allow: config.IMPORT_ALLOW_ADDRESSES }, options),
      timeoutMs: config.IMPORT_TIMEOUT_MS,
      userAgent: USER_AGENT,
    });
  }

  /** A client for the image's registry. Rejects where tag-store cannot be asked for credentials. */
  async client(namespace: string, reference: ImageReference, insecure: boolean): Promise<RegistryClient> {
    const { candidates } = await this.credentials.of(namespace, reference);
    const { registry } = withClientDefaults(reference);
    return this.registries.client({ registry, insecure, credentials: [...candidates.map(({ credential }) => credential), undefined] });
  }

  close(): Promise<void> {
    return this.registries.close();
  }
}
