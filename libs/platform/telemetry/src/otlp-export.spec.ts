import { Server, ServerCredentials, type sendUnaryData, type ServerUnaryCall } from '@grpc/grpc-js';
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

  it('shuts down without a collector too', async () => {
    const telemetry = await startTelemetry({ service: 'router', instanceId: 'router-7', version: '0', otlpEndpoint: 'http://127.0.0.1:1', traceRatio: 1 });
    telemetry.tracing.startServerSpan('lost')?.end();
    await expect(telemetry.shutdown()).resolves.toBeUndefined();
  });
});
