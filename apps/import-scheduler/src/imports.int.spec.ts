import { request as httpRequest } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { certificate } from '@millrace/testing/certificates';
import { makeImage, makeIndex } from '@millrace/testing/images';
import { anImportBed, type ImportBed } from '@millrace/testing/import-bed';
import { aToldRegistry, type ToldRegistry } from '@millrace/testing/told-registry';
import { service } from './main.ts';

const aBed = (env: Record<string, string>) => anImportBed(service as never, env);

let bed: ImportBed;
let registry: ToldRegistry;
/** With another configuration. */
let other: ImportBed | undefined;

beforeAll(async () => {
  bed = await aBed({ IMPORT_TIMEOUT_MS: '400', IMPORT_IMAGES_MAX: '20', IMPORT_TAGS_PER_REPOSITORY: '3' });
});
afterAll(() => bed.stop());
beforeEach(async () => {
  registry = await aToldRegistry();
  bed.applied.length = 0;
});
afterEach(async () => {
  await registry.close();
  await other?.stop();
  other = undefined;
});

const image = (name: string, given: object = {}) => ({
  from: { kind: 'DockerImage', name: name.includes('/') ? name : `${registry.host}/team/app:${name}` },
  importPolicy: { insecure: true },
  ...given,
});
const images = (...names: string[]) => ({ import: false, images: names.map((name) => image(name)) });
const outcomes = (body: object) =>
  (body as { status: { images: { status: { reason?: string; message?: string; status: string } }[] } }).status.images.map(
    ({ status }) => status.reason ?? status.status,
  );
const messages = (body: object) =>
  (body as { status: { images: { status: { message?: string } }[] } }).status.images.map(({ status }) => status.message);

describe('an import that looks at images', () => {
  it('asks for many tags side by side, and for each image and config once', async () => {
    const [one, two] = [makeImage('one'), makeImage('two')];
    const tags = Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`t${i}`, i % 2 ? one : two]));
    registry.has('team/app', tags);
    const held: (() => void)[] = [];
    registry.answer = (request, _response, proceed) => {
      if (!request.url?.includes('/manifests/')) return proceed();
      held.push(proceed);
      // Nobody is answered until most have asked.
      if (held.length >= 8) held.splice(0).forEach((answer) => answer());
    };
    const { code, body } = await bed.post(images(...Object.keys(tags).slice(0, 8), 't0', 't1'));

    expect(code).toBe(201);
    expect(outcomes(body)).toEqual(Array.from({ length: 10 }, () => 'Success'));
    const asked = registry.asked.filter((line) => !line.endsWith('/v2/'));
    expect(asked.filter((line) => line.includes('/manifests/'))).toHaveLength(8);
    expect(asked.filter((line) => line.includes('/blobs/'))).toHaveLength(2);
    expect(bed.applied).toEqual([]);
  });

  it('takes of an index the image of the preferred platform, or all of it', async () => {
    const index = makeIndex('platforms', ['amd64', 'arm64']);
    registry.has('team/app', { latest: index });
    bed.streams.set('preferring', {
      metadata: { name: 'preferring', resourceVersion: '5' },
      spec: { tags: [{ name: 'latest', annotations: { 'importer.image.openshift.io/prefer-arch': 'arm64' } }] },
    });
    const spec = {
      import: false,
      images: [image('latest'), image('latest', { importPolicy: { insecure: true, importMode: 'PreserveOriginal' } })],
    };
    const { body } = await bed.post(spec, { metadata: { name: 'preferring' } });

    expect(body).toMatchObject({
      status: {
        images: [
          { image: { metadata: { name: index.images[1]?.digest } }, tag: 'latest' },
          { image: { metadata: { name: index.digest } }, manifests: index.images.map(({ digest }) => ({ metadata: { name: digest } })) },
        ],
      },
    });
  });

  it('has what it found put into the stream when it is asked to, and passes a dry run on', async () => {
    registry.has('team/app', { latest: makeImage('put') });
    await bed.post({ ...images('latest', 'missing'), import: true }, { dryRun: true });

    expect(bed.applied).toMatchObject([
      {
        namespace: 'default',
        stream: 's',
        dryRun: true,
        tags: [
          { tag: 'latest', generation: null, result: { kind: 'found', image: { metadata: { name: makeImage('put').digest } } } },
          { tag: 'missing', result: { kind: 'failed', reason: 'NotFound' } },
        ],
      },
    ]);
  });

  it('of a repository takes the first tags, and names the others', async () => {
    const tags = Object.fromEntries(['v1', 'latest', '1.1', '2.0', 'old'].map((tag) => [tag, makeImage(tag)]));
    registry.has('team/app', tags);
    const { body } = await bed.post({ import: false, repository: image(`${registry.host}/team/app`) });

    expect(body).toMatchObject({
      status: { repository: { images: [{ tag: 'latest' }, { tag: '2.0' }, { tag: '1.1' }], additionalTags: ['old', 'v1'] } },
    });
  });
});

