import type { ObjectAnswer, ObjectQuestion } from '@millrace/contracts/requests';
import { parseFieldSelector, parseLabelSelector } from '@millrace/domain/selectors';
import type { ListRequest } from './pages.ts';
import type { Listing } from './streams.ts';

/* From the questions of contracts to what nouns take, and back. */

type List = Extract<ObjectQuestion, { verb: 'list' | 'deletecollection' }>;

export function one(code: number, object: object, warnings: string[] = []): ObjectAnswer {
  return { kind: 'object', code, object, ...(warnings.length ? { warnings } : {}) };
}

export function many({ items, resourceVersion, continue: next, remainingItemCount }: Listing): ObjectAnswer {
  return { kind: 'list', items, resourceVersion, continue: next, remainingItemCount };
}

export function selection(
  { labelSelector = '', fieldSelector = '', ...question }: Omit<Extract<List, { verb: 'list' }>, 'verb'>,
  fields: readonly string[],
): ListRequest {
  const { namespace, limit, continue: token, resourceVersion, exact } = question;
  const selectors = { labels: parseLabelSelector(labelSelector), fields: parseFieldSelector(fieldSelector, fields) };
  return { namespace, limit, continue: token, resourceVersion, exact, ...selectors };
}
