import { Module } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { Collections } from './collections.ts';
import { FrontDoor } from './front-door.ts';
import { ErrorsAsStatus, HttpController } from './http.controller.ts';
import { KeptAnswers } from './kept-answers.ts';
import { Objects } from './objects.ts';
import { Watches } from './watch.ts';

@Module({
  controllers: [HttpController],
  providers: [Objects, KeptAnswers, Collections, Watches, FrontDoor, { provide: APP_FILTER, useClass: ErrorsAsStatus }],
})
export class ApiModule {}