describe('an import with input that cannot be used', () => {
  it('is told that the credentials are wrong, without them', async () => {
    bed.secret(registry.host, 'robot', 'not-the-password');
    registry.answer = (request, response, proceed) => {
      if (request.headers.authorization === `Basic ${Buffer.from('robot:right').toString('base64')}`) return proceed();
      response.writeHead(401, { 'www-authenticate': 'Basic realm="registry"' }).end();
    };
    registry.has('team/app', { latest: makeImage('private') });
    const { body } = await bed.post(images('latest'));

    expect(messages(body)).toEqual([`you may not have access to the container image "${registry.host}/team/app:latest"`]);
    expect(JSON.stringify(body)).not.toContain('not-the-password');
    expect(bed.service.logged.join('')).not.toContain('not-the-password');
  });

  it('is told that a host is not found, beside the images that are', async () => {
    registry.has('team/app', { latest: makeImage('beside') });
    const { code, body } = await bed.post(images('latest', 'nosuch.invalid/a/b:1'));

    expect(code).toBe(201);
    expect(outcomes(body)).toEqual(['Success', 'InternalError']);
    expect(messages(body)[1]).toMatch(/^Internal error occurred: nosuch\.invalid\/a\/b:1: Get "http:\/\/nosuch\.invalid\/v2\/": /);
  });

  it('waits for a registry that does not answer no longer than it is allowed to', async () => {
    registry.answer = () => undefined;
    const { body } = await bed.post(images('a', 'b', 'c'));

    expect(messages(body)).toEqual(['a', 'b', 'c'].map((tag) => expect.stringContaining(`team/app:${tag}: Get`) as string));
    expect(outcomes(body)).toEqual(['InternalError', 'InternalError', 'InternalError']);
  });

  it('names a host that no URL can hold, of an image and of a repository', async () => {
    const { code, body } = await bed.post(images('12790.0.1:5000/library/ruby:2.4'));
    const whole = await bed.post({ import: false, repository: image('12790.0.1:5000/library/ruby') });

    expect([code, whole.code]).toEqual([201, 201]);
    expect(outcomes(body)).toEqual(['InternalError']);
    expect(messages(body)[0]).toContain('12790.0.1:5000');
    expect(whole.body).toMatchObject({ status: { repository: { status: { reason: 'InternalError' } } } });
  });

  it('asks nothing of a registry when it asks for too much', async () => {
    const { code, body } = await bed.post(images(...Array.from({ length: 21 }, (_, i) => `t${i}`)));

    expect(code).toBe(422);
    expect(body).toMatchObject({
      message: expect.stringContaining('spec.images: Invalid value: 21: one import takes at most 20 images') as string,
    });
    expect(registry.asked).toEqual([]);
  });

  it.each(['a\0b', 'a\ud800'])('asks nothing for the tag %j, which cannot be stored', async (name) => {
    const { code, body } = await bed.post({ import: true, images: [image('latest', { to: { name } })] });

    expect(code).toBe(400);
    expect(body).toMatchObject({ message: expect.stringContaining('spec.images[0].to.name: a NUL character') as string });
    expect(registry.asked).toEqual([]);
  });

  it('asks nothing of registries that are not on the list', async () => {
    other = await aBed({ ALLOWED_REGISTRIES: '[{ domainName: quay.io }]' });
    const looks = await other.post(images('latest'));
    const writes = await other.post({ ...images('latest'), import: true });
    const whole = await other.post({ import: true, repository: image(`${registry.host}/team/app`) });

    expect(looks.body).toMatchObject({
      message: expect.stringContaining(
        `ImageStreamImport.image.openshift.io "s" is invalid: spec.images[0].from.name: Forbidden: registry "${registry.host}" not allowed by whitelist: "quay.io:443"`,
      ) as string,
    });
    expect(writes.body).toMatchObject({
      message: expect.stringContaining('ImageStream.image.openshift.io "s" is invalid: spec.tags[latest].from.name: Forbidden') as string,
    });
    expect([looks.code, writes.code, whole.code]).toEqual([422, 422, 422]);
    expect(registry.asked).toEqual([]);
    expect(other.applied).toEqual([]);
  });

  it('does not reach into the operator’s network unless that is allowed', async () => {
    other = await aBed({ IMPORT_ALLOW_ADDRESSES: 'public' });
    const { body } = await other.post(images('latest', '10.0.0.1/a/b:1', '169.254.169.254/a/b:1'));

    expect(outcomes(body)).toEqual(['Forbidden', 'Forbidden', 'Forbidden']);
    expect(messages(body)[0]).toContain('a loopback address, and outgoing requests are limited to public addresses');
    expect(registry.asked).toEqual([]);
  });

  it.each([
    ['that is missing', { name: 'missing', resourceVersion: '7' }, 404, 'imagestreamimports.image.openshift.io "missing" not found'],
    ['that has changed', { name: 'changed', resourceVersion: '7' }, 409, 'the image stream was updated from "7" to "8"'],
  ])('is refused for a version of a stream %s', async (_title, metadata, code, message) => {
    bed.streams.set('changed', { metadata: { name: 'changed', resourceVersion: '8' }, spec: {} });
    const answer = await bed.post(images('latest'), { metadata });

    expect(answer).toMatchObject({ code, body: { message: expect.stringContaining(message) as string } });
    expect(registry.asked).toEqual([]);
  });
});

