import { z } from 'zod';

/*
 * Receivers that are known, as data: what to send so that they act. Templates are Liquid over the event (webhook-variables.ts); a value is
 * escaped for the place where it stands, unless the template says `raw` or `json`. What is sent is what the receiver's own documentation
 * or source says, which each preset names.
 */

export const PresetParameter = z
  .object({
    description: z.string().describe('What it is for'),
    required: z.boolean().describe('Whether it must be given'),
    secret: z.boolean().describe('Whether it is a credential: kept encrypted, never read back; best given by parametersFrom'),
    default: z.string().optional().describe('What it is where it is not given'),
    pattern: z.string().optional().describe('A regular expression that the whole of it fits'),
  })
  .meta({ id: 'WebhookPresetParameter' });
export type PresetParameter = z.infer<typeof PresetParameter>;

export const PresetSpec = z.object({
  receiver: z.string().describe('What is called'),
  description: z.string().describe('What happens there'),
  documentation: z.array(z.string()).describe('Where the receiver says what it takes'),
  method: z.enum(['POST', 'PUT', 'PATCH']),
  url: z.string().describe('Template'),
  headers: z.record(z.string(), z.string()).describe('Templates; one that comes to nothing is not sent'),
  contentType: z.string(),
  body: z.string().describe('Template'),
  succeeds: z.array(z.int()).optional().describe('Statuses that mean success, where not every 2xx does'),
  parameters: z.record(z.string(), PresetParameter),
});

/** A preset as an object of the API. */
export const WebhookPresetObject = z
  .object({
    kind: z.string().optional(),
    apiVersion: z.string().optional(),
    metadata: z.looseObject({ name: z.string() }),
    spec: PresetSpec,
  })
  .meta({ id: 'WebhookPreset', description: 'A receiver of webhooks that is known. Read only: they come with the release.' });

export interface WebhookPreset extends z.infer<typeof PresetSpec> {
  name: string;
}

const must = (description: string, more: Partial<PresetParameter> = {}): PresetParameter => ({
  description,
  required: true,
  secret: false,
  ...more,
});
const may = (description: string, more: Partial<PresetParameter> = {}): PresetParameter => ({
  description,
  required: false,
  secret: false,
  ...more,
});
const SECRET = { secret: true } as const;
/** A path and query that goes into the URL as it is. */
const PATH = { pattern: '/[^\\s#]*' } as const;

const JSON_TYPE = 'application/json';
const BEARER = { Authorization: 'Bearer {{ parameters.token }}' };
/** A receiver that looks into any JSON finds these at the top; `event` is the whole event. */
const FLAT = `{
  "id": "{{ id }}",
  "kind": "{{ kind }}",
  "image": "{{ image }}",
  "repository": "{{ repository }}",
  "digest": "{{ digest }}",
  "namespace": "{{ namespace }}",
  "stream": "{{ stream }}",
  "tag": "{{ tag }}",
  "trigger": "{{ trigger.namespace }}/{{ trigger.name }}",
  "labels": {{ labels | json }},
  "event": {{ event | json }}
}`;

const POST = { method: 'POST', contentType: JSON_TYPE } as const;

