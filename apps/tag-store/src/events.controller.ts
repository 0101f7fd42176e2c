import { Controller } from '@nestjs/common';
import type { Answer, Question } from '@millrace/contracts/define';
import { MappingPublished, MappingSubmitted } from '@millrace/contracts/events';
import { ImportCompleted } from '@millrace/contracts/imports';
import { CurrentTag, ExplainTag, KnownTags } from '@millrace/contracts/requests';
import { OnEvent, OnRequest } from '@millrace/platform/doors';
import type { FactBatch } from '@millrace/platform/facts';
import { Explanations } from './explanations.ts';
import { Imports } from './imports.ts';
import { Mappings } from './mappings.ts';
import { Tags } from './tags.ts';

/** Facts that registries told, what was found in others, and the questions by which a consumer of tag.moved finds its beginning. */
@Controller()
export class EventsController {
  constructor(
    private readonly mappings: Mappings,
    private readonly imports: Imports,
    private readonly tags: Tags,
    private readonly explanations: Explanations,
  ) {}

  @OnEvent(MappingPublished, { batch: 300 })
  mappingPublished(batch: FactBatch<typeof MappingPublished>): Promise<unknown> {
    return this.mappings.apply(batch);
  }

  @OnEvent(MappingSubmitted, { batch: 300 })
  mappingSubmitted(batch: FactBatch<typeof MappingSubmitted>): Promise<unknown> {
    return this.mappings.applySubmitted(batch);
  }

  @OnEvent(ImportCompleted, { batch: 50 })
  importCompleted(batch: FactBatch<typeof ImportCompleted>): Promise<unknown> {
    return this.imports.applyCompleted(batch);
  }

  @OnRequest(CurrentTag)
  async currentTag(question: Question<typeof CurrentTag>): Promise<Answer<typeof CurrentTag>> {
    return { move: await this.tags.lastMove(question) };
  }

  @OnRequest(ExplainTag)
  explainTag(question: Question<typeof ExplainTag>): Promise<Answer<typeof ExplainTag>> {
    return this.explanations.explain(question);
  }

  @OnRequest(KnownTags)
  async knownTags({ tags }: Question<typeof KnownTags>): Promise<Answer<typeof KnownTags>> {
    const at = new Date().toISOString();
    return { at, tags: await this.tags.known(tags) };
  }
}
