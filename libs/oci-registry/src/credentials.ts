import { createHash } from 'node:crypto';

/** What `docker login` keeps of one account: a user name and a password, or a token in their place. */
export interface Credentials {
  username: string;
  password: string;
  /** `identitytoken`: exchanged for tokens at the token server, by OAuth2. Azure's registry leaves this one. */
  identityToken?: string;
  /** `registrytoken`: shown to the registry as it is. */
  registryToken?: string;
}

/**
 * Credentials to try for a repository, in this order, until the registry refuses none; `undefined` stands for going without. One
 * account alone is tried alone: whoever wants to end without credentials says so.
 */
export type CandidateCredentials = Credentials | undefined | readonly (Credentials | undefined)[];

/** One of the candidates, with the name under which tokens and budgets of it are kept. */
export interface Candidate {
  /** Hashed, so that no list of kept tokens holds passwords. */
  key: string;
  credentials?: Credentials;
}

/** The different candidates in their order; at least one. */
export function candidatesOf(given: CandidateCredentials): Candidate[] {
  const list = Array.isArray(given) ? (given as readonly (Credentials | undefined)[]) : [given as Credentials | undefined];
  const candidates = (list.length ? list : [undefined]).map(candidateOf);
  return candidates.filter(({ key }, index) => candidates.findIndex((other) => other.key === key) === index);
}

/** How a person knows the account: its user name, or what it is. Never a secret. */
export function accountName({ credentials }: Candidate): string {
  if (!credentials) return 'anonymous';
  return credentials.username || (credentials.identityToken ? 'identity token' : 'registry token');
}

function candidateOf(given: Credentials | undefined): Candidate {
  const credentials = given && named(given);
  if (!credentials) return { key: 'anonymous' };
  const { username, password, identityToken = null, registryToken = null } = credentials;
  const key = createHash('sha256')
    .update(JSON.stringify([username, password, identityToken, registryToken]))
    .digest('base64');
  return { key, credentials };
}

/** Credential helpers write an identity token as the password of a user named `<token>`. An entry without any content is none. */
function named(credentials: Credentials): Credentials | undefined {
  const { username, password, identityToken, registryToken } = credentials;
  if (!username && !password && !identityToken && !registryToken) return undefined;
  return username === '<token>' && !identityToken ? { username: '', password: '', identityToken: password } : credentials;
}