describe('a registry behind an authority of its own', () => {
  it('is asked with the authority and the certificate that the configuration has for it', async () => {
    const authority = await certificate('authority');
    const [server, client] = [await certificate('registry', authority), await certificate('client', authority)];
    registry.has('team/app', { latest: makeImage('private') });
    const withTls = createServer({ ...server, ca: authority.cert, requestCert: true }, (request, response) => {
      const { url, method, headers } = request;
      const onward = httpRequest(`http://${registry.host}${url}`, { method, headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 500, answer.headers);
        answer.pipe(response);
      });
      onward.end();
    });
    await new Promise<void>((resolve) => withTls.listen(0, '127.0.0.1', resolve));
    const host = `127.0.0.1:${(withTls.address() as AddressInfo).port}`;
    const wanted = { import: false, images: [image(`${host}/team/app:latest`, { importPolicy: {} })] };

    const reached = { registry: host, ca: authority.cert, certificate: client.cert, key: client.key };
    other = await aBed({ IMPORT_REGISTRIES: JSON.stringify([reached]) });
    const known = await other.post(wanted);
    const unknown = await bed.post(wanted);
    await new Promise((resolve) => withTls.close(resolve).closeAllConnections());

    expect(outcomes(known.body)).toEqual(['Success']);
    expect(outcomes(unknown.body)).toEqual(['InternalError']);
    expect(messages(unknown.body)[0]).toMatch(/certificate/);
  });
});
