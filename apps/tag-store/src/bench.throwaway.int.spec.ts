import { it } from 'vitest';
import { inject } from 'vitest';
import pg from 'pg';
import { aDatabase } from '@millrace/testing/servers';
import { anInstance, aPush } from './testbed.ts';
import { randomBytes } from 'node:crypto';

const doc = () => {
  // 20 kB of metadata as images have it: env, history-ish labels, half of it random
  const env = Array.from({ length: 120 }, (_, i) => `VAR_${i}=${randomBytes(40).toString('hex')}`);
  return {
    Env: env,
    Cmd: ['/app'],
    Labels: Object.fromEntries(
      Array.from({ length: 40 }, (_, i) => [`io.label.${i}`, `value ${i} ${randomBytes(80).toString('hex')}`.slice(0, 120)]),
    ),
  };
};
it('bench', { timeout: 600_000 }, async () => {
  const server = await aDatabase();
  const one = await anInstance({ database: server.url, nats: inject('natsUrl') });
  const text = JSON.stringify(doc());
  console.log('doc bytes', text.length);
  // baseline
  const c0 = new pg.Client({ connectionString: server.url });
  await c0.connect();
  await c0.query('CREATE TABLE base (id bigint generated always as identity primary key, digest text, body text)');
  await c0.query('CREATE TABLE basex (id bigint generated always as identity primary key, digest text, body text)');
  await c0.query('ALTER TABLE basex ALTER body SET STORAGE EXTERNAL');
  await c0.query('CREATE TABLE basej (id bigint generated always as identity primary key, digest text, body jsonb)');
  for (const table of (process.env.BASE ?? 'base,basex,basej').split(',')) {
    const clients = await Promise.all(
      Array.from({ length: 8 }, async () => {
        const c = new pg.Client({ connectionString: server.url });
        await c.connect();
        return c;
      }),
    );
    const t0 = Date.now();
    let n = 0;
    await Promise.all(
      clients.map(async (c) => {
        while (Date.now() - t0 < 4000) {
          await c.query(`INSERT INTO ${table} (digest, body) VALUES ($1, $2)`, [randomBytes(32).toString('hex'), text]);
          n++;
        }
      }),
    );
    console.log('baseline', table, Math.round(n / ((Date.now() - t0) / 1000)), 'rows/s');
    await Promise.all(clients.map((c) => c.end()));
  }
  const ds = one.store.dataSource as any;
  const orig = ds.createQueryRunner.bind(ds);
  let times = new Map<string, [number, number]>();
  ds.createQueryRunner = (...a: any[]) => {
    const r = orig(...a);
    const q = r.query.bind(r);
    r.query = async (sql: string, ...rest: any[]) => {
      const t = performance.now();
      const out = await q(sql, ...rest);
      const k = sql.trim().replace(/\s+/g, ' ').slice(0, 60);
      const e = times.get(k) ?? [0, 0];
      e[0] += performance.now() - t;
      e[1]++;
      times.set(k, e);
      return out;
    };
    return r;
  };
  let at = 0;
  const big = (stream: string) => {
    at++;
    const push = aPush(stream, `${stream} ${at}`, at);
    return { ...push, image: { ...push.image, dockerImageMetadata: { Id: 'x', Config: JSON.parse(text) } } };
  };
  for (const size of (process.env.SIZES ?? '300,50,100,200,300,500').split(',').map(Number)) {
    const batches = Array.from({ length: Math.ceil(6000 / size) }, (_, b) =>
      Array.from({ length: size }, (_, i) => big(`s${(b * size + i) % 1000}`)),
    );
    const t0 = performance.now();
    const cpu = process.cpuUsage();
    for (const batch of batches) await one.apply(...batch);
    const s = (performance.now() - t0) / 1000;
    const used = process.cpuUsage(cpu);
    for (const [k, [ms, n]] of [...times].sort((a, b) => b[1][0] - a[1][0])) console.log('   ', (ms / n).toFixed(1), 'ms x', n, k);
    times = new Map();
    console.log(
      'batch',
      size,
      Math.round((batches.length * size) / s),
      'mappings/s',
      'cpu',
      ((used.user + used.system) / 1e6 / s).toFixed(2),
    );
  }
  await one.close();
  await server.drop();
  await c0.end().catch(() => 0);
});
