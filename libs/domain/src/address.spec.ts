import { describe, expect, it } from 'vitest';
import { addressKind, type AddressKind, BlockedAddress, isAllowedAddress, isInternalAddress, parseAddress } from './address.ts';

const kinds: [AddressKind, string[]][] = [
  ['public', ['8.8.8.8', '1.1.1.1', '9.255.255.255', '11.0.0.0', '100.63.255.255', '100.128.0.0', '126.255.255.255', '128.0.0.1']],
  ['public', ['172.15.255.255', '172.32.0.0', '192.167.1.1', '192.169.0.0', '169.253.1.1', '198.17.0.1', '198.20.0.1', '223.255.255.255']],
  ['public', ['2606:4700:4700::1111', '2a00:1450:4001:81b::200e', '2400::', '[2606:4700::1]']],
  ['loopback', ['127.0.0.1', '127.0.0.0', '127.255.255.255', '::1', '0:0:0:0:0:0:0:1', '0000:0000:0000:0000:0000:0000:0000:0001', '[::1]']],
  [
    'loopback',
    ['::ffff:127.0.0.1', '::FFFF:7F00:1', '::127.0.0.1', '64:ff9b::127.0.0.1', '64:ff9b::7f00:1', '2002:7f00:1::', '::ffff:0:127.0.0.1'],
  ],
  ['private', ['10.0.0.0', '10.255.255.255', '172.16.0.1', '172.31.255.255', '192.168.0.1', '100.64.0.1', '100.127.255.255']],
  ['private', ['fc00::1', 'fd12:3456::1', 'fec0::1', '::ffff:10.1.2.3', '64:ff9b::c0a8:1', '64:ff9b:1::1', '2002:c0a8:101::1']],
  ['link-local', ['169.254.0.1', '169.254.255.255', 'fe80::1', 'fe80::1%eth0', 'febf::1', '::ffff:169.254.1.1']],
  ['metadata', ['169.254.169.254', '::ffff:169.254.169.254', '::ffff:a9fe:a9fe', '169.254.170.2', '100.100.100.200', '168.63.129.16']],
  ['metadata', ['192.0.0.192', 'fd00:ec2::254', 'fd20:ce::254', '64:ff9b::a9fe:a9fe']],
  ['multicast', ['224.0.0.1', '239.255.255.255', 'ff02::1', '::ffff:224.0.0.1']],
  ['unspecified', ['0.0.0.0', '0.1.2.3', '::', '0:0:0:0:0:0:0:0', '::ffff:0.0.0.0', '64:ff9b::']],
  ['documentation', ['192.0.2.1', '198.51.100.7', '203.0.113.255', '2001:db8::1', '3fff::1']],
  [
    'reserved',
    ['192.0.0.1', '192.88.99.1', '198.18.0.1', '198.19.255.255', '240.0.0.1', '255.255.255.255', '100::1', '2001::1', '4000::1', '5f00::1'],
  ],
  ['invalid', ['', 'localhost', 'example.com', '127.1', '127.0.1', '2130706433', '0x7f.0.0.1', '0177.0.0.1', '127.0.0.01', '127.0.0.1.']],
  ['invalid', ['127.0.0.256', '1.2.3', '1.2.3.4.5', '-1.2.3.4', '１２７.0.0.1', ' 127.0.0.1', '127.0.0.1 ', '127.0.0.1/8', '1.2.3.4%eth0']],
  [
    'invalid',
    [
      ':',
      ':::',
      '1::2::3',
      '::1::',
      '12345::',
      'g::1',
      '1:2:3:4:5:6:7',
      '1:2:3:4:5:6:7:8:9',
      '1:2:3:4:5:6:7::8',
      '::1.2.3',
      '1.2.3.4::',
      '[::1',
    ],
  ],
  ['invalid', ['::1%', '::1%eth 0', '::ffff:127.1', `${'0'.repeat(70)}::1`]],
];

describe('an address', () => {
  it.each(kinds.flatMap(([kind, texts]) => texts.map((text) => [text, kind] as const)))('%j is %s', (text, kind) => {
    expect(addressKind(text)).toBe(kind);
  });

  it.each([
    ['1.2.3.4', [1, 2, 3, 4]],
    ['::', Array(16).fill(0)],
    ['1::', [0, 1, ...Array(14).fill(0)]],
    ['102:304:506:708:90a:b0c:d0e:f10', Array.from({ length: 16 }, (_, index) => index + 1)],
    ['::ffff:1.2.3.4', [...Array(10).fill(0), 255, 255, 1, 2, 3, 4]],
  ])('%s parses to its bytes', (text, bytes) => {
    expect(parseAddress(text)).toEqual(bytes);
  });
});

describe('a policy', () => {
  it.each([
    ['public', '8.8.8.8', true],
    ['public', '10.0.0.1', false],
    ['public', '127.0.0.1', false],
    ['private', '8.8.8.8', true],
    ['private', '10.0.0.1', true],
    ['private', 'fd00::1', true],
    ['private', '127.0.0.1', false],
    ['private', '169.254.169.254', false],
    ['loopback', '::1', true],
    ['loopback', '10.0.0.1', true],
    ['loopback', '169.254.169.254', false],
    ['loopback', 'fd00:ec2::254', false],
    ['loopback', '0.0.0.0', false],
    ['loopback', 'localhost', false],
  ] as const)('%s and %s: %s', (policy, address, allowed) => {
    expect(isAllowedAddress(address, policy)).toBe(allowed);
  });

  it('everything that is not public is internal, also what is no address', () => {
    expect(['8.8.8.8', '10.0.0.1', '127.0.0.1', 'localhost'].map(isInternalAddress)).toEqual([false, true, true, true]);
  });

  it('a blocked address says which name led to it and what is allowed', () => {
    expect(new BlockedAddress('registry.test', '10.0.0.1', 'private', 'public').message).toBe(
      'registry.test (10.0.0.1) is not allowed: a private address, and outgoing requests are limited to public addresses',
    );
  });
});
