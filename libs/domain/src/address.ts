/**
 * What an IP address is good for, so that requests to addresses that users choose (registries, webhooks) do not reach
 * what only the operator may reach. Ranges: the IANA special-purpose registries for IPv4 and IPv6.
 */
export type AddressKind =
  'public' | 'private' | 'loopback' | 'link-local' | 'metadata' | 'multicast' | 'unspecified' | 'documentation' | 'reserved' | 'invalid';

/**
 * How far outgoing requests may go: `public` the internet only; `private` also private networks (RFC 1918, unique local,
 * carrier-grade NAT); `loopback` also this machine. Link-local, cloud metadata, multicast and reserved addresses: never.
 */
export type AddressPolicy = 'public' | 'private' | 'loopback';

const allowedKinds: Record<AddressPolicy, readonly AddressKind[]> = {
  public: ['public'],
  private: ['public', 'private'],
  loopback: ['public', 'private', 'loopback'],
};

/** The address is not one that the policy lets outgoing requests reach. `host` is the name or address that was asked for. */
export class BlockedAddress extends Error {
  override readonly name = 'BlockedAddress';
  readonly code = 'ERR_BLOCKED_ADDRESS';
  readonly host: string;
  readonly address: string;
  readonly kind: AddressKind;

  constructor(host: string, address: string, kind: AddressKind, policy: AddressPolicy) {
    const where = host === address ? host : `${host} (${address})`;
    super(`${where} is not allowed: a ${kind} address, and outgoing requests are limited to ${allowedKinds[policy].join(', ')} addresses`);
    this.host = host;
    this.address = address;
    this.kind = kind;
  }
}

export function isAllowedAddress(text: string, policy: AddressPolicy): boolean {
  return allowedKinds[policy].includes(addressKind(text));
}

/** True for everything that is not a public address, also for text that is no address at all. */
export function isInternalAddress(text: string): boolean {
  return addressKind(text) !== 'public';
}

/**
 * Takes the canonical spellings only: four decimal numbers, or RFC 4291 text (brackets and a zone are tolerated). `127.1`,
 * `0x7f.0.0.1` and `2130706433` are `invalid`: resolvers disagree about them. An IPv6 address that carries an IPv4 address
 * (mapped, compatible, NAT64, 6to4) is what that one is, because that is where the packets go.
 */
export function addressKind(text: string): AddressKind {
  const bytes = parseAddress(text);
  if (!bytes) return 'invalid';
  return bytes.length === 4 ? kindIn(ipv4Ranges, bytes, 'public') : ipv6Kind(bytes);
}

/** 4 or 16 bytes, or undefined. */
export function parseAddress(text: string): readonly number[] | undefined {
  if (text.length > 64) return undefined;
  if (!text.includes(':')) return parseIPv4(text);
  const bare = text.startsWith('[') && text.endsWith(']') ? text.slice(1, -1) : text;
  return parseIPv6(bare.replace(/%[\w.-]+$/, ''));
}

type Range = readonly [network: string, prefixLength: number, kind: AddressKind];
type ParsedRange = { network: readonly number[]; prefixLength: number; kind: AddressKind };

// The first match counts, so single addresses stand before the range around them.
const ipv4Ranges = parsed([
  ['0.0.0.0', 8, 'unspecified'],
  ['10.0.0.0', 8, 'private'],
  ['100.100.100.200', 32, 'metadata'], // Alibaba Cloud
  ['100.64.0.0', 10, 'private'],
  ['127.0.0.0', 8, 'loopback'],
  ['168.63.129.16', 32, 'metadata'], // Azure's wire server: a public address that only a virtual machine's host answers
  ['169.254.169.254', 32, 'metadata'], // AWS, Azure, Google Cloud, OpenStack, DigitalOcean
  ['169.254.170.2', 32, 'metadata'], // AWS container credentials
  ['169.254.0.0', 16, 'link-local'],
  ['172.16.0.0', 12, 'private'],
  ['192.0.0.192', 32, 'metadata'], // Oracle Cloud
  ['192.0.0.0', 24, 'reserved'],
  ['192.0.2.0', 24, 'documentation'],
  ['192.88.99.0', 24, 'reserved'],
  ['192.168.0.0', 16, 'private'],
  ['198.18.0.0', 15, 'reserved'],
  ['198.51.100.0', 24, 'documentation'],
  ['203.0.113.0', 24, 'documentation'],
  ['224.0.0.0', 4, 'multicast'],
  ['240.0.0.0', 4, 'reserved'],
]);

