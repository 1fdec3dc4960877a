import { getEventListeners } from 'node:events';
import { Client, credentials, status, type ClientDuplexStream, type ServiceError } from '@grpc/grpc-js';
import { CacheClient, CacheService, DeleteRequest, ExecuteRequest, ExecuteResponse, GetRequest, GetResponse, ScanRequest, ScanResponse, WatchTopologyRequest, type CacheServer } from '@atoll/contracts/atoll/v1/cache';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import { VALUE_BYTES_MAX } from '@atoll/core-runtime';
import { createLogger, startTelemetry, type Telemetry } from '@atoll/platform-telemetry';
import { callServerStream, callUnary } from './call.ts';
import { createChannelOptions } from './channel-options.ts';
import { CONCURRENT_STREAMS_MAX, createGrpcServer, type GrpcServer } from './grpc-server.ts';
import { BoundedWriter, writeWithBackpressure } from './stream-writer.ts';

const getRequest = (key: string): GetRequest => GetRequest.fromPartial({ key: Buffer.from(key) });
const deleteRequest = DeleteRequest.fromPartial({ key: Buffer.from('k') });
const scanRequest = (prefix: string): ScanRequest => ScanRequest.fromPartial({ prefix: Buffer.from(prefix) });
const bulk = ExecuteResponse.fromPartial({ results: [{ kind: { $case: 'get', value: { found: true, value: Buffer.alloc(1_000_000) } } }] });
const found = (text: string): GetResponse => GetResponse.fromPartial({ found: true, value: Buffer.from(text) });

