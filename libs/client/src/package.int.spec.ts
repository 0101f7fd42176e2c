import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { anEventBed, type EventBed, idOf, moveOf } from '@millrace/testing/event-bed';
import { eventually } from '@millrace/testing/eventually';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../../../', import.meta.url));

let bed: EventBed;
let user: string;

/** A folder outside the repository, with the package as npm would unpack it; its dependencies are linked, so that no network is needed. */
beforeAll(async () => {
  bed = await anEventBed();
  user = mkdtempSync(join(tmpdir(), 'millrace-client-user-'));
  const made = join(user, 'made');
  await run(process.execPath, [join(root, 'tools', 'client-package.ts'), made]);
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', user], {
    cwd: made,
    env: { ...process.env, npm_config_offline: 'true' },
  });
  const [{ filename, files }] = JSON.parse(stdout) as [{ filename: string; files: { path: string }[] }];
  expect(files.map(({ path }) => path)).toEqual(
    expect.arrayContaining(['LICENSE', 'README.md', 'client.js', 'package.json', 'types/client/client.d.ts']),
  );
  const installed = join(user, 'node_modules', '@millrace', 'client');
  mkdirSync(installed, { recursive: true });
  await run('tar', ['-xzf', join(user, filename), '-C', installed, '--strip-components=1']);
  rmSync(made, { recursive: true });
  for (const name of [...Object.keys(manifestOf(installed).dependencies), '@types/node', 'undici-types']) {
    mkdirSync(dirname(join(user, 'node_modules', name)), { recursive: true });
    symlinkSync(join(root, 'node_modules', name), join(user, 'node_modules', name));
  }
  writeFileSync(join(user, 'package.json'), '{ "type": "module" }');
}, 120_000);
afterAll(async () => {
  await bed.close();
  rmSync(user, { recursive: true, force: true });
});

const manifestOf = (directory: string) =>
  JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')) as { dependencies: Record<string, string>; private?: boolean };

it('the package can be published, and asks for the versions that it was tested with', () => {
  const { private: isPrivate, dependencies } = manifestOf(join(user, 'node_modules', '@millrace', 'client'));
  const tested = manifestOf(root).dependencies;

  expect(isPrivate).toBeUndefined();
  expect(dependencies).toEqual(Object.fromEntries(Object.keys(dependencies).map((name) => [name, tested[name]])));
});

it('a consumer outside of the repository gets events with it, and one that is killed gets the same event again', async () => {
  writeFileSync(
    join(user, 'consumer.js'),
    `import { connect } from '@millrace/client';
     const millrace = await connect({ servers: process.env.NATS });
     const moves = await millrace.subscribe({ name: 'outside', events: ['tag.moved'], ackWaitMs: 500 });
     const seen = new Set();
     for await (const event of moves) {
       console.log(JSON.stringify({ id: event.id, generation: event.data.generation, deliveries: event.deliveries }));
       if (process.env.CRASH) process.kill(process.pid, 'SIGKILL');
       event.ack();
       if (seen.add(event.id).size === 2) break;
     }
     await millrace.close();`,
  );
  await bed.tell([1, 2]);
  const consume = async (env: object) => {
    const ran = run(process.execPath, ['consumer.js'], { cwd: user, env: { ...process.env, NATS: bed.nats.url, ...env }, timeout: 20_000 });
    const { stdout, signal }: { stdout: string; signal?: string } = await ran.catch(
      (error: unknown) => error as { stdout: string; signal: string },
    );
    const events = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { id: string; deliveries: number });
    return { events, signal };
  };

  const crashed = await consume({ CRASH: '1' });
  const after = await consume({});

  expect([crashed.signal, crashed.events.map(({ id }) => id)]).toEqual(['SIGKILL', [idOf(1)]]);
  expect(after.signal).toBeUndefined();
  expect(new Set(after.events.map(({ id }) => id))).toEqual(new Set([idOf(1), idOf(2)]));
  expect(after.events.find(({ id }) => id === idOf(1))?.deliveries).toBeGreaterThan(1);
});

it('without it the recipe of docs/events.md does, with the two packages that it imports', async () => {
  const recipe = /```js\n([^]*?)```/.exec(readFileSync(join(root, 'docs', 'events.md'), 'utf8'))?.[1] ?? '';
  const { host, username, password } = new URL(bed.nats.url);
  const here = recipe.replace('nats.example.com:4222', host).replace("'builds', pass", `'${username}', pass`);
  writeFileSync(join(user, 'recipe.js'), here.replaceAll('build.triggered', 'tag.moved'));
  await bed.tell([3]);

  const child = execFile(process.execPath, ['recipe.js'], { cwd: user, env: { ...process.env, NATS_PASSWORD: password } });
  let output = '';
  child.stdout?.on('data', (text: string) => (output += text));
  child.stderr?.on('data', (text: string) => (output += text));
  await eventually(() => expect(output).toContain(`${idOf(3)} ${moveOf(3).pullSpec}`));
  child.kill();
});

it("types come with it: what an event's data are is known, and what is wrong does not compile", { timeout: 120_000 }, async () => {
  writeFileSync(
    join(user, 'right.ts'),
    `import { ClientError, connect, type ConsumedEvent } from '@millrace/client';
     const millrace = await connect({ servers: 'nats://127.0.0.1:4222' });
     const both = await millrace.subscribe({ name: 'x', events: ['tag.moved', 'import.failed'] });
     await both.handle((event) => {
       const where: string = event.data.stream;
       if (event.event === 'import.failed') console.log(where, event.data.reason.toUpperCase());
       else console.log(where, event.data.generation.toFixed(), event.data.previous?.image);
     });
     const { events } = await millrace.state();
     console.log(events[0]?.data.current.image, ClientError.name);
     export const settle = (event: ConsumedEvent<'build.triggered'>): string => (event.ack(), event.data.trigger.name);`,
  );
  writeFileSync(
    join(user, 'wrong.ts'),
    `import { connect } from '@millrace/client';
     const millrace = await connect({ servers: 'nats://127.0.0.1:4222' });
     await millrace.subscribe({ name: 'x', events: ['tag.moves'] });
     const moves = await millrace.subscribe({ name: 'x', events: ['tag.moved'] });
     await moves.handle((event) => event.data.reason);`,
  );
  const compiled = run(
    process.execPath,
    [
      ...[
        join(root, 'node_modules', 'typescript', 'bin', 'tsc'),
        '--noEmit',
        '--pretty',
        'false',
        '--strict',
        '--target',
        'es2022',
        '--types',
        'node',
      ],
      ...['--module', 'nodenext', '--skipLibCheck', 'false', 'right.ts', 'wrong.ts'],
    ],
    { cwd: user },
  );

  const { stdout, stderr } = await compiled.catch((error: unknown) => error as { stdout: string; stderr: string });
  expect(stdout.match(/^\S+\.ts\(\d+/gm), `${stdout}${stderr}`).toEqual(['wrong.ts(3', 'wrong.ts(5']);
});
