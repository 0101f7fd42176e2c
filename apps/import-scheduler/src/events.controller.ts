import { Controller } from '@nestjs/common';
import { RepositoryPushed } from '@millrace/contracts/events';
import { ImportWanted } from '@millrace/contracts/imports';
import { OnEvent } from '@millrace/platform/doors';
import type { FactBatch } from '@millrace/platform/facts';
import { Hints } from './hints.ts';
import { WantedImports } from './wanted-imports.ts';

/** The door for facts. */
@Controller()
export class EventsController {
  constructor(
    private readonly wanted: WantedImports,
    private readonly hints: Hints,
  ) {}

  @OnEvent(ImportWanted, { batch: 200 })
  importWanted(batch: FactBatch<typeof ImportWanted>): Promise<unknown> {
    return this.wanted.keep(batch);
  }

  @OnEvent(RepositoryPushed, { batch: 200 })
  repositoryPushed(batch: FactBatch<typeof RepositoryPushed>): Promise<unknown> {
    return this.hints.take(batch);
  }
}
