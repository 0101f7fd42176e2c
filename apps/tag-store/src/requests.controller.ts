import { Controller } from '@nestjs/common';
import type { Question } from '@millrace/contracts/define';
import { type ObjectAnswer, type ObjectQuestion, TagStoreObjects, TagStoreTouched, type Touched } from '@millrace/contracts/requests';
import { OnRequest } from '@millrace/platform/doors';
import { Changes } from './changes.ts';
import { Objects } from './objects.ts';

/** The door for questions about objects. */
@Controller()
export class RequestsController {
  constructor(
    private readonly objects: Objects,
    private readonly changes: Changes,
  ) {}

  @OnRequest(TagStoreObjects)
  answer(question: ObjectQuestion): Promise<ObjectAnswer> {
    return this.objects.answer(question);
  }

  @OnRequest(TagStoreTouched)
  touched({ since }: Question<typeof TagStoreTouched>): Promise<Touched> {
    return this.changes.touched(since);
  }
}
