import { Eviction, Keyspace } from '@atoll/contracts/atoll/v1/admin';
import { callUnary } from '@atoll/platform-grpc';
import { eventually } from '@atoll/platform-etcd/testing';
import { DEADLINE, MigrationCluster, eventuallyShown, hasEnded, stateOf, tableOf } from '../testing/migration-cluster.ts';
import type { RunningCoordinator } from '../testing/run-coordinator.ts';

const SEED = 20_260_315;

let cluster: MigrationCluster;
let running: RunningCoordinator;
beforeEach(() => {
  cluster = new MigrationCluster(SEED);
});
afterEach(() => cluster.stop());

/** The newest job for the reason. */
const jobFor = (reason: string): Promise<string> =>
  eventually(`a job for ${reason}`, async () => {
    const { migrations } = await callUnary(running.admin, 'listMigrations', { limit: 0, active: false }, DEADLINE);
    return migrations.find((migration) => migration.reason === reason)?.id;
  }, 20_000);
const held = async (node: string): Promise<number> => (await tableOf(running.admin)).filter(({ inSync, learners }) => [...inSync, ...learners].includes(node)).length;
const isWhole = async (): Promise<boolean> => (await tableOf(running.admin)).every(({ inSync, learners }) => inSync.length === 2 && learners.length === 0);

