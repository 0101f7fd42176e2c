import { Controller } from '@nestjs/common';
import type { Question } from '@millrace/contracts/define';
import { type ObjectAnswer, type ObjectQuestion, TriggerObjects, type Touched, TriggersTouched } from '@millrace/contracts/requests';
import * as resources from '@millrace/contracts/resources';
import { noSuchPath } from '@millrace/domain/status';
import { OnRequest } from '@millrace/platform/doors';
import { answerOf } from '@millrace/platform/refusals';
import { Changes } from './changes.ts';
import { DeliveryObjects } from './delivery-objects.ts';
import { Explanations } from './explanations.ts';
import { ImageTriggers } from './image-triggers.ts';
import { PresetObjects } from './preset-objects.ts';
import { Replays } from './replays.ts';
import { TriggerActs } from './trigger-acts.ts';
import { isWorkload, Workloads } from './workloads.ts';

/** The door for questions about triggers, deliveries and workloads. */
@Controller()
export class RequestsController {
  constructor(
    private readonly triggers: ImageTriggers,
    private readonly deliveries: DeliveryObjects,
    private readonly replays: Replays,
    private readonly changes: Changes,
    private readonly workloads: Workloads,
    private readonly acts: TriggerActs,
    private readonly explanations: Explanations,
    private readonly presets: PresetObjects,
  ) {}

  @OnRequest(TriggersTouched)
  touched({ since }: Question<typeof TriggersTouched>): Promise<Touched> {
    return this.changes.touched(since);
  }

  @OnRequest(TriggerObjects)
  async objects(question: ObjectQuestion): Promise<ObjectAnswer> {
    const { resource } = question;
    return answerOf(async () => {
      if (resource === resources.ImageTriggers.resource) return (question.subresource ? this.acts : this.triggers).answer(question);
      if (resource === resources.Explanations.resource) return this.explanations.answer(question);
      if (resource === resources.Deliveries.resource) return this.deliveries.answer(question);
      if (resource === resources.DeliveryReplays.resource) return this.replays.answer(question);
      if (resource === resources.WebhookPresets.resource) return this.presets.answer(question);
      if (isWorkload(resource)) return this.workloads.answer(question);
      return { kind: 'refused', status: noSuchPath() };
    });
  }
}
