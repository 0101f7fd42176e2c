import { Controller } from '@nestjs/common';
import { NotificationSubmitted } from '@millrace/contracts/events';
import { OnEvent } from '@millrace/platform/doors';
import type { FactBatch } from '@millrace/platform/facts';
import { Submitted } from './submitted.ts';

/** The door for facts. */
@Controller()
export class EventsController {
  constructor(private readonly submitted: Submitted) {}

  @OnEvent(NotificationSubmitted, { batch: 50 })
  notificationSubmitted(batch: FactBatch<typeof NotificationSubmitted>): Promise<unknown> {
    return this.submitted.take(batch);
  }
}
