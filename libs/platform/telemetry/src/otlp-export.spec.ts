import { Server, ServerCredentials, type sendUnaryData, type ServerUnaryCall } from '@grpc/grpc-js';
import { metrics, trace } from '@opentelemetry/api';
import { startTelemetry } from './start-telemetry.ts';

const raw = (bytes: Buffer): Buffer => bytes;

/** An OTLP/gRPC collector that keeps what it gets, as bytes. */
async function startCollector() {
  const received: Buffer[] = [];
  const server = new Server();
  const exportTraces = {
    path: '/opentelemetry.proto.collector.trace.v1.TraceService/Export',
    requestStream: false,
    responseStream: false,
    requestSerialize: raw,
    requestDeserialize: raw,
    responseSerialize: raw,
    responseDeserialize: raw,
  } as const;
  server.addService(
    { export: exportTraces },
    {
      export: (call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) => {
        received.push(call.request);
        callback(null, Buffer.alloc(0));
      },
    },
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error === null ? resolve(bound) : reject(error)));
  });
  return { received, endpoint: `http://127.0.0.1:${port}`, stop: () => server.forceShutdown() };
}

describe('export over OTLP', () => {
  it('sends sampled spans with their service, the last ones at shutdown', async () => {
    const collector = await startCollector();
    const telemetry = await startTelemetry({ service: 'router', instanceId: 'router-7', version: '9.8.7', otlpEndpoint: collector.endpoint, traceRatio: 1 });
    telemetry.tracing.startServerSpan('atoll.v1.Cache/Get')?.end();
    await telemetry.tracing.withSpan('rebalance', { 'atoll.moves': 3 }, () => undefined);
    await telemetry.shutdown();
    const text = Buffer.concat(collector.received).toString('latin1');
    for (const part of ['atoll-router', 'router-7', '9.8.7', 'atoll.v1.Cache/Get', 'rebalance', 'atoll.moves']) expect(text).toContain(part);
    collector.stop();
  });

  it('is done by the Node SDK, one at a time in a process, which leaves nothing behind', async () => {
    const collector = await startCollector();
    const options = { service: 'router', instanceId: 'router-7', version: '9.8.7', otlpEndpoint: collector.endpoint, traceRatio: 0 };
    const telemetry = await startTelemetry(options);
    trace.getTracer('a library').startSpan('made by a library').end();
    await expect(startTelemetry(options)).rejects.toThrow('another OpenTelemetry SDK is registered');
    await telemetry.shutdown();
    expect(Buffer.concat(collector.received).toString('latin1')).toContain('made by a library');
    expect(trace.getTracer('a library').startSpan('nowhere').isRecording()).toBe(false);
    const again = await startTelemetry(options);
    await again.shutdown();
    collector.stop();
  });

  it('shows our metrics and those of ordinary meters, as without export', async () => {
    const telemetry = await startTelemetry({ service: 'router', instanceId: 'router-7', version: '0', otlpEndpoint: 'http://127.0.0.1:1', traceRatio: 0 });
    telemetry.metrics.counter('atoll_spec_total', { description: 'Counted.' }).add(3);
    telemetry.createMeter('spec').createCounter('atoll_ordinary_total').add(4);
    metrics.getMeter('a library').createCounter('library_total').add(5);
    let text = '';
    await new Promise<void>((resolve) => {
      const response = { setHeader: () => undefined, end: (body: string) => ((text = body), resolve()) };
      telemetry.handleMetricsRequest({} as never, response as never);
    });
    for (const line of [/^atoll_spec_total 3$/m, /^atoll_ordinary_total 4$/m, /^library_total 5$/m]) expect(text).toMatch(line);
    await telemetry.shutdown();
  });

  it('exports nothing where OTEL_SDK_DISABLED switches the SDK off; spans are made all the same', async () => {
    const collector = await startCollector();
    process.env.OTEL_SDK_DISABLED = 'true';
    try {
      const telemetry = await startTelemetry({ service: 'router', instanceId: 'router-7', version: '0', otlpEndpoint: collector.endpoint, traceRatio: 1 });
      const span = telemetry.tracing.startServerSpan('kept');
      expect(span?.spanContext().traceId).not.toMatch(/^0*$/);
      span?.end();
      await telemetry.shutdown();
      expect(collector.received).toHaveLength(0);
    } finally {
      delete process.env.OTEL_SDK_DISABLED;
      collector.stop();
    }
  });

  it('shuts down without a collector too', async () => {
    const telemetry = await startTelemetry({ service: 'router', instanceId: 'router-7', version: '0', otlpEndpoint: 'http://127.0.0.1:1', traceRatio: 1 });
    telemetry.tracing.startServerSpan('lost')?.end();
    await expect(telemetry.shutdown()).resolves.toBeUndefined();
  });
});
