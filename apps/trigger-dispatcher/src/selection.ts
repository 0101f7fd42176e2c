import { type LabelRequirement, parseFieldSelector, parseLabelSelector } from '@millrace/domain/selectors';
import { badRequest, StatusError } from '@millrace/domain/status';

/** What a list is asked for; the words are those of ObjectQuestion. */
export interface Selection {
  namespace?: string;
  labelSelector?: string;
  fieldSelector?: string;
  limit?: number;
  continue?: string;
}

/** Where a list goes on: after the object with these sort keys, as of the revision of its first page. */
export interface Continue {
  resourceVersion: string;
  after: readonly [string, string];
}

export function readContinue(text: string | undefined): Continue | undefined {
  if (!text) return undefined;
  try {
    const [resourceVersion, first, second] = JSON.parse(Buffer.from(text, 'base64url').toString()) as unknown[];
    if (typeof resourceVersion === 'string' && typeof first === 'string' && typeof second === 'string')
      return { resourceVersion, after: [first, second] };
  } catch {
    // told below
  }
  throw new StatusError(badRequest('continue key is not valid: begin the list again without it'));
}

export const writeContinue = ({ resourceVersion, after }: Continue): string =>
  Buffer.from(JSON.stringify([resourceVersion, ...after])).toString('base64url');

/** Conditions of a statement, with their parameters. */
export class Where {
  readonly parameters: unknown[] = [];
  private readonly conditions: string[] = [];

  /** `$n` for a value. */
  value(value: unknown): string {
    return `$${this.parameters.push(value)}`;
  }

  add(condition: string): void {
    this.conditions.push(condition);
  }

  get sql(): string {
    return this.conditions.length ? `WHERE ${this.conditions.join(' AND ')}` : '';
  }

  /** What the question selects by; `fields` and `labelOf` are the SQL of a value, NULL where it is not there. Throws StatusError 400. */
  select(
    question: Selection,
    columns: { namespace: string; name: string; fields?: Readonly<Record<string, string>> },
    labelOf: (key: string) => string,
  ): void {
    if (question.namespace) this.add(`${columns.namespace} = ${this.value(question.namespace)}`);
    for (const requirement of question.labelSelector ? parseLabelSelector(question.labelSelector) : [])
      this.add(this.label(requirement, labelOf(requirement.key)));
    const fields: Record<string, string> = { 'metadata.name': columns.name, 'metadata.namespace': columns.namespace, ...columns.fields };
    const known = Object.keys(fields);
    for (const { field, kind, value } of question.fieldSelector ? parseFieldSelector(question.fieldSelector, known, known) : [])
      this.add(`${fields[field] ?? 'NULL'} ${kind === 'is' ? '=' : '<>'} ${this.value(value)}`);
  }

  private label(requirement: LabelRequirement, sql: string): string {
    switch (requirement.kind) {
      case 'in':
        return `coalesce(${sql} = ANY(${this.value(requirement.values)}::text[]), false)`;
      case 'notIn':
        return `NOT coalesce(${sql} = ANY(${this.value(requirement.values)}::text[]), false)`;
      case 'exists':
        return `${sql} IS NOT NULL`;
      case 'absent':
        return `${sql} IS NULL`;
      case 'above':
      case 'below':
        return `CASE WHEN ${sql} ~ '^[-+]?[0-9]+$' THEN (${sql})::numeric ${requirement.kind === 'above' ? '>' : '<'} ${this.value(String(requirement.bound))}::numeric ELSE false END`;
      default:
        return requirement satisfies never;
    }
  }
}