export const webhookPresets: readonly WebhookPreset[] = [
  {
    ...POST,
    name: 'argocd-kustomize-image',
    receiver: 'Argo CD',
    description:
      'Sets the image of an Application whose source is a Kustomize overlay; where the Application syncs automatically, that deploys it. Needs the ' +
      'right to update the Application. Other images that are overridden in its spec are replaced.',
    documentation: [
      'https://argo-cd.readthedocs.io/en/stable/developer-guide/api-docs/',
      'https://github.com/argoproj/argo-cd/blob/master/assets/swagger.json (ApplicationService_Patch)',
      'https://argo-cd.readthedocs.io/en/stable/user-guide/kustomize/',
    ],
    method: 'PATCH',
    url: '{{ parameters.server }}/api/v1/applications/{{ parameters.application }}',
    headers: BEARER,
    body: `{
  "name": "{{ parameters.application }}",
  {% if parameters.appNamespace %}"appNamespace": "{{ parameters.appNamespace }}",{% endif %}
  "patchType": "merge",
  "patch": "{\\"spec\\":{\\"source\\":{\\"kustomize\\":{\\"images\\":[\\"{{ parameters.image }}={{ image }}\\"]}}}}"
}`,
    succeeds: [200],
    parameters: {
      server: must('Address of Argo CD: https://argocd.example.com'),
      application: must('Name of the Application'),
      appNamespace: may('Namespace of the Application, where it is not that of Argo CD'),
      image: must('Name of the image as the overlay has it', { pattern: '[A-Za-z0-9][A-Za-z0-9._:/-]*' }),
      token: must('Token of an account of Argo CD', SECRET),
    },
  },
  {
    ...POST,
    name: 'argocd-sync',
    receiver: 'Argo CD',
    description:
      'Syncs an Application. What it deploys is what its source says: for manifests that name the tag and are made anew, or a source that is itself ' +
      'an OCI artifact. (The /api/webhook of Argo CD takes what Git hosts and registries send, and only compares Applications with their source.)',
    documentation: [
      'https://argo-cd.readthedocs.io/en/stable/developer-guide/api-docs/',
      'https://github.com/argoproj/argo-cd/blob/master/assets/swagger.json (ApplicationService_Sync)',
    ],
    url: '{{ parameters.server }}/api/v1/applications/{{ parameters.application }}/sync',
    headers: BEARER,
    body: `{
  {% if parameters.appNamespace %}"appNamespace": "{{ parameters.appNamespace }}",{% endif %}
  {% if parameters.revision %}"revision": "{{ parameters.revision }}",{% endif %}
  "infos": [
    { "name": "image", "value": "{{ image }}" },
    { "name": "trigger", "value": "{{ trigger.namespace }}/{{ trigger.name }}" }
  ]
}`,
    succeeds: [200],
    parameters: {
      server: must('Address of Argo CD: https://argocd.example.com'),
      application: must('Name of the Application'),
      appNamespace: may('Namespace of the Application, where it is not that of Argo CD'),
      revision: may('What of its source is deployed, where it is not the target revision'),
      token: must('Token of an account of Argo CD', SECRET),
    },
  },
  {
    ...POST,
    name: 'flux-receiver',
    receiver: 'Flux',
    description:
      'Has a Receiver of type generic, or with a token generic-hmac, reconcile its resources at once: an ImageRepository, a HelmRepository, a Kustomization.',
    documentation: [
      'https://fluxcd.io/flux/components/notification/receivers/#generic',
      'https://fluxcd.io/flux/components/notification/receivers/#generic-hmac',
    ],
    url: '{{ parameters.server }}{{ parameters.path | raw }}',
    headers: { 'X-Signature': '{% if parameters.token %}sha256={{ body | hmac_sha256: parameters.token }}{% endif %}' },
    body: FLAT,
    parameters: {
      server: must('Address under which the webhook-receiver of Flux is exposed'),
      path: must('status.webhookPath of the Receiver: /hook/…', { ...SECRET, pattern: '/hook/[0-9a-f]+' }),
      token: may('`token` of the Secret of a generic-hmac Receiver', SECRET),
    },
  },
  {
    ...POST,
    name: 'github-repository-dispatch',
    receiver: 'GitHub',
    description: 'Starts workflows of a repository: `on: repository_dispatch`. They read `github.event.client_payload.image`.',
    documentation: ['https://docs.github.com/en/rest/repos/repos#create-a-repository-dispatch-event'],
    url: '{{ parameters.server }}/repos/{{ parameters.repository | raw }}/dispatches',
    headers: { Accept: 'application/vnd.github+json', 'X-GitHub-Api-Version': '2022-11-28', ...BEARER },
    body: `{
  "event_type": "{{ parameters.eventType }}",
  "client_payload": {
    "id": "{{ id }}",
    "kind": "{{ kind }}",
    "image": "{{ image }}",
    "digest": "{{ digest }}",
    "stream": "{{ namespace }}/{{ stream }}",
    "tag": "{{ tag }}",
    "trigger": "{{ trigger.namespace }}/{{ trigger.name }}",
    "labels": {{ labels | json }}
  }
}`,
    succeeds: [204],
    parameters: {
      server: may('Address of the API: https://github.example.com/api/v3 for a server of your own', { default: 'https://api.github.com' }),
      repository: must('owner/name', { pattern: '[A-Za-z0-9._-]+/[A-Za-z0-9._-]+' }),
      eventType: may('Which `types` of repository_dispatch it is', { default: 'image-updated', pattern: '.{1,100}' }),
      token: must('Token with the right to write the contents of the repository', SECRET),
    },
  },
  {
    ...POST,
    name: 'gitlab-pipeline',
    receiver: 'GitLab',
    description: 'Runs a pipeline of a project. Its jobs have MILLRACE_IMAGE and the other variables.',
    documentation: ['https://docs.gitlab.com/ci/triggers/', 'https://docs.gitlab.com/api/pipeline_triggers/'],
    url: '{{ parameters.server }}/api/v4/projects/{{ parameters.project }}/trigger/pipeline',
    headers: {},
    body: `{
  "token": "{{ parameters.token }}",
  "ref": "{{ parameters.ref }}",
  "variables": {
    "MILLRACE_ID": "{{ id }}",
    "MILLRACE_KIND": "{{ kind }}",
    "MILLRACE_IMAGE": "{{ image }}",
    "MILLRACE_DIGEST": "{{ digest }}",
    "MILLRACE_STREAM": "{{ namespace }}/{{ stream }}",
    "MILLRACE_TAG": "{{ tag }}"
  }
}`,
    succeeds: [201],
    parameters: {
      server: may('Address of GitLab', { default: 'https://gitlab.com' }),
      project: must('Number of the project, or its path: group/app'),
      ref: may('Branch or tag whose pipeline runs', { default: 'main' }),
      token: must('Pipeline trigger token of the project', SECRET),
    },
  },
  {
    ...POST,
    name: 'jenkins-dockerhub',
    receiver: 'Jenkins, CloudBees Docker Hub/Registry Notification',
    description: 'Runs the jobs that wait for a push of the repository, as a webhook of Docker Hub does.',
    documentation: [
      'https://plugins.jenkins.io/dockerhub-notification/',
      'https://github.com/jenkinsci/dockerhub-notification-plugin/blob/master/src/main/java/org/jenkinsci/plugins/registry/notification/webhook/dockerhub/DockerHubWebHookPayload.java',
    ],
    url: '{{ parameters.server }}/dockerhub-webhook/{{ parameters.token }}/notify',
    headers: {},
    body: `{
  "push_data": { "tag": "{{ tag }}" },
  "repository": { "repo_name": "{{ parameters.repository | default: repository }}" }
}`,
    parameters: {
      server: must('Address of Jenkins'),
      repository: may('Repository as the jobs name it, where it is not that of the image'),
      token: must('API token of the plugin', SECRET),
    },
  },
  {
    ...POST,
    name: 'jenkins-generic-webhook',
    receiver: 'Jenkins, Generic Webhook Trigger',
    description: 'Runs the jobs with this token. They take values from the body by JSONPath: $.image, $.tag, $.event.data.cause.',
    documentation: [
      'https://plugins.jenkins.io/generic-webhook-trigger/',
      'https://github.com/jenkinsci/generic-webhook-trigger-plugin/blob/master/src/main/java/org/jenkinsci/plugins/gwt/GenericWebHookRequestReceiver.java',
    ],
    url: '{{ parameters.server }}/generic-webhook-trigger/invoke',
    headers: BEARER,
    body: FLAT,
    succeeds: [200],
    parameters: {
      server: must('Address of Jenkins'),
      token: must('Token of the trigger', SECRET),
    },
  },
  {
    ...POST,
    name: 'kargo',
    receiver: 'Kargo',
    description:
      'Has Warehouses look for new artifacts at once: a receiver of type generic whose action finds them by request.body, such as normalizeImage(request.body.repository).',
    documentation: ['https://docs.kargo.io/user-guide/reference-docs/webhook-receivers/generic'],
    url: '{{ parameters.server }}{{ parameters.path | raw }}',
    headers: { 'X-Event-Type': 'push' },
    body: FLAT,
    succeeds: [200],
    parameters: {
      server: must("Address of Kargo's external webhooks server"),
      path: must("Path of the receiver's URL, as the status of the ProjectConfig shows it", { ...SECRET, ...PATH }),
    },
  },
  {
    ...POST,
    name: 'portainer-service',
    receiver: 'Portainer',
    description: 'Updates a service of Docker Swarm to the tag. Portainer pulls by tag, not by digest.',
    documentation: [
      'https://docs.portainer.io/user/docker/services/webhooks',
      'https://github.com/portainer/portainer/blob/develop/api/http/handler/webhooks/webhook_execute.go',
    ],
    url: '{{ parameters.server }}/api/webhooks/{{ parameters.token }}?tag={{ tag }}',
    headers: {},
    body: '',
    parameters: {
      server: must('Address of Portainer: https://portainer.example.com:9443'),
      token: must("Last part of the webhook's URL", SECRET),
    },
  },
  {
    ...POST,
    name: 'portainer-stack',
    receiver: 'Portainer',
    description: 'Deploys a stack from its Git repository anew.',
    documentation: [
      'https://docs.portainer.io/user/docker/stacks/webhooks',
      'https://github.com/portainer/portainer/blob/develop/api/http/handler/stacks/webhook_invoke.go',
    ],
    url: '{{ parameters.server }}/api/stacks/webhooks/{{ parameters.token }}',
    headers: {},
    body: '',
    parameters: {
      server: must('Address of Portainer: https://portainer.example.com:9443'),
      token: must("Last part of the webhook's URL", SECRET),
    },
  },
  {
    ...POST,
    name: 'slack',
    receiver: 'Slack',
    description: 'Posts a message to the channel of an incoming webhook.',
    documentation: ['https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/'],
    url: '{{ parameters.server }}{{ parameters.path | raw }}',
    headers: {},
    body: `{
  "text": "{{ kind }}: {{ namespace | escape }}/{{ stream | escape }}:{{ tag | escape }} is {{ image | escape }}",
  "blocks": [
    {
      "type": "section",
      "text": { "type": "mrkdwn", "text": "*{{ kind }}*: \`{{ namespace | escape }}/{{ stream | escape }}:{{ tag | escape }}\` is \`{{ image | escape }}\`" }
    },
    {
      "type": "context",
      "elements": [{ "type": "mrkdwn", "text": "Trigger {{ trigger.namespace | escape }}/{{ trigger.name | escape }}, move {{ data.generation }}" }]
    }
  ]
}`,
    succeeds: [200],
    parameters: {
      server: may('Where the webhook is, without its path', { default: 'https://hooks.slack.com' }),
      path: must("What follows the host in the webhook's URL: /services/T…/B…/…", { ...SECRET, ...PATH }),
    },
  },
  {
    ...POST,
    name: 'spinnaker',
    receiver: 'Spinnaker',
    description: 'Starts the pipelines that have a webhook trigger with this source, with the image as a docker/image artifact.',
    documentation: [
      'https://spinnaker.io/docs/guides/user/pipeline/triggers/webhooks/',
      'https://spinnaker.io/docs/reference/artifacts/types/docker-image/',
    ],
    url: '{{ parameters.server }}/webhooks/webhook/{{ parameters.source }}',
    headers: {},
    body: `{
  {% if parameters.secret %}"secret": "{{ parameters.secret }}",{% endif %}
  "parameters": { "image": "{{ image }}", "stream": "{{ namespace }}/{{ stream }}", "tag": "{{ tag }}", "id": "{{ id }}" },
  "artifacts": [
    {
      "type": "docker/image",
      "name": "{{ repository }}",
      "version": "{{ digest | default: tag }}",
      "reference": "{{ image }}"
    }
  ]
}`,
    succeeds: [200],
    parameters: {
      server: must('Address of Gate'),
      source: must('Source of the webhook trigger'),
      secret: may('Value that the trigger asks of `secret` as a payload constraint', SECRET),
    },
  },
  {
    ...POST,
    name: 'teams',
    receiver: 'Microsoft Teams',
    description:
      'Posts an adaptive card through a workflow: "Send webhook alerts to a channel", or "When a Teams webhook request is received".',
    documentation: [
      'https://learn.microsoft.com/en-us/connectors/teams/#when-a-teams-webhook-request-is-received',
      'https://adaptivecards.io/explorer/AdaptiveCard.html',
    ],
    url: '{{ parameters.server }}{{ parameters.path | raw }}',
    headers: {},
    body: `{
  "type": "message",
  "attachments": [
    {
      "contentType": "application/vnd.microsoft.card.adaptive",
      "contentUrl": null,
      "content": {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [
          { "type": "TextBlock", "size": "Medium", "weight": "Bolder", "wrap": true, "text": "{{ kind }}: {{ namespace }}/{{ stream }}:{{ tag }}" },
          {
            "type": "FactSet",
            "facts": [
              { "title": "Image", "value": "{{ image }}" },
              { "title": "Trigger", "value": "{{ trigger.namespace }}/{{ trigger.name }}" },
              { "title": "Move", "value": "{{ data.generation }}" }
            ]
          }
        ]
      }
    }
  ]
}`,
    succeeds: [202],
    parameters: {
      server: must("What comes before the path in the workflow's URL: https://….environment.api.powerplatform.com:443"),
      path: must("What follows the host in the workflow's URL, with its query", { ...SECRET, ...PATH }),
    },
  },
  {
    ...POST,
    name: 'tekton-eventlistener',
    receiver: 'Tekton Triggers',
    description:
      'Calls an EventListener. Its TriggerBindings take values from the body: $(body.image), $(body.tag). With a token, the github interceptor verifies it.',
    documentation: [
      'https://tekton.dev/docs/triggers/eventlisteners/',
      'https://tekton.dev/docs/triggers/interceptors/#github-interceptors',
    ],
    url: '{{ parameters.server }}{{ parameters.path | raw }}',
    headers: { 'X-Hub-Signature-256': '{% if parameters.token %}sha256={{ body | hmac_sha256: parameters.token }}{% endif %}' },
    body: FLAT,
    succeeds: [202],
    parameters: {
      server: must('Address of the EventListener'),
      path: may('Path of the EventListener', { default: '/', ...PATH }),
      token: may('Secret of its github interceptor', SECRET),
    },
  },
];

export const presetNamed = (name: string): WebhookPreset | undefined => webhookPresets.find((preset) => preset.name === name);
