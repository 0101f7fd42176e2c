import { labelKeyProblems, labelValueProblems } from './labels.ts';
import { StatusError, badRequest } from './status.ts';

/*
 * Label and field selectors as Kubernetes reads them: `app=web,tier in (a,b),!old` and `metadata.name=x`. Both throw
 * {@link StatusError} 400 with the reference's words.
 */

/** One condition on the labels; all of a selector must hold. A key that is not there fulfils `notIn` and `absent`. */
export type LabelRequirement =
  | { kind: 'in' | 'notIn'; key: string; values: readonly string[] }
  | { kind: 'exists' | 'absent'; key: string }
  | { kind: 'above' | 'below'; key: string; bound: bigint };

export function parseLabelSelector(text: string): LabelRequirement[] {
  try {
    return new LabelParser(text).parse();
  } catch (error) {
    if (error instanceof SelectorProblem) throw new StatusError(badRequest(error.message));
    throw error;
  }
}

export function matchesLabels(requirements: readonly LabelRequirement[], labels: Readonly<Record<string, string>> = {}): boolean {
  return requirements.every((requirement) => {
    const value = Object.hasOwn(labels, requirement.key) ? labels[requirement.key] : undefined;
    switch (requirement.kind) {
      case 'in':
        return value !== undefined && requirement.values.includes(value);
      case 'notIn':
        return value === undefined || !requirement.values.includes(value);
      case 'exists':
        return value !== undefined;
      case 'absent':
        return value === undefined;
      case 'above':
      case 'below': {
        if (value === undefined || !/^[-+]?\d+$/.test(value)) return false;
        const number = BigInt(value.replace(/^\+/, ''));
        return requirement.kind === 'above' ? number > requirement.bound : number < requirement.bound;
      }
    }
  });
}

/** One condition on a field of the object: its text is the value, or is not. */
export interface FieldRequirement {
  field: string;
  kind: 'is' | 'isNot';
  value: string;
}

/** What the reference names in its error, whatever else a resource of its own can be selected by. */
const NAMED_FIELDS = ['metadata.name', 'metadata.namespace'];

/** Reads a field selector; `fields` names those that the resource can be selected by, `named` those that an error names. */
export function parseFieldSelector(text: string, fields: readonly string[], named: readonly string[] = NAMED_FIELDS): FieldRequirement[] {
  const requirements: FieldRequirement[] = [];
  for (const term of splitTerms(text)) {
    if (term === '') continue;
    const found = splitTerm(term);
    if (!found) throw new StatusError(badRequest(`invalid selector: '${text}'; can't understand '${term}'`));
    if (!fields.includes(found.field))
      throw new StatusError(
        badRequest(
          `${JSON.stringify(found.field)} is not a known field selector: only ${named.map((field) => JSON.stringify(field)).join(', ')}`,
        ),
      );
    requirements.push(found);
  }
  return requirements;
}

export function matchesFields(requirements: readonly FieldRequirement[], valueOf: (field: string) => string): boolean {
  return requirements.every(({ field, kind, value }) => (valueOf(field) === value) === (kind === 'is'));
}

/** The value that a field must have, where the selector names exactly one; it lets a list look only there. */
export function exactField(requirements: readonly FieldRequirement[], field: string): string | undefined {
  return requirements.find((requirement) => requirement.field === field && requirement.kind === 'is')?.value;
}

/** At commas that no backslash escapes. */
function splitTerms(text: string): string[] {
  const terms: string[] = [];
  let start = 0;
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '\\') i++;
    else if (text[i] === ',') {
      terms.push(text.slice(start, i));
      start = i + 1;
    }
  }
  return [...terms, text.slice(start)];
}

function splitTerm(term: string): FieldRequirement | undefined {
  for (let i = 0; i < term.length; i++) {
    const operator = ['!=', '==', '='].find((candidate) => term.startsWith(candidate, i));
    if (!operator) continue;
    return {
      field: term.slice(0, i),
      kind: operator === '!=' ? 'isNot' : 'is',
      value: unescaped(term.slice(i + operator.length)),
    };
  }
  return undefined;
}

/** A value with its escapes taken away: a comma, an equals sign and a backslash need one. */
function unescaped(value: string): string {
  let text = '';
  for (let i = 0; i < value.length; i++) {
    let char = value[i] ?? '';
    if (char === '\\') {
      char = value[++i] ?? '';
      if (!char || !'\\,='.includes(char)) throw new StatusError(badRequest(`invalid field selector: invalid escape sequence: \\${char}`));
    } else if (char === ',' || char === '=')
      throw new StatusError(badRequest(`invalid field selector: unescaped character in value: ${char}`));
    text += char;
  }
  return text;
}

class SelectorProblem extends Error {}

type Token = { kind: 'word' | 'end' | ')' | ',' | '!' | '==' | '=' | '!=' | '(' | '>' | '<'; text: string };

