import { Injectable } from '@nestjs/common';
import type { ObjectAnswer, ObjectQuestion } from '@millrace/contracts/requests';
import {
  DeadFacts,
  fieldsOf,
  Images as ImagesResource,
  ImageSignatures,
  ImageStreamImages,
  ImageStreamMappings,
  ImageStreams,
  ImageStreamTags,
  ImageTags as ImageTagsResource,
  Namespaces,
  ProjectRequests,
  Projects as ProjectsResource,
  Secrets as SecretsResource,
  ServiceAccounts as ServiceAccountsResource,
  TagChanges as TagChangesResource,
} from '@millrace/contracts/resources';
import { Image } from '@millrace/domain/image';
import { ImageSignature } from '@millrace/domain/image-signature';
import { ImageStream, ImageStreamTag, ImageTag } from '@millrace/domain/image-stream';
import { methodNotAllowed, StatusError } from '@millrace/domain/status';
import { answerOf } from '@millrace/platform/refusals';
import { many, one, selection } from './answers.ts';
import { legacyWarnings, readBody } from './bodies.ts';
import { DeadFactObjects } from './dead-facts.ts';
import { ImageTags } from './image-tags.ts';
import { Images } from './images.ts';
import { Layers } from './layers.ts';
import { Mappings } from './mappings.ts';
import { ObjectChanges } from './object-changes.ts';
import { Projects } from './projects.ts';
import { Secrets } from './secrets.ts';
import { ServiceAccounts } from './service-accounts.ts';
import { Signatures } from './signatures.ts';
import { StreamImages } from './stream-images.ts';
import { StreamStatus } from './stream-status.ts';
import { StreamTags } from './stream-tags.ts';
import { Streams } from './streams.ts';
import { TagChanges } from './tag-changes.ts';
import { asObject } from './views.ts';

/** What a client sends of a stream outside its status subresource; a status that it sends along is not even read. */
const StreamBody = ImageStream.omit({ status: true });

/** Answers questions about objects: by resource and verb to the noun that knows. The one place where a refusal becomes an answer. */
@Injectable()
export class Objects {
  constructor(
    private readonly streams: Streams,
    private readonly streamStatus: StreamStatus,
    private readonly streamTags: StreamTags,
    private readonly imageTags: ImageTags,
    private readonly tagChanges: TagChanges,
    private readonly streamImages: StreamImages,
    private readonly layers: Layers,
    private readonly images: Images,
    private readonly signatures: Signatures,
    private readonly mappings: Mappings,
    private readonly feed: ObjectChanges,
    private readonly projects: Projects,
    private readonly secrets: Secrets,
    private readonly serviceAccounts: ServiceAccounts,
    private readonly deadFacts: DeadFactObjects,
  ) {}

  async answer(question: ObjectQuestion): Promise<ObjectAnswer> {
    return answerOf(() => this.dispatch(question));
  }

  private dispatch(question: ObjectQuestion): Promise<ObjectAnswer> {
    switch (question.subresource ? `${question.resource}/${question.subresource}` : question.resource) {
      case ImageStreams.resource:
        return this.ofStreams(question);
      case `${ImageStreams.resource}/status`:
        return this.ofStreamStatus(question);
      case `${ImageStreams.resource}/layers`:
        return this.ofLayers(question);
      case `${ImageStreams.resource}/secrets`:
        return this.ofPullSecrets(question);
      case ImageStreamTags.resource:
        return this.ofStreamTags(question);
      case ImageTagsResource.resource:
        return this.ofImageTags(question);
      case ImageStreamImages.resource:
        return this.ofStreamImages(question);
      case ImagesResource.resource:
        return this.ofImages(question);
      case ImageSignatures.resource:
        return this.ofSignatures(question);
      case Namespaces.resource:
      case ProjectsResource.resource:
      case ProjectRequests.resource:
        return this.projects.answer(question);
      case SecretsResource.resource:
        return this.secrets.answer(question);
      case ServiceAccountsResource.resource:
        return question.verb === 'changes' ? this.feed.ofServiceAccounts(question) : this.serviceAccounts.answer(question);
      case ImageStreamMappings.resource:
        return this.ofMappings(question);
      case TagChangesResource.resource:
        return this.ofTagChanges(question);
      case `${TagChangesResource.resource}/approve`:
      case `${TagChangesResource.resource}/release`:
      case `${TagChangesResource.resource}/rollback`:
        return this.ofTagActs(question);
      case DeadFacts.resource:
        return this.ofDeadFacts(question);
      case `${DeadFacts.resource}/replay`:
        return this.ofReplays(question);
      default:
        throw new StatusError(methodNotAllowed());
    }
  }

