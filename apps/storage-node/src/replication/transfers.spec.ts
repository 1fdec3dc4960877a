import { InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { KIB, MIB } from '@atoll/core-runtime';
import { eventually } from '@atoll/platform-etcd/testing';
import { callServerStream } from '@atoll/platform-grpc';
import { ExecuteCaller } from '../testing/execute-caller.ts';
import { NodeWorld, failureOf, getRequest, type WorldNode } from '../testing/node-world.ts';

const SEED = 20_261_207;
const VALUE = Buffer.alloc(16 * KIB, 'v');
const COUNT = 64;

describe(`transfers of a node, seen and bounded (seed ${SEED})`, () => {
  let world: NodeWorld;

  beforeEach(() => {
    world = new NodeWorld(SEED);
  });

  afterEach(() => world.stop());

  async function filled(env: Record<string, string> = {}) {
    const a = await world.start('a', { env });
    const spec = await world.createKeyspace({ replicationFactor: 2 }, [a]);
    await Promise.all(Array.from({ length: COUNT }, (_, index) => a.set(`key-${index}`, VALUE)));
    return { a, spec };
  }

  const sendBytes = async (node: WorldNode): Promise<number> => (await node.transfers()).sendBytesPerSecond;

  it('tells what each partition that is led here takes, and the memory of the node', async () => {
    const { a } = await filled();
    const { sizes, memoryUsedBytes, memoryLimitBytes, replicas, incarnation } = await a.transfers();
    expect(sizes).toEqual([{ keyspace: 'default', partition: 0, entries: COUNT, bytes: memoryUsedBytes }]);
    expect(memoryUsedBytes).toBeGreaterThan(COUNT * VALUE.length);
    expect(memoryLimitBytes).toBe(64 * MIB);
    expect(replicas).toEqual([]);
    expect(incarnation).toHaveLength(16);
  });

  it('tells how far a replica is that is being filled; another bound takes effect on what is under way', async () => {
    const { a, spec } = await filled();
    await a.limitTransfers({ bytesPerSecond: 64 * KIB });
    const b = await world.start('b');
    const { replica } = await world.addLearner(b, spec);
    const started = await eventually('the first chunk is in', async () => (await b.transfers()).replicas.find(({ bytes }) => bytes > 0));
    expect(started).toMatchObject({ keyspace: 'default', partition: 0, replicaId: replica, installed: false });
    expect(started.progress).toBeGreaterThan(0);
    expect(started.progress).toBeLessThan(1);
    expect(Math.abs(started.progress - started.entries / COUNT)).toBeLessThan(0.25);
    // At 64 KiB/s the rest would take more than ten seconds.
    const raisedMs = performance.now();
    await a.limitTransfers({ bytesPerSecond: 0 });
    await world.inSync(['a', 'b']);
    expect(performance.now() - raisedMs).toBeLessThan(8000);
    const { replicas, sizes } = await b.transfers();
    expect(replicas).toEqual([{ ...started, entries: COUNT, bytes: expect.any(Number), progress: 1, installed: true }]);
    expect(replicas[0]!.bytes).toBeGreaterThan(COUNT * VALUE.length);
    expect(sizes).toEqual([]);
    expect(await a.metric('atoll_sync_sent_bytes_total')).toBe(replicas[0]!.bytes);
  });

  it('the lower of the two bounds counts, and that of the coordinator as long as it said', async () => {
    const { a } = await filled({ STORAGE_NODE_SYNC_BYTES_PER_SECOND: String(8 * MIB) });
    expect(await sendBytes(a)).toBe(8 * MIB);
    await a.limitTransfers({ bytesPerSecond: 9 * MIB });
    expect(await sendBytes(a)).toBe(8 * MIB);
    await a.limitTransfers({ bytesPerSecond: MIB, validMs: 1000 });
    expect(await sendBytes(a)).toBe(MIB);
    expect(await a.metric('atoll_sync_bytes_per_second')).toBe(MIB);
    await eventually('its own bound counts again', async () => (await sendBytes(a)) === 8 * MIB);
    await eventually('and is kept to', async () => (await a.metric('atoll_sync_bytes_per_second')) === 8 * MIB);
  });

  it.each([
    ['bytes_per_second', { bytesPerSecond: 2 ** 40 }],
    ['valid_ms', { validMs: 999 }],
    ['valid_ms', { validMs: 600_001 }],
  ])('refuses a bad %s', async (field, changes) => {
    const a = await world.start('a');
    const refused = await failureOf(a.limitTransfers(changes));
    expect([refused.reason, refused.metadata['field']]).toEqual(['INVALID_ARGUMENT', field]);
  });

  it('obeys no earlier coordinator (R11)', async () => {
    const a = await world.start('a');
    await a.limitTransfers({ coordinatorRevision: 12, bytesPerSecond: MIB });
    const refused = await failureOf(a.limitTransfers({ coordinatorRevision: 11, bytesPerSecond: 0 }));
    expect(refused.reason).toBe('STALE_FENCING_TOKEN');
    expect(await sendBytes(a)).toBe(MIB);
  });

  it('goes below the bound while clients are served, and up to it when they are gone', async () => {
    const bound = 32 * MIB;
    const { a, spec } = await filled({ STORAGE_NODE_SYNC_BYTES_PER_SECOND: String(bound) });
    const b = await world.start('b');
    const client = new ExecuteCaller(a.cache);
    const stop = new AbortController();
    const serve = async (): Promise<void> => {
      while (!stop.signal.aborted) await client.get(getRequest('key-1'));
    };
    const serving = Promise.all([serve(), serve()]);
    const rate = (): Promise<number> => a.metric('atoll_sync_bytes_per_second');
    const before = await a.metric('atoll_operations_total');
    await eventually('the node knows its clients', async () => (await a.metric('atoll_operations_total')) > before + 1000, 60_000);
    const member = await world.addLearner(b, spec);
    await world.inSync(['a', 'b']);
    const { record } = world.record();
    const request = { clusterId: await world.clusterId(), keyspace: 'default', partition: 0, replicaId: member.replica, generation: { ...record.generation }, epoch: record.epoch, fromHigh: 0, fromLow: 0, wantsResults: false, logSeq: 0, sharded: false };
    // Each of them is over soon: on a busy machine perhaps before it is looked at.
    await eventually('a full sync goes below the bound', async () => {
      await callServerStream(a.transfer, 'fetchSnapshot', request, { signal: stop.signal }).next();
      return (await rate()) < bound;
    });
    stop.abort();
    await serving;
    expect(await eventually('the bound counts alone', async () => (await rate()) === bound)).toBe(true);
  });

  it('the install belongs to the trace of the call that had the replica made, with what it brought', async () => {
    const exporter = new InMemorySpanExporter();
    const { a, spec } = await filled();
    const b = await world.start('b', { spanProcessor: new SimpleSpanProcessor(exporter) });
    const traceId = '0af7651916cd43dd8448eb211c80319c';
    await world.addLearner(b, spec, `00-${traceId}-b7ad6b7169203331-01`);
    await world.inSync(['a', 'b']);
    const span = await eventually('the span has ended', () => exporter.getFinishedSpans().find(({ name }) => name === 'atoll.replica.install'));
    expect(span.spanContext().traceId).toBe(traceId);
    const { bytes } = (await b.transfers()).replicas[0]!;
    expect(span.attributes).toMatchObject({ 'atoll.keyspace': 'default', 'atoll.partition': 0, 'atoll.entries': COUNT, 'atoll.bytes': bytes });
    expect(await a.metric('atoll_sync_sent_bytes_total')).toBe(bytes);
  });
});
