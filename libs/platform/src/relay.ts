import type { StreamInfo } from '@nats-io/jetstream';
import type { Owner, StreamName } from '@millrace/contracts/define';
import { events } from '@millrace/contracts/events';
import { positionOf } from '@millrace/contracts/requests';
import { Bell, pause } from './backoff.ts';
import type { Bus } from './bus.ts';
import type { Lease } from './lease.ts';
import { FreshFacts } from './fresh-facts.ts';
import type { Log } from './log.ts';
import type { Waiting } from './outbox.ts';
import { isTransient, type Store, type Tx } from './store.ts';

const BATCH_ROWS = 500;
const BATCH_BYTES = 16 * 1024 * 1024;
const POLL_MS = 1_000;
/** Marks that come close to each other are written together: each time is a transaction, which pushes share the disk and the processor with. */
const MARK_MS = 50;
/** With more than this, marks are waited for. */
const MARKS_MAX = 5_000;
const CLEAN_EVERY_MS = 3_600_000;
/** What JetStream adds to a message's own bytes is far less. */
const HEADER_ROOM_BYTES = 8 * 1024;

type Row = Omit<Waiting, 'headers'> & { headers: string };

/** What JetStream has stored, to be written down. */
interface Mark {
  id: string;
  sequence: number;
}

/**
 * Publishes what the outbox holds, in order, and knows what JetStream has stored of it. One instance of a service does so at a time.
 * When the server turns out to have lost facts (a wiped disk, a lost tail), those still in the outbox are published again.
 */
export class Relay {
  private readonly bell = new Bell();
  private readonly stopping = new AbortController();
  private running: Promise<void> = Promise.resolve();
  private leading = false;
  private verified = false;
  private cleanedAt = 0;
  /** What this instance committed itself need not be read back. */
  private readonly fresh = new FreshFacts();
  private marks: Mark[] = [];
  private marking: Promise<void> | undefined;
  private markTimer: NodeJS.Timeout | undefined;
  private lookedAt = -Infinity;
  /** Facts that have gone to NATS and are not known to be stored. */
  private underWay = 0;

  constructor(
    private readonly service: Owner,
    private readonly store: Store,
    private readonly bus: Bus,
    private readonly lease: Lease,
    private readonly log: Log,
    private readonly retentionHours: number,
    private readonly sent: (rows: number) => void,
  ) {}

  start(): void {
    const nudge = `${this.service}.outbox`;
    this.bus.onNudge(nudge, () => {
      this.lookedAt = -Infinity;
      this.bell.ring();
    });
    this.bus.onReconnect(() => {
      this.verified = false;
      this.bell.ring();
    });
    this.store.outbox.onWake((facts) => {
      if (!this.leading) return this.bus.nudge(nudge);
      // Facts that nobody has in memory.
      if (!facts.length) this.lookedAt = -Infinity;
      this.fresh.add(facts);
      this.bell.ring();
    });
    this.store.outbox.onCrowd(() => this.leading && this.fresh.crowded);
    this.store.outbox.onBacklog(() => (this.leading ? this.fresh.size + this.underWay : undefined));
    this.running = this.run();
  }

  /** Sends what has been committed, as far as NATS takes it within the stop's bounds. */
  async stop(): Promise<void> {
    this.stopping.abort();
    this.bell.ring();
    await this.running;
    await this.mark().catch((error: unknown) => this.log.warn({ err: error }, 'relay.not-marked'));
  }

  private async run(): Promise<void> {
    const { signal } = this.stopping;
    for (let failures = 0; !signal.aborted;) {
      try {
        this.leading = await this.lease.leads('relay');
        if (!this.leading) {
          this.verified = false;
          this.fresh.clear();
          await pause(POLL_MS / 4, signal);
          continue;
        }
        if (!this.verified) await this.verifyStreams();
        const count = await this.sendBatch();
        failures = 0;
        if (count > 0) continue;
        if (Date.now() - this.cleanedAt > CLEAN_EVERY_MS) await this.clean();
        await this.bell.wait(Math.max(0, this.lookedAt + POLL_MS - performance.now()), signal);
      } catch (error) {
        if (signal.aborted) break;
        const waitMs = Math.min(5_000, 100 * 2 ** failures++);
        this.lookedAt = -Infinity;
        this.fresh.clear();
        this.log.warn({ err: error, waitMs, transient: isTransient(error) }, 'relay.waiting');
        await pause(waitMs, signal);
      }
    }
    this.leading = false;
  }

