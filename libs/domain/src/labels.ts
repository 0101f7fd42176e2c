import type { ObjectMeta } from './object-meta.ts';
import { type FieldError, invalidValue } from './status.ts';

/* Grammar of label and annotation keys and of label values, with Kubernetes' words for what is wrong. */

const NAME = '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]';
const VALUE = `(${NAME})?`;
const SUBDOMAIN = '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*';
const SUBDOMAIN_LENGTH_MAX = 253;
const NAME_PATTERN = new RegExp(`^${NAME}$`);
const VALUE_PATTERN = new RegExp(`^${VALUE}$`);
const SUBDOMAIN_PATTERN = new RegExp(`^${SUBDOMAIN}$`);

const NAME_WORDS =
  "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character " +
  `(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '${NAME}')`;
const SUBDOMAIN_WORDS =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an " +
  `alphanumeric character (e.g. 'example.com', regex used for validation is '${SUBDOMAIN}')`;
const VALUE_WORDS =
  "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an " +
  `alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '${VALUE}')`;

/** All annotations of an object together, keys and values. */
const ANNOTATIONS_BYTES_MAX = 256 * 1024;

/** What is wrong with a name that is a DNS subdomain; empty where nothing is. */
export function subdomainProblems(name: string): string[] {
  const problems = name.length > SUBDOMAIN_LENGTH_MAX ? [`must be no more than ${SUBDOMAIN_LENGTH_MAX} characters`] : [];
  return SUBDOMAIN_PATTERN.test(name) ? problems : [...problems, SUBDOMAIN_WORDS];
}

/** What is wrong with a label's key, `[prefix/]name`; empty where nothing is. */
export function labelKeyProblems(key: string): string[] {
  const parts = key.split('/');
  if (parts.length > 2) return [`a qualified name ${NAME_WORDS} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`];
  const problems: string[] = [];
  const [name, prefix] = parts.toReversed() as [string, string | undefined];
  if (prefix === '') problems.push('prefix part must be non-empty');
  else if (prefix !== undefined) {
    problems.push(...subdomainProblems(prefix).map((problem) => `prefix part ${problem}`));
  }
  if (name === '') problems.push('name part must be non-empty');
  else if (name.length > 63) problems.push('name part must be no more than 63 characters');
  if (!NAME_PATTERN.test(name)) problems.push(`name part ${NAME_WORDS}`);
  return problems;
}

/** What is wrong with a label's value; empty where nothing is. */
export function labelValueProblems(value: string): string[] {
  const problems: string[] = [];
  if (value.length > 63) problems.push('must be no more than 63 characters');
  if (!VALUE_PATTERN.test(value)) problems.push(VALUE_WORDS);
  return problems;
}

/** What is wrong with the labels and annotations of an object; `path` is where its metadata stands. */
export function validateLabels({ labels = {}, annotations = {} }: ObjectMeta, path = 'metadata'): FieldError[] {
  const errors: FieldError[] = [];
  for (const [key, value] of Object.entries(labels)) {
    errors.push(...labelKeyProblems(key).map((problem) => invalidValue(`${path}.labels`, key, problem)));
    errors.push(...labelValueProblems(value).map((problem) => invalidValue(`${path}.labels`, value, problem)));
  }
  let bytes = 0;
  for (const [key, value] of Object.entries(annotations)) {
    // Keys of annotations may be written in capitals, those of labels may not.
    errors.push(...labelKeyProblems(key.toLowerCase()).map((problem) => invalidValue(`${path}.annotations`, key, problem)));
    bytes += key.length + value.length;
  }
  if (bytes > ANNOTATIONS_BYTES_MAX)
    errors.push({
      reason: 'FieldValueTooLong',
      field: `${path}.annotations`,
      text: `Too long: may not be more than ${ANNOTATIONS_BYTES_MAX} bytes`,
    });
  return errors;
}
