import { Controller } from '@nestjs/common';
import type { Answer, Question } from '@millrace/contracts/define';
import {
  ApplyImport,
  type ObjectAnswer,
  type ObjectQuestion,
  PullSecrets,
  SecretValues,
  TagStoreObjects,
  TagStoreTouched,
  type Touched,
} from '@millrace/contracts/requests';
import { OnRequest } from '@millrace/platform/doors';
import { Changes } from './changes.ts';
import { Imports } from './imports.ts';
import { Objects } from './objects.ts';
import { Secrets } from './secrets.ts';

/** The door for questions about objects, about what images are fetched with, and for what an import brought to somebody who waits for it. */
@Controller()
export class RequestsController {
  constructor(
    private readonly objects: Objects,
    private readonly changes: Changes,
    private readonly imports: Imports,
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

  @OnRequest(ApplyImport)
  applyImport(question: Question<typeof ApplyImport>): Promise<Answer<typeof ApplyImport>> {
    return this.imports.apply(question);
  }

  @OnRequest(PullSecrets)
  pullSecrets(question: Question<typeof PullSecrets>): Promise<Answer<typeof PullSecrets>> {
    return this.secrets.sealedForPulling(question);
  }

  @OnRequest(SecretValues)
  secretValues(question: Question<typeof SecretValues>): Promise<Answer<typeof SecretValues>> {
    return this.secrets.sealedValues(question);
  }
}
