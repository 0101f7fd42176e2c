import { addressKind, type AddressPolicy, isAllowedAddress } from './address.ts';

const URL_MAX = 2_048;

/** Whether a text has anything in it that is made for each event. */
export const isTemplate = (text: string): boolean => text.includes('{{') || text.includes('{%');

/** What is wrong with a webhook's URL, or undefined. A name is judged again by the addresses that it resolves to. */
export function urlProblem(text: string, allow: AddressPolicy): string | undefined {
  if (text.length > URL_MAX) return `must be no more than ${URL_MAX} characters`;
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return 'must be an absolute URL, such as https://deploy.example.com/hook';
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return 'must begin with https:// or http://';
  if (url.username || url.password) return 'may not hold credentials; put them into spec.webhooks[].headers';
  if (url.hash) return 'may not have a fragment';
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  const kind = addressKind(host);
  if (kind !== 'invalid' && !isAllowedAddress(host, allow))
    return `a ${kind} address is not allowed; WEBHOOK_ALLOW_ADDRESSES of the trigger-dispatcher says which are`;
  return undefined;
}

/** A URL as a webhook has it: where it goes, which is settled when it is written, and what is made of each event behind that. */
export type SplitUrl = { kind: 'split'; base: string; rest: string } | { kind: 'problem'; problem: string };

const PARAMETER_FIRST = /^\{\{-?\s*parameters\.([A-Za-z][A-Za-z0-9]*)\s*-?\}\}/;
const HOST_FIRST = /^https?:\/\/[^/?#{}\s\\]+/i;
const HOST_FIXED =
  'the host may not be made of an event: write it out, or begin with one parameter whose value is given: {{ parameters.server }}';

/**
 * Splits a URL that is a template behind its host. `literals` are the parameters whose values are written in the trigger, and so known now.
 * Whatever `rest` becomes, the host stays: it begins with what ends one.
 */
export function splitUrl(template: string, literals: Readonly<Record<string, string>>): SplitUrl {
  const [parameter, name = ''] = PARAMETER_FIRST.exec(template) ?? [];
  const [written] = HOST_FIRST.exec(template) ?? [];
  if (parameter === undefined && written === undefined) return { kind: 'problem', problem: HOST_FIXED };
  const value = parameter === undefined ? written : Object.hasOwn(literals, name) ? literals[name] : undefined;
  if (value === undefined) return { kind: 'problem', problem: `${HOST_FIXED}; parameters.${name} has none` };
  const rest = template.slice((parameter ?? written ?? '').length);
  const base = value.replace(/\/+$/, '');
  if (isTemplate(base) || /[?#]/.test(base)) return { kind: 'problem', problem: `parameters.${name} must be a URL without a query` };
  // A path that is made of a parameter is looked at when it is there: see joinedUrl.
  if (rest && !/^(?:[/?]|\{\{-?\s*parameters\.)/.test(rest)) return { kind: 'problem', problem: HOST_FIXED };
  return { kind: 'split', base, rest };
}

/** The whole URL, or undefined where what stands behind the host would make another one of it. */
export function joinedUrl(base: string, rest: string, allow: AddressPolicy): { url: string } | { problem: string } {
  if (rest && !/^[/?]/.test(rest)) return { problem: 'what follows the host must begin with / or ?' };
  const problem = urlProblem(`${base}${rest}`, allow);
  if (problem) return { problem };
  const url = new URL(`${base}${rest}`);
  return url.origin === new URL(base).origin ? { url: url.href } : { problem: 'the host may not be made of an event' };
}
