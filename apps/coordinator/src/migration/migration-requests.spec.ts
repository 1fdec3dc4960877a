import { MigrationMethod } from '@atoll/contracts/atoll/v1/migration';
import { MIB } from '@atoll/core-runtime';
import { eventually } from '@atoll/platform-etcd/testing';
import { callUnary } from '@atoll/platform-grpc';
import { DEADLINE, MigrationCluster, ask, eventuallyShown, failureOf, hasEnded, shown, stateOf, tableOf } from '../testing/migration-cluster.ts';
import type { RunningCoordinator } from '../testing/run-coordinator.ts';

const SEED = 20_260_311;
const { MIGRATION_METHOD_AUTO: AUTO, MIGRATION_METHOD_MOVE: MOVE, MIGRATION_METHOD_SHARDED: SHARDED } = MigrationMethod;

let cluster: MigrationCluster;
let running: RunningCoordinator;
beforeAll(async () => {
  cluster = new MigrationCluster(SEED);
  running = await cluster.start();
});
afterAll(() => cluster.stop());
afterEach(() => {
  for (const node of cluster.nodes.values()) Object.assign(node, { transfers: {}, makesReplicas: true });
});

const start = (fields: Parameters<typeof ask>[0]) => callUnary(running.admin, 'startMigration', ask(fields), DEADLINE);
const jobs = (): string[] => cluster.etcd.list('jobs/migrations/').map(({ key }) => key);