  private async ofStreams(question: ObjectQuestion): Promise<ObjectAnswer> {
    const namespace = question.namespace ?? '';
    switch (question.verb) {
      case 'get':
        return one(200, asObject('ImageStream', await this.streams.get(namespace, question.name, question.historyLimit)));
      case 'list':
        return many(await this.streams.list(selection(question, fieldsOf(ImageStreams)), question.historyLimit));
      case 'create': {
        const { object, warnings } = readBody(StreamBody, 'ImageStream', question.object, { namespace });
        return one(201, asObject('ImageStream', await this.streams.create(namespace, object, question)), warnings);
      }
      case 'update': {
        const { object, warnings } = readBody(StreamBody, 'ImageStream', question.object, { namespace, name: question.name });
        return one(200, asObject('ImageStream', await this.streams.update(namespace, question.name, object, question)), warnings);
      }
      case 'delete':
        return one(200, await this.streams.remove(namespace, question.name, question.preconditions ?? {}, question));
      case 'deletecollection':
        return many(await this.streams.removeAll(selection(question, fieldsOf(ImageStreams)), question));
      case 'changes':
        return this.feed.ofStreams(question);
    }
  }

  private async ofStreamStatus(question: ObjectQuestion): Promise<ObjectAnswer> {
    if (question.verb === 'get') return this.ofStreams(question);
    if (question.verb !== 'update') throw new StatusError(methodNotAllowed());
    const { namespace = '', name } = question;
    const { object, warnings } = readBody(ImageStream, 'ImageStream', question.object, { namespace, name });
    return one(200, asObject('ImageStream', await this.streamStatus.update(namespace, name, object, question)), warnings);
  }

  private async ofLayers(question: ObjectQuestion): Promise<ObjectAnswer> {
    if (question.verb !== 'get') throw new StatusError(methodNotAllowed());
    return one(200, asObject('ImageStreamLayers', await this.layers.get(question.namespace ?? '', question.name)));
  }

  /** Of the namespace: the stream need not be there. */
  private async ofPullSecrets(question: ObjectQuestion): Promise<ObjectAnswer> {
    if (question.verb !== 'get') throw new StatusError(methodNotAllowed());
    return one(200, asObject('SecretList', await this.secrets.forPulling(question)));
  }

  private async ofStreamTags(question: ObjectQuestion): Promise<ObjectAnswer> {
    const namespace = question.namespace ?? '';
    switch (question.verb) {
      case 'get':
        return one(
          200,
          asObject('ImageStreamTag', await this.streamTags[question.forUpdate ? 'toUpdate' : 'get'](namespace, question.name)),
        );
      case 'list':
        return many(await this.streamTags.list(selection(question, fieldsOf(ImageStreamTags))));
      case 'create': {
        const { object, warnings } = readBody(ImageStreamTag, 'ImageStreamTag', question.object, { namespace });
        return one(201, asObject('ImageStreamTag', await this.streamTags.create(namespace, object, question)), warnings);
      }
      case 'update': {
        const { object, warnings } = readBody(ImageStreamTag, 'ImageStreamTag', question.object, { namespace, name: question.name });
        const { created, tag } = await this.streamTags.update(namespace, question.name, object, question);
        return one(created ? 201 : 200, asObject('ImageStreamTag', tag), warnings);
      }
      case 'delete':
        return one(200, await this.streamTags.remove(namespace, question.name, question.preconditions ?? {}, question));
      default:
        throw new StatusError(methodNotAllowed());
    }
  }

  private async ofImageTags(question: ObjectQuestion): Promise<ObjectAnswer> {
    const namespace = question.namespace ?? '';
    const { imageTags } = this;
    switch (question.verb) {
      case 'get': {
        const { name, historyLimit, forUpdate } = question;
        const tag = await (forUpdate ? imageTags.toUpdate(namespace, name) : imageTags.get(namespace, name, historyLimit));
        return one(200, asObject('ImageTag', tag));
      }
      case 'list':
        return many(await imageTags.list(selection(question, fieldsOf(ImageTagsResource)), question.historyLimit));
      case 'create': {
        const { object, warnings } = readBody(ImageTag, 'ImageTag', question.object, { namespace });
        return one(201, asObject('ImageTag', await imageTags.create(namespace, object, question)), warnings);
      }
      case 'update': {
        const { object, warnings } = readBody(ImageTag, 'ImageTag', question.object, { namespace, name: question.name });
        const { created, tag } = await imageTags.update(namespace, question.name, object, question);
        return one(created ? 201 : 200, asObject('ImageTag', tag), warnings);
      }
      case 'delete':
        return one(200, await imageTags.remove(namespace, question.name, question.preconditions ?? {}, question));
      default:
        throw new StatusError(methodNotAllowed());
    }
  }

