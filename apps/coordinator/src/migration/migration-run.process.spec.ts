import { InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import type { WatchMigrationResponse } from '@atoll/contracts/atoll/v1/migration';
import { eventually } from '@atoll/platform-etcd/testing';
import { callUnary } from '@atoll/platform-grpc';
import { DEADLINE, MigrationCluster, ask, eventuallyShown, failureOf, hasEnded, shown, stateOf, stepOf, tableOf } from '../testing/migration-cluster.ts';
import type { RunningCoordinator } from '../testing/run-coordinator.ts';

const SEED = 20_260_312;

let cluster: MigrationCluster;
beforeEach(() => {
  cluster = new MigrationCluster(SEED);
});
afterEach(() => cluster.stop());

const watch = async (admin: RunningCoordinator['admin'], id: string): Promise<WatchMigrationResponse[]> => {
  const call = admin.watchMigration({ id, intervalMs: 100 });
  const messages: WatchMigrationResponse[] = [];
  for await (const message of call) messages.push(message as WatchMigrationResponse);
  return messages;
};

describe(`a move (seed ${SEED})`, () => {
  it('goes through every step in order, each in etcd, ends with the target in the source\'s place, and its watch ends with it', async () => {
    const { admin } = await cluster.start();
    const d = await cluster.node('d');
    await eventually('d has its share', async () => (await tableOf(admin)).every(({ inSync, learners }) => inSync.length === 2 && learners.length === 0) && cluster.operators().length === 0 && cluster.etcd.list('jobs/migrations/').length > 0);
    const steps: string[] = [];
    const observer = await cluster.observe('jobs/operators/', () => {
      const step = cluster.operators().find(({ job }) => job === 'm')?.step;
      if (step !== undefined && steps.at(-1) !== step) steps.push(step);
    });
    const partition = await cluster.movable(admin, 'a', 'd');
    d.transfers = { replicas: [{ keyspace: 'default', partition, bytes: 700, entries: 7, progress: 1 } as never] };
    const { migration } = await callUnary(admin, 'startMigration', ask({ id: 'm', from: 'a', to: 'd', partitions: [partition] }), DEADLINE);
    expect(stateOf(migration!)).toBe('RUNNING');
    const messages = await watch(admin, 'm');
    expect(steps).toEqual(['WAITING', 'ADD', 'CATCH_UP', 'VERIFY', 'TRANSFER', 'REMOVE']);
    expect(stateOf(messages.at(-1)!.migration!)).toBe('SUCCEEDED');
    expect(messages[0]!.partitions).toHaveLength(1);
    const ended = await shown(admin, 'm');
    expect(ended.migration).toMatchObject({ partitionsTotal: 1, partitionsDone: 1, problem: '', bytes: 700, entries: 7 });
    expect(ended.partitions[0]).toMatchObject({ from: ['a'], to: ['d'], progress: 1, proof: { equal: 64, repaired: 0 }, pauseMs: expect.any(Number) });
    expect(ended.migration.pauseMsMax).toBe(ended.partitions[0]!.pauseMs);
    const placed = (await tableOf(admin))[partition]!;
    expect([placed.leader, placed.inSync.includes('a'), placed.inSync.length]).toEqual(['d', false, 2]);
    await observer.close();
  });

  it('of all that a node has empties it, and it gets nothing back', async () => {
    const { admin } = await cluster.start();
    await cluster.node('d');
    await eventually('d has its share', async () => (await tableOf(admin)).some(({ inSync }) => inSync.includes('d')) && cluster.operators().length === 0);
    await callUnary(admin, 'startMigration', ask({ id: 'all', from: 'a', to: 'd', allKeyspaces: true }), DEADLINE);
    const { migration, partitions } = await eventuallyShown(admin, 'all', 'all are moved', hasEnded);
    expect(stateOf(migration)).toBe('SUCCEEDED');
    expect(partitions.every((one) => stepOf(one) === 'DONE' && one.proof !== undefined)).toBe(true);
    const table = await tableOf(admin);
    const left = table.filter(({ inSync, learners }) => [...inSync, ...learners].includes('a'));
    expect(left.every(({ id, inSync }) => inSync.includes('d') && partitions.every(({ partition }) => partition !== id))).toBe(true);
    expect(table.every(({ inSync }) => inSync.length === 2)).toBe(true);
    expect(cluster.etcd.list('jobs/operators/')).toEqual([]);
  });

  it('takes no more partitions at a time than the cluster and the target bear', async () => {
    const { admin } = await cluster.start({ COORDINATOR_MIGRATIONS_MAX: '3', COORDINATOR_LEARNERS_PER_NODE_MAX: '2' });
    for (const node of cluster.nodes.values()) node.isLeaderAtWork = false;
    await callUnary(admin, 'startMigration', ask({ id: 'm', from: 'a', to: 'b' }), DEADLINE);
    await callUnary(admin, 'startMigration', ask({ id: 'n', from: 'b', to: 'c', partitions: [await cluster.movable(admin, 'b', 'c')] }), DEADLINE).catch(() => undefined);
    await eventuallyShown(admin, 'm', 'two are learners', ({ partitions }) => partitions.filter((one) => stepOf(one) === 'CATCH_UP').length === 2);
    expect(cluster.operators().filter(({ job, step }) => job === 'm' && step !== 'WAITING')).toHaveLength(2);
    for (const node of cluster.nodes.values()) node.isLeaderAtWork = true;
    expect(stateOf((await eventuallyShown(admin, 'm', 'it ends', hasEnded)).migration)).toBe('SUCCEEDED');
  });

  it('bounds the nodes that send, and lifts the bound at the end', async () => {
    const { admin } = await cluster.start();
    for (const node of cluster.nodes.values()) node.isLeaderAtWork = false;
    const partition = await cluster.movable(admin, 'a', 'b');
    await callUnary(admin, 'startMigration', ask({ id: 'm', from: 'a', to: 'b', partitions: [partition], bytesPerSecond: 4096 }), DEADLINE);
    const a = cluster.nodes.get('a')!;
    await eventually('a is bounded', () => a.limits.at(-1) === 4096);
    await callUnary(admin, 'resumeMigration', { id: 'm', bytesPerSecond: 8192 }, DEADLINE);
    await eventually('a is bounded anew', () => a.limits.at(-1) === 8192);
    expect(await failureOf(callUnary(admin, 'resumeMigration', { id: 'm', bytesPerSecond: 100 }, DEADLINE))).toMatchObject({ metadata: { field: 'bytes_per_second' } });
    for (const node of cluster.nodes.values()) node.isLeaderAtWork = true;
    await eventuallyShown(admin, 'm', 'it ends', hasEnded);
    await eventually('the bound is lifted', () => a.limits.at(-1) === 0);
    expect(cluster.nodes.get('c')!.limits).toEqual([]);
  });

  it('to a target that runs short of memory in the middle goes back, and the job fails with the numbers', async () => {
    const { admin } = await cluster.start();
    for (const node of cluster.nodes.values()) node.isLeaderAtWork = false;
    const partition = await cluster.movable(admin, 'a', 'b');
    const before = (await tableOf(admin))[partition]!;
    await callUnary(admin, 'startMigration', ask({ id: 'm', from: 'a', to: 'b', partitions: [partition] }), DEADLINE);
    await eventuallyShown(admin, 'm', 'b is a learner', ({ partitions }) => stepOf(partitions[0]!) === 'CATCH_UP');
    cluster.nodes.get('b')!.transfers = { memoryUsedBytes: 990, memoryLimitBytes: 1000 };
    const { migration, partitions } = await eventuallyShown(admin, 'm', 'it ends', hasEnded);
    expect(stateOf(migration)).toBe('FAILED');
    expect(migration.problem).toContain('b is short of memory: 990 of 1000 bytes are used');
    expect(stepOf(partitions[0]!)).toBe('ROLLED_BACK');
    expect((await tableOf(admin))[partition]).toMatchObject({ leader: before.leader, inSync: before.inSync, learners: [] });
    // It had room again: what was known of it is not held against the next one.
    cluster.nodes.get('b')!.transfers = {};
    for (const node of cluster.nodes.values()) node.isLeaderAtWork = true;
    await callUnary(admin, 'startMigration', ask({ id: 'n', from: 'a', to: 'b', partitions: [partition] }), DEADLINE);
    expect(stateOf((await eventuallyShown(admin, 'n', 'it ends', hasEnded)).migration)).toBe('SUCCEEDED');
  });

  it('of a keyspace that is deleted in the middle ends', async () => {
    const { admin } = await cluster.start();
    const keyspace = { name: 'extra', partitionCount: 8, replicationFactor: 2, minInSync: 0, ack: 0, durability: 0, defaultTtlMs: 0, memoryShare: 0, eviction: 0, onDataLoss: 0, valueBytesMax: 0, aliases: [] as string[], pool: '' } as const;
    await callUnary(admin, 'createKeyspace', { keyspace }, DEADLINE);
    await eventually('it is placed', async () => (await tableOf(admin, 'extra')).every(({ inSync }) => inSync.length === 2));
    for (const node of cluster.nodes.values()) node.verifyProblem = 'not now';
    await callUnary(admin, 'startMigration', ask({ id: 'm', keyspace: 'extra', from: 'a', to: 'b' }), DEADLINE);
    await eventuallyShown(admin, 'm', 'some are compared', ({ partitions }) => partitions.some((one) => stepOf(one) === 'VERIFY'));
    await callUnary(admin, 'deleteKeyspace', { name: 'extra' }, DEADLINE);
    const { migration } = await eventuallyShown(admin, 'm', 'it ends', hasEnded);
    expect(migration.problem).toContain('its keyspace was deleted');
    expect(cluster.etcd.list('jobs/operators/')).toEqual([]);
  });

  it('is one trace: the job, its partitions, their steps, its end; a step that fails carries its error', async () => {
    const exporter = new InMemorySpanExporter();
    const { admin } = await cluster.start({}, { traceRatio: 1, spanProcessors: [new SimpleSpanProcessor(exporter)] });
    const partition = await cluster.movable(admin, 'a', 'b');
    await callUnary(admin, 'startMigration', ask({ id: 'm', from: 'a', to: 'b', partitions: [partition] }), DEADLINE);
    const { migration } = await eventuallyShown(admin, 'm', 'it ends', hasEnded);
    const spans = await eventually('the end is told', () => {
      const found = exporter.getFinishedSpans().filter(({ name }) => name.startsWith('atoll.migration'));
      return found.some(({ name }) => name === 'atoll.migration.end') && found;
    });
    const own = spans.filter((span) => span.spanContext().traceId === migration.traceId);
    expect(own.map(({ name }) => name.replace('atoll.migration', ''))).toEqual(['', '.partition', '.add', '.catch_up', '.verify', '.transfer', '.remove', '.end']);
    const [job, of, add] = own as [(typeof own)[0], (typeof own)[0], (typeof own)[0]];
    expect(of.parentSpanContext?.spanId).toBe(job.spanContext().spanId);
    expect(own.slice(2, 7).every((span) => span.parentSpanContext?.spanId === of.spanContext().spanId)).toBe(true);
    expect(add.attributes).toMatchObject({ 'atoll.migration': 'm', 'atoll.keyspace': 'default', 'atoll.partition': partition, 'atoll.from': 'a', 'atoll.to': 'b', 'atoll.next': 'CATCH_UP' });

    exporter.reset();
    for (const node of cluster.nodes.values()) node.isLeaderAtWork = false;
    await callUnary(admin, 'startMigration', ask({ id: 'n', from: 'b', to: 'a', partitions: [partition] }), DEADLINE);
    await eventuallyShown(admin, 'n', 'a is a learner', ({ partitions }) => stepOf(partitions[0]!) === 'CATCH_UP');
    await callUnary(admin, 'cancelMigration', { id: 'n' }, DEADLINE);
    await eventuallyShown(admin, 'n', 'it ends', hasEnded);
    const failed = exporter.getFinishedSpans().find(({ name }) => name === 'atoll.migration.catch_up')!;
    expect(failed.status).toMatchObject({ code: 2, message: expect.stringContaining('cancelled by an operator') });
  });

  it('shows in the metrics and in the events', async () => {
    const { admin, telemetry } = await cluster.start();
    await callUnary(admin, 'startMigration', ask({ id: 'm', from: 'a', to: 'b', partitions: [await cluster.movable(admin, 'a', 'b')] }), DEADLINE);
    await eventuallyShown(admin, 'm', 'it ends', hasEnded);
    const values = await eventually('it is counted', async () => {
      const { resourceMetrics } = await telemetry.metrics.collect();
      const found = new Map(resourceMetrics.scopeMetrics[0]!.metrics.map(({ descriptor, dataPoints }) => [descriptor.name, dataPoints.map((point) => [point.attributes, point.value])]));
      return found.get('atoll_migrations_total')!.some(([, count]) => count === 1) && found;
    });
    expect(values.get('atoll_migrations_total')).toEqual([[{ state: 'succeeded' }, 1], [{ state: 'failed' }, 0], [{ state: 'cancelled' }, 0]]);
    expect(values.get('atoll_migration_partitions_total')).toEqual([[{ result: 'done' }, 1], [{ result: 'rolled_back' }, 0]]);
    expect(values.get('atoll_migrations_active')).toEqual([[{}, 0]]);
    expect(values.get('atoll_migration_partitions')!.every(([, value]) => value === 0)).toBe(true);
    expect(values.get('atoll_migration_pause_seconds')).toEqual([[{}, expect.objectContaining({ count: 1 })]]);
    const { events } = await callUnary(admin, 'listEvents', { limit: 0, kind: '' }, DEADLINE);
    expect(events.filter(({ kind }) => kind.startsWith('MIGRATION')).map(({ kind }) => kind)).toEqual(['MIGRATION_SUCCEEDED', 'MIGRATION_BEGAN']);
  });
});
