import { z } from 'zod';
import { formatReference, type ImageReference, isDockerHub, parseReference, withClientDefaults } from './image-reference.ts';
import type { ObjectMeta } from './object-meta.ts';
import { isExcluded, isPullSecret, OPAQUE, type Secret } from './secret.ts';

/*
 * Which credentials a pull spec is fetched with: those of Kubernetes' keyrings, as OpenShift imports use them.
 *
 *   key := ["http://" | "https://"] host [":" port] ["/v1" | "/v2"] [path]        a label of the host may hold "*"
 *
 * A key fits when its host has as many labels and each fits, its port is the same, and its path begins the image's path, as text.
 */

/** What a registry, or its token server, is shown. `identityToken` is exchanged for a token, `registryToken` is one. */
export interface RegistryCredential {
  username: string;
  password: string;
  identityToken?: string;
  registryToken?: string;
}

/** A secret with what is in it, by key. */
export interface KeyringSecret {
  name: string;
  type: string;
  /** For types that do not say it inside: keys of the registries that it is for. */
  registries?: readonly string[];
  texts: ReadonlyMap<string, string>;
}

/** A credential that fits an image, the secret that it is from, and the key there. */
export interface Candidate {
  credential: RegistryCredential;
  secret: string;
  key: string;
}

/** A secret, or an entry of one, that no credential could be read from. The reason holds nothing of what is secret. */
export interface BrokenSecret {
  secret: string;
  reason: string;
}

/** Credentials by normal key, in the order in which keys are tried; `broken` are no obstacle to the others. */
export interface Keyring {
  entries: readonly { key: string; candidates: readonly Candidate[] }[];
  broken: readonly BrokenSecret[];
}

export const EMPTY_KEYRING: Keyring = { entries: [], broken: [] };

const BASIC_AUTH = 'kubernetes.io/basic-auth';
/** Annotations of an Opaque or basic-auth secret that name a registry key: ours, and Tekton's `tekton.dev/docker-0`, `-1`, … */
const REGISTRY_ANNOTATION = /^(?:millrace\.dev\/registry|tekton\.dev\/docker-\d+)$/;
/** Types that are for registries only where an annotation says so. */
const BY_ANNOTATION = [OPAQUE, BASIC_AUTH];
/** Types of secrets that may be for registries. */
export const REGISTRY_SECRET_TYPES: readonly string[] = ['kubernetes.io/dockercfg', 'kubernetes.io/dockerconfigjson', ...BY_ANNOTATION];

/** The registry keys that annotations of an Opaque or basic-auth secret name. */
export const registriesOf = ({ metadata, type = '' }: { metadata: Pick<ObjectMeta, 'annotations'>; type?: string }): string[] =>
  BY_ANNOTATION.includes(type)
    ? Object.entries(metadata.annotations ?? {})
        .filter(([annotation]) => REGISTRY_ANNOTATION.test(annotation))
        .map(([, key]) => key)
    : [];

/** Whether images may be fetched with the secret: one for pulling, or one that names its registries. */
export const isRegistrySecret = (secret: Pick<Secret, 'metadata' | 'type'>): boolean =>
  isPullSecret(secret) || (!isExcluded(secret) && registriesOf(secret).length > 0);

/** What is in the secrets, in their order; a secret that cannot be read is told in `broken`. */
export function keyringOf(secrets: readonly KeyringSecret[]): Keyring {
  const byKey = new Map<string, Candidate[]>();
  const broken: BrokenSecret[] = [];
  for (const { name, ...secret } of secrets)
    for (const { text, read } of entriesOf(secret)) {
      const key = normalKey(text);
      const reason = key === undefined ? 'an entry names no registry host' : read.kind === 'broken' ? read.reason : undefined;
      if (reason !== undefined) broken.push({ secret: name, reason });
      else if (key !== undefined && read.kind === 'credential') {
        const candidates = byKey.get(key) ?? [];
        candidates.push({ credential: read.credential, secret: name, key });
        byKey.set(key, candidates);
      }
    }
  const entries = [...byKey].map(([key, candidates]) => ({ key, candidates }));
  // A longer path comes before what it begins with.
  return { entries: entries.sort((a, b) => (a.key < b.key ? 1 : -1)), broken };
}

/** The text that keys are compared with: `registry/namespace/name:tag` or `…@digest`. Throws {@link InvalidReference} for what is no pull spec. */
export function lookupText(image: string | ImageReference): string {
  return formatReference(withClientDefaults(typeof image === 'string' ? parseReference(image) : image));
}

/** The credentials that fit an image, the one to try first in front. */
export function candidatesFor({ entries }: Keyring, image: string | ImageReference): Candidate[] {
  const target = split(lookupText(image));
  const fitting = (at: Place) => entries.filter(({ key }) => matches(split(key), at)).flatMap(({ candidates }) => candidates);
  const found = fitting(target);
  if (found.length || !isDockerHub(target.host)) return found;
  // Docker Hub has several names: where none fits the one that is written, the others do; first the one that docker login writes.
  const login = entries.find(({ key }) => key === DOCKER_LOGIN)?.candidates;
  return [...(login ?? DOCKER_HUB_NAMES.flatMap((host) => fitting({ ...target, host })))];
}

/** One keyring after the other: who is in front is tried first. */
export const candidatesOf = (keyrings: readonly Keyring[], image: string | ImageReference): Candidate[] =>
  keyrings.flatMap((keyring) => candidatesFor(keyring, image));

