/** What time it is, in milliseconds since 1970; whoever decides by the clock is given it. */
export class Clock {
  now(): number {
    return Date.now();
  }
}
