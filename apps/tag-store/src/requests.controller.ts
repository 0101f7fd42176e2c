import { Controller } from '@nestjs/common';
import { type ObjectAnswer, type ObjectQuestion, TagStoreObjects } from '@millrace/contracts/requests';
import { OnRequest } from '@millrace/platform/doors';
import { Objects } from './objects.ts';

/** The door for questions about objects. */
@Controller()
export class RequestsController {
  constructor(private readonly objects: Objects) {}

  @OnRequest(TagStoreObjects)
  answer(question: ObjectQuestion): Promise<ObjectAnswer> {
    return this.objects.answer(question);
  }
}
