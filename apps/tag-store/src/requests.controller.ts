import { Controller } from '@nestjs/common';
import type { Answer, Question } from '@millrace/contracts/define';
import { ApplyImport, type ObjectAnswer, type ObjectQuestion, TagStoreObjects } from '@millrace/contracts/requests';
import { OnRequest } from '@millrace/platform/doors';
import { Imports } from './imports.ts';
import { Objects } from './objects.ts';

/** The door for questions about objects, and for what an import brought to somebody who waits for it. */
@Controller()
export class RequestsController {
  constructor(
    private readonly objects: Objects,
    private readonly imports: Imports,
  ) {}

  @OnRequest(TagStoreObjects)
  answer(question: ObjectQuestion): Promise<ObjectAnswer> {
    return this.objects.answer(question);
  }

  @OnRequest(ApplyImport)
  applyImport(question: Question<typeof ApplyImport>): Promise<Answer<typeof ApplyImport>> {
    return this.imports.apply(question);
  }
}
