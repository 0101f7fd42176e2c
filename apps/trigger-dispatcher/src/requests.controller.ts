import { Controller } from '@nestjs/common';
import { type ObjectAnswer, type ObjectQuestion, TriggerObjects } from '@millrace/contracts/requests';
import { noSuchPath, StatusError } from '@millrace/domain/status';
import { OnRequest } from '@millrace/platform/doors';
import { DeliveryObjects } from './delivery-objects.ts';
import { ImageTriggers } from './image-triggers.ts';

/** The door for questions about triggers and deliveries. */
@Controller()
export class RequestsController {
  constructor(
    private readonly triggers: ImageTriggers,
    private readonly deliveries: DeliveryObjects,
  ) {}

  @OnRequest(TriggerObjects)
  async objects(question: ObjectQuestion): Promise<ObjectAnswer> {
    try {
      if (question.resource === 'imagetriggers' && !question.subresource) return await this.triggers.answer(question);
      if (question.resource === 'deliveries') return await this.deliveries.answer(question);
      return { kind: 'refused', status: noSuchPath() };
    } catch (error) {
      if (error instanceof StatusError) return { kind: 'refused', status: error.status };
      throw error;
    }
  }
}
