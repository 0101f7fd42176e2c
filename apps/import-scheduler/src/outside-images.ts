import { Inject, Injectable } from '@nestjs/common';
import type { ImportedTag } from '@millrace/contracts/imports';
import { RegistryAllowList } from '@millrace/domain/allowed-registries';
import { Image } from '@millrace/domain/image';
import { formatReference, parseReference } from '@millrace/domain/image-reference';
import type { CheckOutcome } from '@millrace/domain/import-schedule';
import { forbidden } from '@millrace/domain/status';
import { RegistryError } from '@millrace/oci-registry/error';
import { describeImage } from '@millrace/oci-registry/image';
import { CONFIG } from '@millrace/platform/service';
import { Clock } from './clock.ts';
import type { ImportSchedulerConfig } from './config.ts';
import { placeOf } from './followers.ts';
import { failedBecause } from './registry-failures.ts';
import { RegistryPool } from './registry-pool.ts';

/** What is looked at, and for whom. */
export interface LookedFor {
  /** Pull spec, as it was written. */
  source: string;
  insecure: boolean;
  namespace: string;
}

/** How an image is wanted, beside. */
export interface Wanted extends LookedFor {
  importMode: string;
  preferArch: string | null;
  preferOs: string | null;
}

/** What came of a look; `reason` is for an operator. */
export type Looked = CheckOutcome & { reason?: string };

/** Looks at what the schedule follows: what is served now, and the image that it is. */
@Injectable()
export class OutsideImages {
  private readonly allowed: RegistryAllowList;

  constructor(
    private readonly registries: RegistryPool,
    private readonly clock: Clock,
    @Inject(CONFIG) config: Pick<ImportSchedulerConfig, 'ALLOWED_REGISTRIES' | 'INTERNAL_REGISTRY_HOST'>,
  ) {
    this.allowed = new RegistryAllowList(config.ALLOWED_REGISTRIES, [config.INTERNAL_REGISTRY_HOST]);
  }

  /** What is served: one HEAD. `known` is what was served last. */
  async head(one: LookedFor, known: string | undefined): Promise<Looked> {
    const refused = this.refusal(one);
    if (refused !== undefined) return { kind: 'failed', code: 'forbidden', reason: refused };
    try {
      const { repository, reference } = placeOf(one.source);
      const client = await this.registries.client(one.namespace, parseReference(one.source), one.insecure);
      const checked = await client.checkTag(repository, reference, known, { tenant: one.namespace });
      return { kind: 'served', digest: checked.kind === 'moved' ? checked.head.digest : checked.digest };
    } catch (error) {
      return failed(error);
    }
  }

  /** The image itself, as it is wanted; `digest` is what is known to be served. */
  async find(wanted: Wanted, digest: string | undefined): Promise<{ outcome: Looked; result: ImportedTag['result'] }> {
    const { source, insecure, namespace } = wanted;
    const refused = this.refusal(wanted);
    if (refused !== undefined) {
      const { reason = '', message = '' } = forbidden({ group: 'image.openshift.io', resource: 'dockerimage' }, source, refused);
      return { outcome: { kind: 'failed', code: 'forbidden', reason: refused }, result: { kind: 'failed', reason, message } };
    }
    const reference = parseReference(source);
    const place = placeOf(source);
    try {
      const client = await this.registries.client(namespace, reference, insecure);
      const manifest = await client.getManifest(place.repository, digest ?? place.reference, { tenant: namespace });
      const recordedAs = formatReference({ ...reference, tag: '', id: '' });
      const { image, children } = await describeImage(client, place.repository, manifest, {
        recordedAs,
        mode: wanted.importMode === 'PreserveOriginal' ? 'PreserveOriginal' : 'Legacy',
        platform: { architecture: wanted.preferArch ?? undefined, os: wanted.preferOs ?? undefined },
        call: { tenant: namespace },
        now: () => new Date(this.clock.now()),
      });
      const found = {
        image: Image.parse(image),
        children: children.map((child) => Image.parse(child)),
        pullSpec: image.dockerImageReference,
      };
      return { outcome: { kind: 'served', digest: manifest.digest }, result: { kind: 'found', ...found } };
    } catch (error) {
      const outcome = failed(error);
      const { status } = failedBecause(error, { pullSpec: source, reference, insecure, of: 'image' });
      return { outcome, result: { kind: 'failed', reason: status.reason ?? '', message: status.message ?? '' } };
    }
  }

  /** What was written before there was a list of registries, or while it was another, is not asked for. */
  private refusal({ source, insecure }: LookedFor): string | undefined {
    return this.allowed.refusal(parseReference(source), insecure ? 'any' : 'secure') || undefined;
  }
}

/** Errors that are not the registry's are for whoever asked. */
function failed(error: unknown): Looked {
  if (!(error instanceof RegistryError)) throw error;
  const { code, message, status, retryAfterMs } = error;
  if (code === 'rate-limited' && status === undefined && retryAfterMs !== undefined) return { kind: 'unsent', waitMs: retryAfterMs };
  return { kind: 'failed', code, reason: message, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) };
}