describe(`requests for migrations that are refused (seed ${SEED})`, () => {
  const move = { from: 'a', to: 'b' };
  it.each([
    { title: 'no source', fields: { to: 'b' }, reason: 'INVALID_ARGUMENT', field: 'from' },
    { title: 'no target', fields: { from: 'a' }, reason: 'INVALID_ARGUMENT', field: 'to' },
    { title: 'the same node twice', fields: { from: 'a', to: 'a' }, reason: 'INVALID_ARGUMENT', field: 'to' },
    { title: 'an unknown source', fields: { from: 'x', to: 'b' }, reason: 'NODE_NOT_FOUND', field: 'from' },
    { title: 'an unknown target', fields: { from: 'a', to: 'x' }, reason: 'NODE_NOT_FOUND', field: 'to' },
    { title: 'an unknown keyspace', fields: { ...move, keyspace: 'other' }, reason: 'KEYSPACE_NOT_FOUND', field: 'keyspace' },
    { title: 'a partition that there is not', fields: { ...move, partitions: [64] }, reason: 'INVALID_ARGUMENT', field: 'partitions' },
    { title: 'an id with a slash', fields: { ...move, id: 'a/b' }, reason: 'INVALID_ARGUMENT', field: 'id' },
    { title: 'an id of 65 characters', fields: { ...move, id: 'i'.repeat(65) }, reason: 'INVALID_ARGUMENT', field: 'id' },
    { title: 'a bound below 1 KiB/s', fields: { ...move, bytesPerSecond: 1023 }, reason: 'INVALID_ARGUMENT', field: 'bytes_per_second' },
    { title: 'all keyspaces and one', fields: { ...move, allKeyspaces: true, keyspace: 'default' }, reason: 'INVALID_ARGUMENT', field: 'all_keyspaces' },
    { title: 'all keyspaces and partitions', fields: { ...move, allKeyspaces: true, partitions: [1] }, reason: 'INVALID_ARGUMENT', field: 'all_keyspaces' },
    { title: 'a range of tokens and partitions', fields: { ...move, tokenTo: 2n ** 63n, partitions: [1] }, reason: 'INVALID_ARGUMENT', field: 'token_to' },
    { title: 'a range of tokens that begins inside of a partition', fields: { ...move, tokenFrom: 2n ** 63n + 1n }, reason: 'INVALID_ARGUMENT', field: 'token_from' },
    { title: 'a range of tokens that ends inside of a partition', fields: { ...move, tokenTo: 2n ** 63n - 1n }, reason: 'INVALID_ARGUMENT', field: 'token_to' },
    { title: 'a range of tokens that ends before it begins', fields: { ...move, tokenFrom: 2n ** 63n, tokenTo: 2n ** 62n }, reason: 'INVALID_ARGUMENT', field: 'token_to' },
    { title: 'a method from the future', fields: { ...move, method: 99 as never }, reason: 'INVALID_ARGUMENT', field: 'method' },
    { title: 'sub-ranges of a plain move', fields: { ...move, method: MOVE, shards: 4 }, reason: 'INVALID_ARGUMENT', field: 'shards' },
    { title: 'sub-ranges where nobody knows whether there are any', fields: { ...move, method: AUTO, shards: 4 }, reason: 'INVALID_ARGUMENT', field: 'shards' },
    { title: 'one sub-range', fields: { ...move, method: SHARDED, shards: 1 }, reason: 'INVALID_ARGUMENT', field: 'shards' },
    { title: '17 sub-ranges', fields: { ...move, method: SHARDED, shards: 17 }, reason: 'INVALID_ARGUMENT', field: 'shards' },
  ])('$title: $reason, naming $field; nothing is written', async ({ fields, reason, field }) => {
    expect(await failureOf(start(fields))).toMatchObject({ reason, metadata: { field } });
    expect(jobs()).toEqual([]);
  });

  it('named partitions that cannot be moved are told one by one', async () => {
    const table = await tableOf(running.admin);
    const elsewhere = table.find(({ inSync }) => !inSync.includes('a'))!.id;
    const both = table.find(({ inSync }) => inSync.includes('a') && inSync.includes('b'))!.id;
    const refused = await failureOf(start({ from: 'a', to: 'b', partitions: [elsewhere, both] }));
    expect(refused).toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'partitions' } });
    expect(refused!.message).toContain(`default/${elsewhere} has no replica on a`);
    expect(refused!.message).toContain(`default/${both} has a replica on b already`);
  });

  it('a range of tokens names the partitions that it consists of', async () => {
    const table = await tableOf(running.admin);
    const { partitions } = await start({ from: 'a', to: 'b', tokenFrom: 2n ** 62n, tokenTo: 2n ** 63n, dryRun: true });
    const movable = table.filter(({ id, inSync }) => id >= 16 && id < 32 && inSync.includes('a') && !inSync.includes('b')).map(({ id }) => id);
    expect(movable.length).toBeGreaterThan(0);
    expect(partitions.map(({ partition }) => partition).toSorted((a, b) => a - b)).toEqual(movable);
  });

  it('a target without room is refused with the numbers, also in a dry run', async () => {
    const partition = await cluster.movable(running.admin, 'a', 'b');
    cluster.nodes.get('a')!.transfers = { sizes: [{ keyspace: 'default', partition, bytes: 1000, entries: 10 }] };
    cluster.nodes.get('b')!.transfers = { memoryUsedBytes: 9000, memoryLimitBytes: 10_000 };
    for (const dryRun of [true, false]) {
      const refused = await failureOf(start({ from: 'a', to: 'b', partitions: [partition], dryRun }));
      expect(refused).toMatchObject({ reason: 'CAPACITY_SHORT', message: expect.stringContaining('b has room for 500 bytes and would get 1000'), metadata: { field: 'to', node: 'b' } });
    }
    expect(jobs()).toEqual([]);
  });

  it.each(['getMigration', 'pauseMigration', 'resumeMigration', 'cancelMigration'] as const)('%s of an unknown id', async (method) => {
    expect(await failureOf(callUnary(running.admin, method, { id: 'nobody' }, DEADLINE))).toMatchObject({ reason: 'MIGRATION_NOT_FOUND', metadata: { field: 'id' } });
    expect(await failureOf(callUnary(running.admin, method, { id: '' }, DEADLINE))).toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'id' } });
  });

  it('rebalancing under an id that cannot be a key, and in an unknown keyspace', async () => {
    expect(await failureOf(callUnary(running.admin, 'rebalance', { keyspace: '', id: 'a/b', method: 0, shards: 0 }, DEADLINE))).toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'id' } });
    expect(await failureOf(callUnary(running.admin, 'rebalance', { keyspace: '', id: '', method: 99 as never, shards: 0 }, DEADLINE))).toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'method' } });
    expect(await failureOf(callUnary(running.admin, 'rebalance', { keyspace: '', id: '', method: SHARDED, shards: 17 }, DEADLINE))).toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'shards' } });
    expect((await failureOf(callUnary(running.admin, 'planRebalance', { keyspace: 'other' }, DEADLINE)))?.reason).toBe('KEYSPACE_NOT_FOUND');
  });
});

