import { pino, type DestinationStream, type Logger } from 'pino';
import { currentTrace } from './trace.ts';

export type Log = Logger;

/** JSON lines on standard output: one per outcome, a fixed message, fields for the rest, and the trace it belongs to. */
export function createLog(level: string, destination?: DestinationStream): Log {
  return pino(
    {
      level,
      base: {},
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      mixin: () => {
        const trace = currentTrace();
        return trace ? { traceparent: trace } : {};
      },
      redact: { paths: ['authorization', 'headers.authorization', 'password', 'secret', 'token'], censor: '***' },
    },
    destination ?? pino.destination({ dest: 1, sync: false }),
  );
}