const ipv6Ranges = parsed([
  ['::', 128, 'unspecified'],
  ['::1', 128, 'loopback'],
  ['64:ff9b:1::', 48, 'private'],
  ['100::', 64, 'reserved'],
  ['2001:db8::', 32, 'documentation'],
  ['2001::', 23, 'reserved'], // Teredo, ORCHID, benchmarking
  ['3fff::', 20, 'documentation'],
  ['2000::', 3, 'public'],
  ['fd00:ec2::254', 128, 'metadata'], // AWS
  ['fd00:ec2::23', 128, 'metadata'], // AWS pod identity
  ['fd20:ce::254', 128, 'metadata'], // Google Cloud
  ['fc00::', 7, 'private'],
  ['fe80::', 10, 'link-local'],
  ['fec0::', 10, 'private'],
  ['ff00::', 8, 'multicast'],
]);

/** IPv6 prefixes whose addresses carry an IPv4 address, and the byte where it begins. */
const carriers = [
  { ...parsedRange(['::ffff:0:0', 96, 'public']), offset: 12 },
  { ...parsedRange(['::ffff:0:0:0', 96, 'public']), offset: 12 },
  { ...parsedRange(['64:ff9b::', 96, 'public']), offset: 12 },
  { ...parsedRange(['2002::', 16, 'public']), offset: 2 },
  { ...parsedRange(['::', 96, 'public']), offset: 12 },
];

function ipv6Kind(bytes: readonly number[]): AddressKind {
  const own = kindIn(ipv6Ranges, bytes, 'reserved');
  if (own === 'loopback' || own === 'unspecified') return own;
  const carrier = carriers.find((range) => contains(range, bytes));
  return carrier ? kindIn(ipv4Ranges, bytes.slice(carrier.offset, carrier.offset + 4), 'public') : own;
}

function kindIn(ranges: readonly ParsedRange[], bytes: readonly number[], otherwise: AddressKind): AddressKind {
  return ranges.find((range) => contains(range, bytes))?.kind ?? otherwise;
}

function contains({ network, prefixLength }: ParsedRange, bytes: readonly number[]): boolean {
  return network.every((byte, index) => {
    const bits = Math.min(8, Math.max(0, prefixLength - index * 8));
    const mask = (0xff << (8 - bits)) & 0xff;
    return (byte & mask) === ((bytes[index] ?? 0) & mask);
  });
}

function parseIPv4(text: string): number[] | undefined {
  const parts = text.split('.');
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255)) return undefined;
  return parts.map(Number);
}

function parseIPv6(text: string): number[] | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const [head, tail] = halves.map((half, index) => groups(half, index === halves.length - 1));
  if (!head || (halves.length === 2 && !tail)) return undefined;
  if (halves.length === 1) return head.length === 16 ? head : undefined;
  const missing = 16 - head.length - (tail ?? []).length;
  return missing >= 2 ? [...head, ...Array.from({ length: missing }, () => 0), ...(tail ?? [])] : undefined;
}

/** The bytes of colon-separated groups; the very last one of an address may be an IPv4 address. */
function groups(text: string, atEnd: boolean): number[] | undefined {
  if (text === '') return [];
  const parts = text.split(':');
  const bytes: number[] = [];
  for (const [index, part] of parts.entries()) {
    const embedded = atEnd && index === parts.length - 1 && part.includes('.') ? parseIPv4(part) : undefined;
    if (embedded) bytes.push(...embedded);
    else if (/^[0-9a-f]{1,4}$/i.test(part)) bytes.push(parseInt(part, 16) >> 8, parseInt(part, 16) & 0xff);
    else return undefined;
  }
  return bytes;
}

function parsed(ranges: readonly Range[]): ParsedRange[] {
  return ranges.map(parsedRange);
}

function parsedRange([network, prefixLength, kind]: Range): ParsedRange {
  const bytes = parseAddress(network);
  if (!bytes) throw new Error(`${network} is not an IP address`);
  return { network: bytes, prefixLength, kind };
}
