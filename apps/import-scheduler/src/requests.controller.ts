import { Controller } from '@nestjs/common';
import type { Answer, Question } from '@millrace/contracts/define';
import { FollowedHosts, ImportObjects, type ObjectAnswer, type ObjectQuestion } from '@millrace/contracts/requests';
import { ScheduledImports } from '@millrace/contracts/resources';
import { noSuchPath } from '@millrace/domain/status';
import { OnRequest } from '@millrace/platform/doors';
import { answerOf } from '@millrace/platform/refusals';
import { Followers } from './followers.ts';
import { ScheduleObjects } from './schedule-objects.ts';

/** The door for questions. */
@Controller()
export class RequestsController {
  constructor(
    private readonly scheduled: ScheduleObjects,
    private readonly followers: Followers,
  ) {}

  @OnRequest(ImportObjects)
  async objects(question: ObjectQuestion): Promise<ObjectAnswer> {
    return answerOf(async () => {
      if (question.resource === ScheduledImports.resource) return this.scheduled.answer(question);
      return { kind: 'refused', status: noSuchPath() };
    });
  }

  @OnRequest(FollowedHosts)
  async followedHosts(_question: Question<typeof FollowedHosts>): Promise<Answer<typeof FollowedHosts>> {
    return { hosts: await this.followers.hosts() };
  }
}
