import { Controller } from '@nestjs/common';
import type { Answer, Question } from '@millrace/contracts/define';
import { type ObjectAnswer, type ObjectQuestion, PullSecrets, TagStoreObjects } from '@millrace/contracts/requests';
import { OnRequest } from '@millrace/platform/doors';
import { Objects } from './objects.ts';
import { Secrets } from './secrets.ts';

/** The door for questions about objects, and about what images are fetched with. */
@Controller()
export class RequestsController {
  constructor(
    private readonly objects: Objects,
    private readonly secrets: Secrets,
  ) {}

  @OnRequest(TagStoreObjects)
  answer(question: ObjectQuestion): Promise<ObjectAnswer> {
    return this.objects.answer(question);
  }

  @OnRequest(PullSecrets)
  pullSecrets(question: Question<typeof PullSecrets>): Promise<Answer<typeof PullSecrets>> {
    return this.secrets.sealedForPulling(question);
  }
}
