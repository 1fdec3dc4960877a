import { callUnary } from '@atoll/platform-grpc';
import { DEADLINE, HELD_STEPS, MigrationCluster, ask, eventuallyShown, hasEnded, shown, stateOf, stepOf, tableOf } from '../testing/migration-cluster.ts';

const SEED = 20_260_313;
/** One replica at a time, so that another one can stand in the way. */
const ONE = { COORDINATOR_LEARNERS_PER_NODE_MAX: '1' };

let cluster: MigrationCluster;
beforeEach(() => {
  cluster = new MigrationCluster(SEED);
});
afterEach(() => cluster.stop());

describe(`a migration that is cancelled (seed ${SEED})`, () => {
  it.each(HELD_STEPS.filter((step) => step !== 'REMOVE'))('at %s goes back: the source is as it was, the target has nothing, and the place is free', async (step) => {
    const { admin } = await cluster.start(ONE);
    const before = await tableOf(admin);
    const partition = await cluster.hold(admin, step);
    const answers = [await callUnary(admin, 'cancelMigration', { id: 'm' }, DEADLINE), await callUnary(admin, 'cancelMigration', { id: 'm' }, DEADLINE)];
    for (const { migration } of answers) expect(['CANCELLING', 'CANCELLED']).toContain(stateOf(migration!));
    cluster.release();
    const { migration, partitions } = await eventuallyShown(admin, 'm', 'it ends', hasEnded);
    expect(stateOf(migration)).toBe('CANCELLED');
    expect(migration).toMatchObject({ partitionsDone: 0, partitionsRolledBack: 1, problem: 'cancelled by an operator' });
    expect(partitions.map(stepOf)).toEqual(['ROLLED_BACK']);
    expect((await tableOf(admin))[partition]).toMatchObject({ leader: before[partition]!.leader, inSync: before[partition]!.inSync, learners: [] });
    expect(stateOf((await callUnary(admin, 'cancelMigration', { id: 'm' }, DEADLINE)).migration!)).toBe('CANCELLED');
    await callUnary(admin, 'startMigration', ask({ id: 'n', from: 'a', to: 'b', partitions: [partition] }), DEADLINE);
    expect(stateOf((await eventuallyShown(admin, 'n', 'the next one ends', hasEnded)).migration)).toBe('SUCCEEDED');
  });

  it('at REMOVE is past the point of return: the target leads, and the job succeeds', async () => {
    const { admin } = await cluster.start();
    const partition = await cluster.hold(admin, 'REMOVE');
    await callUnary(admin, 'cancelMigration', { id: 'm' }, DEADLINE);
    cluster.release();
    expect(stateOf((await eventuallyShown(admin, 'm', 'it ends', hasEnded)).migration)).toBe('SUCCEEDED');
    expect((await tableOf(admin))[partition]!.inSync).not.toContain('a');
  });

  it('of many ends with those that were done where they should be, and the others where they were', async () => {
    const { admin } = await cluster.start(ONE);
    const before = await tableOf(admin);
    await callUnary(admin, 'startMigration', ask({ id: 'm', from: 'a', to: 'b' }), DEADLINE);
    await eventuallyShown(admin, 'm', 'two are done', ({ migration }) => migration.partitionsDone >= 2);
    await callUnary(admin, 'cancelMigration', { id: 'm' }, DEADLINE);
    const { migration, partitions } = await eventuallyShown(admin, 'm', 'it ends', hasEnded);
    expect(stateOf(migration)).toBe('CANCELLED');
    expect(migration.partitionsDone + migration.partitionsRolledBack).toBe(migration.partitionsTotal);
    const after = await tableOf(admin);
    for (const one of partitions) {
      const { inSync } = after[one.partition]!;
      const former = before[one.partition]!.inSync;
      const moved = former.map((node) => (node === 'a' ? 'b' : node));
      expect(inSync.toSorted()).toEqual((stepOf(one) === 'DONE' ? moved : former).toSorted());
    }
  });
});

