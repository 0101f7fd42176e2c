import { Injectable } from '@nestjs/common';
import { createHash } from 'node:crypto';
import { ImageStreams, ImageTriggers, type Resource } from '@millrace/contracts/resources';
import { methodNotAllowed, noSuchPath, notFound, StatusError } from '@millrace/domain/status';
import { Objects, type Outcome } from './objects.ts';
import type { ObjectPath } from './protocol.ts';

const LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const PAGE = 500;
const MAX_PAGES = 200;

/** Namespaces exist as soon as something names them: nobody makes or deletes one. */
@Injectable()
export class Namespaces {
  constructor(private readonly objects: Objects) {}

  async answer(path: ObjectPath, verb: string): Promise<Outcome> {
    if (path.subresource !== undefined) throw new StatusError(noSuchPath());
    if (verb === 'get' && path.name !== undefined) return this.get(path.name);
    if (verb === 'list') return this.list();
    throw new StatusError(methodNotAllowed());
  }

  private get(name: string): Outcome {
    if (!LABEL.test(name)) throw new StatusError(notFound({ group: '', resource: 'namespaces' }, name));
    return { code: 200, warnings: [], content: { kind: 'object', object: namespaceOf(name) } };
  }

  /** Those in which streams or triggers are. */
  private async list(): Promise<Outcome> {
    const found = await Promise.all([this.namespacesIn(ImageStreams), this.namespacesIn(ImageTriggers)]);
    const items = [...new Set(found.flat())].sort().map(namespaceOf);
    return { code: 200, warnings: [], content: { kind: 'list', items, metadata: {} } };
  }

  private async namespacesIn(resource: Resource): Promise<string[]> {
    const names = new Set<string>();
    let next: string | undefined;
    for (let page = 0; page < MAX_PAGES; page++) {
      const question = { verb: 'list', resource: resource.resource, limit: PAGE, continue: next, historyLimit: 1 } as const;
      const answer = await this.objects.ask(resource, question, 'list');
      for (const item of answer.items as { metadata?: { namespace?: string } }[])
        if (item.metadata?.namespace) names.add(item.metadata.namespace);
      next = answer.continue;
      if (!next) break;
    }
    return [...names];
  }
}

function namespaceOf(name: string): Record<string, unknown> {
  const hash = createHash('sha256').update(`namespace/${name}`).digest('hex');
  return {
    kind: 'Namespace',
    apiVersion: 'v1',
    metadata: {
      name,
      uid: [hash.slice(0, 8), hash.slice(8, 12), `5${hash.slice(13, 16)}`, `8${hash.slice(17, 20)}`, hash.slice(20, 32)].join('-'),
      resourceVersion: '1',
      creationTimestamp: null,
      labels: { 'kubernetes.io/metadata.name': name },
    },
    spec: { finalizers: ['kubernetes'] },
    status: { phase: 'Active' },
  };
}
