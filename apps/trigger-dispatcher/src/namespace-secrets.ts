import { Inject, Injectable } from '@nestjs/common';
import { PULL_SECRETS_BELL, sealedValueOf, SecretValues } from '@millrace/contracts/requests';
import { type SecretKey, secretKeyText } from '@millrace/domain/secret-source';
import { AskError, Bus } from '@millrace/platform/bus';
import type { Log } from '@millrace/platform/log';
import { SealError, Sealing } from '@millrace/platform/sealing';
import { LOG, type Worker } from '@millrace/platform/service';

/** How long a value is used without asking again: the bell says sooner that a secret has changed, but may be missed. */
const FRESH_MS = 5_000;
/** How long the last one is used while tag-store does not answer, and how long any is kept. */
const KEPT_MS = 60_000;
/** Values that are kept; of more the one that was asked for first goes. */
const KEPT_MAX = 5_000;
const ASK_MS = 2_000;

/** What stands under a key of a secret, or why that is not known. */
export type SecretValue = { kind: 'value'; text: string } | { kind: 'missing' | 'unreadable'; reason: string };

interface Kept {
  value: SecretValue;
  /** As of which ring of the bell, and when. */
  rung: number;
  askedAt: number;
}

/** Values of secrets of namespaces, for what is sent in their name. They are asked of tag-store sealed, opened here, and kept for a minute at most. */
@Injectable()
export class NamespaceSecrets implements Worker {
  /** In the order in which they were asked for. */
  private readonly kept = new Map<string, Kept>();
  private readonly asking = new Map<string, Promise<void>>();
  private readonly bells: (() => void)[] = [];
  private rung = 0;
  private sweep: NodeJS.Timeout | undefined;

  constructor(
    private readonly bus: Bus,
    private readonly sealing: Sealing,
    @Inject(LOG) private readonly log: Log,
  ) {}

  start(): void {
    const ring = () => {
      this.rung++;
      for (const bell of this.bells) bell();
    };
    this.bus.onNudge(PULL_SECRETS_BELL, ring);
    this.bus.onReconnect(ring);
    this.sweep = setInterval(() => this.forget(), KEPT_MS / 4).unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.sweep);
    this.kept.clear();
  }

  /** Called when some secret may have changed. */
  onChange(bell: () => void): void {
    this.bells.push(bell);
  }

  /** In the order of the keys. Rejects with {@link AskError} where tag-store does not answer and nothing is known. */
  async values(namespace: string, keys: readonly SecretKey[]): Promise<SecretValue[]> {
    const wanted = keys.filter((key) => !this.isFresh(idOf(namespace, key)));
    if (wanted.length) {
      const id = wanted.map((key) => idOf(namespace, key)).join('\n');
      const underWay = this.asking.get(id);
      const asked = underWay ?? this.ask(namespace, wanted).finally(() => this.asking.delete(id));
      if (!underWay) this.asking.set(id, asked);
      await asked;
    }
    return keys.map((key) => {
      const kept = this.kept.get(idOf(namespace, key));
      if (!kept) throw new AskError('failed', `secret ${key.name} of namespace ${namespace} was asked for and is not known`);
      return kept.value;
    });
  }

  private isFresh(id: string): boolean {
    const kept = this.kept.get(id);
    return kept !== undefined && kept.rung === this.rung && performance.now() - kept.askedAt < FRESH_MS;
  }

  private async ask(namespace: string, keys: readonly SecretKey[]): Promise<void> {
    // Taken before the question: what changes while it is answered is asked for again.
    const { rung } = this;
    try {
      const { values } = await this.bus.ask(SecretValues, { namespace, keys: [...keys] }, { timeoutMs: ASK_MS });
      for (const [i, key] of keys.entries()) {
        const value = values[i];
        if (!value) throw new AskError('failed', 'tag-store answered fewer values than were asked for');
        this.keep(idOf(namespace, key), { value: this.opened(namespace, key, value), rung, askedAt: performance.now() });
      }
    } catch (error) {
      if (!(error instanceof AskError)) throw error;
      this.forget();
      if (!keys.every((key) => this.kept.has(idOf(namespace, key))))
        throw new AskError(error.code, `secrets of namespace ${namespace} cannot be asked for: ${error.message}`, { cause: error });
      this.log.warn({ err: error, namespace }, 'secret-values.not-answered');
    }
  }

  private opened(
    namespace: string,
    key: SecretKey,
    value: { kind: 'sealed'; sealed: string } | { kind: 'missing' | 'unreadable'; reason: string },
  ): SecretValue {
    if (value.kind !== 'sealed') return value;
    try {
      const { value: base64 } = this.sealing.open(Buffer.from(value.sealed, 'base64'), sealedValueOf(namespace, key)) as { value: string };
      return { kind: 'value', text: Buffer.from(base64, 'base64').toString() };
    } catch (error) {
      if (error instanceof SealError) return { kind: 'unreadable', reason: `secret ${key.name}: ${error.message}` };
      throw error;
    }
  }

  private keep(id: string, kept: Kept): void {
    this.kept.delete(id);
    this.kept.set(id, kept);
    const oldest = this.kept.size > KEPT_MAX ? this.kept.keys().next().value : undefined;
    if (oldest !== undefined) this.kept.delete(oldest);
  }

  private forget(): void {
    const before = performance.now() - KEPT_MS;
    for (const [id, { askedAt }] of this.kept) {
      if (askedAt > before) break;
      this.kept.delete(id);
    }
  }
}

const idOf = (namespace: string, key: SecretKey): string => `${namespace}/${secretKeyText(key)}`;
