// A node that follows a source in another cluster by the addresses of its routers. A storage node serves the same stream as a
// router does, so it stands for one here; the router's own part has its spec there.
import { Server, ServerCredentials, type ServerWritableStream } from '@grpc/grpc-js';
import { CopyPhase, CopyService, type CopyStatus, type FollowSourceRequest } from '@atoll/contracts/atoll/v1/copy';
import { AtollError } from '@atoll/core-errors';
import type { KeyspaceSpec, SourceCluster } from '@atoll/core-membership';
import { formatAddress } from '@atoll/platform-config';
import { encodeKeyspaceSpec, keyspaceKey } from '@atoll/platform-etcd';
import { eventually } from '@atoll/platform-etcd/testing';
import { toServiceError } from '@atoll/platform-grpc';
import { InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { NodeWorld, type WorldNode } from '../testing/node-world.ts';

const SEED = 20_261_129;
const NOBODY = '127.0.0.1:1';

describe(`a copy of a keyspace of another cluster (seed ${SEED})`, () => {
  let world: NodeWorld;
  let a: WorldNode;
  let b: WorldNode;
  let source: KeyspaceSpec;
  beforeEach(async () => {
    world = new NodeWorld(SEED);
    a = await world.start('a');
    b = await world.start('b');
    source = await world.createKeyspace({ partitionCount: 2 }, [a]);
    for (let index = 0; index < 100; index += 1) await a.set(`key-${index}`, `value-${index}`);
  });
  afterEach(() => world.stop());

  const clusterOf = async (changes: Partial<SourceCluster> = {}): Promise<SourceCluster> => ({ id: await world.clusterId(), routers: [formatAddress(a.node.address)], partitionCount: 2, ...changes });
  const begin = async (cluster: SourceCluster, keyspaceId = source.id): Promise<void> => {
    await world.createKeyspace({ name: 'copy', partitionCount: 4, copyOf: { job: 'c', keyspace: source.name, keyspaceId, isPaused: false, cluster } }, [b]);
  };
  const statuses = (): CopyStatus[] => b.node.parts()!.copies.get().copies;
  const following = (): Promise<unknown> =>
    eventually('all follow', () => statuses().length === 4 && statuses().every(({ phase, lagSeq, problem }) => phase === CopyPhase.COPY_PHASE_FOLLOWING && lagSeq === 0 && problem === ''), 15_000);
  const problems = (pattern: RegExp): Promise<unknown> => eventually(`all say ${pattern.source}`, () => statuses().length === 4 && statuses().every(({ problem }) => pattern.test(problem)), 15_000);
  const entries = (): number => [...b.node.parts()!.host.keyspace('copy')!.replicas()].reduce((total, { replica }) => total + replica.state.store.entryCount, 0);

  it('goes by any of the routers: one that is not there is passed over', async () => {
    await begin(await clusterOf({ routers: [NOBODY, formatAddress(a.node.address)] }));
    await following();
    expect(entries()).toBe(100);
    await a.set('later', 'x');
    await eventually('it follows', () => entries() === 101);
  });

  it('that finds no room says so by its reason, for whoever decides how long to wait', async () => {
    for (let index = 0; index < 100; index += 1) await a.set(`large-${index}`, 'x'.repeat(2000));
    // Some 64 KiB of 64 MiB, for 200 KB.
    await world.createKeyspace({ name: 'copy', partitionCount: 4, memoryShare: 0.001, eviction: 'NONE', copyOf: { job: 'c', keyspace: source.name, keyspaceId: source.id, isPaused: false, cluster: await clusterOf() } }, [b]);
    const short = await eventually('one says so', () => statuses().find(({ problemReason }) => problemReason === 'MEMORY_EXHAUSTED'), 15_000);
    expect(short.problem).toMatch(/^MEMORY_EXHAUSTED: no room for \d+ bytes in keyspace copy$/);
  });

  it('while none serves it says so, and empties what it has once, not with every try', async () => {
    const tries = new Map<number, number>();
    const server = new Server();
    const followSource = (call: ServerWritableStream<FollowSourceRequest, never>): void => {
      tries.set(call.request.targetPartition, (tries.get(call.request.targetPartition) ?? 0) + 1);
      call.emit('error', toServiceError(new AtollError('PARTITION_UNAVAILABLE', 'it has no leader')));
    };
    server.addService({ followSource: CopyService.followSource }, { followSource });
    const port = await new Promise<number>((resolve, reject) => server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error === null ? resolve(bound) : reject(error))));
    try {
      await begin(await clusterOf({ routers: [`127.0.0.1:${port}`] }));
      const tried = (times: number): Promise<unknown> => eventually(`${times} tries of each`, () => [0, 1, 2, 3].every((partition) => (tries.get(partition) ?? 0) >= times), 30_000);
      const applied = (): number[] => [...b.node.parts()!.host.keyspace('copy')!.replicas()].map(({ replica }) => replica.state.appliedSeq);
      await tried(1);
      const before = applied();
      await tried(4);
      await problems(/^PARTITION_UNAVAILABLE: router 127\.0\.0\.1:\d+: it has no leader$/);
      expect(applied()).toEqual(before);
    } finally {
      server.forceShutdown();
    }
  });

  it('takes nothing from another cluster that answers at the address', async () => {
    await begin(await clusterOf({ id: 'other' }));
    await problems(/^WRONG_CLUSTER: router 127\.0\.0\.1:\d+: this node belongs to cluster /);
    expect(entries()).toBe(0);
  });

  it('takes nothing from a keyspace that was made again under the name', async () => {
    await begin(await clusterOf(), 'older');
    await problems(/^NOT_LEADER: router /);
    expect(entries()).toBe(0);
  });

  it('hangs its streams under the trace of the job, with what they brought, as the source does that serves them; one that fails again and again is told once', async () => {
    const exporter = new InMemorySpanExporter();
    const c = await world.start('c', { spanProcessor: new SimpleSpanProcessor(exporter) });
    const parent = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331' };
    const traceparent = `00-${parent.traceId}-${parent.spanId}-01`;
    const copy = await world.createKeyspace({ name: 'copy', partitionCount: 1, copyOf: { job: 'c', keyspace: source.name, keyspaceId: source.id, isPaused: false, traceparent, cluster: await clusterOf() } }, [c]);
    const spans = (name: string) => exporter.getFinishedSpans().filter((span) => span.name === name && span.spanContext().traceId === parent.traceId);
    const fills = await eventually('both streams have brought all', () => (spans('atoll.copy.fill').length === 2 ? spans('atoll.copy.fill') : undefined), 15_000);
    expect(new Set(fills.map(({ attributes }) => attributes['atoll.source_partition']))).toEqual(new Set([0, 1]));
    expect(fills.reduce((total, { attributes }) => total + Number(attributes['atoll.entries']), 0)).toBe(100);
    expect(fills[0]!.attributes).toMatchObject({ 'atoll.migration': 'c', 'atoll.keyspace': 'copy', 'atoll.partition': 0, 'atoll.source': 'default', 'atoll.phase': 'EMPTYING', 'server.address': formatAddress(a.node.address) });
    expect(Number(fills[0]!.attributes['atoll.bytes'])).toBeGreaterThan(100);

    // The source's node goes: both streams fail, are tried again, and each failure is told once.
    await a.stop();
    await eventually('it is tried again and again', () => c.node.parts()!.copies.get().copies.every(({ problem }) => problem.startsWith('PEER_UNAVAILABLE')), 15_000);
    const streams = await eventually('the streams have ended', () => (spans('atoll.copy.stream').length >= 2 ? spans('atoll.copy.stream') : undefined));
    for (const fill of fills) expect(streams.map((span) => span.spanContext().spanId)).toContain(fill.parentSpanContext?.spanId);
    for (const { parentSpanContext, status } of streams) expect({ parent: parentSpanContext?.spanId, code: status.code }).toEqual({ parent: parent.spanId, code: 2 });
    world.etcd.transact([], [{ kind: 'put', key: keyspaceKey('copy'), value: encodeKeyspaceSpec({ ...copy, copyOf: { ...copy.copyOf!, isPaused: true } }) }]);
    await eventually('nobody pulls', () => c.node.parts()!.copies.get().copies.length === 0);
    // Two that were open, and for each the first try behind it at most.
    expect(spans('atoll.copy.stream').length).toBeLessThanOrEqual(4);
  });
});
