import { callUnary } from '@atoll/platform-grpc';
import { eventually } from '@atoll/platform-etcd/testing';
import { DEADLINE, HELD_STEPS, MigrationCluster, ask, eventuallyShown, failureOf, hasEnded, shown, stateOf, stepOf, tableOf } from '../testing/migration-cluster.ts';

const SEED = 20_260_314;
const ONE = { COORDINATOR_LEARNERS_PER_NODE_MAX: '1' };

let cluster: MigrationCluster;
beforeEach(() => {
  cluster = new MigrationCluster(SEED);
});
afterEach(() => cluster.stop());

const revisions = (partitions: readonly number[]): number[] => partitions.map((partition) => cluster.etcd.get(`partitions/default/${String(partition).padStart(4, '0')}`)!.modRevision);

describe(`a migration whose coordinator stops (seed ${SEED})`, () => {
  it.each(HELD_STEPS)('at %s is brought to its end by the next one, from that step on', async (step) => {
    const first = await cluster.start(ONE);
    const partition = await cluster.hold(first.admin, step);
    await first.stop();
    const { admin } = await cluster.coordinator('c2', ONE);
    const taken = await eventuallyShown(admin, 'm', 'it is taken over', () => true);
    expect([stateOf(taken.migration), stepOf(taken.partitions[0]!)]).toEqual(['RUNNING', step]);
    cluster.release();
    const { migration, partitions } = await eventuallyShown(admin, 'm', 'it ends', hasEnded);
    expect(stateOf(migration)).toBe('SUCCEEDED');
    expect(partitions[0]!.proof).toBeDefined();
    expect((await tableOf(admin))[partition]!.inSync).not.toContain('a');
  });

  it.each(['CATCH_UP', 'VERIFY', 'TRANSFER'] as const)('while it is cancelled at %s goes back under the next one', async (step) => {
    const first = await cluster.start(ONE);
    const before = await tableOf(first.admin);
    const partition = await cluster.hold(first.admin, step);
    for (const node of cluster.nodes.values()) node.isLeaderAtWork = false;
    await callUnary(first.admin, 'cancelMigration', { id: 'm' }, DEADLINE);
    await first.stop();
    const { admin } = await cluster.coordinator('c2', ONE);
    cluster.release();
    const { migration } = await eventuallyShown(admin, 'm', 'it ends', hasEnded);
    expect(stateOf(migration)).toBe('CANCELLED');
    expect((await tableOf(admin))[partition]).toMatchObject({ inSync: before[partition]!.inSync, leader: before[partition]!.leader });
  });

  it('touches no partition again that was done', async () => {
    const first = await cluster.start(ONE);
    await callUnary(first.admin, 'startMigration', ask({ id: 'm', from: 'a', to: 'b' }), DEADLINE);
    await eventuallyShown(first.admin, 'm', 'three are done', ({ migration }) => migration.partitionsDone >= 3);
    await first.stop();
    const finished = cluster.etcd.list('jobs/results/m/').map(({ key }) => Number(key.slice(-4)));
    expect(finished.length).toBeGreaterThanOrEqual(3);
    const before = revisions(finished);
    const { admin } = await cluster.coordinator('c2', ONE);
    const { migration } = await eventuallyShown(admin, 'm', 'it ends', hasEnded);
    expect([stateOf(migration), migration.partitionsDone]).toEqual(['SUCCEEDED', migration.partitionsTotal]);
    expect(revisions(finished)).toEqual(before);
  });

  it('while it is paused stays paused', async () => {
    const first = await cluster.start();
    await cluster.hold(first.admin, 'CATCH_UP');
    await callUnary(first.admin, 'pauseMigration', { id: 'm' }, DEADLINE);
    await first.stop();
    const { admin } = await cluster.coordinator('c2');
    expect(stateOf((await eventuallyShown(admin, 'm', 'it is taken over', () => true)).migration)).toBe('PAUSED');
    await callUnary(admin, 'resumeMigration', { id: 'm', bytesPerSecond: 4096 }, DEADLINE);
    await eventually('the bound is told', () => cluster.nodes.get('a')!.limits.at(-1) === 4096);
    cluster.release();
    expect(stateOf((await eventuallyShown(admin, 'm', 'it ends', hasEnded)).migration)).toBe('SUCCEEDED');
  });
});

