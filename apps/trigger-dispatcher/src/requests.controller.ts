import { Controller } from '@nestjs/common';
import { type ObjectAnswer, type ObjectQuestion, TriggerObjects } from '@millrace/contracts/requests';
import { noSuchPath } from '@millrace/domain/status';
import { OnRequest } from '@millrace/platform/doors';
import { answerOf } from '@millrace/platform/refusals';
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
    return answerOf(async () => {
      if (question.resource === 'imagetriggers' && !question.subresource) return this.triggers.answer(question);
      if (question.resource === 'deliveries') return this.deliveries.answer(question);
      return { kind: 'refused', status: noSuchPath() };
    });
  }
}
