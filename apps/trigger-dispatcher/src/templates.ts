import { createHmac } from 'node:crypto';
import { Context, defaultOperators, Liquid, LiquidError, type Template, toValueSync } from 'liquidjs';

/** What a value is escaped for, where a template does not say `raw` or `json`. */
export type Escape = 'none' | 'json' | 'url';

/** A template that cannot be read, or comes to nothing: where, and why. Holds no value. */
export class TemplateError extends Error {
  override name = 'TemplateError';
}

/*
 * Who writes a trigger writes templates, so that nothing that one does may hold others up: there are no files, no includes and no loops but over
 * what is there; steps, values and output are counted, and the clock is looked at between steps. What is left of Liquid is listed here.
 */
const TAGS = ['assign', 'break', 'case', 'comment', 'continue', 'for', 'if', 'raw', 'unless'];
const FILTERS = [
  ...['append', 'capitalize', 'default', 'downcase', 'escape', 'first', 'join', 'last', 'prepend', 'raw', 'remove', 'remove_first'],
  ...['replace', 'replace_first', 'size', 'slice', 'split', 'strip', 'truncate', 'upcase', 'url_encode', 'plus', 'minus'],
];
/** Characters of templates that are kept parsed; the one that was not used for longest goes. */
const PARSED_MAX = 2_000_000;
/** What is to be read of a template, as opposed to written as it is: between its delimiters. */
const CODE_MAX = 4_000;
const PARTS_MAX = 200;
const STEPS_MAX = 2_000;
/** Characters and elements that are made on the way. */
const MEMORY_MAX = 1_000_000;
const OUTPUT_MAX = 256 * 1_024;
/** Of this thread's own time, so that a busy machine fails nobody. Steps end it sooner; this is for what a step may cost. */
const MILLISECONDS_MAX = 50;

const json = (value: unknown): string => JSON.stringify(value ?? null) ?? 'null';
const textOf = (value: unknown): string =>
  value === undefined || value === null ? '' : typeof value === 'object' ? json(value) : String(value as string | number | boolean);
const ESCAPES: Record<Escape, (text: string) => string> = {
  none: (text) => text,
  json: (text) => json(text).slice(1, -1),
  url: encodeURIComponent,
};

const spent = (): number => {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
};

/** Stands where Liquid keeps its own limit on time: asked before each part of a template that is rendered. */
class Steps {
  private readonly until = spent() + MILLISECONDS_MAX;
  private left = STEPS_MAX;

  check(): void {
    if (--this.left < 0) throw new Error(`it takes more than ${STEPS_MAX} steps`);
    if (this.left % 8 === 0 && spent() > this.until) throw new Error(`it takes more than ${MILLISECONDS_MAX} ms`);
  }
}

/** The text of a value, counted. */
function charged(context: Context, value: unknown): string {
  const text = textOf(value);
  context.memoryLimit.use(text.length);
  return text;
}

/** What is rendered, up to its limit. */
class Output {
  buffer = '';

  write(part: unknown): void {
    const text = textOf(part);
    if (this.buffer.length + text.length > OUTPUT_MAX) throw new Error(`it comes to more than ${OUTPUT_MAX / 1_024} kB`);
    this.buffer += text;
  }
}

const engines = new Map(
  (['none', 'json', 'url'] as const).map((escape) => {
    const engine = new Liquid({
      ...{ ownPropertyOnly: true, strictFilters: true, strictVariables: false, relativeReference: false, dynamicPartials: false },
      ...{ templates: {}, parseLimit: 32 * 1_024, memoryLimit: MEMORY_MAX },
      operators: {
        ...defaultOperators,
        contains: (left: unknown, right: unknown, context?: Context) => {
          context?.memoryLimit.use(textOf(left).length);
          return typeof left === 'string' || Array.isArray(left) ? left.includes(right as string) : false;
        },
      },
      outputEscape(this: { context: Context }, value: unknown) {
        return ESCAPES[escape](charged(this.context, value));
      },
    });
    for (const tag of Object.keys(engine.tags)) if (!TAGS.includes(tag)) Reflect.deleteProperty(engine.tags, tag);
    for (const filter of Object.keys(engine.filters)) if (!FILTERS.includes(filter)) Reflect.deleteProperty(engine.filters, filter);
    engine.registerFilter('json', {
      raw: true,
      handler(this: { context: Context }, value: unknown) {
        return charged(this.context, json(value));
      },
    });
    engine.registerFilter('base64', function (this: { context: Context }, value: unknown) {
      return Buffer.from(charged(this.context, value)).toString('base64');
    });
    engine.registerFilter('hmac_sha256', function (this: { context: Context }, value: unknown, key: unknown) {
      return createHmac('sha256', textOf(key)).update(charged(this.context, value)).digest('hex');
    });
    return [escape, engine] as const;
  }),
);

