import { describe, expect, it } from 'vitest';
import { StatusError } from '@millrace/domain/status';
import { parseProtobuf } from './protobuf.ts';

const field = (number: number, content: string | Buffer): Buffer => {
  const bytes = Buffer.from(content);
  return Buffer.concat([Buffer.from([number * 8 + 2]), length(bytes.length), bytes]);
};
const length = (n: number): Buffer => Buffer.from(n < 128 ? [n] : [(n % 128) + 128, Math.floor(n / 128)]);
const entry = (number: number, key: string, value: string | Buffer) => field(number, Buffer.concat([field(1, key), field(2, value)]));
const body = (kind: string, ...raw: Buffer[]) =>
  Buffer.concat([
    Buffer.from('k8s\0'),
    field(1, Buffer.concat([field(1, 'v1'), field(2, kind)])),
    field(2, Buffer.concat(raw)),
    field(4, ''),
  ]);

describe('a protobuf body', () => {
  it('is read as the Secret that it is', () => {
    const metadata = Buffer.concat([
      field(1, 'creds'),
      field(3, 'team'),
      Buffer.from([7 * 8, 0x96, 0x01]), // generation: a number, skipped
      entry(11, 'a', 'b'),
      entry(12, 'note', 'é'.repeat(100)),
      field(14, 'one'),
      field(14, 'two'),
      Buffer.from([16 * 8 - 8 + 1, 1, 2, 3, 4, 5, 6, 7, 8]),
      Buffer.from([13 * 8 + 5, 1, 2, 3, 4]),
    ]);
    const data = Buffer.concat([
      field(1, metadata),
      entry(2, 'k', Buffer.from([0, 255])),
      entry(2, 'empty', ''),
      field(3, 'Opaque'),
      entry(4, 's', 't'),
    ]);

    expect(parseProtobuf(body('Secret', data), 'Secret')).toEqual({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: {
        name: 'creds',
        namespace: 'team',
        labels: { a: 'b' },
        annotations: { note: 'é'.repeat(100) },
        finalizers: ['one', 'two'],
      },
      data: { k: 'AP8=', empty: '' },
      type: 'Opaque',
      stringData: { s: 't' },
    });
  });

  it('is read as the Namespace that it is, without what its server says', () => {
    const raw = [field(1, field(1, 'team')), field(2, field(1, 'kubernetes')), field(3, field(1, 'Active'))];

    expect(parseProtobuf(body('Namespace', ...raw), 'Namespace')).toEqual({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: 'team' },
    });
  });

  it('is read as the ServiceAccount that it is', () => {
    const raw = [
      field(1, field(1, 'robot')),
      field(2, Buffer.concat([field(1, 'Secret'), field(3, 'git')])),
      field(3, field(1, 'quay')),
      field(3, field(1, 'hub')),
      Buffer.from([4 * 8, 0]),
    ];

    expect(parseProtobuf(body('ServiceAccount', ...raw), 'ServiceAccount')).toEqual({
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name: 'robot' },
      secrets: [{ kind: 'Secret', name: 'git' }],
      imagePullSecrets: [{ name: 'quay' }, { name: 'hub' }],
      automountServiceAccountToken: false,
    });
  });

  it('is read as the Deployment that it is, or not at all', () => {
    const container = Buffer.concat([
      field(1, 'web'),
      field(2, 'a:1'),
      field(3, 'run'),
      field(5, ''),
      field(8, ''),
      field(7, Buffer.concat([field(1, 'A'), field(2, '1')])),
    ]);
    const template = Buffer.concat([field(1, field(8, '')), field(2, Buffer.concat([field(2, container), Buffer.from([11 * 8, 0])]))]);
    const spec = Buffer.concat([Buffer.from([1 * 8, 3]), field(2, entry(1, 'app', 'web')), field(3, template), field(4, '')]);
    const raw = [field(1, Buffer.concat([field(1, 'web'), field(2, ''), field(8, '')])), field(2, spec), field(3, Buffer.from([8, 9]))];

    expect(parseProtobuf(body('Deployment', ...raw), 'Deployment')).toEqual({
      apiVersion: 'v1',
      kind: 'Deployment',
      metadata: { name: 'web' },
      spec: {
        replicas: 3,
        selector: { matchLabels: { app: 'web' } },
        template: {
          metadata: {},
          spec: { containers: [{ name: 'web', image: 'a:1', command: ['run'], env: [{ name: 'A', value: '1' }] }] },
        },
        strategy: {},
      },
    });
    const more = field(2, field(3, field(2, field(1, field(1, 'a volume')))));
    expect(() => parseProtobuf(body('Deployment', ...raw, more), 'Deployment')).toThrow('field 1 is not read from protobuf: send JSON');
  });

  it.each([
    ['without its magic', Buffer.from('hunter2')],
    ['that is empty', Buffer.alloc(0)],
    ['that is cut short', body('Secret', field(3, 'hunter2')).subarray(0, -6)],
    ['with a number that is too long', Buffer.concat([Buffer.from('k8s\0'), Buffer.alloc(12, 0xff)])],
    ['with a field of no known form', Buffer.from('k8s\0\x0b')],
    ['with a text that is none', body('Secret', field(3, Buffer.from([0xff, 0xfe])))],
  ])('%s is refused, and nothing of it repeated', (_title, bytes) => {
    const refused = () => parseProtobuf(bytes, 'Secret');

    expect(refused).toThrow(StatusError);
    expect(refused).toThrow('the object provided is unrecognized (must be of type Secret): protobuf');
    expect(refused).not.toThrow('hunter2');
  });

  it('names no field that an object has from birth', () => {
    const secret = parseProtobuf(body('Secret', entry(2, '__proto__', 'x')), 'Secret') as { data: object };

    expect(Object.keys(secret.data)).toEqual(['__proto__']);
  });
});
