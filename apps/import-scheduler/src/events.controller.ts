import { Controller } from '@nestjs/common';
import { ImportWanted } from '@millrace/contracts/imports';
import { OnEvent } from '@millrace/platform/doors';
import type { FactBatch } from '@millrace/platform/facts';
import { WantedImports } from './wanted-imports.ts';

/** The door for facts. */
@Controller()
export class EventsController {
  constructor(private readonly wanted: WantedImports) {}

  @OnEvent(ImportWanted, { batch: 200 })
  importWanted(batch: FactBatch<typeof ImportWanted>): Promise<unknown> {
    return this.wanted.keep(batch);
  }
}
