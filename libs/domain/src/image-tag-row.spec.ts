import { describe, expect, it } from 'vitest';
import { ImageTag } from './image-stream.ts';
import { imageTagRow } from './image-tag-row.ts';

const row = (tag: { spec?: object; status?: object }) => {
  const { spec, status, history } = imageTagRow(ImageTag.parse({ metadata: { name: 's:t' }, ...tag }));
  return [spec, status, history];
};
const from = (kind: string, name: string, namespace?: string) => ({ kind, name, namespace });
const item = (image: string, generation: number, dockerImageReference = '') => ({
  created: '2026-01-02T03:04:05Z',
  dockerImageReference,
  image,
  generation,
});
const history = (...items: object[]) => ({ tag: 't', items });
const failed = { type: 'ImportSuccess', status: 'False', reason: 'NotFound', generation: 1 };

describe('the row of an ImageTag', () => {
  it.each([
    ['is empty for a tag that is not there', {}, ['', '', 0]],
    ['is empty for a tag without a source', { spec: { name: 't' } }, ['', '', 0]],
    ['says that the kind of a source is none', { spec: { from: {} } }, ['Tag', 'InvalidRefKind', 0]],
    ['says that an image is not named with its stream', { spec: { from: from('ImageStreamImage', 'sha256:00', 'a') } }, ['Tag', 'InvalidRefName', 0]],
    ['names an external pull spec', { spec: { reference: true, from: from('DockerImage', 'a/b:c') } }, ['Ref', 'a/b:c', 0]],
    ['names an image', { spec: { from: from('ImageStreamImage', 'a@sha256:00', 'a') } }, ['Tag', 'image/sha256:00', 0]],
    ['names the tag of another stream', { spec: { from: from('ImageStreamTag', 'b:c') } }, ['Tag', 'istag/b:c', 0]],
    ['names its namespace, and prefers the schedule', { spec: { importPolicy: { scheduled: true }, from: from('ImageStreamTag', 'b:c', 'a') } }, ['Scheduled', 'istag a/b:c', 0]],
    ['tells a tracking tag by its short source', { spec: { from: from('ImageStreamTag', 'c'), generation: 1 }, status: history(item('sha256:00', 4)) }, ['Track', 'image/sha256:00', 1]],
    ['waits for what is newer than the history', { spec: { from: from('DockerImage', 'a/b'), generation: 2 }, status: history(item('sha256:00', 1)) }, ['Tag', 'Importing', 1]],
    ['means the newest image', { spec: { from: from('DockerImage', 'a/b'), generation: 2 }, status: history(item('sha256:00', 2), item('', 1, 'x/y')) }, ['Tag', 'image/sha256:00', 2]],
    ['means the newest pull spec where that is no image', { spec: { from: from('DockerImage', 'a/b'), reference: true, generation: 2 }, status: history(item('', 2, 'x/y')) }, ['Ref', 'x/y', 1]],
    ['tells a push past the spec', { spec: { from: from('DockerImage', 'a/b'), generation: 3 }, status: history(item('sha256:02', 4), item('sha256:01', 3)) }, ['Push', 'image/sha256:02', 2]],
    ['tells a push without a spec', { status: history(item('sha256:00', 2)) }, ['Push', 'image/sha256:00', 1]],
    ['tells a failed import before all else', { spec: { from: from('DockerImage', 'a/b'), generation: 2 }, status: { ...history(item('sha256:00', 1)), conditions: [failed] } }, ['Tag', 'ImportFailed (NotFound)', 1]],
    ['takes a condition that is not false for none', { spec: { from: from('DockerImage', 'a/b') }, status: { ...history(), conditions: [{ ...failed, status: '' }] } }, ['Tag', 'a/b', 0]],
  ])('%s', (_, tag, cells) => expect(row(tag)).toEqual(cells)); // prettier-ignore

  it('was updated when it moved or when its import failed, whichever is later', () => {
    const updated = (lastTransitionTime: string) =>
      imageTagRow(
        ImageTag.parse({ metadata: {}, status: { ...history(item('sha256:00', 1)), conditions: [{ ...failed, lastTransitionTime }] } }),
      ).updated;

    expect(updated('2026-01-02T00:00:00Z')).toBe('2026-01-02T03:04:05Z');
    expect(updated('2026-01-03T00:00:00Z')).toBe('2026-01-03T00:00:00Z');
    expect(imageTagRow({}).updated).toBe('');
  });
});