describe('a job of 150 partitions', () => {
  const keyspace = { name: 'extra', partitionCount: 256, replicationFactor: 2, minInSync: 0, ack: 0, durability: 0, defaultTtlMs: 0, memoryShare: 0, eviction: 0, onDataLoss: 0, valueBytesMax: 0, aliases: [] as string[], pool: '' } as const;

  it('whose coordinator dies between its transactions is taken back by the next one: nothing has moved', async () => {
    const first = await cluster.start();
    await callUnary(first.admin, 'createKeyspace', { keyspace }, DEADLINE);
    await eventually('it is placed', async () => (await tableOf(first.admin, 'extra')).every(({ inSync }) => inSync.length === 2));
    const before = cluster.etcd.list('partitions/extra/').map(({ modRevision }) => modRevision);
    const candidates = (await tableOf(first.admin, 'extra')).filter(({ inSync }) => inSync.includes('a') && !inSync.includes('b')).map(({ id }) => id);
    expect(candidates.length).toBeGreaterThan(60);
    let operators = 0;
    // The first transaction is written, and then its coordinator reaches etcd no more.
    const observer = await cluster.observe('jobs/operators/', () => {
      operators = cluster.operators().length;
      if (operators > 0) first.store.goAway();
    });
    const refused = await failureOf(callUnary(first.admin, 'startMigration', ask({ id: 'big', keyspace: 'extra', from: 'a', to: 'b' }), DEADLINE));
    await observer.close();
    if (operators === candidates.length) throw new Error('it was written as a whole');
    expect(['METADATA_CONFLICT', 'METADATA_UNAVAILABLE']).toContain(refused?.reason);
    await first.stop();
    expect(JSON.parse(cluster.etcd.get('jobs/migrations/big')!.value)).toMatchObject({ state: 'PREPARING' });
    const { admin } = await cluster.coordinator('c2');
    const { migration } = await eventuallyShown(admin, 'big', 'it ends', hasEnded);
    expect([stateOf(migration), migration.partitionsDone, migration.partitionsRolledBack, migration.problem]).toEqual(['CANCELLED', 0, operators, 'its coordinator stopped before it began']);
    expect(cluster.operators()).toEqual([]);
    expect(cluster.etcd.list('partitions/extra/').map(({ modRevision }) => modRevision)).toEqual(before);
  }, 60_000);
});

describe('answers that etcd loses in the middle of a migration (R7)', () => {
  it.each([0, 1, 2, 3, 4, 5, 6, 7, 8])('write %i after the request, and the two behind it: the migration succeeds, once', async (skipped) => {
    const { admin, store } = await cluster.start();
    const partition = await cluster.movable(admin, 'a', 'b');
    let changes = 0;
    const observer = await cluster.observe('jobs/', () => {
      changes += 1;
      if (changes === skipped) for (let lost = 0; lost < 3; lost += 1) store.loseNextAnswer();
    });
    if (skipped === 0) store.loseNextAnswer();
    await callUnary(admin, 'startMigration', ask({ id: 'm', from: 'a', to: 'b', partitions: [partition] }), DEADLINE);
    const { migration, partitions } = await eventuallyShown(admin, 'm', 'it ends', hasEnded);
    await observer.close();
    expect([stateOf(migration), migration.partitionsDone, migration.partitionsRolledBack]).toEqual(['SUCCEEDED', 1, 0]);
    expect(partitions.map(stepOf)).toEqual(['DONE']);
    const { inSync, leader } = (await tableOf(admin))[partition]!;
    expect([leader, inSync.length, inSync.includes('a')]).toEqual(['b', 2, false]);
  });

  it('and etcd that is away for a while: the migration goes on when it is back', async () => {
    const { admin, store } = await cluster.start();
    await cluster.hold(admin, 'VERIFY');
    store.goAway();
    expect((await failureOf(callUnary(admin, 'cancelMigration', { id: 'm' }, DEADLINE)))?.reason).toMatch(/METADATA_UNAVAILABLE|METADATA_CONFLICT|NOT_COORDINATOR/);
    cluster.release();
    store.comeBack();
    const ended = await eventuallyShown(admin, 'm', 'it ends', hasEnded);
    expect(['SUCCEEDED', 'CANCELLED']).toContain(stateOf(ended.migration));
    expect((await shown(admin, 'm')).partitions.map(stepOf)).toEqual([stateOf(ended.migration) === 'SUCCEEDED' ? 'DONE' : 'ROLLED_BACK']);
  });
});
