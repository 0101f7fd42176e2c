import { Controller, Get, Header, Inject, Query, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import type { Registry } from 'prom-client';

/** One dependency that readiness names: rejects with the reason when it cannot be used. */
export interface Check {
  name: string;
  run: () => Promise<void>;
}

const CHECK_TIMEOUT_MS = 3_000;

/** What a service needs to be ready; shared by its controller and whoever waits for it. */
export class Health {
  readonly checks: Check[] = [];
  private stopping = false;

  add(name: string, run: () => Promise<void>): void {
    this.checks.push({ name, run });
  }

  /** From here on the service is not ready, so that no new work is sent to it. */
  stop(): void {
    this.stopping = true;
  }

  async readiness(): Promise<{ ready: boolean; text: string }> {
    const lines = await Promise.all(this.checks.map(({ name, run }) => outcomeOf(name, run)));
    if (this.stopping) lines.push({ ok: false, line: '[-]shutdown: the service is stopping' });
    const ready = lines.every((line) => line.ok);
    return { ready, text: `${lines.map((line) => line.line).join('\n')}\nreadyz check ${ready ? 'passed' : 'failed'}\n` };
  }
}

async function outcomeOf(name: string, run: () => Promise<void>): Promise<{ ok: boolean; line: string }> {
  let timer: NodeJS.Timeout | undefined;
  try {
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${CHECK_TIMEOUT_MS} ms`)), CHECK_TIMEOUT_MS);
    });
    await Promise.race([run(), late]);
    return { ok: true, line: `[+]${name} ok` };
  } catch (error) {
    // Messages of drivers may hold addresses, never credentials; only the first line is told.
    return { ok: false, line: `[-]${name} failed: ${String((error as Error).message).split('\n')[0]}` };
  } finally {
    clearTimeout(timer);
  }
}

export const METRICS = Symbol('metrics');

/** `/livez`, `/readyz`, `/metrics` of every service. */
@Controller()
export class HealthController {
  constructor(
    private readonly health: Health,
    @Inject(METRICS) private readonly metrics: Registry,
  ) {}

  @Get(['livez', 'healthz'])
  @Header('content-type', 'text/plain; charset=utf-8')
  live(): string {
    return 'ok';
  }

  @Get('readyz')
  async ready(@Res({ passthrough: true }) reply: FastifyReply, @Query('verbose') verbose?: string): Promise<string> {
    const { ready, text } = await this.health.readiness();
    void reply.status(ready ? 200 : 503).header('content-type', 'text/plain; charset=utf-8');
    // As Kubernetes: the checks are named where one failed, and to who asks.
    return ready && verbose === undefined ? 'ok' : text;
  }

  @Get('metrics')
  async scrape(@Res({ passthrough: true }) reply: FastifyReply): Promise<string> {
    void reply.header('content-type', this.metrics.contentType);
    return this.metrics.metrics();
  }
}
