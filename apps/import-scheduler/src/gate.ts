/** Lets so many in at a time; the others wait, in the order in which they came. */
export class Gate {
  private inside = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(private readonly room: number) {}

  async through<T>(work: () => Promise<T>): Promise<T> {
    if (this.inside >= this.room) await new Promise<void>((enter) => this.waiting.push(enter));
    else this.inside++;
    try {
      return await work();
    } finally {
      const next = this.waiting.shift();
      // Whoever is next takes the place over.
      if (next) next();
      else this.inside--;
    }
  }
}
