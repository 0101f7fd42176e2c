import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { decodePatch, merged, namesVersion, patched, type Json } from './patch.ts';

const LIMIT = 100_000;
const decode = (type: string, value: unknown) => decodePatch(Buffer.from(JSON.stringify(value)), { 'content-type': `application/${type}` });
const strategic = (object: object, change: object) => patched(object as never, decode('strategic-merge-patch+json', change), LIMIT);

describe('a merge patch', () => {
  // The examples of RFC 7386.
  it.each([
    [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
    [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
    [{ a: 'b' }, { a: null }, {}],
    [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
    [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
    [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
    [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
    [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
    [
      ['a', 'b'],
      ['c', 'd'],
      ['c', 'd'],
    ],
    [{ a: 'b' }, ['c'], ['c']],
    [{ a: 'foo' }, null, null],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [[1, 2], { a: 'b', c: null }, { a: 'b' }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ] as [Json, Json, Json][])('%j and %j: %j', (target, change, expected) => expect(merged(target, change)).toEqual(expected));

  it('leaves the object as it was', () => {
    fc.assert(
      fc.property(fc.object({ maxDepth: 3 }), fc.object({ maxDepth: 3 }), (object, change) => {
        const before = structuredClone(object);
        merged(object as Json, change as Json);
        expect(object).toEqual(before);
      }),
      { numRuns: 200 },
    );
  });
});

describe('a strategic merge patch of a pod template', () => {
  const deployment = (containers: object[]) => ({ spec: { template: { spec: { containers } } } });
  const after = (before: object[], change: object) =>
    (strategic(deployment(before), { spec: { template: { spec: change } } }) as unknown as ReturnType<typeof deployment>).spec.template.spec
      .containers;
  const web = { name: 'web', image: 'a', ports: [{ containerPort: 80 }], env: [{ name: 'A', value: '1' }] };

  it('changes a container by its name, and in it ports and variables by theirs', () => {
    const change = {
      name: 'web',
      image: 'b',
      ports: [{ containerPort: 443 }],
      env: [
        { name: 'A', $patch: 'delete' },
        { name: 'B', value: '2' },
      ],
    };

    expect(after([web, { name: 'log' }], { containers: [change] })).toEqual([
      { name: 'web', image: 'b', ports: [{ containerPort: 80 }, { containerPort: 443 }], env: [{ name: 'B', value: '2' }] },
      { name: 'log' },
    ]);
  });

  it('keeps a port that is open for two protocols twice', () => {
    const ports = [
      { containerPort: 53, protocol: 'TCP' },
      { containerPort: 53, protocol: 'UDP' },
    ];

    expect(after([], { containers: [{ name: 'dns', ports }] })).toEqual([{ name: 'dns', ports }]);
    expect(after([{ name: 'dns', ports }], { containers: [{ name: 'dns', ports: [{ ...ports[1], name: 'udp' }] }] })).toEqual([
      { name: 'dns', ports: [ports[0], { ...ports[1], name: 'udp' }] },
    ]);
  });

  it('changes the protocol of a port that is there once', () => {
    expect(after([web], { containers: [{ name: 'web', ports: [{ containerPort: 80, protocol: 'UDP' }] }] })).toMatchObject([
      { ports: [{ containerPort: 80, protocol: 'UDP' }] },
    ]);
  });

  it('puts a new container where the client has it, for triggers count containers', () => {
    const change = { '$setElementOrder/containers': [{ name: 'first' }, { name: 'web' }], containers: [{ name: 'first' }] };

    expect(after([web, { name: 'sidecar' }], change).map((one) => (one as { name: string }).name)).toEqual(['first', 'web', 'sidecar']);
  });
});

describe('a strategic merge patch', () => {
  const tags = (...names: string[]) => names.map((name) => ({ name, reference: false }));

  it.each([
    [
      'adds and changes tags by name',
      { tags: [{ name: 'b', reference: true }, { name: 'c' }] },
      [...tags('a'), { name: 'b', reference: true }, { name: 'c' }],
    ],
    ['deletes one', { tags: [{ name: 'a', $patch: 'delete' }] }, tags('b')],
    ['deletes none that is not there', { tags: [{ name: 'x', $patch: 'delete' }] }, tags('a', 'b')],
    ['replaces all', { tags: [{ name: 'x' }, { $patch: 'replace' }] }, [{ name: 'x' }]],
    ['removes the list', { tags: null }, undefined],
    ['ignores the order it is told', { '$setElementOrder/tags': [{ name: 'b' }, { name: 'a' }] }, tags('a', 'b')],
    ['removes a field of one', { tags: [{ name: 'a', reference: null }] }, [{ name: 'a' }, ...tags('b')]],
  ])('%s', (_, spec, expected) => {
    expect(strategic({ spec: { tags: tags('a', 'b') } }, { spec })['spec']).toEqual(expected ? { tags: expected } : {});
  });

  it('merges objects, replaces other lists, keeps sets', () => {
    expect(
      strategic(
        { metadata: { labels: { a: '1' }, finalizers: ['x'] }, list: [1] },
        { metadata: { labels: { b: '2' }, finalizers: ['y'] }, list: [2] },
      ),
    ).toEqual({
      metadata: { labels: { a: '1', b: '2' }, finalizers: ['x', 'y'] },
      list: [2],
    });
    expect(strategic({ metadata: { finalizers: ['x', 'y'] } }, { metadata: { '$deleteFromPrimitiveList/finalizers': ['x'] } })).toEqual({
      metadata: { finalizers: ['y'] },
    });
    expect(strategic({ spec: { a: 1, b: 2 } }, { spec: { $patch: 'replace', c: 3 } })).toEqual({ spec: { c: 3 } });
    expect(strategic({ spec: { a: 1, b: 2 } }, { spec: { $retainKeys: ['a'], c: 3 } })).toEqual({ spec: { a: 1, c: 3 } });
  });

  it('that names no item is refused', () => {
    expect(() => strategic({}, { spec: { tags: [{ reference: true }] } })).toThrow('does not contain declared merge key: name');
  });
});

describe('a JSON patch', () => {
  const json = (object: object, operations: object[], limit = LIMIT) =>
    patched(object as never, decode('json-patch+json', operations), limit);

  it('does what its operations say, in order', () => {
    expect(
      json({ a: [1, 2], b: { c: 3 } }, [
        { op: 'add', path: '/a/-', value: 4 },
        { op: 'move', from: '/b/c', path: '/d' },
        { op: 'copy', from: '/a', path: '/e' },
        { op: 'replace', path: '/a', value: 0 },
        { op: 'remove', path: '/b' },
      ]),
    ).toEqual({ a: 0, d: 3, e: [1, 2, 4] });
  });

  it('may replace the whole object', () => expect(json({ a: 1 }, [{ op: 'replace', path: '', value: { b: 2 } }])).toEqual({ b: 2 }));

  it.each([
    [[{ op: 'test', path: '/a', value: 2 }]],
    [[{ op: 'remove', path: '/nope' }]],
    [[{ op: 'add', path: '/x/y/z', value: 1 }]],
    [[{ op: 'nonsense', path: '/a' }]],
    [[{ op: 'replace', path: '', value: 7 }]],
  ])('%j does not apply', (operations) => expect(() => json({ a: 1 }, operations)).toThrow('the server rejected our request'));

  it('that makes the object huge is stopped', () => {
    const operations = Array.from({ length: 64 }, (_, i) => ({ op: 'copy', from: '', path: `/c${i}` }));
    expect(() => json({ a: 'x'.repeat(100) }, operations, 10_000)).toThrow(/copy operations/);
  });
});

it('a patch that names a version is meant for that version', () => {
  expect(namesVersion(decode('merge-patch+json', { metadata: { resourceVersion: '5' } }))).toBe(true);
  expect(namesVersion(decode('merge-patch+json', { metadata: {} }))).toBe(false);
  expect(namesVersion(decode('json-patch+json', [{ op: 'test', path: '/metadata/resourceVersion', value: '5' }]))).toBe(true);
});

it.each([
  ['json-patch+json', {}],
  ['json-patch+json', [{ op: 1 }]],
  ['merge-patch+json', []],
  ['strategic-merge-patch+json', 'x'],
  ['apply-patch+yaml', 7],
  ['apply-patch+yaml', { metadata: { managedFields: [] } }],
])('%s: %j is no patch', (type, value) => expect(() => decode(type, value)).toThrow());
