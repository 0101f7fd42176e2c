import { Controller } from '@nestjs/common';
import type { Answer, Question } from '@millrace/contracts/define';
import {
  type ObjectAnswer,
  type ObjectQuestion,
  PullSecrets,
  TagStoreObjects,
  TagStoreTouched,
  type Touched,
} from '@millrace/contracts/requests';
import { OnRequest } from '@millrace/platform/doors';
import { Changes } from './changes.ts';
import { Objects } from './objects.ts';
import { Secrets } from './secrets.ts';

/** The door for questions about objects, and about what images are fetched with. */
@Controller()
export class RequestsController {
  constructor(
    private readonly objects: Objects,
    private readonly changes: Changes,
    private readonly secrets: Secrets,
  ) {}

  @OnRequest(TagStoreObjects)
  answer(question: ObjectQuestion): Promise<ObjectAnswer> {
    return this.objects.answer(question);
  }

  @OnRequest(TagStoreTouched)
  touched({ since }: Question<typeof TagStoreTouched>): Promise<Touched> {
    return this.changes.touched(since);
  }

  @OnRequest(PullSecrets)
  pullSecrets(question: Question<typeof PullSecrets>): Promise<Answer<typeof PullSecrets>> {
    return this.secrets.sealedForPulling(question);
  }
}
