import { Inject, Injectable } from '@nestjs/common';
import { keyProblem } from '@millrace/domain/signing-key';
import type { FieldError } from '@millrace/domain/status';
import { sourcesOf, type WebhookSpec } from '@millrace/domain/trigger-webhook';
import type { FiredEvent } from '@millrace/domain/webhook-variables';
import { AskError } from '@millrace/platform/bus';
import { Sealing } from '@millrace/platform/sealing';
import { CONFIG } from '@millrace/platform/service';
import type { DispatcherConfig } from './config.ts';
import { NamespaceSecrets } from './namespace-secrets.ts';
import type { Claimed } from './outcomes.ts';
import type { Findings } from './delivery-tables.ts';
import { WebhookFindings } from './webhook-findings.ts';
import { makeRequest, plainRequest, RequestError, requestProblems } from './webhook-request.ts';
import { publicKeyOf, webhookKey, type WebhookSecrets } from './webhook-secrets.ts';
import type { Call } from './webhook.ts';

/** Webhooks whose secrets are kept open; to open them again costs as much as to sign. */
const OPEN_MAX = 2_000;

/** Makes of a delivery the call that it is: opens what is sealed, reads what stands in Secrets, renders templates. */
@Injectable()
export class WebhookRequests {
  private readonly opened = new Map<string, { sealed: Buffer; secrets: WebhookSecrets }>();

  constructor(
    private readonly sealing: Sealing,
    private readonly secrets: NamespaceSecrets,
    private readonly findings: WebhookFindings,
    @Inject(CONFIG) private readonly config: Pick<DispatcherConfig, 'WEBHOOK_ALLOW_ADDRESSES'>,
  ) {}

  /** Rejects with the reason why there is nothing to send, in words for whoever wrote the trigger. */
  async of(delivery: Claimed): Promise<Call> {
    const { url, event, traceparent, firingId, timeoutSeconds, trigger } = delivery;
    const secrets = this.open(delivery);
    const rest = { traceparent, id: firingId, timeoutMs: timeoutSeconds * 1_000 };
    if (!secrets.send) return { ...plainRequest(secrets, url, event), ...rest };
    const { values, problem, findings } = await this.read(namespaceOf(trigger), secrets.send, secrets);
    const told = sourcesOf(secrets.send).length > 0;
    try {
      if (problem) throw new RequestError(...problem);
      const made = makeRequest(secrets.send, secrets, values, event, this.config.WEBHOOK_ALLOW_ADDRESSES);
      if (told) this.findings.note(delivery, findings);
      return { ...made, ...rest };
    } catch (error) {
      // What a template makes of one event is that delivery's; what a Secret holds concerns them all.
      if (told && error instanceof RequestError && error.field.includes('From'))
        this.findings.note(delivery, { ...findings, problem: error.message });
      throw error;
    }
  }

  /**
   * What is wrong with a webhook that is written, and what its readers are to know of it. A secret that is not there may come later: it is
   * a finding. `asked` is false where tag-store could not be.
   */
  async check(
    namespace: string,
    webhook: WebhookSpec,
    secrets: WebhookSecrets,
    { path, event }: { path: string; event: FiredEvent },
  ): Promise<{ errors: FieldError[]; findings: Findings | null; asked: boolean }> {
    const read = await this.read(namespace, webhook, secrets).catch((error: unknown) => {
      if (error instanceof AskError) return undefined;
      throw error;
    });
    const allow = this.config.WEBHOOK_ALLOW_ADDRESSES;
    const asked = read !== undefined;
    const errors = secrets.send ? requestProblems(webhook, secrets, stoodIn(webhook), { path, event, allow }) : [];
    if (errors.length || !read || read.problem || !secrets.send) return { errors, findings: read?.findings ?? null, asked };
    try {
      makeRequest(webhook, secrets, read.values, JSON.stringify(event), allow);
      return { errors, findings: read.findings, asked };
    } catch (error) {
      // It is not in what was written, and may be put right where it stands.
      if (error instanceof RequestError) return { errors, findings: { ...read.findings, problem: error.message }, asked };
      throw error;
    }
  }

  /** Throws {@link SealError}. */
  private open({ triggerUid, webhook, sealed }: Claimed): WebhookSecrets {
    const key = webhookKey({ triggerUid, name: webhook });
    const known = this.opened.get(key);
    if (known?.sealed.equals(sealed)) return known.secrets;
    const secrets = this.sealing.open(sealed, key) as WebhookSecrets;
    if (this.opened.size >= OPEN_MAX) this.opened.clear();
    this.opened.set(key, { sealed, secrets });
    return secrets;
  }

  /** Everything that a webhook takes from Secrets. `problem` is the first that is not there. Rejects with {@link AskError}. */
  private async read(namespace: string, webhook: WebhookSpec, secrets: WebhookSecrets) {
    const sources = sourcesOf(webhook);
    const found = sources.length
      ? await this.secrets.values(
          namespace,
          sources.map(({ key }) => key),
        )
      : [];
    const values = new Map<string, string>();
    let problem: [field: string, reason: string] | undefined;
    for (const [i, { use, optional }] of sources.entries()) {
      const value = found[i];
      if (value?.kind === 'value') values.set(use, value.text);
      else if (!(optional && value?.kind === 'missing')) problem ??= [use, value?.reason ?? 'is not known'];
    }
    const present = webhook.secretFrom ? values.get('secretFrom')?.trim() : secrets.secret;
    const before = webhook.previousSecretFrom ? values.get('previousSecretFrom')?.trim() : secrets.previousSecret;
    const keys = [present, before].filter((key) => key !== undefined && key !== '' && keyProblem(key) === undefined);
    const publicKeys = keys.flatMap((key) => publicKeyOf(key ?? '') ?? []);
    const findings: Findings | null =
      problem || publicKeys.length
        ? { ...(problem ? { problem: problem.join(': ') } : {}), ...(publicKeys.length ? { publicKeys } : {}) }
        : null;
    return { values, problem, findings };
  }
}

/** `demo/web` */
const namespaceOf = (trigger: string): string => trigger.slice(0, trigger.indexOf('/'));

/** In place of what stands in Secrets, for a template that is tried. */
function stoodIn(webhook: WebhookSpec): Map<string, string> {
  return new Map(
    sourcesOf(webhook).map(({ use }) => {
      if (use.endsWith('ecretFrom')) return [use, ''];
      return [use, use === 'kubernetes.caFrom' ? '-----BEGIN CERTIFICATE-----' : '/hook/0'];
    }),
  );
}
