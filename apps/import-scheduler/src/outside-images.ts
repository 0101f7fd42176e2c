import { Inject, Injectable } from '@nestjs/common';
import type { ImportedTag } from '@millrace/contracts/imports';
import { Image } from '@millrace/domain/image';
import { formatReference, parseReference } from '@millrace/domain/image-reference';
import { failureStatus } from '@millrace/domain/import-failure';
import type { CheckOutcome } from '@millrace/domain/import-schedule';
import { choosePlatform } from '@millrace/domain/index-platforms';
import type { Candidate } from '@millrace/domain/keyring';
import { RegistryError } from '@millrace/oci-registry/error';
import { describeImage } from '@millrace/oci-registry/image';
import { Registries } from '@millrace/oci-registry/registries';
import type { Purpose, RegistryClient } from '@millrace/oci-registry/registry';
import { guardedConnector } from '@millrace/platform/guarded-connector';
import { CONFIG } from '@millrace/platform/service';
import { Clock } from './clock.ts';
import type { ImportSchedulerConfig } from './config.ts';
import { type Place, placeOf } from './followers.ts';

/** How an image is asked for, and for whom. */
export interface Wanted {
  /** Pull spec, as it was written. */
  source: string;
  insecure: boolean;
  importMode: string;
  preferArch: string | null;
  preferOs: string | null;
  namespace: string;
}

/** What came of a look; `reason` is for an operator. */
export type Looked = CheckOutcome & { reason?: string };

/** Looks at images in registries outside, for the schedule. */
@Injectable()
export class OutsideImages {
  private readonly registries: Registries;

  constructor(
    @Inject(CONFIG) config: Pick<ImportSchedulerConfig, 'IMPORT_ALLOW_ADDRESSES' | 'IMPORT_TIMEOUT_MS'>,
    private readonly clock: Clock,
  ) {
    this.registries = new Registries({
      connect: (options) => guardedConnector({ allow: config.IMPORT_ALLOW_ADDRESSES }, options),
      timeoutMs: config.IMPORT_TIMEOUT_MS,
      now: () => clock.now(),
    });
  }

  /** What is served at a place: one HEAD. */
  async head(
    check: Place & { insecure: boolean; namespace: string | null; digest: string | null },
    candidates: readonly Candidate[],
  ): Promise<Looked> {
    try {
      const client = this.client(check, candidates);
      const call = { tenant: check.namespace ?? '' };
      const checked = await client.checkTag(check.repository, check.reference, check.digest ?? undefined, call);
      return { kind: 'served', digest: checked.kind === 'moved' ? checked.head.digest : checked.digest };
    } catch (error) {
      return failed(error);
    }
  }

  /** The image itself, in the way in which it is wanted; `digest` is what is known to be served. */
  async find(
    wanted: Wanted,
    candidates: readonly Candidate[],
    digest: string | undefined,
  ): Promise<{ outcome: Looked; result: ImportedTag['result'] }> {
    const place = placeOf(wanted.source);
    try {
      const client = this.client({ ...place, insecure: wanted.insecure }, candidates);
      const call = { purpose: 'import' as Purpose, tenant: wanted.namespace };
      const manifest = await client.getManifest(place.repository, digest ?? place.reference, call);
      const platform = {
        ...(wanted.preferArch ? { architecture: wanted.preferArch } : {}),
        ...(wanted.preferOs ? { os: wanted.preferOs } : {}),
      };
      const child =
        manifest.content.kind === 'index' && wanted.importMode !== 'PreserveOriginal'
          ? choosePlatform(
              manifest.content.manifests.map((entry) => ({
                digest: entry.digest,
                architecture: entry.platform?.architecture ?? '',
                os: entry.platform?.os ?? '',
              })),
              platform,
            )?.digest
          : undefined;
      const recordedAs = formatReference({ ...parseReference(wanted.source), tag: '', id: '' });
      const described = await describeImage(client, place.repository, child ?? manifest, {
        recordedAs,
        now: () => new Date(this.clock.now()),
      });
      return {
        outcome: { kind: 'served', digest: manifest.digest },
        result: {
          kind: 'found',
          image: Image.parse(described.image),
          children: described.children.map((one) => Image.parse(one)),
          pullSpec: `${recordedAs}@${described.image.metadata.name}`,
        },
      };
    } catch (error) {
      return { outcome: failed(error), result: { kind: 'failed', ...conditionOf(wanted.source, place, error) } };
    }
  }

  close(): Promise<void> {
    return this.registries.close();
  }

  private client({ host, insecure }: { host: string; insecure: boolean }, candidates: readonly Candidate[]): RegistryClient {
    // Who has no access with credentials may have it without.
    const credentials = [...candidates.map(({ credential }) => credential), undefined];
    return this.registries.client({ registry: host, insecure, credentials });
  }
}

/** Errors that are not the registry's are for whoever asked to log. */
function failed(error: unknown): Looked {
  if (!(error instanceof RegistryError)) throw error;
  const { code, message, status, retryAfterMs } = error;
  if (code === 'rate-limited' && status === undefined && retryAfterMs !== undefined) return { kind: 'unsent', waitMs: retryAfterMs };
  return { kind: 'failed', code, reason: message, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) };
}

/** How the condition of a tag says it, in the reference's words. */
function conditionOf(pullSpec: string, { host }: Place, error: unknown): { reason: string; message: string } {
  if (!(error instanceof RegistryError)) throw error;
  const { code, registryCode, message } = error;
  const status = failureStatus(
    { pullSpec, of: 'image' },
    { code, ...(registryCode ? { registryCode } : {}), url: `https://${host}/v2/`, message },
  );
  return { reason: status.reason ?? '', message: status.message ?? '' };
}
