import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { MadeImage, MadeIndex } from './images.ts';

/** A registry over plain HTTP that answers, fails and hangs as it is told. */
export interface ToldRegistry {
  /** `127.0.0.1:PORT` */
  host: string;
  /** Method and path of each request, in order. */
  asked: string[];
  /** What happens to a request; it is answered as it should be unless said otherwise. */
  answer: (request: IncomingMessage, response: ServerResponse, proceed: () => void) => void;
  has: (repository: string, tags: Record<string, MadeImage | MadeIndex>) => void;
  close: () => Promise<void>;
}

export async function aToldRegistry(): Promise<ToldRegistry> {
  const content = new Map<string, { body: Buffer; type: string }>();
  const tagsOf = new Map<string, Map<string, string>>();
  const server = createServer((request, response) => {
    const [path = ''] = (request.url ?? '').split('?');
    registry.asked.push(`${request.method} ${path}`);
    const [, repository = '', kind, name = ''] = /^\/v2\/(.+)\/(manifests|blobs|tags)\/(.+)$/.exec(path) ?? [];
    const proceed = () => {
      const tags = tagsOf.get(repository);
      if (kind === 'tags' && tags) return response.writeHead(200).end(JSON.stringify({ name: repository, tags: [...tags.keys()] }));
      const found = content.get(tags?.get(name) ?? name);
      if (found) return response.writeHead(200, { 'content-type': found.type }).end(request.method === 'HEAD' ? undefined : found.body);
      return response
        .writeHead(404)
        .end(JSON.stringify({ errors: [{ code: tags ? 'MANIFEST_UNKNOWN' : 'NAME_UNKNOWN', message: 'not here' }] }));
    };
    registry.answer(request, response, () => void proceed());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const put = (image: MadeImage | MadeIndex): void => {
    content.set(image.digest, { body: image.manifest, type: image.mediaType });
    if ('images' in image) image.images.forEach(put);
    else content.set(image.config.digest, { body: image.config.body, type: 'application/octet-stream' });
  };
  const registry: ToldRegistry = {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked: [],
    answer: (_request, _response, proceed) => proceed(),
    has: (repository, tags) => {
      tagsOf.set(
        repository,
        new Map([...(tagsOf.get(repository) ?? []), ...Object.entries(tags).map(([tag, image]) => [tag, image.digest] as const)]),
      );
      Object.values(tags).forEach(put);
    },
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
  return registry;
}
