import { Controller } from '@nestjs/common';
import { type ObjectAnswer, type ObjectQuestion, RegistryMappingObjects } from '@millrace/contracts/requests';
import { OnRequest } from '@millrace/platform/doors';
import { Notifications } from './notifications.ts';

/** The door for questions about notifications. */
@Controller()
export class RequestsController {
  constructor(private readonly notifications: Notifications) {}

  @OnRequest(RegistryMappingObjects)
  answer(question: ObjectQuestion): Promise<ObjectAnswer> {
    return this.notifications.answer(question);
  }
}
