/** Writes docs/generated from the code; `--check` fails when what is committed differs. Run by the pinned Node, which strips types itself. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { asyncApiDocument } from '@millrace/contracts/async-document';
import { events } from '@millrace/contracts/events';
import { commonConfig, databaseConfig, isSecret, type ConfigShape } from '@millrace/platform/config';

const root = new URL('../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');
const { version } = JSON.parse(read('package.json')) as { version: string };

const examples = Object.fromEntries(
  events.map((event) => [event.name, JSON.parse(read(`libs/contracts/examples/${event.name}.v1.json`)) as unknown]),
);

const documents: Record<string, string> = {
  'asyncapi.json': `${JSON.stringify(asyncApiDocument(version, examples), null, 2)}\n`,
  'configuration.md': await configurationPage(),
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
process.exit(stale ? 1 : 0);

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
