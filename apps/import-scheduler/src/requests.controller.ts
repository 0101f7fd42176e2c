import { Controller } from '@nestjs/common';
import { ImportObjects, type ObjectAnswer, type ObjectQuestion } from '@millrace/contracts/requests';
import { OnRequest } from '@millrace/platform/doors';
import { answerOf } from '@millrace/platform/refusals';
import { Imports } from './imports.ts';

/** The door for imports that somebody waits for. */
@Controller()
export class RequestsController {
  constructor(private readonly imports: Imports) {}

  @OnRequest(ImportObjects)
  objects(question: ObjectQuestion): Promise<ObjectAnswer> {
    return answerOf(() => this.imports.answer(question));
  }
}
