/** What time it is; whoever decides by the clock is given it. */
export class Clock {
  now(): Date {
    return new Date();
  }
}
