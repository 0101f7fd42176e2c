import { lookup as systemLookup } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import { addressKind, type AddressPolicy, BlockedAddress, isAllowedAddress } from '@millrace/domain/address';
import { buildConnector } from 'undici';

export interface Guard {
  allow: AddressPolicy;
  /** How names become addresses; the system's resolver unless said otherwise. */
  lookup?: LookupFunction;
}

/**
 * A connector for undici's `Agent` and `Client` (`new Agent({ connect: guardedConnector({ allow: 'public' }) })`) that opens
 * no connection to an address outside the policy: literal addresses, names, and what redirects lead to. The address that was
 * checked is the one connected to, so a name that resolves differently a moment later gains nothing. A name with one refused
 * address is refused whole. Fails with `BlockedAddress`.
 *
 * `options` are those of undici's `buildConnector`: timeout, TLS settings.
 */
export function guardedConnector(guard: Guard, options: buildConnector.BuildOptions = {}): buildConnector.connector {
  const connect = buildConnector({ ...options, lookup: guardedLookup(guard) } as buildConnector.BuildOptions);
  return (target, callback) => {
    // Sockets look up names only: an address in the URL never reaches the guarded lookup.
    const host = target.hostname.replace(/^\[(.*)\]$/, '$1');
    if (isIP(host) !== 0 && !isAllowedAddress(host, guard.allow)) {
      callback(new BlockedAddress(host, host, addressKind(host), guard.allow), null);
      return;
    }
    connect(target, callback);
  };
}

/** A lookup for `net.connect` and `tls.connect` that fails when any address of the name is outside the policy. */
export function guardedLookup({ allow, lookup = systemLookup as LookupFunction }: Guard): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, options, (error, found, family) => {
      if (error) {
        callback(error, '', 0);
        return;
      }
      const addresses = Array.isArray(found) ? found.map(({ address }) => address) : [found];
      const refused = addresses.find((address) => !isAllowedAddress(address, allow));
      if (refused !== undefined) callback(new BlockedAddress(hostname, refused, addressKind(refused), allow), '', 0);
      else callback(null, found, family);
    });
  };
}
