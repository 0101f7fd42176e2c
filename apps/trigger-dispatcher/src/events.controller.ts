import { Controller } from '@nestjs/common';
import { PullSpecChanged, TagMoved } from '@millrace/contracts/events';
import { OnEvent } from '@millrace/platform/doors';
import type { FactBatch } from '@millrace/platform/facts';
import { Triggers } from './triggers.ts';

/** The door for facts. */
@Controller()
export class EventsController {
  constructor(private readonly triggers: Triggers) {}

  @OnEvent(TagMoved, { batch: 200 })
  tagMoved(batch: FactBatch<typeof TagMoved>): Promise<unknown> {
    return this.triggers.plan(batch);
  }

  @OnEvent(PullSpecChanged, { batch: 200 })
  pullSpecChanged(batch: FactBatch<typeof PullSpecChanged>): Promise<unknown> {
    return this.triggers.pullOtherwise(batch);
  }
}
