import { expect, it } from 'vitest';
import { packageUrl } from './package-url.ts';

const digest = `sha256:${'a'.repeat(64)}`;
const version = `sha256%3A${'a'.repeat(64)}`;

it.each([
  [`registry.example.com/demo/web@${digest}`, '1.2', `pkg:oci/web@${version}?repository_url=registry.example.com/demo/web&tag=1.2`],
  [`127.0.0.1:5000/demo/web@${digest}`, undefined, `pkg:oci/web@${version}?repository_url=127.0.0.1%3A5000/demo/web`],
  [`ruby@${digest}`, 'latest', `pkg:oci/ruby@${version}?repository_url=docker.io/library/ruby&tag=latest`],
  [`quay.io/team/app:1.0`, 'a+b', `pkg:oci/app@${version}?repository_url=quay.io/team/app&tag=a%2Bb`],
])('%s under tag %s is %s', (pullSpec, tag, purl) => {
  expect(packageUrl({ image: digest, pullSpec, tag })).toBe(purl);
});

it.each([
  ['', 'registry.example.com/demo/web:1.2'],
  [digest, 'not a pull spec'],
  ['web', 'registry.example.com/demo/web'],
])('image %j of pull spec %j has none', (image, pullSpec) => {
  expect(packageUrl({ image, pullSpec })).toBeUndefined();
});