  private async ofStreamImages(question: ObjectQuestion): Promise<ObjectAnswer> {
    if (question.verb !== 'get') throw new StatusError(methodNotAllowed());
    return one(200, asObject('ImageStreamImage', await this.streamImages.get(question.namespace ?? '', question.name)));
  }

  private async ofImages(question: ObjectQuestion): Promise<ObjectAnswer> {
    switch (question.verb) {
      case 'get':
        return one(200, asObject('Image', await this.images.get(question.name)));
      case 'list':
        return many(await this.images.list(selection(question, fieldsOf(ImagesResource))));
      case 'create': {
        const { object, warnings } = readBody(Image, 'Image', question.object, {});
        return one(201, asObject('Image', await this.images.create(object, question)), warnings);
      }
      case 'update': {
        const { object, warnings } = readBody(Image, 'Image', question.object, { name: question.name });
        return one(200, asObject('Image', await this.images.update(question.name, object, question)), warnings);
      }
      case 'delete':
        return one(200, await this.images.remove(question.name, question.preconditions ?? {}, question));
      case 'deletecollection':
        return many(await this.images.removeAll(selection(question, fieldsOf(ImagesResource)), question));
      case 'changes':
        return this.feed.ofImages(question);
    }
  }

  private async ofSignatures(question: ObjectQuestion): Promise<ObjectAnswer> {
    if (question.verb === 'delete') return one(200, await this.signatures.remove(question.name, question));
    if (question.verb !== 'create') throw new StatusError(methodNotAllowed());
    const { object, warnings } = readBody(ImageSignature, 'ImageSignature', question.object, {});
    return one(201, asObject('ImageSignature', await this.signatures.create(object, question)), warnings);
  }

  private async ofMappings(question: ObjectQuestion): Promise<ObjectAnswer> {
    if (question.verb !== 'create') throw new StatusError(methodNotAllowed());
    const { status, warnings } = await this.mappings.post({ ...question, namespace: question.namespace ?? '' });
    return one(201, status, [...legacyWarnings('ImageStreamMapping', question.object), ...warnings]);
  }

  private async ofTagChanges(question: ObjectQuestion): Promise<ObjectAnswer> {
    switch (question.verb) {
      case 'get':
        return one(200, asObject('TagChange', await this.tagChanges.get(question.namespace ?? '', question.name)));
      case 'list':
        return many(await this.tagChanges.list(selection(question, fieldsOf(TagChangesResource))));
      default:
        throw new StatusError(methodNotAllowed());
    }
  }

  private async ofTagActs(question: ObjectQuestion): Promise<ObjectAnswer> {
    if (question.verb !== 'create') throw new StatusError(methodNotAllowed());
    const { namespace = '', name = '', object } = question;
    const at = { namespace, name };
    switch (question.subresource) {
      case 'approve':
        return one(201, asObject('TagApproval', await this.tagChanges.approve(at, object, question)));
      case 'rollback':
        return one(201, asObject('TagRollback', await this.tagChanges.rollBack(at, object, question)));
      default:
        return one(201, asObject('TagRelease', await this.tagChanges.release(at, object, question)));
    }
  }

  private async ofDeadFacts(question: ObjectQuestion): Promise<ObjectAnswer> {
    switch (question.verb) {
      case 'get':
        return one(200, await this.deadFacts.get(question.name));
      case 'list':
        return many(await this.deadFacts.list(question));
      case 'delete':
        return one(200, await this.deadFacts.drop(question.name, question));
      default:
        throw new StatusError(methodNotAllowed());
    }
  }

  private async ofReplays(question: ObjectQuestion): Promise<ObjectAnswer> {
    if (question.verb !== 'create') throw new StatusError(methodNotAllowed());
    return one(201, await this.deadFacts.replay(question.name ?? '', question));
  }
}
