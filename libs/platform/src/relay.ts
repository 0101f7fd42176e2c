import type { StreamInfo } from '@nats-io/jetstream';
import { headers as natsHeaders } from '@nats-io/transport-node';
import type { Owner, StreamName } from '@millrace/contracts/define';
import { events } from '@millrace/contracts/events';
import { positionOf } from '@millrace/contracts/requests';
import { Bell, pause } from './backoff.ts';
import type { Bus } from './bus.ts';
import type { Lease } from './lease.ts';
import type { Log } from './log.ts';
import { isTransient, type Store, type Tx } from './store.ts';

const BATCH_ROWS = 500;
const BATCH_BYTES = 16 * 1024 * 1024;
const POLL_MS = 1_000;
const CLEAN_EVERY_MS = 3_600_000;
/** What JetStream adds to a message's own bytes is far less. */
const HEADER_ROOM_BYTES = 8 * 1024;

interface Row {
  id: string;
  event: string;
  stream: StreamName;
  subject: string;
  event_id: string;
  headers: string;
  body: string;
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
    const nudge = `millrace.nudge.${this.service}.outbox`;
    this.bus.onNudge(nudge, () => this.bell.ring());
    this.bus.onReconnect(() => {
      this.verified = false;
      this.bell.ring();
    });
    this.store.outbox.onWake(() => (this.leading ? this.bell.ring() : this.bus.nudge(nudge)));
    this.running = this.run();
  }

  /** Sends what has been committed, as far as NATS takes it within the stop's bounds. */
  async stop(): Promise<void> {
    this.stopping.abort();
    this.bell.ring();
    await this.running;
  }

  private async run(): Promise<void> {
    const { signal } = this.stopping;
    for (let failures = 0; !signal.aborted;) {
      try {
        this.leading = await this.lease.leads('relay');
        if (!this.leading) {
          this.verified = false;
          await pause(POLL_MS / 4, signal);
          continue;
        }
        if (!this.verified) await this.verifyStreams();
        const count = await this.sendBatch();
        failures = 0;
        if (count === 0) {
          if (Date.now() - this.cleanedAt > CLEAN_EVERY_MS) await this.clean();
          await this.bell.wait(POLL_MS, signal);
        }
      } catch (error) {
        if (signal.aborted) break;
        const waitMs = Math.min(5_000, 100 * 2 ** failures++);
        this.log.warn({ err: error, waitMs, transient: isTransient(error) }, 'relay.waiting');
        await pause(waitMs, signal);
      }
    }
    this.leading = false;
  }

  /** Publishes up to one batch; resolves to how many rows it was. */
  private async sendBatch(): Promise<number> {
    const rows = await this.store.query<Row>(
      `SELECT id, event, stream, subject, event_id, headers, body FROM (
         SELECT *, sum(octet_length(body)) OVER (ORDER BY id) - octet_length(body) AS before
         FROM (SELECT * FROM outbox WHERE sequence IS NULL ORDER BY id LIMIT ${BATCH_ROWS}) waiting
       ) sized WHERE before < ${BATCH_BYTES} ORDER BY id`,
    );
    if (!rows.length) return 0;
    const sequences = await Promise.allSettled(rows.map((row) => this.publish(row)));
    const stored = sequences.flatMap((outcome, i) =>
      outcome.status === 'fulfilled' ? [{ id: rows[i]?.id, sequence: outcome.value }] : [],
    );
    if (stored.length)
      await this.store.query(
        `UPDATE outbox o SET sequence = s.sequence FROM unnest($1::bigint[], $2::bigint[]) AS s (id, sequence) WHERE o.id = s.id`,
        [stored.map((s) => s.id), stored.map((s) => s.sequence)],
      );
    this.sent(stored.length);
    const refused = sequences.find((outcome) => outcome.status === 'rejected');
    // Nothing after the first refusal counts as out of order: JetStream drops the repeats by their ids.
    if (refused) throw refused.reason;
    return rows.length;
  }

  private async publish(row: Row): Promise<number> {
    const limit = this.bus.nats.info?.max_payload ?? 1024 * 1024;
    if (Buffer.byteLength(row.body) + HEADER_ROOM_BYTES > limit)
      return this.bury(row, `over the NATS server's max_payload of ${limit} bytes; raise it and replay`);
    const headers = natsHeaders();
    for (const [name, value] of Object.entries(JSON.parse(row.headers) as Record<string, string>)) headers.set(name, value);
    return (await this.bus.js.publish(row.subject, row.body, { headers, timeout: 5_000 })).seq;
  }

  /** A fact that NATS can never take is kept aside, visibly, so that those behind it go on. */
  private async bury(row: Row, reason: string): Promise<number> {
    await this.store.query(
      `INSERT INTO dead_fact (event, subject, event_id, headers, body, reason, attempts) SELECT event, subject, event_id, headers, body, $2, 1 FROM outbox WHERE id = $1
       ON CONFLICT (event, event_id) DO NOTHING`,
      [row.id, reason],
    );
    this.log.error({ subject: row.subject, eventId: row.event_id, reason }, 'fact.unpublishable');
    return 0;
  }

  /** Compares what we believe JetStream holds with what it does hold. */
  private async verifyStreams(): Promise<void> {
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
    this.verified = true;
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
