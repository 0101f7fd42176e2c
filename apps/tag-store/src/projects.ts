import { Injectable } from '@nestjs/common';
import type { ObjectAnswer, ObjectQuestion } from '@millrace/contracts/requests';
import { fieldsOf, Namespaces as NamespacesResource, ProjectRequests, Projects as ProjectsResource } from '@millrace/contracts/resources';
import {
  NamespaceObject,
  PROJECT_GROUP,
  ProjectRequest,
  requestedProject,
  reservedProject,
  validateNamespace,
  validateProject,
  validateProjectUpdate,
} from '@millrace/domain/namespace';
import { alreadyExists, invalid, methodNotAllowed, StatusError, success } from '@millrace/domain/status';
import { many, one, selection } from './answers.ts';
import { readBody } from './bodies.ts';
import { type NamespaceRules, Namespaces } from './namespaces.ts';
import { ObjectChanges } from './object-changes.ts';
import { asObject } from './views.ts';
import type { WriteOptions } from './writes.ts';

/** The two names under which clients know namespaces, and what each is checked for. */
const VIEWS = {
  [NamespacesResource.resource]: { group: '', kind: 'Namespace', validate: validateNamespace },
  [ProjectsResource.resource]: {
    group: PROJECT_GROUP,
    kind: 'Project',
    validate: (metadata, old) => (old ? validateProjectUpdate(old, metadata) : validateProject(metadata)),
  },
} satisfies Record<string, NamespaceRules & { kind: 'Namespace' | 'Project' }>;

/** Answers for namespaces, for projects, which are the same to OpenShift's clients, and for requests of projects. */
@Injectable()
export class Projects {
  constructor(
    private readonly namespaces: Namespaces,
    private readonly feed: ObjectChanges,
  ) {}

  async answer(question: ObjectQuestion): Promise<ObjectAnswer> {
    if (question.resource === ProjectRequests.resource) return this.ofRequests(question);
    const rules = VIEWS[question.resource];
    if (!rules) throw new StatusError(methodNotAllowed());
    const { kind } = rules;
    switch (question.verb) {
      case 'get':
        return one(200, asObject(kind, await this.namespaces.get(question.name)));
      case 'list':
        return many(await this.namespaces.list(selection(question, fieldsOf(NamespacesResource))));
      case 'create': {
        const { object } = readBody(NamespaceObject, kind, question.object, {});
        return one(201, asObject(kind, await this.namespaces.create(object.metadata, question, rules)));
      }
      case 'update': {
        const { object } = readBody(NamespaceObject, kind, question.object, { name: question.name });
        return one(200, asObject(kind, await this.namespaces.update(question.name, object.metadata, question, rules)));
      }
      case 'delete':
        return one(200, await this.namespaces.remove(question.name, question.preconditions ?? {}, question));
      case 'changes':
        return this.feed.ofNamespaces(question, kind);
      default:
        throw new StatusError(methodNotAllowed());
    }
  }

  /** A request makes the project at once; to list them asks whether one may. */
  private async ofRequests(question: ObjectQuestion): Promise<ObjectAnswer> {
    if (question.verb === 'list') return one(200, success());
    if (question.verb !== 'create') throw new StatusError(methodNotAllowed());
    const { object } = readBody(ProjectRequest, 'ProjectRequest', question.object, {});
    return one(201, asObject('Project', await this.request(object, question)));
  }

  private async request(wanted: ProjectRequest, options: WriteOptions): Promise<NamespaceObject> {
    const { name = '' } = wanted.metadata;
    const errors = validateProject(wanted.metadata);
    if (errors.length) throw new StatusError(invalid(PROJECT_GROUP, 'ProjectRequest', name, errors));
    const reserved = reservedProject(name);
    if (reserved) throw new StatusError(reserved);
    try {
      return await this.namespaces.create(requestedProject(wanted, options.user.name), options, VIEWS[ProjectsResource.resource]);
    } catch (error) {
      if (!(error instanceof StatusError) || error.status.reason !== 'AlreadyExists') throw error;
      throw new StatusError(alreadyExists({ group: PROJECT_GROUP, resource: 'project' }, name), { cause: error });
    }
  }
}