/** Settles when `isTrue` does, looking again at every turn of the event loop. */
async function until(isTrue: () => boolean, what: string): Promise<void> {
  const deadlineMs = performance.now() + 5000;
  while (!isTrue()) {
    if (performance.now() > deadlineMs) throw new Error(`waited 5 s for: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

describe('RPC wrappers', () => {
  let telemetry: Telemetry;
  let grpc: GrpcServer;
  let client: CacheClient;
  let logLines: string[] = [];
  const signals: AbortSignal[] = [];
  let cancelsNoticed = 0;
  let lastRemainingMs = 0;
  let lastTraceparent: string | undefined;
  let streamsEnded = 0;
  let stalledBytes = 0;

  beforeAll(async () => {
    telemetry = await startTelemetry({ service: 'spec', instanceId: 's', version: '0', traceRatio: 0 });
    const logger = createLogger({ service: 'spec', instanceId: 's', level: 'info', format: 'json', destination: { write: (line) => void logLines.push(line) } });
    grpc = createGrpcServer({ telemetry, logger });
    const { handlers } = grpc;
    grpc.server.addService(CacheService, {
      get: handlers.unary(CacheService.get, async ({ key }, context) => {
        await Promise.resolve();
        lastRemainingMs = context.deadlineRemainingMs(123);
        lastTraceparent = context.traceparent;
        switch (key.toString()) {
          case 'bad':
            throw invalidArgument('key', 'is bad');
          case 'surrogate':
            throw new AtollError('OVERLOADED', 'half a pair: \ud83d', { metadata: { node: 'n1' } });
          case 'bug':
            throw new Error('secret internals');
          case 'hang':
            signals.push(context.signal);
            context.onCancelled(() => (cancelsNoticed += 1));
            return await new Promise<GetResponse>((_resolve, reject) => {
              context.signal.addEventListener('abort', () => reject(context.signal.reason as Error), { once: true });
            });
          case 'largest':
            return GetResponse.fromPartial({ found: true, value: Buffer.alloc(VALUE_BYTES_MAX, 7) });
          default:
            return found('v');
        }
      }),
      delete: handlers.unary(CacheService.delete, () => {
        throw new AtollError('NOT_LEADER', 'ask b', { metadata: { leader: 'b', address: '127.0.0.1:1' } });
      }),
      scan: handlers.serverStream(CacheService.scan, async (call, { signal }) => {
        try {
          for (let part = 0; part < Number(call.request.prefix.toString() || '3'); part += 1) {
            await writeWithBackpressure(call, ScanResponse.fromPartial({ cursor: Buffer.from(String(part)) }), signal);
          }
          if (call.request.prefix.toString() === '2') throw new AtollError('CURSOR_MALFORMED', 'cursor: is malformed');
        } finally {
          streamsEnded += 1;
        }
      }),
      execute: handlers.bidiStream(CacheService.execute, (call, { signal }) => {
        const writer = new BoundedWriter<ExecuteResponse>(call, { sizeOf: () => 1_000_000, bufferedBytesMax: 4_000_000, onStalled: (bytes) => (stalledBytes = bytes) });
        return new Promise((resolve, reject) => {
          call.on('data', () => {
            while (writer.write(bulk));
          });
          call.on('end', resolve);
          signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
        });
      }),
    } as Partial<CacheServer> as CacheServer);
    const { port } = await grpc.listen({ host: '127.0.0.1', port: 0 });
    client = new CacheClient(`127.0.0.1:${port}`, credentials.createInsecure(), createChannelOptions());
  });
  beforeEach(() => {
    logLines = [];
  });
  afterAll(async () => {
    client.close();
    await grpc.close(AbortSignal.abort());
    await telemetry.shutdown();
  });

  it('answers, and passes the deadline on', async () => {
    const response = await callUnary(client, 'get', getRequest('k'), { deadlineMs: 5000 });
    expect(response.value.toString()).toBe('v');
    expect(lastRemainingMs).toBeGreaterThan(4000);
    expect(lastRemainingMs).toBeLessThanOrEqual(5000);
    expect(lastTraceparent).toBeUndefined();
  });

  it('follows a sampled caller', async () => {
    await callUnary(client, 'get', getRequest('k'), { deadlineMs: 5000, traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' });
    expect(lastTraceparent).toMatch(/^00-0af7651916cd43dd8448eb211c80319c-(?!b7ad6b7169203331)[0-9a-f]{16}-01$/);
  });

  it('brings reason, message and metadata to the caller', async () => {
    await expect(callUnary(client, 'get', getRequest('bad'), { deadlineMs: 5000 })).rejects.toMatchObject({ reason: 'INVALID_ARGUMENT', message: 'key: is bad', metadata: { field: 'key' } });
    await expect(callUnary(client, 'delete', deleteRequest, { deadlineMs: 5000, mayWrite: true })).rejects.toMatchObject({ reason: 'NOT_LEADER', metadata: { leader: 'b', address: '127.0.0.1:1' } });
    await expect(callUnary(client, 'get', getRequest('surrogate'), { deadlineMs: 5000 })).rejects.toMatchObject({ reason: 'OVERLOADED', metadata: { node: 'n1' } });
    expect(logLines).toEqual([]);
  });

  it('answers a bug without its text and logs it once', async () => {
    await expect(callUnary(client, 'get', getRequest('bug'), { deadlineMs: 5000 })).rejects.toMatchObject({ reason: 'INTERNAL', message: 'internal error' });
    expect(logLines).toHaveLength(1);
    expect(logLines[0]).toContain('secret internals');
    expect(logLines[0]).toContain('atoll.v1.Cache/Get');
  });

  it('aborts the signal of a handler whose caller cancels or times out', async () => {
    const abort = new AbortController();
    const call = callUnary(client, 'get', getRequest('hang'), { deadlineMs: 5000, signal: abort.signal });
    await until(() => signals.length === 1, 'the handler');
    abort.abort();
    await expect(call).rejects.toMatchObject({ reason: 'CANCELLED' });
    await until(() => signals[0]?.aborted === true, 'the abort');
    expect(signals[0]?.reason).toMatchObject({ reason: 'CANCELLED' });
    expect(cancelsNoticed).toBe(1);
    await expect(callUnary(client, 'get', getRequest('hang'), { deadlineMs: 50 })).rejects.toMatchObject({ reason: 'DEADLINE_EXCEEDED' });
    await until(() => signals[1]?.aborted === true, 'the abort by deadline');
  });

  it('leaves no listener on a signal that many calls share', async () => {
    const abort = new AbortController();
    await Promise.all(Array.from({ length: 50 }, () => callUnary(client, 'get', getRequest('k'), { deadlineMs: 5000, signal: abort.signal })));
    await expect(callUnary(client, 'get', getRequest('bad'), { deadlineMs: 5000, signal: abort.signal })).rejects.toMatchObject({ reason: 'INVALID_ARGUMENT' });
    expect(getEventListeners(abort.signal, 'abort')).toHaveLength(0);
  });

  it.each([
    ['an aborted signal', { deadlineMs: 5000, signal: AbortSignal.abort(), mayWrite: true }, 'CANCELLED'],
    ['no time left', { deadlineMs: 0, mayWrite: true }, 'DEADLINE_EXCEEDED'],
  ])('sends nothing with %s: a plain failure even of a write (R20)', async (_name, settings, reason) => {
    await expect(callUnary(client, 'delete', deleteRequest, settings)).rejects.toMatchObject({ reason });
  });

  it('calls a write of unknown outcome WRITE_IN_DOUBT, never a plain failure (R20)', async () => {
    await expect(callUnary(client, 'get', getRequest('hang'), { deadlineMs: 50, mayWrite: true })).rejects.toMatchObject({ reason: 'WRITE_IN_DOUBT', metadata: { status: 'DEADLINE_EXCEEDED' } });
    const nobody = new CacheClient('127.0.0.1:1', credentials.createInsecure(), createChannelOptions());
    await expect(callUnary(nobody, 'get', getRequest('k'), { deadlineMs: 5000 })).rejects.toMatchObject({ reason: 'PEER_UNAVAILABLE' });
    await expect(callUnary(nobody, 'get', getRequest('k'), { deadlineMs: 5000, mayWrite: true })).rejects.toMatchObject({ reason: 'WRITE_IN_DOUBT' });
    nobody.close();
  });

  it('streams with back-pressure, and brings the failure at the end', async () => {
    const parts: string[] = [];
    for await (const { cursor } of callServerStream(client, 'scan', scanRequest('100'), { deadlineMs: 5000 })) parts.push(cursor.toString());
    expect(parts).toHaveLength(100);
    const failing = callServerStream(client, 'scan', scanRequest('2'), { deadlineMs: 5000 });
    await expect(collect(failing)).rejects.toMatchObject({ reason: 'CURSOR_MALFORMED' });
  });

  it('stops the handler of a reader who leaves', async () => {
    streamsEnded = 0;
    for await (const { cursor } of callServerStream(client, 'scan', scanRequest('100000000'), {})) if (cursor.toString() === '5') break;
    await until(() => streamsEnded > 0, 'the end of the handler');
    expect(streamsEnded).toBe(1);
  });

  it('closes a stalled stream at the stated number of bytes (R24)', async () => {
    const call: ClientDuplexStream<ExecuteRequest, ExecuteResponse> = client.execute();
    const ended = new Promise<ServiceError>((resolve) => call.once('error', resolve));
    call.pause();
    call.write(ExecuteRequest.fromPartial({}));
    await until(() => stalledBytes > 0, 'the stall');
    expect(stalledBytes).toBe(4_000_000);
    // The reader reads again and finds its stream reset.
    call.on('data', () => undefined);
    expect((await ended).code).toBe(status.CANCELLED);
  });

  it('carries the largest value, and refuses a message above the limit', async () => {
    const { value } = await callUnary(client, 'get', getRequest('largest'), { deadlineMs: 30_000 });
    expect(value.length).toBe(VALUE_BYTES_MAX);
    const narrow = new CacheClient(client.getChannel().getTarget().replace(/^dns:/, ''), credentials.createInsecure(), createChannelOptions({ messageBytesMax: 1000 }));
    await expect(callUnary(narrow, 'get', getRequest('x'.repeat(2000)), { deadlineMs: 5000 })).rejects.toMatchObject({ metadata: { status: 'RESOURCE_EXHAUSTED' } });
    narrow.close();
  });

  it('takes more calls of one connection than it has streams: the rest waits at the client (I10)', async () => {
    const answers = await Promise.all(Array.from({ length: CONCURRENT_STREAMS_MAX * 2 }, () => callUnary(client, 'get', getRequest('k'), { deadlineMs: 30_000 })));
    expect(answers.every(({ found: isFound }) => isFound)).toBe(true);
  });

  it('counts calls by reason and shows durations and open streams', async () => {
    const { resourceMetrics } = await telemetry.metrics.collect();
    const metric = (name: string) => resourceMetrics.scopeMetrics[0]?.metrics.find(({ descriptor }) => descriptor.name === name)?.dataPoints ?? [];
    const requests = new Map(metric('atoll_rpc_server_requests_total').map(({ attributes, value }) => [`${String(attributes['rpc'])} ${String(attributes['reason'])}`, value]));
    expect(requests.get('Cache/Get OK')).toBeGreaterThan(50);
    expect(requests.get('Cache/Get INTERNAL')).toBe(1);
    expect(requests.get('Cache/Delete NOT_LEADER')).toBe(1);
    expect(requests.get('Cache/Scan CURSOR_MALFORMED')).toBe(1);
    const open = Object.fromEntries(metric('atoll_rpc_server_open_streams').map(({ attributes, value }) => [attributes['rpc'], value]));
    expect(open).toEqual({ 'Cache/Scan': 0, 'Cache/Execute': 0 });
  });

  it('treats a client of another kind alike: no Atoll code needed to read the status', async () => {
    const plain = new Client(`127.0.0.1:${client.getChannel().getTarget().split(':').at(-1)}`, credentials.createInsecure());
    const error = await new Promise<ServiceError | null>((resolve) => {
      plain.makeUnaryRequest('/atoll.v1.Cache/Delete', (bytes: Buffer) => bytes, (bytes) => bytes, Buffer.alloc(0), (failure) => resolve(failure));
    });
    expect(error?.code).toBe(status.FAILED_PRECONDITION);
    expect(error?.metadata.get('grpc-status-details-bin')).toHaveLength(1);
    plain.close();
  });
});

describe('closing a server', () => {
  it('lets unary calls finish, ends streams with SHUTTING_DOWN, and cuts off the rest when told', async () => {
    const telemetry = await startTelemetry({ service: 'spec', instanceId: 's', version: '0', traceRatio: 0 });
    const logger = createLogger({ service: 'spec', instanceId: 's', level: 'silent', format: 'json' });
    const grpc = createGrpcServer({ telemetry, logger });
    let finishGet: (() => void) | undefined;
    grpc.server.addService(CacheService, {
      get: grpc.handlers.unary(CacheService.get, async () => {
        await new Promise<void>((resolve) => (finishGet = resolve));
        return found('late');
      }),
      watchTopology: grpc.handlers.serverStream(CacheService.watchTopology, (_call, { signal }) =>
        new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })),
      ),
      execute: grpc.handlers.bidiStream(CacheService.execute, () => new Promise(() => undefined)),
    } as Partial<CacheServer> as CacheServer);
    const { port } = await grpc.listen({ host: '127.0.0.1', port: 0 });
    const client = new CacheClient(`127.0.0.1:${port}`, credentials.createInsecure(), createChannelOptions());
    const get = callUnary(client, 'get', getRequest('k'), { deadlineMs: 5000 });
    const watch = collect(callServerStream(client, 'watchTopology', WatchTopologyRequest.fromPartial({}), {}));
    const deaf = client.execute();
    const deafEnded = new Promise<ServiceError>((resolve) => deaf.once('error', resolve));
    await until(() => finishGet !== undefined, 'the handler');
    const cutOff = new AbortController();
    const closed = grpc.close(cutOff.signal);
    await expect(watch).rejects.toMatchObject({ reason: 'SHUTTING_DOWN' });
    finishGet?.();
    expect((await get).value.toString()).toBe('late');
    cutOff.abort();
    await closed;
    expect((await deafEnded).code).not.toBe(status.OK);
    client.close();
    await telemetry.shutdown();
  });

  it('says which address is busy', async () => {
    const telemetry = await startTelemetry({ service: 'spec', instanceId: 's', version: '0', traceRatio: 0 });
    const logger = createLogger({ service: 'spec', instanceId: 's', level: 'silent', format: 'json' });
    const first = createGrpcServer({ telemetry, logger });
    const address = await first.listen({ host: '127.0.0.1', port: 0 });
    const other = await startTelemetry({ service: 'spec', instanceId: 's', version: '0', traceRatio: 0 });
    const second = createGrpcServer({ telemetry: other, logger });
    await expect(second.listen(address)).rejects.toThrow(`gRPC server: address 127.0.0.1:${address.port} is in use by another process; set ATOLL_LISTEN`);
    await first.close(AbortSignal.abort());
    await Promise.all([telemetry.shutdown(), other.shutdown()]);
  });
});