describe('requests for migrations', () => {
  it('as a dry run show what would be done, with sizes, and write nothing', async () => {
    const partition = await cluster.movable(running.admin, 'a', 'c');
    cluster.nodes.get('a')!.transfers = { sizes: [{ keyspace: 'default', partition, bytes: 1000, entries: 10 }] };
    const { migration, partitions } = await start({ from: 'a', to: 'c', dryRun: true });
    expect(migration).toMatchObject({ reason: 'REQUESTED', partitionsTotal: partitions.length, description: 'move from a to c' });
    expect(partitions.find((one) => one.partition === partition)).toMatchObject({ from: ['a'], to: ['c'], bytesTotal: 1000, entriesTotal: 10 });
    expect(cluster.etcd.list('jobs/')).toEqual([]);
  });

  it('under one id make one job, at once and later; another one that needs its partition is refused and told which (R38)', async () => {
    cluster.nodes.get('c')!.makesReplicas = false;
    const partition = await cluster.movable(running.admin, 'a', 'c');
    const request = { id: 'twice', from: 'a', to: 'c', partitions: [partition] };
    const [first, second] = await Promise.all([start(request), start(request)]);
    for (const { migration } of [first, second, await start(request)]) expect(migration).toMatchObject({ id: 'twice', partitionsTotal: 1 });
    const refused = await failureOf(start({ from: 'a', to: 'c', partitions: [partition] }));
    expect(refused).toMatchObject({ reason: 'MIGRATION_CONFLICT', message: expect.stringContaining(`default/${partition} (migration twice)`), metadata: { field: 'partitions', migration: 'twice' } });
    expect(jobs()).toEqual(['jobs/migrations/twice']);
    cluster.nodes.get('c')!.makesReplicas = true;
    expect(stateOf((await eventuallyShown(running.admin, 'twice', 'it ends', hasEnded)).migration)).toBe('SUCCEEDED');
    expect((await start(request)).migration).toMatchObject({ id: 'twice', partitionsDone: 1 });
  });

  it.each([
    { title: 'large partitions: AUTO splits them, and the job says why', fields: {}, bytes: 100 * MIB, load: 0.1, method: SHARDED, shards: 4, reason: /^SHARDED: the largest of 1 partitions takes 100 MiB, 10 entries, .* 10 % of its time: 4 sub-ranges/ },
    { title: 'small ones: AUTO does not', fields: {}, bytes: 1000, load: 0.1, method: MOVE, shards: 1, reason: /^MOVE: the largest of 1 partitions takes 1 KiB, 10 entries, and one stream/ },
    { title: 'busy nodes: AUTO does not', fields: {}, bytes: 100 * MIB, load: 0.8, method: MOVE, shards: 1, reason: /a is busiest, for 80 % of its time/ },
    { title: 'SHARDED as asked for', fields: { method: SHARDED, shards: 5 }, bytes: 1000, load: 0.9, method: SHARDED, shards: 5, reason: /^$/ },
    { title: 'SHARDED without a number', fields: { method: SHARDED }, bytes: 1000, load: 0, method: SHARDED, shards: 4, reason: /^$/ },
    { title: 'MOVE as asked for', fields: { method: MOVE }, bytes: 100 * MIB, load: 0, method: MOVE, shards: 1, reason: /^$/ },
  ])('$title', async ({ fields, bytes, load, method, shards, reason }) => {
    const partition = await cluster.movable(running.admin, 'a', 'c');
    cluster.nodes.get('a')!.transfers = { load, sizes: [{ keyspace: 'default', partition, bytes, entries: 10 }] };
    const { migration } = await start({ from: 'a', to: 'c', partitions: [partition], dryRun: true, ...fields });
    expect(migration).toMatchObject({ method, shards, methodReason: expect.stringMatching(reason) });
  });

  it('that are split stand so in etcd, and their targets are told so for as long as they are filled', async () => {
    const c = cluster.nodes.get('c')!;
    c.makesReplicas = false;
    const partition = await cluster.movable(running.admin, 'a', 'c');
    await start({ id: 'split', from: 'a', to: 'c', partitions: [partition], method: SHARDED, shards: 3 });
    await eventually('c is told', () => c.sharded.at(-1) === `${partition} in 3`);
    expect(JSON.parse(cluster.etcd.get('jobs/migrations/split')!.value)).toMatchObject({ method: 'SHARDED', shards: 3, partitionsAtOnce: 10, methodReason: '' });
    expect(cluster.nodes.get('a')!.sharded).toEqual([]);
    c.makesReplicas = true;
    const { migration } = await eventuallyShown(running.admin, 'split', 'it ends', hasEnded);
    expect({ state: stateOf(migration), method: migration.method, shards: migration.shards }).toEqual({ state: 'SUCCEEDED', method: SHARDED, shards: 3 });
    await eventually('c is told that there is nothing to split any more', () => c.sharded.at(-1) === '');
  });

  it('that have ended are shown with their partitions, and cannot be stopped', async () => {
    const { migration, partitions } = await shown(running.admin, 'twice');
    expect(migration).toMatchObject({ partitionsDone: 1, partitionsRolledBack: 0, problem: '' });
    expect(partitions).toHaveLength(1);
    for (const method of ['pauseMigration', 'resumeMigration', 'cancelMigration'] as const) {
      expect(await failureOf(callUnary(running.admin, method, { id: 'twice' }, DEADLINE))).toMatchObject({ reason: 'MIGRATION_CONFLICT', metadata: { migration: 'twice' } });
    }
    const { migrations } = await callUnary(running.admin, 'listMigrations', { limit: 0, active: false }, DEADLINE);
    expect(migrations.map(({ id }) => id)).toEqual(['split', 'twice']);
    expect((await callUnary(running.admin, 'listMigrations', { limit: 0, active: true }, DEADLINE)).migrations).toEqual([]);
    expect(await failureOf(callUnary(running.admin, 'listMigrations', { limit: 201, active: false }, DEADLINE))).toMatchObject({ metadata: { field: 'limit' } });
  });

  it('for a node that refused replicas once succeed when what stood in the way is gone', async () => {
    const c = cluster.nodes.get('c')!;
    c.refused.add('default');
    const partition = await cluster.movable(running.admin, 'a', 'c');
    await start({ id: 'refused', from: 'a', to: 'c', partitions: [partition] });
    const failed = await eventuallyShown(running.admin, 'refused', 'it fails', hasEnded);
    expect(failed.migration.problem).toMatch(/c refuses it: .*no disk for default/);
    expect(stateOf(failed.migration)).toBe('FAILED');
    c.refused.clear();
    await start({ id: 'again', from: 'a', to: 'c', partitions: [partition] });
    expect(stateOf((await eventuallyShown(running.admin, 'again', 'it ends', hasEnded)).migration)).toBe('SUCCEEDED');
  });
});
