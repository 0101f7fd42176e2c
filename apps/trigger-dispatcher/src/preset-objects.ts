import { Injectable } from '@nestjs/common';
import type { ObjectAnswer, ObjectQuestion } from '@millrace/contracts/requests';
import { TRIGGER_API_VERSION, TRIGGER_GROUP } from '@millrace/domain/image-trigger';
import { matchesFields, matchesLabels, parseFieldSelector, parseLabelSelector } from '@millrace/domain/selectors';
import { methodNotAllowed, notFound, StatusError } from '@millrace/domain/status';
import { presetNamed, type WebhookPreset, webhookPresets } from '@millrace/domain/webhook-presets';

const RESOURCE = { group: TRIGGER_GROUP, resource: 'webhookpresets' };
/** They change with the release alone. */
const VERSION = '1';

/** Presets as objects of the API, to be looked up. */
@Injectable()
export class PresetObjects {
  async answer(question: ObjectQuestion): Promise<ObjectAnswer> {
    if (question.verb === 'get' && !question.subresource) {
      const preset = presetNamed(question.name);
      if (!preset) throw new StatusError(notFound(RESOURCE, question.name));
      return { kind: 'object', code: 200, object: presetObject(preset) };
    }
    if (question.verb === 'list') {
      const labels = parseLabelSelector(question.labelSelector ?? '');
      const fields = parseFieldSelector(question.fieldSelector ?? '', ['metadata.name', 'metadata.namespace']);
      const items = webhookPresets.filter(
        ({ name }) => matchesLabels(labels, {}) && matchesFields(fields, (field) => (field === 'metadata.name' ? name : '')),
      );
      return { kind: 'list', items: items.map(presetObject), resourceVersion: VERSION };
    }
    throw new StatusError(methodNotAllowed());
  }
}

const presetObject = ({ name, ...spec }: WebhookPreset): object => ({
  apiVersion: TRIGGER_API_VERSION,
  kind: 'WebhookPreset',
  metadata: { name },
  spec,
});