  /** Publishes up to one batch; resolves to how many facts it was, and 0 when nothing waits. */
  private async sendBatch(): Promise<number> {
    const due = performance.now() - this.lookedAt >= POLL_MS;
    let facts = due ? [] : this.fresh.take(BATCH_ROWS, BATCH_BYTES);
    // Where no id is missing, nobody else has told anything.
    if (facts.length) this.lookedAt = performance.now();
    else if (due || this.fresh.incomplete) facts = await this.look();
    if (!facts.length) return 0;
    this.underWay = facts.length;
    const sequences = await Promise.allSettled(facts.map((fact) => this.publish(fact)));
    this.underWay = 0;
    let stored = 0;
    for (const [i, outcome] of sequences.entries()) {
      const id = facts[i]?.id;
      if (outcome.status !== 'fulfilled' || id === undefined) continue;
      this.marks.push({ id, sequence: outcome.value });
      stored++;
    }
    this.sent(stored);
    this.store.outbox.published();
    // Written down a moment later. After a crash they are published again, and JetStream drops the repeats by their ids.
    if (this.marks.length > MARKS_MAX) await this.mark();
    else this.markTimer ??= setTimeout(() => void this.mark().catch(() => undefined), MARK_MS);
    const refused = sequences.find((outcome) => outcome.status === 'rejected');
    // Nothing after the first refusal counts as out of order: it is published again too, and dropped as a repeat.
    if (refused) throw refused.reason;
    return facts.length;
  }

  /** What waits in the outbox, oldest first, whoever committed it. */
  private async look(): Promise<Waiting[]> {
    // What is published, and not yet marked, does not wait.
    await this.mark();
    const begun = performance.now();
    const [rows, [seen]] = await this.store.transaction(
      async (tx) =>
        Promise.all([
          tx.query<Row>(
            `SELECT id, event, stream, subject, event_id AS "eventId", headers, convert_to(body, 'UTF8') AS body FROM (
               SELECT *, sum(octet_length(body)) OVER (ORDER BY id) - octet_length(body) AS before
               FROM (SELECT * FROM outbox WHERE sequence IS NULL ORDER BY id LIMIT ${BATCH_ROWS}) waiting
             ) sized WHERE before < ${BATCH_BYTES} ORDER BY id`,
          ),
          tx.query<{ oldest: string; next: string; last: string | null }>(
            `SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS oldest, pg_snapshot_xmax(pg_current_snapshot())::text AS next,
                    pg_sequence_last_value(pg_get_serial_sequence('outbox', 'id')) AS last`,
          ),
        ]),
      { isolation: 'REPEATABLE READ', readOnly: true },
    );
    const facts = rows.map((row) => ({ ...row, headers: JSON.parse(row.headers) as Record<string, string> }));
    const bytes = facts.reduce((sum, fact) => sum + fact.body.length, 0);
    const complete = facts.length < BATCH_ROWS && bytes < BATCH_BYTES;
    const { oldest = '0', next = '0', last = null } = seen ?? {};
    this.fresh.looked(facts, { oldest: BigInt(oldest), next: BigInt(next), lastId: Number(last ?? 0), complete });
    this.lookedAt = complete ? begun : -Infinity;
    return facts;
  }

  /** Writes down what JetStream has stored: one statement at a time, and all there is with each. */
  private async mark(): Promise<void> {
    clearTimeout(this.markTimer);
    this.markTimer = undefined;
    while (this.marking) await this.marking;
    if (!this.marks.length) return;
    const marks = this.marks.splice(0);
    this.marking = this.store
      .transaction(async (tx) => {
        // Where Postgres crashes, a mark that is lost costs a repeat, which JetStream drops. It need not make a disk wait that pushes wait for too.
        tx.send('SET LOCAL synchronous_commit = off');
        tx.send(`UPDATE outbox o SET sequence = s.sequence FROM unnest($1::bigint[], $2::bigint[]) AS s (id, sequence) WHERE o.id = s.id`, [
          marks.map((mark) => mark.id),
          marks.map((mark) => mark.sequence),
        ]);
      })
      .then(
        () => undefined,
        (error: unknown) => {
          this.marks.unshift(...marks);
          throw error;
        },
      )
      .finally(() => (this.marking = undefined));
    return this.marking;
  }

