import { callUnary } from '@atoll/platform-grpc';
import { eventually } from '@atoll/platform-etcd/testing';
import { DEADLINE, MigrationCluster, ask, eventuallyShown, hasEnded, shown, stateOf, stepOf, tableOf } from '../testing/migration-cluster.ts';
import type { RunningCoordinator } from '../testing/run-coordinator.ts';
import type { ReplicationNode } from '../testing/replication-node.ts';

const SEED = 20_261_123;
/** The nodes of the spec hold two entries in each sub-range that they are asked for. */
const ENTRIES = 2 * 64;

describe(`a migration that compares each entry (R34; seed ${SEED})`, () => {
  let cluster: MigrationCluster;
  let running: RunningCoordinator;
  let partition: number;
  let a: ReplicationNode;
  let b: ReplicationNode;

  beforeEach(async () => {
    cluster = new MigrationCluster(SEED);
    running = await cluster.start();
    partition = await cluster.movable(running.admin, 'a', 'b');
    [a, b] = ['a', 'b'].map((id) => cluster.nodes.get(id)!) as [ReplicationNode, ReplicationNode];
  });
  afterEach(() => cluster.stop());

  const start = (fullVerify = true) => callUnary(running.admin, 'startMigration', ask({ id: 'm', from: 'a', to: 'b', partitions: [partition], fullVerify }), DEADLINE);
  const ended = () => eventuallyShown(running.admin, 'm', 'it ends', hasEnded);

  it('says how many entries it found equal', async () => {
    expect((await start()).migration).toMatchObject({ fullVerify: true });
    const { migration, partitions } = await ended();
    expect(stateOf(migration)).toBe('SUCCEEDED');
    expect(partitions[0]!.proof).toMatchObject({ equal: 64, repaired: 0, comparedEntries: ENTRIES });
  });

  it('is not what others do: they compare digests', async () => {
    for (const node of cluster.nodes.values()) node.unsettled.add(9);
    await start(false);
    const { migration, partitions } = await ended();
    expect(stateOf(migration)).toBe('SUCCEEDED');
    expect(partitions[0]!.proof).toMatchObject({ comparedEntries: 0 });
  });

  it('installs a leaf whose entries differ under equal versions again, and compares it anew', async () => {
    for (const leaf of [3, 60]) b.corrupted.add(leaf);
    await start();
    const { migration, partitions } = await ended();
    expect(stateOf(migration)).toBe('SUCCEEDED');
    expect(b.repaired).toEqual([3, 60]);
    expect(partitions[0]!.proof).toMatchObject({ equal: 62, repaired: 2, comparedEntries: ENTRIES });
  });

  it('goes back when they differ still: the source is as it was, and says why', async () => {
    const before = (await tableOf(running.admin))[partition]!;
    Object.assign(b, { repairsLast: false }).corrupted.add(7);
    await start();
    const { migration, partitions } = await ended();
    expect(stateOf(migration)).toBe('FAILED');
    expect(migration.problem).toContain('the entries of 1 of 64 sub-ranges on b differ from those of the leader a');
    expect(partitions.map(stepOf)).toEqual(['ROLLED_BACK']);
    expect(b.repaired).toEqual([7]);
    expect((await tableOf(running.admin))[partition]).toMatchObject({ leader: before.leader, inSync: before.inSync, learners: [] });
  });

  it('goes back, and repairs nothing, when the leader stands alone: it may be the one that is wrong', async () => {
    a.corrupted.add(7);
    await start();
    const { migration } = await ended();
    expect(stateOf(migration)).toBe('FAILED');
    expect(migration.problem).toContain('no other replica agrees with it either');
    expect(b.repaired).toEqual([]);
  });

  it('stays at its step, and tries again, while what is compared never stands still', async () => {
    b.unsettled.add(9);
    await start();
    await eventuallyShown(running.admin, 'm', 'it is compared', ({ partitions }) => stepOf(partitions[0]!) === 'VERIFY');
    const readings = b.contentReadings;
    // All of one attempt, and the beginning of another one: leaf 9 whole, in 16 parts and in 256, three times each.
    await eventually('it was read again and again', () => b.contentReadings > readings + 3 * (1 + 16 + 256) + 64, 60_000);
    const { partitions } = await shown(running.admin, 'm');
    expect([stepOf(partitions[0]!), partitions[0]!.proof]).toEqual(['VERIFY', undefined]);
    b.unsettled.clear();
    expect(stateOf((await ended()).migration)).toBe('SUCCEEDED');
  }, 120_000);

  it('is cancelled in the middle of it, and reads no further', async () => {
    b.unsettled.add(9);
    await start();
    await eventually('it is read', () => b.contentReadings > 200);
    await callUnary(running.admin, 'cancelMigration', { id: 'm' }, DEADLINE);
    expect(stateOf((await ended()).migration)).toBe('CANCELLED');
    const readings = b.contentReadings;
    b.unsettled.clear();
    await callUnary(running.admin, 'startMigration', ask({ id: 'n', from: 'a', to: 'b', partitions: [partition], fullVerify: true }), DEADLINE);
    expect(stateOf((await eventuallyShown(running.admin, 'n', 'the next one ends', hasEnded)).migration)).toBe('SUCCEEDED');
    // A few calls that were under way, and the one comparison of the next job.
    expect(b.contentReadings - readings).toBeLessThan(64 + 256);
  });
});
