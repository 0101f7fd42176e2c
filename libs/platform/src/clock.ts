import { Injectable } from '@nestjs/common';

/** What time it is; whoever decides by the clock is given it. */
@Injectable()
export class Clock {
  now(): Date {
    return new Date();
  }
}