describe(`migrations that nobody asked for (seed ${SEED})`, () => {
  it('bring a node that joins its share, as one job that says why', async () => {
    running = await cluster.start();
    await cluster.node('d');
    const id = await jobFor('JOIN');
    const { migration, partitions } = await eventuallyShown(running.admin, id, 'it ends', hasEnded);
    expect([stateOf(migration), migration.description]).toEqual(['SUCCEEDED', 'nodes joined; to d']);
    expect(id).toMatch(/^join-[0-9a-f]{16}$/);
    expect(partitions.every(({ to, reason }) => to.join() === 'd' && reason === 'JOIN')).toBe(true);
    expect(await held('d')).toBe(partitions.length);
    expect(partitions.length).toBeGreaterThanOrEqual(28);
    expect(await isWhole()).toBe(true);
  });

  it('empty a node that is drained, and stop when the drain is undone', async () => {
    running = await cluster.start();
    for (const node of cluster.nodes.values()) node.verifyProblem = 'not now';
    const before = await held('a');
    await callUnary(running.admin, 'drainNode', { node: 'a', undo: false }, DEADLINE);
    const id = await jobFor('DRAIN');
    await eventuallyShown(running.admin, id, 'some are to be compared', ({ partitions }) => partitions.length > 0);
    await callUnary(running.admin, 'cancelMigration', { id }, DEADLINE);
    await callUnary(running.admin, 'drainNode', { node: 'a', undo: true }, DEADLINE);
    expect(stateOf((await eventuallyShown(running.admin, id, 'it is cancelled', hasEnded)).migration)).toBe('CANCELLED');
    expect(await held('a')).toBe(before);
    for (const node of cluster.nodes.values()) node.verifyProblem = '';
    await callUnary(running.admin, 'drainNode', { node: 'a', undo: false }, DEADLINE);
    await eventually('a is empty', async () => (await held('a')) === 0, 20_000);
    const { migration } = await eventuallyShown(running.admin, await jobFor('DRAIN'), 'it ends', hasEnded);
    expect([stateOf(migration), migration.description]).toEqual(['SUCCEEDED', expect.stringMatching(/^nodes are drained; to b, c$/)]);
    await eventually('all is whole', isWhole);
  }, 60_000);

  it('make good what a node held that is gone for good', async () => {
    running = await cluster.start({ COORDINATOR_RE_REPLICATE_AFTER_MS: '1000' });
    await cluster.nodes.get('a')!.kill();
    const { migration, partitions } = await eventuallyShown(running.admin, await jobFor('LOST'), 'it ends', hasEnded);
    expect(stateOf(migration)).toBe('SUCCEEDED');
    expect(partitions.every(({ from }) => from.join() === 'a')).toBe(true);
    await eventually('all is whole again', isWhole);
    expect(await held('a')).toBe(0);
  }, 60_000);

  it('are not begun without room; the plan says so, and they are begun when there is', async () => {
    running = await cluster.start();
    await callUnary(running.admin, 'updateKeyspace', { keyspace: Keyspace.fromPartial({ name: 'default', eviction: Eviction.EVICTION_NONE }), fields: ['eviction'] }, DEADLINE);
    for (const node of cluster.nodes.values()) node.transfers = { sizes: Array.from({ length: 64 }, (_, partition) => ({ keyspace: 'default', partition, bytes: 100, entries: 1 })), sendBytesPerSecond: 1000 };
    const d = await cluster.node('d');
    d.transfers = { memoryUsedBytes: 1000, memoryLimitBytes: 1000 };
    const plan = await eventually('d is planned for', async () => {
      const answer = await callUnary(running.admin, 'planRebalance', { keyspace: '' }, DEADLINE);
      return answer.refused.length > 0 && answer.refused.every(({ refusal }) => refusal === 'NO_ROOM') && answer;
    });
    // d's share, partition by partition.
    expect(plan.refused.length).toBeGreaterThanOrEqual(28);
    const detail = `d has room for 0 bytes and would get ${100 * plan.refused.length}`;
    expect(plan.refused.every((move) => move.to === 'd' && move.reason === 'JOIN' && move.detail === detail)).toBe(true);
    expect(new Set(plan.refused.map(({ partition }) => partition)).size).toBe(plan.refused.length);
    expect(plan).toMatchObject({ moves: [], bytes: 0, estimatedMs: 0, refusals: [], refusedLeftOut: 0 });
    expect(await callUnary(running.admin, 'rebalance', { keyspace: '', id: 'r', method: 0, shards: 0 }, DEADLINE)).toEqual({ migration: undefined, refusals: [], refused: plan.refused, refusedLeftOut: 0 });
    // What fits is planned, the most urgent and lowest first; the rest is told.
    d.transfers = { memoryUsedBytes: 0, memoryLimitBytes: 1000 };
    const part = await callUnary(running.admin, 'planRebalance', { keyspace: '' }, DEADLINE);
    expect({ moves: part.moves.length, refused: part.refused.length, bytes: part.bytes }).toEqual({ moves: 9, refused: plan.refused.length - 9, bytes: 900 });
    expect(part.moves.every(({ to, reason, bytes }) => to === 'd' && reason === 'JOIN' && bytes === 100)).toBe(true);
    expect(part.estimatedMs).toBeGreaterThan(0);
    d.transfers = { memoryUsedBytes: 1000, memoryLimitBytes: 1000 };
    expect(cluster.etcd.list('jobs/migrations/').filter(({ key }) => key.includes('join')).length).toBeLessThanOrEqual(1);
    d.transfers = {};
    const answers = await Promise.all([callUnary(running.admin, 'rebalance', { keyspace: '', id: 'r', method: 0, shards: 0 }, DEADLINE), callUnary(running.admin, 'rebalance', { keyspace: '', id: 'r', method: 0, shards: 0 }, DEADLINE)]);
    expect(new Set(answers.map(({ migration }) => migration?.id)).size).toBe(1);
    await eventuallyShown(running.admin, 'r', 'it ends', hasEnded);
    await eventually('nothing is left to do', async () => (await callUnary(running.admin, 'planRebalance', { keyspace: '' }, DEADLINE)).moves.length === 0);
    expect((await callUnary(running.admin, 'rebalance', { keyspace: 'default', id: '', method: 0, shards: 0 }, DEADLINE)).migration).toBeUndefined();
  }, 60_000);

  it('of a keyspace that evicts go on in a full cluster: entries make room', async () => {
    running = await cluster.start();
    const full = { memoryUsedBytes: 1000, memoryLimitBytes: 1000 };
    for (const node of cluster.nodes.values()) node.transfers = { ...full, sizes: Array.from({ length: 64 }, (_, partition) => ({ keyspace: 'default', partition, bytes: 100, entries: 1 })) };
    await callUnary(running.admin, 'drainNode', { node: 'a', undo: false }, DEADLINE);
    const { migration } = await eventuallyShown(running.admin, await jobFor('DRAIN'), 'it ends', hasEnded);
    expect(stateOf(migration)).toBe('SUCCEEDED');
    expect(await held('a')).toBe(0);
  }, 60_000);

  it('go on under another coordinator, which begins none twice', async () => {
    running = await cluster.start({ COORDINATOR_LEARNERS_PER_NODE_MAX: '2' });
    await cluster.node('d');
    const id = await jobFor('JOIN');
    await eventuallyShown(running.admin, id, 'some are done', ({ migration }) => migration.partitionsDone >= 3);
    await running.stop();
    running = await cluster.coordinator('c2');
    const { migration } = await eventuallyShown(running.admin, id, 'it ends', hasEnded);
    expect(stateOf(migration)).toBe('SUCCEEDED');
    const { migrations } = await callUnary(running.admin, 'listMigrations', { limit: 0, active: false }, DEADLINE);
    expect(migrations.map((one) => one.id)).toEqual([id]);
    expect(await isWhole()).toBe(true);
  }, 60_000);
});
