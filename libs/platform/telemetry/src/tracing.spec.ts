import { InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { SpanKind } from '@opentelemetry/api';
import { activeSpan, runWithSpan, traceparentOf } from './active-span.ts';
import { startTelemetry, type Telemetry } from './start-telemetry.ts';
import { formatTraceparent, parseTraceparent } from './traceparent.ts';

const SAMPLED = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
const UNSAMPLED = SAMPLED.replace(/01$/, '00');

describe('traceparent', () => {
  it('survives a round trip', () => {
    const parsed = parseTraceparent(SAMPLED);
    expect(parsed).toEqual({ traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331', traceFlags: 1, isRemote: true });
    expect(parsed && formatTraceparent(parsed)).toBe(SAMPLED);
  });

  it.each([
    ['empty', ''],
    ['upper case', SAMPLED.toUpperCase()],
    ['all-zero trace id', SAMPLED.replace(/-[0-9a-f]{32}-/, `-${'0'.repeat(32)}-`)],
    ['all-zero span id', SAMPLED.replace(/-[0-9a-f]{16}-/, `-${'0'.repeat(16)}-`)],
    ['forbidden version', SAMPLED.replace(/^00/, 'ff')],
    ['more fields than version 00 has', `${SAMPLED}-extra`],
  ])('refuses %s', (_name, text) => {
    expect(parseTraceparent(text)).toBeUndefined();
  });

  it('reads a newer version by its first four fields', () => {
    expect(parseTraceparent(`01${SAMPLED.slice(2)}-extra`)?.traceFlags).toBe(1);
  });
});

it('requests start as many traces in a second as they may, and a caller that traces is always followed', async () => {
  let nowMs = 0;
  const bounded = await startTelemetry({ service: 'spec', instanceId: 'spec-2', version: '0', traceRatio: 0.5, tracesPerSecond: 4, random: () => 0, nowMs: () => nowMs, spanProcessors: [] });
  const started = (traceparent?: string): number => Array.from({ length: 100 }, () => bounded.tracing.startServerSpan('rpc', traceparent)).filter((span) => span !== undefined).length;
  expect([started(), started(), started(SAMPLED)]).toEqual([4, 0, 100]);
  nowMs += 500;
  expect(started()).toBe(2);
  nowMs += 60_000;
  expect(started()).toBe(4);
  await bounded.shutdown();
});

describe('tracing', () => {
  const exporter = new InMemorySpanExporter();
  let nextRandom = 0.5;
  let telemetry: Telemetry;
  beforeAll(async () => {
    telemetry = await startTelemetry({
      service: 'spec',
      instanceId: 'spec-1',
      version: '0',
      traceRatio: 0.25,
      random: () => nextRandom,
      spanProcessors: [new SimpleSpanProcessor(exporter)],
    });
  });
  beforeEach(() => exporter.reset());
  afterAll(() => telemetry.shutdown());

  it.each([
    ['starts a trace below the ratio', 0.24, undefined, true],
    ['starts none above it', 0.25, undefined, false],
    ['follows a sampled caller whatever the ratio says', 0.99, SAMPLED, true],
    ['follows an unsampled caller whatever the ratio says', 0, UNSAMPLED, false],
    ['follows an unsampled caller with other flags', 0, SAMPLED.replace(/01$/, '0a'), false],
    ['follows a sampled caller with other flags', 0.99, SAMPLED.replace(/01$/, '0b'), true],
    ['ignores a malformed traceparent', 0, 'nonsense', false],
  ])('%s', (_name, random, traceparent, sampled) => {
    nextRandom = random;
    const span = telemetry.tracing.startServerSpan('rpc', traceparent);
    expect(span !== undefined).toBe(sampled);
    span?.end();
  });

  it('links spans over processes and keeps the active span across awaits', async () => {
    const server = telemetry.tracing.startServerSpan('server', SAMPLED);
    await runWithSpan(server, async () => {
      await Promise.resolve();
      expect(activeSpan()).toBe(server);
      const client = telemetry.tracing.startClientSpan('client');
      expect(traceparentOf(client)).toMatch(/^00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-01$/);
      client?.end();
    });
    server?.end();
    expect(activeSpan()).toBeUndefined();
    const [client, parent] = exporter.getFinishedSpans();
    expect(parent?.parentSpanContext?.spanId).toBe('b7ad6b7169203331');
    expect(client?.parentSpanContext?.spanId).toBe(parent?.spanContext().spanId);
    expect([client?.kind, parent?.kind]).toEqual([SpanKind.CLIENT, SpanKind.SERVER]);
  });

  it('makes no client span without a sampled parent', () => {
    expect(telemetry.tracing.startClientSpan('client')).toBeUndefined();
    expect(telemetry.tracing.startClientSpan('client', UNSAMPLED)).toBeUndefined();
  });

  it('always traces a job, marks its failure and throws it on', async () => {
    nextRandom = 0.99;
    const failure = new Error('disk full');
    const job = telemetry.tracing.withSpan('rebalance', { 'atoll.moves': 3 }, (span) => {
      expect(activeSpan()).toBe(span);
      throw failure;
    });
    await expect(job).rejects.toBe(failure);
    const [span] = exporter.getFinishedSpans();
    expect(span).toMatchObject({ name: 'rebalance', attributes: { 'atoll.moves': 3, 'error.type': 'Error' }, status: { message: 'disk full' } });
  });

  it('does not trace a job whose parent is not sampled', async () => {
    await expect(telemetry.tracing.withSpan('job', {}, (span) => span, { parent: UNSAMPLED })).resolves.toBeUndefined();
    expect(exporter.getFinishedSpans()).toHaveLength(0);
  });
});
