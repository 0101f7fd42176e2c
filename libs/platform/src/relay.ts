import type { StreamInfo } from '@nats-io/jetstream';
import type { Owner, StreamName } from '@millrace/contracts/define';
import { events } from '@millrace/contracts/events';
import { positionOf } from '@millrace/contracts/requests';
import { Bell, breathe, growingMs, pause } from './backoff.ts';
import type { Bus } from './bus.ts';
import type { Lease } from './lease.ts';
import { idHeaders, type Message } from './fact-writes.ts';
import { FreshFacts } from './fresh-facts.ts';
import type { Log } from './log.ts';
import { type OneFact, sizeOf, type Waiting } from './outbox.ts';
import { isTransient, type Store, type Tx } from './store.ts';

const BATCH_FACTS = 500;
const BATCH_BYTES = 16 * 1024 * 1024;
/** Facts that are published at a stretch, before others have the thread. */
const SLICE = 50;
const POLL_MS = 1_000;
/** Marks that come close to each other are written together: each time is a transaction, which pushes share the disk and the processor with. */
const MARK_MS = 50;
/** With more than this, marks are waited for. */
const MARKS_MAX = 5_000;
const CLEAN_EVERY_MS = 3_600_000;
/** What JetStream adds to a message's own bytes is far less. */
const HEADER_ROOM_BYTES = 8 * 1024;

type Row = Omit<Waiting, 'headers' | 'facts'> & { headers: string; facts: string | null; subject: string; eventId: string };

/** That JetStream has stored a row, to be written down: the last of its facts, and where. */
interface Mark {
  id: string;
  sequence: number;
  eventId: string;
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
        const waitMs = growingMs(failures++);
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
    let rows = due ? [] : this.fresh.take(BATCH_FACTS, BATCH_BYTES);
    // Where no id is missing, nobody else has told anything.
    if (rows.length) this.lookedAt = performance.now();
    else if (due || this.fresh.incomplete) rows = await this.look();
    if (!rows.length) return 0;
    this.underWay = factsOf(rows);
    const outcomes = await this.publishAll(rows);
    this.underWay = 0;
    const stored = rows.filter((_, i) => outcomes[i]?.status === 'fulfilled');
    this.marks.push(...outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? outcome.value : [])));
    this.sent(factsOf(stored));
    this.store.outbox.published();
    // Written down a moment later. After a crash they are published again, and JetStream drops the repeats by their ids.
    if (this.marks.length > MARKS_MAX) await this.mark();
    else this.markTimer ??= setTimeout(() => void this.mark().catch(() => undefined), MARK_MS);
    const refused = outcomes.find((outcome) => outcome.status === 'rejected');
    // Nothing after the first refusal counts as out of order: it is published again too, and dropped as a repeat.
    if (refused) throw refused.reason;
    return rows.length;
  }

  private async publishAll(rows: readonly Waiting[]): Promise<PromiseSettledResult<Mark>[]> {
    const publishing: Promise<PromiseSettledResult<Mark>[]>[] = [];
    let atOnce = 0;
    for (const row of rows) {
      if (atOnce && atOnce + row.facts.length > SLICE) {
        await breathe();
        atOnce = 0;
      }
      atOnce += row.facts.length;
      publishing.push(Promise.allSettled([this.publish(row)]));
    }
    return (await Promise.all(publishing)).flat();
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
            `SELECT id, event, stream, subject, event_id AS "eventId", headers, convert_to(body, 'UTF8') AS end, facts FROM (
               SELECT *, sum(n) OVER (ORDER BY id) - n AS facts_before, sum(bytes) OVER (ORDER BY id) - bytes AS bytes_before
               FROM (SELECT *, n * octet_length(body) + coalesce(octet_length(facts), 0) AS bytes
                       FROM (SELECT *, coalesce(json_array_length(facts::json), 1) AS n FROM outbox WHERE sequence IS NULL ORDER BY id LIMIT ${BATCH_FACTS}) one) waiting
             ) sized WHERE facts_before < ${BATCH_FACTS} AND bytes_before < ${BATCH_BYTES} ORDER BY id`,
          ),
          tx.query<{ oldest: string; next: string; last: string | null }>(
            `SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS oldest, pg_snapshot_xmax(pg_current_snapshot())::text AS next,
                    pg_sequence_last_value(pg_get_serial_sequence('outbox', 'id')) AS last`,
          ),
        ]),
      { isolation: 'REPEATABLE READ', readOnly: true },
    );
    const waiting = rows.map(waitingOf);
    const bytes = waiting.reduce((sum, row) => sum + sizeOf(row).sent, 0);
    const complete = factsOf(waiting) < BATCH_FACTS && bytes < BATCH_BYTES;
    const { oldest = '0', next = '0', last = null } = seen ?? {};
    this.fresh.looked(waiting, { oldest: BigInt(oldest), next: BigInt(next), lastId: Number(last ?? 0), complete });
    this.lookedAt = complete ? begun : -Infinity;
    return waiting;
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
        tx.send(
          `UPDATE outbox o SET sequence = s.sequence, event_id = s.event_id FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS s (id, sequence, event_id) WHERE o.id = s.id`,
          [marks.map((mark) => mark.id), marks.map((mark) => mark.sequence), marks.map((mark) => mark.eventId)],
        );
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

  /** Rejects where one of its facts was refused. */
  private async publish(row: Waiting): Promise<Mark> {
    const limit = this.bus.nats.info?.max_payload ?? 1024 * 1024;
    const messages = row.facts.map(({ begin, ...fact }) => ({
      ...fact,
      body: begin ? Buffer.concat([Buffer.from(begin), row.end]) : row.end,
    }));
    const fits = ({ body }: Message) => body.length + HEADER_ROOM_BYTES <= limit;
    const fitting = messages.filter(fits);
    const tooBig = messages.filter((message) => !fits(message));
    const [sequences] = await Promise.all([
      this.bus.store(row.headers, fitting),
      ...tooBig.map((message) => this.bury(row, message, `over the NATS server's max_payload of ${limit} bytes; raise it and replay`)),
    ]);
    // Mostly the last; another one where some had been stored before.
    const sequence = Math.max(0, ...sequences);
    return { id: row.id, sequence, eventId: fitting[sequences.lastIndexOf(sequence)]?.id ?? row.facts.at(-1)?.id ?? '' };
  }

  /** A fact that NATS can never take is kept aside, visibly, so that those behind it go on. */
  private async bury(row: Waiting, { subject, id, body }: Message, reason: string): Promise<void> {
    await this.store.query(
      `INSERT INTO dead_fact (event, subject, event_id, headers, body, reason, attempts) VALUES ($1, $2, $3, $4, convert_from($5, 'UTF8'), $6, 1)
       ON CONFLICT (event, event_id) DO NOTHING`,
      [row.event, subject, id, JSON.stringify({ ...row.headers, ...idHeaders(id) }), body, reason],
    );
    this.log.error({ subject, eventId: id, reason }, 'fact.unpublishable');
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

const factsOf = (rows: readonly Waiting[]): number => rows.reduce((sum, { facts }) => sum + facts.length, 0);

function waitingOf({ id, event, stream, end, ...row }: Row): Waiting {
  const facts = row.facts ? (JSON.parse(row.facts) as OneFact[]) : [{ subject: row.subject, id: row.eventId, begin: '' }];
  const headers = JSON.parse(row.headers) as Record<string, string>;
  for (const name of Object.keys(idHeaders(''))) Reflect.deleteProperty(headers, name);
  return { id, event, stream, headers, facts, end };
}