const OPERATORS = 'in, notin, =, ==, !=, gt, lt';
const TOKEN = /\s*(?:(==|!=|[()!=,<>])|([^\s()!=,<>]+))/y;

/** Recursive descent over the tokens; `in` and `notin` are operators only after a key. */
class LabelParser {
  private readonly tokens: Token[] = [];
  private at = 0;

  constructor(text: string) {
    TOKEN.lastIndex = 0;
    for (let match = TOKEN.exec(text); match; match = TOKEN.exec(text)) {
      if (match[1]) this.tokens.push({ kind: match[1] as Token['kind'], text: match[1] });
      else this.tokens.push({ kind: 'word', text: match[2] ?? '' });
    }
  }

  parse(): LabelRequirement[] {
    const requirements: LabelRequirement[] = [];
    for (;;) {
      const first = this.peek();
      if (first.kind === 'end') return requirements;
      if (first.kind !== 'word' && first.kind !== '!')
        throw new SelectorProblem(`found '${first.text}', expected: !, identifier, or 'end of string'`);
      requirements.push(this.requirement());
      const next = this.take();
      if (next.kind === 'end') return requirements;
      if (next.kind !== ',') throw new SelectorProblem(`found '${next.text}', expected: ',' or 'end of string'`);
      const after = this.peek();
      if (after.kind !== 'word' && after.kind !== '!') throw new SelectorProblem(`found '${after.text}', expected: identifier after ','`);
    }
  }

  private requirement(): LabelRequirement {
    try {
      const negated = this.peek().kind === '!' && this.take();
      const token = this.take();
      if (token.kind !== 'word') throw new SelectorProblem(`found '${token.text}', expected: identifier`);
      const key = token.text;
      const problems = labelKeyProblems(key);
      if (problems.length) throw new SelectorProblem(`<nil>: Invalid value: ${JSON.stringify(key)}: ${problems.join('; ')}`);
      if (negated) return { kind: 'absent', key };
      const next = this.peek();
      if (next.kind === 'end' || next.kind === ',') return { kind: 'exists', key };
      return this.comparison(key);
    } catch (error) {
      if (error instanceof SelectorProblem) throw new SelectorProblem(`unable to parse requirement: ${error.message}`);
      throw error;
    }
  }

  private comparison(key: string): LabelRequirement {
    const operator = this.take();
    switch (operator.text) {
      case 'in':
      case 'notin':
        return { kind: operator.text === 'in' ? 'in' : 'notIn', key, values: this.checked(key, this.values()) };
      case '=':
      case '==':
        return { kind: 'in', key, values: this.checked(key, [this.value()]) };
      case '!=':
        return { kind: 'notIn', key, values: this.checked(key, [this.value()]) };
      case '>':
      case '<': {
        const value = this.value();
        if (!/^[-+]?\d+$/.test(value))
          throw new SelectorProblem(
            `values[0]: Invalid value: ${JSON.stringify(value)}: for 'Gt', 'Lt' operators, the value must be an integer`,
          );
        return { kind: operator.text === '>' ? 'above' : 'below', key, bound: BigInt(value.replace(/^\+/, '')) };
      }
      default:
        throw new SelectorProblem(`found '${operator.text}', expected: ${OPERATORS}`);
    }
  }

  private value(): string {
    const next = this.peek();
    if (next.kind === 'end' || next.kind === ',') return '';
    const token = this.take();
    if (token.kind !== 'word') throw new SelectorProblem(`found '${token.text}', expected: identifier`);
    return token.text;
  }

  /** `(a,b)`; an empty place between commas is the empty value. */
  private values(): string[] {
    const open = this.take();
    if (open.kind !== '(') throw new SelectorProblem(`found '${open.text}' expected: '('`);
    const values = new Set<string>();
    for (let place = this.take(), filled = false; ; place = this.take()) {
      if (place.kind === 'word' && !filled) {
        values.add(place.text);
        filled = true;
      } else if (place.kind === ',' || place.kind === ')') {
        if (!filled) values.add('');
        if (place.kind === ')') return [...values].sort();
        filled = false;
      } else throw new SelectorProblem(`found '${place.text}', expected: ${filled ? "',' or ')'" : "',', or identifier"}`);
    }
  }

  private checked(key: string, values: string[]): string[] {
    values.forEach((value, i) => {
      const problems = labelValueProblems(value);
      if (problems.length)
        throw new SelectorProblem(`values[${i}][${key}]: Invalid value: ${JSON.stringify(value)}: ${problems.join('; ')}`);
    });
    return values;
  }

  private peek(): Token {
    return this.tokens[this.at] ?? { kind: 'end', text: '' };
  }

  private take(): Token {
    const token = this.peek();
    this.at++;
    return token;
  }
}
