import { Injectable } from '@nestjs/common';
import type { Answer, Question } from '@millrace/contracts/define';
import type { ExplainTag } from '@millrace/contracts/requests';
import type { ImageStreamSpec } from '@millrace/domain/image-stream';
import type { TagControlStatus } from '@millrace/domain/tag-control';
import { followers } from '@millrace/domain/tag-source';
import { Clock } from '@millrace/platform/clock';
import { Store } from '@millrace/platform/store';
import { decided } from './controlled-tag.ts';
import { inSeconds } from './stream-rows.ts';

interface ExplainRow {
  spec: ImageStreamSpec;
  image: string | null;
  reference: string | null;
  created: Date | null;
  control: string | null;
}

/** What would become of a tag, for who asks before it happens. Nothing is locked, and nothing changes. */
@Injectable()
export class Explanations {
  constructor(
    private readonly store: Store,
    private readonly clock: Clock,
  ) {}

  /** What would become of an image that a push gave a tag now; null where there is no such stream. */
  async explain({ namespace, stream: name, tag, image }: Question<typeof ExplainTag>): Promise<Answer<typeof ExplainTag>> {
    const [row] = await this.store.query<ExplainRow>(
      `SELECT s.spec, t.image, t.reference, t.created, t.control FROM stream s LEFT JOIN tag t ON t.stream_uid = s.uid AND t.name = $3
        WHERE s.namespace = $1 AND s.name = $2`,
      [namespace, name, tag],
    );
    if (!row) return null;
    const control = row.spec.tags?.find((one) => one.name === tag)?.control ?? {};
    const waiting = row.control ? (JSON.parse(row.control) as TagControlStatus) : undefined;
    const current =
      row.image === null || row.created === null
        ? null
        : { image: row.image, dockerImageReference: row.reference ?? '', created: inSeconds(row.created) };
    const known = {
      current,
      pending: waiting?.pending ?? 0,
      followers: followers({ metadata: { namespace, name }, spec: row.spec }, tag, 1),
    };
    if (current?.image === image) return { outcome: 'unchanged', reason: 'Current', message: 'it is what the tag has', ...known };
    const now = this.clock.now();
    // The image that waits already has been there for a time.
    const { since = now.toISOString(), verdicts = [] } = waiting?.newest?.image === image ? waiting.newest : {};
    const decision = decided(control, { image, since, verdicts }, now);
    switch (decision.kind) {
      case 'take':
        return { outcome: 'moves', reason: 'Allowed', message: 'nothing holds it back', ...known };
      case 'refuse':
        return { outcome: 'refused', reason: decision.reason, message: decision.message, ...known };
      case 'wait': {
        const { blockers, lookAt } = decision;
        const message = blockers.map((blocker) => blocker.message).join('; ');
        return { outcome: 'waits', reason: blockers[0].reason, message, blockers: [...blockers], ...(lookAt ? { lookAt } : {}), ...known };
      }
    }
  }
}
