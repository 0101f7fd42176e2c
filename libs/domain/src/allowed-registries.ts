import { type ImageReference, isDockerHub, parseReference } from './image-reference.ts';

/*
 * Which registries images may come from, where an operator names them. A registry is a host and a port; one that is written without a
 * port means 443, or 80 where it is plain HTTP.
 */

/** One entry of the operator's list. `*` stands for any text within a label of the host, or for any port. */
export interface AllowedRegistry {
  /** `host`, `host:port` or `host:*`. */
  domainName: string;
  insecure?: boolean;
}

/** How an image is fetched: over verified TLS, over whatever the registry speaks, or whichever of the two it turns out to be. */
export type Transport = 'secure' | 'insecure' | 'any';

interface Entry {
  host: string;
  port: string;
}

const ALIASES = ['docker.io', 'index.docker.io', 'registry-1.docker.io'];
const PORTS: Record<Transport, readonly string[]> = { secure: ['443'], insecure: ['80'], any: ['443', '80'] };

/** Throws an Error that names the first entry that is none. */
export class RegistryAllowList {
  private readonly entries: readonly Entry[];

  /** Without entries everything is allowed. `always` are registries of ours, `host[:port]`. */
  constructor(allowed: readonly AllowedRegistry[], always: readonly string[] = []) {
    const own = allowed.length ? always.filter(Boolean).map((domainName): AllowedRegistry => ({ domainName })) : [];
    this.entries = [...own, ...allowed].map(({ domainName, insecure }) => {
      const { host, port } = split(domainName);
      return { host, port: port || (insecure ? '80' : '443') };
    });
  }

  /** Undefined where images may come from there; else why not, in the words of the reference. */
  refusal(reference: Pick<ImageReference, 'registry'>, transport: Transport): string | undefined {
    if (!this.entries.length) return undefined;
    const registry = reference.registry || 'docker.io';
    const { host, port } = split(registry);
    const hosts = isDockerHub(host) ? ALIASES : [host];
    const ports = port ? [port] : PORTS[transport];
    const fits = this.entries.some(
      (entry) => hosts.some((one) => fitsHost(entry.host, one)) && ports.some((one) => entry.port === '*' || entry.port === one),
    );
    if (fits) return undefined;
    return `registry ${JSON.stringify(registry)} not allowed by whitelist: ${this.entries.map((entry) => JSON.stringify(`${entry.host}:${entry.port}`)).join(', ')}`;
  }

  /** {@link refusal} of a pull spec that parses; one that does not is for others to refuse. */
  refusalOf(pullSpec: string, transport: Transport): string | undefined {
    return this.refusal(parseReference(pullSpec), transport);
  }
}

function split(registry: string): { host: string; port: string } {
  const [host = '', port = '', ...more] = registry.split(':');
  if (more.length) throw new Error(`failed to parse allowed registry ${JSON.stringify(registry)}: too many colons`);
  return { host, port };
}

/** Label by label: `*.example.com` fits `a.example.com`, and neither `example.com` nor `a.b.example.com`. */
function fitsHost(pattern: string, host: string): boolean {
  const [wanted, labels] = [pattern.toLowerCase().split('.'), host.toLowerCase().split('.')];
  return wanted.length === labels.length && wanted.every((label, i) => fitsLabel(label, labels[i] ?? ''));
}

function fitsLabel(pattern: string, label: string): boolean {
  const [first = '', ...rest] = pattern.split('*');
  const last = rest.pop();
  if (last === undefined) return pattern === label;
  if (!label.startsWith(first) || !label.slice(first.length).endsWith(last)) return false;
  const end = label.length - last.length;
  let at = first.length;
  for (const part of rest) {
    const found = label.indexOf(part, at);
    if (found < 0 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}
