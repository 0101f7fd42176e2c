import { describe, expect, it } from 'vitest';
import { ImageStreams } from '@millrace/contracts/resources';
import type { ChangeType, Told } from './follower.ts';
import { attributesOf, selectorOf } from './selector.ts';
import { SelectedView } from './watch-events.ts';

const told = (type: ChangeType, labels: Record<string, string>, uid = 'u'): Told => ({
  ...{ type, version: 1n, json: Buffer.from('{}') },
  attributes: { namespace: 'demo', name: 'web', uid, labels },
});
const IN = { k: 'v' };
const OUT = { k: 'w' };
const isIn = ({ labels }: { labels?: Record<string, string> }) => labels?.['k'] === 'v';

type Step = readonly [ChangeType, Record<string, string>];

describe('a watch with a selector', () => {
  it.each<[string, boolean, readonly Step[], (string | undefined)[]]>([
    [
      'that began with all',
      true,
      [
        ['ADDED', IN],
        ['MODIFIED', IN],
        ['DELETED', IN],
      ],
      ['ADDED', 'MODIFIED', 'DELETED'],
    ],
    [
      'that began with all',
      true,
      [
        ['ADDED', OUT],
        ['MODIFIED', OUT],
        ['DELETED', OUT],
      ],
      [undefined, undefined, undefined],
    ],
    [
      'that began with all',
      true,
      [
        ['ADDED', OUT],
        ['MODIFIED', IN],
        ['MODIFIED', OUT],
      ],
      [undefined, 'ADDED', 'DELETED'],
    ],
    [
      'that began with all',
      true,
      [
        ['ADDED', IN],
        ['DELETED', OUT],
      ],
      ['ADDED', 'DELETED'],
    ],
    [
      'that went on from a version',
      false,
      [
        ['MODIFIED', IN],
        ['MODIFIED', OUT],
        ['MODIFIED', OUT],
      ],
      ['MODIFIED', 'DELETED', undefined],
    ],
    [
      'that went on from a version',
      false,
      [
        ['MODIFIED', OUT],
        ['MODIFIED', IN],
      ],
      ['DELETED', 'ADDED'],
    ],
    ['that went on from a version', false, [['DELETED', OUT]], [undefined]],
    ['that went on from a version', false, [['DELETED', IN]], ['DELETED']],
  ])('%s (%s) of %j tells %j', (_title, complete, steps, expected) => {
    const view = new SelectedView();
    if (complete) view.begin();

    const seen = steps.map(([type, labels]) => {
      const one = told(type, labels);
      return view.see(one, isIn(one.attributes))?.type;
    });

    expect(seen).toEqual(expected);
  });

  it('tells what left with the labels under which it was seen', () => {
    const view = new SelectedView();
    view.begin();
    view.see(told('ADDED', IN), true);

    expect(view.see(told('MODIFIED', OUT), false)).toMatchObject({ type: 'DELETED', labels: IN });
  });
});

describe('a selector', () => {
  const stream = attributesOf(ImageStreams, {
    metadata: { namespace: 'demo', name: 'web', uid: 'u', labels: { app: 'web' } },
    spec: { dockerImageRepository: 'quay.io/a/b' },
    status: { dockerImageRepository: '' },
  });

  it.each([
    [{}, true],
    [{ namespace: 'demo' }, true],
    [{ namespace: 'other' }, false],
    [{ labelSelector: 'app in (web,db)' }, true],
    [{ labelSelector: '!app' }, false],
    [{ fieldSelector: 'metadata.name=web,metadata.namespace=demo' }, true],
    [{ fieldSelector: 'metadata.name!=web' }, false],
    [{ fieldSelector: 'spec.dockerImageRepository=quay.io/a/b' }, true],
    [{ fieldSelector: 'status.dockerImageRepository=' }, true],
  ])('%j takes the stream: %s', (selection, takes) => {
    expect(selectorOf(ImageStreams, selection)(stream)).toBe(takes);
  });

  it('that is none is refused', () => {
    expect(() => selectorOf(ImageStreams, { fieldSelector: 'nothing=a' })).toThrow('is not a known field selector');
    expect(() => selectorOf(ImageStreams, { labelSelector: 'a=b=c' })).toThrow();
  });
});
