import { Inject, Injectable } from '@nestjs/common';
import type { ImportedTag } from '@millrace/contracts/imports';
import { RegistryAllowList } from '@millrace/domain/allowed-registries';
import { parseReference } from '@millrace/domain/image-reference';
import type { CheckOutcome } from '@millrace/domain/import-schedule';
import { forbidden } from '@millrace/domain/status';
import { RegistryError } from '@millrace/oci-registry/error';
import { CONFIG } from '@millrace/platform/service';
import type { ImportSchedulerConfig } from './config.ts';
import { placeOf } from './followers.ts';
import { ImageLookups, type LookedAt, resultOf } from './image-lookups.ts';
import type { Failed } from './registry-failures.ts';
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
    private readonly lookups: ImageLookups,
    @Inject(CONFIG)
    private readonly config: Pick<ImportSchedulerConfig, 'ALLOWED_REGISTRIES' | 'IMPORT_WITHIN_MS' | 'INTERNAL_REGISTRY_HOST'>,
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
      // Any other is for whoever asked.
      if (!(error instanceof RegistryError)) throw error;
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
    const preferred = { architecture: wanted.preferArch ?? undefined, os: wanted.preferOs ?? undefined };
    const image = { pullSpec: source, digest, insecure, importMode: wanted.importMode, preferred, includeManifest: false };
    const by = { namespace, until: performance.now() + this.config.IMPORT_WITHIN_MS };
    const [seen] = (await this.lookups.look([image], by)) as [LookedAt];
    const outcome: Looked = seen.kind === 'found' ? { kind: 'served', digest: seen.served } : outcomeOf(seen);
    return { outcome, result: resultOf(seen) };
  }

  /** What was written before there was a list of registries, or while it was another, is not asked for. */
  private refusal({ source, insecure }: LookedFor): string | undefined {
    return this.allowed.refusal(parseReference(source), insecure ? 'any' : 'secure') || undefined;
  }
}

function outcomeOf({ cause, status }: Failed): Looked {
  return cause ? failed(cause) : { kind: 'failed', code: 'unexpected', reason: status.message };
}

function failed(error: RegistryError): Looked {
  const { code, message, status, retryAfterMs } = error;
  if (code === 'rate-limited' && status === undefined && retryAfterMs !== undefined) return { kind: 'unsent', waitMs: retryAfterMs };
  return { kind: 'failed', code, reason: message, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) };
}
