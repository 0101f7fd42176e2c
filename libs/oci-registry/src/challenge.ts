/** One way to authenticate that a registry offers with a 401. */
export type Challenge = BearerChallenge | { scheme: 'basic' };

export interface BearerChallenge {
  scheme: 'bearer';
  /** Where tokens are handed out. */
  realm: URL;
  service?: string;
  /** Space separated, as in the challenge; absent if the registry leaves it to the client. */
  scope?: string;
}

/**
 * The challenges of one or several `WWW-Authenticate` headers, in their order. Registries put several into one header, some
 * write no quotes, and some fill a Basic realm with text that is no URL; a Bearer challenge without a usable realm is left out.
 */
export function parseChallenges(header: string | string[] | undefined): Challenge[] {
  const headers = header === undefined ? [] : Array.isArray(header) ? header : [header];
  return headers.flatMap(parseHeader).flatMap(({ scheme, params }): Challenge[] => {
    if (scheme === 'basic') return [{ scheme: 'basic' }];
    const realm = params.get('realm');
    if (scheme !== 'bearer' || !realm || !URL.canParse(realm)) return [];
    const url = new URL(realm);
    if (url.protocol !== 'https:' && url.protocol !== 'http:') return [];
    return [{ scheme: 'bearer', realm: url, service: params.get('service'), scope: params.get('scope') || undefined }];
  });
}

const token = "[\\w!#$%&'*+.^`|~-]+";
const param = new RegExp(`[\\s,]*(${token})\\s*=\\s*(?:"((?:[^"\\\\]|\\\\.)*)"|([^\\s,"]*))`, 'y');
const schemeName = new RegExp(`[\\s,]*(${token})(?=[\\s,]|$)`, 'y');
const token68 = /[ \t]+[A-Za-z0-9\-._~+/]+=*(?=\s*(?:,|$))/y;

function parseHeader(text: string): { scheme: string; params: Map<string, string> }[] {
  const challenges: { scheme: string; params: Map<string, string> }[] = [];
  let position = 0;
  const next = (pattern: RegExp) => {
    pattern.lastIndex = position;
    const match = pattern.exec(text);
    if (match) position = pattern.lastIndex;
    return match;
  };
  while (position < text.length) {
    const current = challenges.at(-1);
    const pair = current && next(param);
    if (pair) {
      current.params.set((pair[1] ?? '').toLowerCase(), pair[2] === undefined ? (pair[3] ?? '') : pair[2].replace(/\\(.)/g, '$1'));
      continue;
    }
    const scheme = next(schemeName);
    if (!scheme) break;
    challenges.push({ scheme: (scheme[1] ?? '').toLowerCase(), params: new Map() });
    next(token68);
  }
  return challenges;
}
