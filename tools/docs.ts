/** Writes docs/generated from the code; `--check` fails when what is committed differs. Run by the pinned Node, which strips types itself. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { documentOf } from '@millrace/api/openapi';
import { asyncApiDocument } from '@millrace/contracts/async-document';
import { events } from '@millrace/contracts/events';
import { resources } from '@millrace/contracts/resources';
import { webhookPresets, type WebhookPreset } from '@millrace/domain/webhook-presets';
import { commonConfig, databaseConfig, isSecret, type ConfigShape } from '@millrace/platform/config';

const root = new URL('../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');
const { version } = JSON.parse(read('package.json')) as { version: string };

const examples = Object.fromEntries(
  events.map((event) => [event.name, JSON.parse(read(`libs/contracts/examples/${event.name}.v1.json`)) as unknown]),
);

const documents: Record<string, string> = {
  'asyncapi.json': `${JSON.stringify(asyncApiDocument(version, examples), null, 2)}\n`,
  'openapi.json': `${JSON.stringify(openApiDocument(), null, 2)}\n`,
  'configuration.md': await configurationPage(),
  'webhook-presets.md': presetsPage(),
};

let stale = 0;
mkdirSync(new URL('docs/generated/', root), { recursive: true });
for (const [name, text] of Object.entries(documents)) {
  const path = `docs/generated/${name}`;
  let committed = '';
  try {
    committed = read(path);
  } catch {
    // made for the first time
  }
  if (committed === text) continue;
  if (process.argv.includes('--check')) {
    stale++;
    console.error(`${path} is stale: run "npm run docs" and commit it`);
  } else writeFileSync(new URL(path, root), text);
}
if (process.argv.includes('--check')) stale += missingPaths();
process.exit(stale ? 1 : 0);

/** Paths that a page names, in backquotes or as a link, and that are not there. */
function missingPaths(): number {
  const pages = [
    'README.md',
    'CONTRIBUTING.md',
    ...readdirSync(new URL('docs/', root), { recursive: true }).map((file) => `docs/${String(file)}`),
  ];
  let missing = 0;
  for (const page of pages.filter((file) => file.endsWith('.md'))) {
    const text = read(page);
    const named = [...text.matchAll(/`((?:apps|libs|tools|bench|docs|conformance|examples|deploy)\/[\w./-]+)`/g)].map(
      (match) => new URL(match[1] ?? '', root),
    );
    const linked = [...text.matchAll(/\]\(([^):#]+)(?:#[^)]*)?\)/g)].map((match) => new URL(match[1] ?? '', new URL(page, root)));
    for (const path of [...named, ...linked].filter((url) => !existsSync(url))) {
      console.error(`${page} names ${fileURLToPath(path).slice(fileURLToPath(root).length)}, which is not there`);
      missing++;
    }
  }
  return missing;
}

/** What the API serves a group at a time under /openapi/v3, as one document. */
function openApiDocument(): object {
  type Document = { paths: object; components: { schemas: object; securitySchemes: object }; security: object[] };
  const groups = [...new Set(resources.map((resource) => resource.group))]
    .sort()
    .map((group) => documentOf(group, resources, version) as Document);
  return {
    openapi: '3.1.0',
    info: {
      title: 'Millrace API',
      version,
      description: 'Kubernetes-style: kubectl and oc speak it. Errors are `Status` objects. GET /apis lists the groups.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: 'https://127.0.0.1:8443' }],
    paths: Object.assign({}, ...groups.map((group) => group.paths)) as object,
    components: {
      schemas: Object.assign({}, ...groups.map((group) => group.components.schemas)) as object,
      securitySchemes: groups[0]?.components.securitySchemes,
    },
    security: groups[0]?.security,
  };
}

/** One table a service: key, default, meaning. */
async function configurationPage(): Promise<string> {
  const services = readdirSync(new URL('apps/', root)).filter((app) =>
    readdirSync(new URL(`apps/${app}/src/`, root)).includes('config.ts'),
  );
  const sections = [section('Every service', commonConfig), section('Every service with a database', databaseConfig)];
  for (const app of services.sort()) {
    const { config } = (await import(new URL(`apps/${app}/src/config.ts`, root).href)) as { config: ConfigShape };
    sections.push(section(app, config));
  }
  return `# Configuration

Each service reads these environment variables at start, tells every problem at once, and prints what it uses with secrets masked. \`KEY_FILE\` names a file
whose content is the value of \`KEY\`, which is how secrets are best given. Where several services run in one process (\`millrace all\`), a key with
the service's name before it, as in \`TAG_STORE_HTTP_PORT\`, is for that service alone. Made from the code: change the descriptions there.

${sections.join('\n')}`;
}

/** One section a preset: what it does, what it is given, what is sent. */
function presetsPage(): string {
  const contents = webhookPresets.map(({ name, receiver }) => `| [${name}](#${name}) | ${receiver} |`);
  return `# Presets of webhooks

What a webhook with \`preset\` sends, and what it is given in \`parameters\` and \`parametersFrom\` ([webhooks.md](../webhooks.md)). \`kubectl get webhookpresets\` shows the
same. Made from \`libs/domain/src/webhook-presets.ts\`.

| preset | receiver |
| --- | --- |
${contents.join('\n')}

${webhookPresets.map(presetSection).join('\n')}`;
}

function presetSection(preset: WebhookPreset): string {
  const { name, description, documentation, parameters, method, url, headers, contentType, body, succeeds } = preset;
  const rows = Object.entries(parameters).map(([parameter, { description: what, required, secret, default: otherwise }]) => {
    const given = required ? '*required*' : otherwise === undefined ? '' : `\`${otherwise}\``;
    return `| \`${parameter}\` | ${given} | ${what.replaceAll('|', '\\|')}${secret ? '. Secret.' : ''} |`;
  });
  const lines = [`${method} ${url}`, ...Object.entries(headers).map(([header, value]) => `${header}: ${value}`)];
  if (body) lines.push(`Content-Type: ${contentType}`, '', body);
  return `## ${name}

${description}

| parameter | default | meaning |
| --- | --- | --- |
${rows.join('\n')}

\`\`\`
${lines.join('\n')}
\`\`\`

Success is ${succeeds ? succeeds.join(' or ') : 'any 2xx'}. Says so: ${documentation.map((one) => one.replace(/^(https:\/\/\S+)/, '<$1>')).join(', ')}.
`;
}

function section(title: string, shape: ConfigShape): string {
  const rows = Object.entries(shape).map(([key, schema]) => {
    const parsed = schema.safeParse(undefined);
    const fallback = !parsed.success
      ? '*required*'
      : parsed.data === undefined
        ? ''
        : isSecret(schema)
          ? ''
          : `\`${JSON.stringify(parsed.data).replaceAll('|', '\\|')}\``;
    return `| \`${key}\` | ${fallback} | ${(schema.description ?? '').replaceAll('|', '\\|')}${isSecret(schema) ? ' Secret.' : ''} |`;
  });
  return `## ${title}\n\n| key | default | meaning |\n| --- | --- | --- |\n${rows.join('\n')}\n`;
}
