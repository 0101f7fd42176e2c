import { Controller } from '@nestjs/common';
import { MappingSubmitted } from '@millrace/contracts/events';
import { OnEvent } from '@millrace/platform/doors';
import type { FactBatch } from '@millrace/platform/facts';
import { RegistryMapping } from './registry-mapping.ts';

/** Facts that this service acts on. */
@Controller()
export class EventsController {
  constructor(private readonly mapping: RegistryMapping) {}

  @OnEvent(MappingSubmitted, { batch: 500 })
  submitted(batch: FactBatch<typeof MappingSubmitted>): Promise<unknown> {
    return this.mapping.submit(batch);
  }
}
