import type { EventContract } from '@millrace/contracts/define';
import { events } from '@millrace/contracts/events';
import type { FactHandler, FactOrigin } from './facts.ts';
import type { Store, Tx } from './store.ts';

/** A fact that this service could not act on, with the reason; kept until an operator replays or drops it. */
export interface DeadFact {
  id: string;
  event: string;
  subject: string;
  eventId: string;
  body: string;
  reason: string;
  attempts: number;
  created: Date;
}

const COLUMNS = 'id, event, subject, event_id AS "eventId", body, reason, attempts, created';

/** Keeps a fact that could not be acted on, with the reason; a repeat adds to its attempts. */
export async function putAside(tx: Tx, event: string, fact: FactOrigin, reason: string, attempts: number): Promise<void> {
  await tx.run(
    `INSERT INTO dead_fact (event, subject, event_id, headers, body, reason, attempts) VALUES ($1, $2, $3, $4, $5, $6, $7)
     ON CONFLICT (event, event_id) DO UPDATE SET reason = excluded.reason, attempts = dead_fact.attempts + excluded.attempts`,
    // A NUL cannot be stored in a Postgres text; nothing valid holds one.
    [
      event,
      fact.subject,
      fact.id,
      JSON.stringify({ ...fact.attributes?.(), traceparent: fact.traceparent }),
      fact.body().replaceAll('\0', '\uFFFD'),
      reason.slice(0, 2_000),
      attempts,
    ],
  );
}

/** The facts that a service put aside: list, look at, replay, drop. */
export class DeadFacts {
  private readonly handlers = new Map<string, { contract: EventContract; handler: FactHandler }>();

  constructor(private readonly store: Store) {}

  register(contract: EventContract, handler: FactHandler): void {
    this.handlers.set(contract.name, { contract, handler });
  }

  /** Oldest first, from after the given id. */
  list(after: string, limit: number): Promise<DeadFact[]> {
    return this.store.query<DeadFact>(`SELECT ${COLUMNS} FROM dead_fact WHERE id > $1 ORDER BY id LIMIT $2`, [after, limit]);
  }

  async get(id: string): Promise<DeadFact | undefined> {
    const [row] = await this.store.query<DeadFact>(`SELECT ${COLUMNS} FROM dead_fact WHERE id = $1`, [id]);
    return row;
  }

  async drop(id: string): Promise<boolean> {
    const rows = await this.store.query('DELETE FROM dead_fact WHERE id = $1 RETURNING id', [id]);
    return rows.length > 0;
  }

  /** Hands the fact to its door again. Its place among the others has passed; whoever acts on it decides by the fact's own order. Rejects with the reason when it is refused again. */
  async replay(id: string): Promise<boolean> {
    const [row] = await this.store.query<DeadFact & { headers: string }>(`SELECT ${COLUMNS}, headers FROM dead_fact WHERE id = $1`, [id]);
    const door = row && this.handlers.get(row.event);
    if (!row) return false;
    if (!door) return this.publishAgain(id, row.event);
    const parsed = door.contract.data.safeParse(JSON.parse(row.body));
    if (!parsed.success) throw new Error(`the fact is still malformed: ${parsed.error.issues[0]?.message ?? 'unknown'}`);
    const { traceparent: _, ...attributes } = JSON.parse(row.headers) as Record<string, string>;
    const origin = { id: row.eventId, subject: row.subject, traceparent: '', body: () => row.body, attributes: () => attributes };
    await door.handler({
      read: (take) => [{ origin, made: take({ ...origin, data: parsed.data, time: row.created }) }],
      settle: async (tx) => void (await tx.run('DELETE FROM dead_fact WHERE id = $1', [id])),
      refuse: (_tx, _fact, reason) => Promise.reject(new Error(reason)),
    });
    return true;
  }

  /** A fact without a door here is one that this service told and NATS did not take: back into the outbox with it. */
  private async publishAgain(id: string, event: string): Promise<boolean> {
    const contract = events.find((one) => one.name === event);
    if (!contract) return false;
    const rows = await this.store.query(
      `WITH fact AS (DELETE FROM dead_fact WHERE id = $1 RETURNING *)
       INSERT INTO outbox (event, stream, subject, event_id, headers, body) SELECT event, $2, subject, event_id, headers, body FROM fact RETURNING id`,
      [id, contract.stream],
    );
    if (rows.length) this.store.outbox.wake([]);
    return rows.length > 0;
  }
}
