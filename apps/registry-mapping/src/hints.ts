import { randomUUID } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { RepositoryPushed } from '@millrace/contracts/events';
import { coalesceHints, placeHint, type RepositoryHint } from '@millrace/domain/repository-hint';
import type { Log } from '@millrace/platform/log';
import { CONFIG, LOG } from '@millrace/platform/service';
import { Store } from '@millrace/platform/store';
import type { RegistryMappingConfig } from './config.ts';
import type { Push } from './dialects/dialect.ts';
import { Measures } from './measures.ts';
import type { KnownRegistry } from './registries.ts';

/** Hints that something was pushed: each is told once, for the tags that follow the repository. Polling finds what no hint tells. */
@Injectable()
export class Hints {
  constructor(
    private readonly store: Store,
    private readonly measures: Measures,
    @Inject(CONFIG) private readonly config: RegistryMappingConfig,
    @Inject(LOG) private readonly log: Log,
  ) {}

  /** Resolves when what is new of it is committed. */
  async tell(registry: KnownRegistry, pushes: readonly Push[]): Promise<void> {
    const now = new Date();
    const rules = {
      hosts: registry.hosts,
      keyInPath: registry.keyInPath,
      notBefore: new Date(now.getTime() - this.config.HINT_RETENTION_HOURS * 3_600_000).toISOString(),
    };
    const hints = new Map<string, RepositoryHint>();
    for (const push of pushes) {
      // Without an id of its own, a repeat is as good as another push: it costs a look.
      const told = { ...push, eventId: push.eventId ?? randomUUID(), occurredAt: push.occurredAt ?? now.toISOString() };
      const placed = placeHint(told, rules);
      if (placed.kind === 'hint') hints.set(told.eventId, placed.hint);
      else {
        this.measures.count(registry, placed.reason);
        this.log.warn({ registry: registry.name, host: push.host, repository: push.repository, reason: placed.reason }, 'hint.ignored');
      }
    }
    if (!hints.size) return;

    const fresh = await this.store.transaction(async (tx) => {
      const rows = await tx.query<{ event_id: string }>(
        'INSERT INTO hint (registry, event_id) SELECT $1, unnest($2::text[]) ON CONFLICT DO NOTHING RETURNING event_id',
        [registry.name, [...hints.keys()]],
      );
      const told = coalesceHints(rows.flatMap((row) => hints.get(row.event_id) ?? []));
      for (const hint of told) {
        const id = `${registry.name}.${hint.eventId}`;
        tx.publishLater(RepositoryPushed, { id, registry: registry.name, ...hint }, { id });
      }
      return { events: rows.length, told };
    });
    this.measures.count(registry, 'hinted', fresh.events);
    this.measures.count(registry, 'repeated', hints.size - fresh.events);
    for (const { host, repository, tags, eventId } of fresh.told)
      this.log.info({ registry: registry.name, host, repository, tags, eventId }, 'hint.told');
  }

  /** Forgets ids of events that would be too old to be listened to; resolves to how many, at most a batch. */
  async clean(): Promise<number> {
    const rows = await this.store.query(
      `DELETE FROM hint WHERE (registry, event_id) IN (
         SELECT registry, event_id FROM hint WHERE received < now() - make_interval(hours => $1) ORDER BY received LIMIT 5000) RETURNING event_id`,
      // After that age an event is not listened to; a sender's clock may be ahead.
      [this.config.HINT_RETENTION_HOURS * 2],
    );
    return rows.length;
  }
}
