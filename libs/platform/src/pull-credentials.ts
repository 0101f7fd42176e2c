import { Inject, Injectable, Optional } from '@nestjs/common';
import { PULL_SECRETS_BELL, PullSecrets, type SealedSecret } from '@millrace/contracts/requests';
import type { ImageReference } from '@millrace/domain/image-reference';
import { type BrokenSecret, type Candidate, candidatesOf, type Keyring, keyringOf, type KeyringSecret } from '@millrace/domain/keyring';
import { Bus } from './bus.ts';
import type { Log } from './log.ts';
import { SealError, Sealing } from './sealing.ts';
import { LOG, type Worker } from './service.ts';

/** How long a keyring is used without asking whether it is still current: the bell says so sooner, but may be missed. */
const FRESH_MS = 30_000;
/** Keyrings that are kept; of more namespaces the one that was not used for longest is asked for anew. */
const KEPT_MAX = 10_000;

/** The operator's own credentials, for what no secret of the namespace fits; a value of this token in the module provides them. */
export const OPERATOR_CREDENTIALS = Symbol('operator-credentials');
export interface OperatorCredentials {
  readonly keyring: Keyring;
}

/** What an image can be fetched with: the credentials in the order in which to try them, and the secrets that could not be read. */
export interface PullChoice {
  candidates: Candidate[];
  broken: readonly BrokenSecret[];
}

interface Kept {
  revision: string;
  keyring: Keyring;
  /** As of which ring of the bell, and until when, it need not be asked for. */
  rung: number;
  freshUntil: number;
}

/**
 * With what an image is fetched for a namespace: its secrets for registries, then the operator's. Asks tag-store once per namespace, and
 * again when a secret has changed; what it is told is sealed, and is opened here, with the same SECRETS_KEY.
 */
@Injectable()
export class PullCredentials implements Worker {
  /** In the order of their last use. */
  private readonly kept = new Map<string, Kept>();
  private readonly asking = new Map<string, Promise<Kept>>();
  private rung = 0;

  constructor(
    private readonly bus: Bus,
    private readonly sealing: Sealing,
    @Inject(LOG) private readonly log: Log,
    @Optional() @Inject(OPERATOR_CREDENTIALS) private readonly operator?: OperatorCredentials,
  ) {}

  start(): void {
    this.bus.onNudge(PULL_SECRETS_BELL, () => this.rung++);
    this.bus.onReconnect(() => this.rung++);
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }

  /**
   * What fits the image, which is a pull spec. Rejects with {@link AskError} where tag-store does not answer and the namespace's secrets
   * were never told, and throws {@link InvalidReference} for what is no pull spec.
   */
  async of(namespace: string, image: string | ImageReference): Promise<PullChoice> {
    const { keyring } = await this.keyringOf(namespace);
    const operator = this.operator?.keyring;
    return { candidates: candidatesOf(operator ? [keyring, operator] : [keyring], image), broken: keyring.broken };
  }

  private async keyringOf(namespace: string): Promise<Kept> {
    const known = this.kept.get(namespace);
    if (known && known.rung === this.rung && known.freshUntil > performance.now()) {
      this.keep(namespace, known);
      return known;
    }
    const underWay = this.asking.get(namespace);
    if (underWay) return underWay;
    const asked = this.ask(namespace, known).finally(() => this.asking.delete(namespace));
    this.asking.set(namespace, asked);
    return asked;
  }

  private async ask(namespace: string, known: Kept | undefined): Promise<Kept> {
    // Taken before the question: what changes while it is answered is asked for again.
    const { rung } = this;
    try {
      const { revision, secrets } = await this.bus.ask(PullSecrets, { namespace, known: known?.revision });
      const keyring = secrets || !known ? this.open(namespace, secrets ?? []) : known.keyring;
      return this.keep(namespace, { revision, keyring, rung, freshUntil: performance.now() + FRESH_MS });
    } catch (error) {
      if (!known) throw error;
      this.log.warn({ err: error, namespace }, 'pull-secrets.not-answered');
      return known;
    }
  }

  private open(namespace: string, sealed: readonly SealedSecret[]): Keyring {
    const opened: KeyringSecret[] = [];
    const broken: BrokenSecret[] = [];
    for (const secret of sealed)
      try {
        const data = Object.entries(this.sealing.open(Buffer.from(secret.sealed, 'base64'), secret.uid) as Record<string, string>);
        opened.push({ ...secret, texts: new Map(data.map(([key, base64]) => [key, Buffer.from(base64, 'base64').toString()])) });
      } catch (error) {
        if (!(error instanceof SealError)) throw error;
        broken.push({ secret: secret.name, reason: error.message });
      }
    const keyring = keyringOf(opened);
    const all = { ...keyring, broken: [...broken, ...keyring.broken] };
    for (const { secret, reason } of all.broken) this.log.warn({ namespace, secret, reason }, 'pull-secret.broken');
    return all;
  }

  private keep(namespace: string, kept: Kept): Kept {
    this.kept.delete(namespace);
    this.kept.set(namespace, kept);
    const oldest = this.kept.size > KEPT_MAX ? this.kept.keys().next().value : undefined;
    if (oldest !== undefined) this.kept.delete(oldest);
    return kept;
  }
}
