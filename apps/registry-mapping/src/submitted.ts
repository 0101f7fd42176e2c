import { Injectable } from '@nestjs/common';
import { NotificationSubmitted } from '@millrace/contracts/events';
import type { Fact, FactBatch } from '@millrace/platform/facts';
import { Store } from '@millrace/platform/store';
import { withTrace } from '@millrace/platform/trace';
import { Registries } from './registries.ts';
import { RegistryMapping } from './registry-mapping.ts';

/** Notifications that registries publish to NATS themselves. Who may do that is for NATS to say, and for the configuration: `nats`. */
@Injectable()
export class Submitted {
  constructor(
    private readonly store: Store,
    private readonly registries: Registries,
    private readonly mapping: RegistryMapping,
  ) {}

  async take(batch: FactBatch<typeof NotificationSubmitted>): Promise<void> {
    const notifications = batch.read((fact) => ({
      registry: this.registryOf(fact),
      body: Buffer.from(fact.body()),
      headers: fact.attributes?.() ?? {},
    }));
    // Each commits on its own, under the ids of its events: a batch that is tried again changes nothing twice.
    for (const { origin, made } of notifications) {
      const { registry, body, headers } = made;
      if (registry) await withTrace(origin.traceparent, () => this.mapping.receive(registry, { kind: 'complete', bytes: body }, headers));
    }
    await this.store.transaction(async (tx) => {
      await batch.settle(tx);
      for (const { origin, made } of notifications)
        if (!made.registry)
          await batch.refuse(tx, origin, 'no registry of this name may publish notifications to NATS: see "nats" of its configuration');
    });
  }

  /** Names of registries hold nothing that a token of a subject writes in another way. */
  private registryOf({ subject }: Fact) {
    const registry = this.registries.named(subject.slice(NotificationSubmitted.subject.length + 1));
    return registry?.nats ? registry : undefined;
  }
}