  private async publish(row: Waiting): Promise<number> {
    const limit = this.bus.nats.info?.max_payload ?? 1024 * 1024;
    if (row.body.length + HEADER_ROOM_BYTES > limit)
      return this.bury(row, `over the NATS server's max_payload of ${limit} bytes; raise it and replay`);
    return this.bus.store(row.subject, row.body, row.headers);
  }

  /** A fact that NATS can never take is kept aside, visibly, so that those behind it go on. */
  private async bury(row: Waiting, reason: string): Promise<number> {
    await this.store.query(
      `INSERT INTO dead_fact (event, subject, event_id, headers, body, reason, attempts) SELECT event, subject, event_id, headers, body, $2, 1 FROM outbox WHERE id = $1
       ON CONFLICT (event, event_id) DO NOTHING`,
      [row.id, reason],
    );
    this.log.error({ subject: row.subject, eventId: row.eventId, reason }, 'fact.unpublishable');
    return 0;
  }

  /** Compares what we believe JetStream holds with what it does hold. */
  private async verifyStreams(): Promise<void> {
    // Before anything is asked: a server that goes and comes back meanwhile is to be asked again.
    this.verified = true;
    try {
      await this.compareStreams();
    } catch (error) {
      this.verified = false;
      throw error;
    }
  }

  private async compareStreams(): Promise<void> {
    await this.mark();
    this.fresh.clear();
    this.lookedAt = -Infinity;
    const streams = new Set(events.filter((event) => event.from === this.service).map((event) => event.stream));
    for (const stream of streams) {
      const info = await this.bus.streamInfo(stream);
      await this.store.transaction(async (tx) => {
        const [known] = await tx.query<{ created: string }>('SELECT created FROM outbox_stream WHERE stream = $1 FOR UPDATE', [stream]);
        const lost = known === undefined ? 0 : await this.forget(tx, stream, info, known.created === info.created);
        await tx.run('INSERT INTO outbox_stream (stream, created) VALUES ($1, $2) ON CONFLICT (stream) DO UPDATE SET created = $2', [
          stream,
          info.created,
        ]);
        if (lost) this.log.warn({ stream, facts: lost }, 'relay.republishing');
      });
    }
  }

  /** Marks as unsent what the stream no longer holds; resolves to how many facts that is. */
  private async forget(tx: Tx, stream: StreamName, info: StreamInfo, sameStream: boolean): Promise<number> {
    if (!sameStream) return tx.run('UPDATE outbox SET sequence = NULL WHERE stream = $1 AND sequence IS NOT NULL', [stream]);
    const lost = await tx.run('UPDATE outbox SET sequence = NULL WHERE stream = $1 AND sequence > $2', [stream, info.state.last_seq]);
    const [last] = await tx.query<{ sequence: string; event_id: string }>(
      'SELECT sequence, event_id FROM outbox WHERE stream = $1 AND sequence > 0 ORDER BY sequence DESC LIMIT 1',
      [stream],
    );
    if (!last || (await this.bus.holds(stream, info, Number(last.sequence), last.event_id))) return lost;
    // The machine under NATS crashed, and another service has filled the lost sequences since: NATS syncs every two minutes, an hour covers it.
    return (
      lost +
      (await tx.run(`UPDATE outbox SET sequence = NULL WHERE stream = $1 AND sequence > 0 AND created > now() - interval '1 hour'`, [
        stream,
      ]))
    );
  }

  /** Drops facts that are older than the retention and that everyone who must act on them has acted on. */
  private async clean(): Promise<void> {
    this.cleanedAt = Date.now();
    for (const event of events.filter((e) => e.from === this.service)) {
      const positions = await Promise.all(
        event.to.map((owner) => this.bus.ask(positionOf(owner), { stream: event.stream, event: event.name }).catch(() => null)),
      );
      const [known] = await this.store.query<{ created: string }>('SELECT created FROM outbox_stream WHERE stream = $1', [event.stream]);
      if (positions.some((position) => position?.streamCreated !== known?.created)) continue;
      const upTo = Math.min(...positions.map((position) => position?.sequence ?? 0), Number.MAX_SAFE_INTEGER);
      const gone = await this.store.transaction((tx) =>
        tx.run(
          `DELETE FROM outbox WHERE event = $1 AND sequence IS NOT NULL AND sequence <= $2 AND created < now() - make_interval(hours => $3)`,
          [event.name, upTo, this.retentionHours],
        ),
      );
      if (gone) this.log.info({ event: event.name, rows: gone }, 'outbox.cleaned');
    }
  }
}
