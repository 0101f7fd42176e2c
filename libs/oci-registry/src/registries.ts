import { candidatesOf } from './credentials.ts';
import { type ConnectionOptions, placeOf } from './connection.ts';
import { RecentMap } from './recent-map.ts';
import { RegistryClient, type RegistryOptions } from './registry.ts';
import { type HostState, RegistryHost } from './registry-host.ts';

export type { HostState } from './registry-host.ts';

/** What is the same for all registries: connector, time limits, user agent; and a proxy, unless a registry has its own. */
export interface RegistriesOptions extends Omit<ConnectionOptions, 'registry' | 'insecure' | 'ca' | 'clientCertificate'> {
  /** Hosts of which connections, tokens, budgets and circuits are kept; the one used longest ago is forgotten. */
  maxHosts?: number;
}

/** One registry and how it is reached. */
export type RegistryAccess = Pick<RegistryOptions, 'registry' | 'insecure' | 'ca' | 'clientCertificate' | 'proxy' | 'credentials'>;

const DEFAULT_HOSTS = 500;
const maxClientsOfHost = 2_000;

interface Kept {
  host: RegistryHost;
  clients: RecentMap<RegistryClient>;
}

/**
 * Clients for any number of registries. Those of one host that are reached in the same way share everything: connections, the
 * tokens of one account, the budgets, the circuit. A client may be kept as long as its user likes; asking for it anew costs little.
 */
export class Registries {
  readonly #kept: RecentMap<Kept>;
  #closed = false;

  constructor(private readonly options: RegistriesOptions = {}) {
    this.#kept = new RecentMap(options.maxHosts ?? DEFAULT_HOSTS, ({ host }) => void host.connection.rest());
  }

  /** @throws RegistryError with `invalid-reference` where the registry is none. */
  client(access: RegistryAccess): RegistryClient {
    const { registry, insecure = false, ca, clientCertificate, proxy = this.options.proxy, credentials } = access;
    const options = { ...this.options, registry, insecure, ca, clientCertificate, proxy, credentials };
    const { scheme, apiHost } = placeOf(registry);
    const way = JSON.stringify([scheme, apiHost.toLowerCase(), insecure, ca, clientCertificate, proxy]);
    const { host, clients } = this.#kept.getOrMake(way, () => ({ host: this.#open(options), clients: new RecentMap(maxClientsOfHost) }));
    const accounts = candidatesOf(credentials).map(({ key }) => key);
    return clients.getOrMake([registry, ...accounts].join(' '), () => new RegistryClient(options, host));
  }

  /** Where each host stands: quotas, pauses, failures. */
  state(): HostState[] {
    return [...this.#kept.values()].map(({ host }) => host.state());
  }

  /** Waits for the requests under way; no further ones are sent. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#kept.values()].map(({ host }) => host.close()));
  }

  #open(options: RegistryOptions): RegistryHost {
    const host = new RegistryHost(options);
    if (this.#closed) void host.close();
    return host;
  }
}
