import { runWithSpan } from './active-span.ts';
import { createLogger } from './logger.ts';
import { startTelemetry } from './start-telemetry.ts';

const capture = (format: 'json' | 'pretty') => {
  const lines: string[] = [];
  const logger = createLogger({ service: 'router', instanceId: 'router-1', level: 'info', format, destination: { write: (line) => void lines.push(line) } });
  return { logger, lines };
};

describe('logger', () => {
  it('writes JSON with level, service and instance, and obeys the level', () => {
    const { logger, lines } = capture('json');
    logger.debug('hidden');
    logger.info({ partitions: 3 }, 'started');
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ level: 'info', service: 'router', instance: 'router-1', partitions: 3, msg: 'started' });
  });

  it('adds trace ids under a sampled span only', async () => {
    const telemetry = await startTelemetry({ service: 'spec', instanceId: 'x', version: '0', traceRatio: 1 });
    const { logger, lines } = capture('json');
    const span = telemetry.tracing.startServerSpan('rpc');
    runWithSpan(span, () => logger.info('inside'));
    logger.info('outside');
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ trace_id: span?.spanContext().traceId, span_id: span?.spanContext().spanId });
    expect(lines[1]).not.toContain('trace_id');
    await telemetry.shutdown();
  });

  it('censors user data that slips in', () => {
    const { logger, lines } = capture('json');
    logger.info({ key: 'secret-key', value: Buffer.from('secret-value'), request: { key: 'secret' } }, 'oops');
    expect(lines[0]).not.toContain('secret');
    expect(lines[0]).toContain('[user data]');
  });

  it('writes lines for people, with the stack of an error', () => {
    const { logger, lines } = capture('pretty');
    logger.error({ err: new Error('broken'), attempt: 2 }, 'failed');
    expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d\.\d{3} ERROR router-1 failed attempt=2\nError: broken\n {4}at /);
  });
});