const DOCKER_LOGIN = 'index.docker.io';
const DOCKER_HUB_NAMES = [DOCKER_LOGIN, 'docker.io', 'registry-1.docker.io'];

type Read = { kind: 'credential'; credential: RegistryCredential } | { kind: 'broken'; reason: string };

function entriesOf({ type, registries = [], texts }: Omit<KeyringSecret, 'name'>): { text: string; read: Read }[] {
  switch (type) {
    case 'kubernetes.io/dockercfg':
      return configEntries(texts.get('.dockercfg'), DockerCfg);
    case 'kubernetes.io/dockerconfigjson':
      return configEntries(texts.get('.dockerconfigjson'), DockerConfigJson);
    default:
      return BY_ANNOTATION.includes(type) ? registries.map((text) => ({ text, read: basic(texts) })) : [];
  }
}

const DockerCfg = z.record(z.string(), z.unknown());
const DockerConfigJson = z.object({ auths: DockerCfg.nullish() }).transform(({ auths }) => auths ?? {});
const text = z
  .string()
  .nullish()
  .transform((value) => value ?? '');
const ConfigEntry = z.object({ username: text, password: text, auth: text, identitytoken: text, registrytoken: text });

/** Where not even the registries can be read, the reason stands for the whole. */
const unreadable = (reason: string) => [{ text: 'unknown', read: { kind: 'broken', reason } as const }];

function configEntries(json: string | undefined, schema: z.ZodType<Record<string, unknown>>): { text: string; read: Read }[] {
  if (!json) return [];
  const parsed = schema.safeParse(tryJson(json));
  if (!parsed.success) return unreadable('it is no JSON object of registries');
  return Object.entries(parsed.data).map(([key, entry]) => ({ text: key, read: readEntry(entry) }));
}

function readEntry(value: unknown): Read {
  const parsed = ConfigEntry.safeParse(value ?? {});
  if (!parsed.success) return { kind: 'broken', reason: 'an entry is no object of texts' };
  const { username, password, auth, identitytoken, registrytoken } = parsed.data;
  const pair = auth ? decodeAuth(auth) : { username, password };
  if (!pair) return { kind: 'broken', reason: 'unable to parse auth field, must be formatted as base64(username:password)' };
  const tokens = { ...(identitytoken ? { identityToken: identitytoken } : {}), ...(registrytoken ? { registryToken: registrytoken } : {}) };
  return { kind: 'credential', credential: { ...pair, ...tokens } };
}

function basic(texts: ReadonlyMap<string, string>): Read {
  const [username, password] = [texts.get('username'), texts.get('password')];
  if (username === undefined || password === undefined)
    return { kind: 'broken', reason: 'it names a registry and has no username and password' };
  return { kind: 'credential', credential: { username, password } };
}

/** `auth` wins over the separate fields; padded or not. */
function decodeAuth(auth: string): Pick<RegistryCredential, 'username' | 'password'> | undefined {
  let decoded: string;
  try {
    decoded = new TextDecoder().decode(Uint8Array.from(atob(auth), (byte) => byte.charCodeAt(0)));
  } catch {
    return undefined; // the words of the decoder could repeat a part of it
  }
  const colon = decoded.indexOf(':');
  return colon < 0 ? undefined : { username: decoded.slice(0, colon), password: decoded.slice(colon + 1) };
}

function tryJson(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined; // the words of the parser would repeat a part of the secret
  }
}

/** `host[:port][path]`; undefined where there is no host. */
function normalKey(written: string): string | undefined {
  const [place = ''] = written
    .trim()
    .replace(/^https?:\/\//, '')
    .split(/[?#]/, 1);
  const slash = place.indexOf('/');
  const authority = slash < 0 ? place : place.slice(0, slash);
  // What stands before an @ is no part of the host, and may be a password.
  const host = authority.slice(authority.lastIndexOf('@') + 1);
  const path = slash < 0 ? '' : place.slice(slash).replace(/^\/v[12]\//, '/');
  return host && !/\s/.test(host) ? host + (path === '/' ? '' : path) : undefined;
}

interface Place {
  host: string;
  port: string;
  path: string;
}

function split(place: string): Place {
  const slash = place.indexOf('/');
  const authority = slash < 0 ? place : place.slice(0, slash);
  const [, host = authority, port = ''] = /^(.*):(\d+)$/.exec(authority) ?? [];
  return { host, port, path: slash < 0 ? '' : place.slice(slash) };
}

function matches(key: Place, target: Place): boolean {
  const [globs, labels] = [key.host.split('.'), target.host.split('.')];
  return (
    key.port === target.port &&
    globs.length === labels.length &&
    target.path.startsWith(key.path) &&
    globs.every((glob, i) => globMatches(glob, labels[i] ?? ''))
  );
}

/** `*` is any text. Goes back to the last `*` only, so it takes at most the product of the two lengths. */
function globMatches(glob: string, label: string): boolean {
  let [g, l, star, tried] = [0, 0, -1, 0];
  while (l < label.length) {
    if (glob[g] === '*') [star, tried] = [g++, l];
    else if (g < glob.length && glob[g] === label[l]) [g, l] = [g + 1, l + 1];
    else if (star >= 0) [g, l] = [star + 1, ++tried];
    else return false;
  }
  while (glob[g] === '*') g++;
  return g === glob.length;
}
