import { Controller } from '@nestjs/common';
import { ImportObjects, type ObjectAnswer, type ObjectQuestion } from '@millrace/contracts/requests';
import { ScheduledImports } from '@millrace/contracts/resources';
import { noSuchPath } from '@millrace/domain/status';
import { OnRequest } from '@millrace/platform/doors';
import { answerOf } from '@millrace/platform/refusals';
import { ScheduleObjects } from './schedule-objects.ts';

/** The door for questions. */
@Controller()
export class RequestsController {
  constructor(private readonly scheduled: ScheduleObjects) {}

  @OnRequest(ImportObjects)
  async objects(question: ObjectQuestion): Promise<ObjectAnswer> {
    return answerOf(async () => {
      if (question.resource === ScheduledImports.resource) return this.scheduled.answer(question);
      return { kind: 'refused', status: noSuchPath() };
    });
  }
}