describe('a migration that is paused', () => {
  it.each(HELD_STEPS.filter((step) => step !== 'REMOVE'))('at %s comes to no further step until it is resumed; both can be asked for twice', async (step) => {
    const { admin } = await cluster.start(ONE);
    await cluster.hold(admin, step);
    for (let time = 0; time < 2; time += 1) expect(stateOf((await callUnary(admin, 'pauseMigration', { id: 'm' }, DEADLINE)).migration!)).toBe('PAUSED');
    cluster.release();
    // A second migration comes to its end meanwhile: the coordinator had every opportunity.
    const last = (await tableOf(admin)).findLast(({ inSync }) => inSync.includes('a') && !inSync.includes('c'))!.id;
    await callUnary(admin, 'startMigration', ask({ id: 'meanwhile', from: 'a', to: 'c', partitions: [last] }), DEADLINE);
    await eventuallyShown(admin, 'meanwhile', 'the second one ends', hasEnded);
    const { migration, partitions } = await shown(admin, 'm');
    expect([stateOf(migration), stepOf(partitions[0]!)]).toEqual(['PAUSED', step]);
    for (let time = 0; time < 2; time += 1) expect(['RUNNING', 'SUCCEEDED']).toContain(stateOf((await callUnary(admin, 'resumeMigration', { id: 'm' }, DEADLINE).catch(() => shown(admin, 'm'))).migration!));
    expect(stateOf((await eventuallyShown(admin, 'm', 'it ends', hasEnded)).migration)).toBe('SUCCEEDED');
  });

  it('is cancelled as one that runs', async () => {
    const { admin } = await cluster.start();
    await cluster.hold(admin, 'CATCH_UP');
    await callUnary(admin, 'pauseMigration', { id: 'm' }, DEADLINE);
    await callUnary(admin, 'cancelMigration', { id: 'm' }, DEADLINE);
    expect(stateOf((await eventuallyShown(admin, 'm', 'it ends', hasEnded)).migration)).toBe('CANCELLED');
    expect(cluster.operators()).toEqual([]);
  });
});

describe('nodes that are lost in the middle', () => {
  it('a target whose process is gone for good when it is drained: its partitions go back', async () => {
    const { admin } = await cluster.start();
    const partition = await cluster.hold(admin, 'CATCH_UP');
    const before = (await tableOf(admin))[partition]!.inSync;
    await callUnary(admin, 'drainNode', { node: 'b', undo: false }, DEADLINE);
    const { migration } = await eventuallyShown(admin, 'm', 'it ends', hasEnded);
    expect(migration.problem).toContain('b is DRAINING: it gets nothing');
    expect((await tableOf(admin))[partition]!.inSync).toEqual(before);
  });

  it('a target that restarts without its data behind the comparison is filled and compared again before the source goes', async () => {
    const { admin } = await cluster.start();
    const partition = await cluster.hold(admin, 'REMOVE');
    const [first] = (await shown(admin, 'm')).partitions;
    expect(first!.proof).toBeDefined();
    const b = cluster.nodes.get('b')!;
    for (const node of cluster.nodes.values()) node.verifyProblem = 'not now';
    await b.kill();
    await eventuallyShown(admin, 'm', 'b is to be filled again', ({ partitions }) => stepOf(partitions[0]!) === 'CATCH_UP');
    for (const node of cluster.nodes.values()) node.isLeaderAtWork = true;
    await b.start();
    await eventuallyShown(admin, 'm', 'it is to be compared again', ({ partitions }) => stepOf(partitions[0]!) === 'VERIFY' && partitions[0]!.proof === undefined);
    expect((await tableOf(admin))[partition]!.inSync).toContain('a');
    cluster.release();
    const { migration, partitions } = await eventuallyShown(admin, 'm', 'it ends', hasEnded);
    expect(stateOf(migration)).toBe('SUCCEEDED');
    expect(partitions[0]!.proof).toBeDefined();
  }, 60_000);
});
