import { pino, stdTimeFunctions, type DestinationStream, type Logger } from 'pino';
import { activeSpan } from './active-span.ts';
import { formatPretty } from './pretty-format.ts';

export interface LoggerOptions {
  readonly service: string;
  readonly instanceId: string;
  readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';
  /** `json`: one object per line. `pretty`: for people at a terminal. */
  readonly format: 'json' | 'pretty';
  /** Default: standard output, written synchronously, so that the last lines of a dying process are kept. */
  readonly destination?: DestinationStream;
}

/**
 * The logger of one process. Log state changes and failures at the border, not steps. Keys and values of
 * users are never logged: fields with these names are censored should one slip in, and a spec of each app
 * looks for them. Lines written under a sampled span carry its `trace_id` and `span_id`.
 */
export function createLogger(options: LoggerOptions): Logger {
  return pino(
    {
      level: options.level,
      base: { service: options.service, instance: options.instanceId },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: ['key', 'keys', 'value', 'values', 'entry', 'entries', 'request', 'response'], censor: '[user data]' },
      mixin: () => {
        const span = activeSpan();
        if (span === undefined) return {};
        const { traceId, spanId } = span.spanContext();
        return { trace_id: traceId, span_id: spanId };
      },
    },
    destinationOf(options),
  );
}

function destinationOf({ format, destination }: LoggerOptions): DestinationStream {
  const target = destination ?? pino.destination({ fd: 1, sync: true });
  return format === 'json' ? target : { write: (line) => target.write(formatPretty(line)) };
}
