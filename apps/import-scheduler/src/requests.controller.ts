import { Controller } from '@nestjs/common';
import { ImportObjects, type ObjectAnswer, type ObjectQuestion } from '@millrace/contracts/requests';
import { ScheduledImports } from '@millrace/contracts/resources';
import { OnRequest } from '@millrace/platform/doors';
import { answerOf } from '@millrace/platform/refusals';
import { Imports } from './imports.ts';
import { ScheduleObjects } from './schedule-objects.ts';

/** The door for imports that somebody waits for, and for what is looked at from time to time. */
@Controller()
export class RequestsController {
  constructor(
    private readonly imports: Imports,
    private readonly scheduled: ScheduleObjects,
  ) {}

  @OnRequest(ImportObjects)
  objects(question: ObjectQuestion): Promise<ObjectAnswer> {
    const owner = question.resource === ScheduledImports.resource ? this.scheduled : this.imports;
    return answerOf(() => owner.answer(question));
  }
}
