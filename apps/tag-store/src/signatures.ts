import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import {
  hasSignature,
  type ImageSignature,
  parseSignatureName,
  submittedSignature,
  validateSignature,
} from '@millrace/domain/image-signature';
import { IMAGE_GROUP } from '@millrace/domain/image-stream';
import { alreadyExists, badRequest, invalid, notFound, type Status, StatusError, success } from '@millrace/domain/status';
import { Store } from '@millrace/platform/store';
import { IMAGES, Images } from './images.ts';
import { inSeconds } from './stream-rows.ts';
import { signatureView } from './views.ts';
import type { WriteOptions } from './writes.ts';

/** As the reference spells it where a signature is there already, or is not. */
const SIGNATURES = { group: IMAGE_GROUP, resource: 'imageSignatures' };
const KIND = 'ImageSignature';

/** Signatures of images: each is a part of its image, and a change of one is a change of the image. */
@Injectable()
export class Signatures {
  constructor(
    private readonly store: Store,
    private readonly images: Images,
  ) {}

  async create(submitted: ImageSignature, { dryRun }: WriteOptions): Promise<ImageSignature> {
    const wanted = submittedSignature(submitted);
    const { name = '' } = wanted.metadata;
    const errors = validateSignature(wanted);
    if (errors.length) throw new StatusError(invalid(IMAGE_GROUP, KIND, name, errors));
    const signature = { ...wanted, metadata: { name, uid: randomUUID(), creationTimestamp: inSeconds(new Date()) } };
    await this.store.write(dryRun, async (tx) => {
      const { image: imageName } = parseSignatureName(name) ?? { image: '' };
      const image = await this.images.lock(tx, imageName);
      if (!image) throw new StatusError(notFound(IMAGES, imageName));
      const { signatures = [] } = image;
      if (hasSignature(signatures, signature)) throw new StatusError(alreadyExists(SIGNATURES, name));
      await this.images.replace(tx, image, { ...image, signatures: [...signatures, signature] });
    });
    return signatureView(signature);
  }

  async remove(name: string, { dryRun }: WriteOptions): Promise<Status> {
    const parsed = parseSignatureName(name);
    if (!parsed) throw new StatusError(badRequest('ImageSignatures must be accessed with <imageName>@<signatureName>'));
    return this.store.write(dryRun, async (tx) => {
      const image = await this.images.lock(tx, parsed.image);
      if (!image) throw new StatusError(notFound(IMAGES, parsed.image));
      const { signatures = [] } = image;
      const left = signatures.filter((one) => one.metadata.name !== name);
      if (left.length === signatures.length) throw new StatusError(notFound(SIGNATURES, name));
      await this.images.replace(tx, image, { ...image, signatures: left });
      return success();
    });
  }
}