const parsed = new Map<string, Template[]>();
let parsedLength = 0;

/** Throws {@link TemplateError}. */
function parse(text: string, escape: Escape): { engine: Liquid; templates: Template[] } {
  const engine = engines.get(escape) as Liquid;
  const id = `${escape}:${text}`;
  const known = parsed.get(id);
  if (known) {
    parsed.delete(id);
    parsed.set(id, known);
    return { engine, templates: known };
  }
  mustBeShort(text);
  try {
    const templates = engine.parse(text);
    parsed.set(id, templates);
    parsedLength += id.length;
    for (const oldest of parsed.keys()) {
      if (parsedLength <= PARSED_MAX) break;
      parsed.delete(oldest);
      parsedLength -= oldest.length;
    }
    return { engine, templates };
  } catch (error) {
    throw asTemplateError(error);
  }
}

/** What it takes to read a template grows with what stands between its delimiters. */
function mustBeShort(text: string): void {
  let code = 0;
  let parts = 0;
  for (let at = text.search(/\{[{%]/); at >= 0; parts++) {
    const end = text.indexOf(text[at + 1] === '{' ? '}}' : '%}', at + 2);
    const after = end < 0 ? text.length : end + 2;
    code += after - at;
    if (code > CODE_MAX || parts >= PARTS_MAX)
      throw new TemplateError(`it has more than ${CODE_MAX} characters between {{ }} and {% %}, or more than ${PARTS_MAX} of these`);
    const next = [text.indexOf('{{', after), text.indexOf('{%', after)].filter((one) => one >= 0);
    at = next.length ? Math.min(...next) : -1;
  }
}

/** Renders a template. Takes a few milliseconds at most, whatever it says. Throws {@link TemplateError}. */
export function render(text: string, variables: Record<string, unknown>, escape: Escape): string {
  const { engine, templates } = parse(text, escape);
  const context = new Context(variables, engine.options, { sync: true }, { renderLimit: new Steps() as never, liquid: engine });
  const output = new Output();
  try {
    toValueSync(engine.renderer.renderTemplates(templates, context, output as never));
    return output.buffer;
  } catch (error) {
    throw asTemplateError(error);
  }
}

/** What a template names that is not there: `dta`, or `parameters.tken`. Throws {@link TemplateError} for what is no template. */
export function unknownNames(text: string, variables: readonly string[], parameters: readonly string[]): string[] {
  const { engine, templates } = parse(text, 'none');
  const named = engine.globalVariableSegmentsSync(templates);
  return named.flatMap(([root, member]) => {
    if (!variables.includes(String(root))) return [String(root)];
    return root === 'parameters' && typeof member === 'string' && !parameters.includes(member) ? [`parameters.${member}`] : [];
  });
}

/** Liquid's errors repeat lines of the template, which may hold a credential: the place and the reason are enough. */
function asTemplateError(error: unknown): TemplateError {
  if (error instanceof TemplateError) return error;
  const { token, originalError } = error as { token?: { getPosition?: () => number[] }; originalError?: Error };
  const [line, column] = token?.getPosition?.() ?? [];
  const place = line === undefined ? '' : `line ${line}, column ${column}: `;
  const reason = LiquidError.is(error) ? (originalError ?? (error as Error)) : (error as Error);
  const message = reason.message.replace(/, line:\d+, col:\d+$/, '');
  const said = message.startsWith('memory alloc') ? `it makes more than ${MEMORY_MAX / 1e6} million characters on the way` : message;
  return new TemplateError(`${place}${said.slice(0, 200)}`);
}
