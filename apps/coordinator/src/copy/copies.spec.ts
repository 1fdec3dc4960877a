import { credentials } from '@grpc/grpc-js';
import { MigrationMethod, type StartMigrationRequest } from '@atoll/contracts/atoll/v1/migration';
import { Keyspace } from '@atoll/contracts/atoll/v1/admin';
import { CreateStandbyRequest, PromoteStandbyRequest, StandbyClient, StandbyState } from '@atoll/contracts/atoll/v1/standby';
import { keyspaceKey, parseKeyspaceSpec } from '@atoll/platform-etcd';
import { eventually } from '@atoll/platform-etcd/testing';
import { callUnary } from '@atoll/platform-grpc';
import { InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { DEADLINE, MigrationCluster, ask, eventuallyShown, failureOf, hasEnded, shown, stateOf, stepOf, tableOf } from '../testing/migration-cluster.ts';
import type { RunningCoordinator } from '../testing/run-coordinator.ts';

const SEED = 20_261_124;

let cluster: MigrationCluster;
let running: RunningCoordinator;
beforeAll(async () => {
  cluster = new MigrationCluster(SEED);
  running = await cluster.start();
});
afterAll(() => cluster.stop());
afterEach(() => {
  for (const node of cluster.nodes.values()) Object.assign(node, { transfers: {} });
});

const TARGET = { name: 'wide', partitionCount: 128, replicationFactor: 3, minInSync: 0 };
const copy = (fields: Partial<StartMigrationRequest> = {}): StartMigrationRequest => ask({ id: 'c', method: MigrationMethod.MIGRATION_METHOD_COPY, target: TARGET, ...fields });
const start = (fields: Partial<StartMigrationRequest> = {}) => callUnary(running.admin, 'startMigration', copy(fields), DEADLINE);
const stored = (name: string) => {
  const text = cluster.etcd.get(keyspaceKey(name))?.value;
  const parsed = text === undefined ? undefined : parseKeyspaceSpec(text);
  return parsed?.kind === 'parsed' ? parsed.value : undefined;
};
const written = (): string[] => cluster.etcd.list('jobs/copies/').map(({ key }) => key);
const cancelled = async (id: string) => {
  await callUnary(running.admin, 'cancelMigration', { id }, DEADLINE);
  return eventuallyShown(running.admin, id, 'it ends', hasEnded);
};

describe(`copies that are refused (seed ${SEED})`, () => {
  it.each<{ title: string; fields: Partial<StartMigrationRequest>; reason: string; field: string }>([
    { title: 'no target', fields: { target: undefined }, reason: 'INVALID_ARGUMENT', field: 'target' },
    { title: 'a target without a name', fields: { target: { ...TARGET, name: '' } }, reason: 'INVALID_ARGUMENT', field: 'target.name' },
    { title: 'a target of 3 partitions', fields: { target: { ...TARGET, partitionCount: 3 } }, reason: 'INVALID_ARGUMENT', field: 'target.partition_count' },
    { title: 'a replication factor of 8', fields: { target: { ...TARGET, replicationFactor: 8 } }, reason: 'INVALID_ARGUMENT', field: 'target.replication_factor' },
    { title: 'more in sync than there are', fields: { target: { ...TARGET, minInSync: 4 } }, reason: 'INVALID_ARGUMENT', field: 'target.min_in_sync' },
    { title: 'a target that there is', fields: { target: { ...TARGET, name: 'default' } }, reason: 'KEYSPACE_EXISTS', field: 'target.name' },
    { title: 'a source that there is not', fields: { keyspace: 'other' }, reason: 'KEYSPACE_NOT_FOUND', field: 'keyspace' },
    { title: 'an id with a slash', fields: { id: 'a/b' }, reason: 'INVALID_ARGUMENT', field: 'id' },
    { title: 'partitions', fields: { partitions: [1] }, reason: 'INVALID_ARGUMENT', field: 'partitions' },
    { title: 'all keyspaces', fields: { allKeyspaces: true }, reason: 'INVALID_ARGUMENT', field: 'all_keyspaces' },
    { title: 'nodes', fields: { from: 'a' }, reason: 'INVALID_ARGUMENT', field: 'from' },
    { title: 'shards', fields: { shards: 4 }, reason: 'INVALID_ARGUMENT', field: 'shards' },
    { title: 'a bound below the least', fields: { bytesPerSecond: 10 }, reason: 'INVALID_ARGUMENT', field: 'bytes_per_second' },
    { title: 'a range of tokens that ends before it begins', fields: { tokenFrom: 2n ** 63n, tokenTo: 5n }, reason: 'INVALID_ARGUMENT', field: 'token_to' },
    { title: 'an empty range of tokens', fields: { tokenFrom: 5n, tokenTo: 5n }, reason: 'INVALID_ARGUMENT', field: 'token_to' },
    { title: 'tokens for a move', fields: { method: MigrationMethod.MIGRATION_METHOD_MOVE, target: undefined, from: 'a', to: 'b', tokenTo: 5n }, reason: 'INVALID_ARGUMENT', field: 'token_to' },
    { title: 'a target for a move', fields: { method: MigrationMethod.MIGRATION_METHOD_MOVE, from: 'a', to: 'b' }, reason: 'INVALID_ARGUMENT', field: 'target' },
  ])('$title: $reason, naming $field; nothing is written', async ({ fields, reason, field }) => {
    expect(await failureOf(start(fields))).toMatchObject({ reason, metadata: { field } });
    expect(written()).toEqual([]);
    expect(stored('wide')).toBeUndefined();
  });

  it('what does not fit into the nodes together is refused with the numbers, also in a dry run', async () => {
    for (const node of cluster.nodes.values()) node.transfers = { memoryUsedBytes: 9000, memoryLimitBytes: 10_000 };
    cluster.nodes.get('a')!.transfers = { ...cluster.nodes.get('a')!.transfers, sizes: [{ keyspace: 'default', partition: 0, bytes: 501, entries: 10 }] };
    for (const dryRun of [true, false]) {
      expect(await failureOf(start({ dryRun }))).toMatchObject({ reason: 'CAPACITY_SHORT', message: expect.stringContaining('3 replicas of 501 bytes do not fit into the 1500 bytes'), metadata: { field: 'target' } });
    }
    expect(written()).toEqual([]);
  });
});

describe('a copy as a job (R37)', () => {
  it('is one trace: the job, what its nodes do (which hangs under it by the record of the keyspace), its end, which carries why', async () => {
    const exporter = new InMemorySpanExporter();
    const other = new MigrationCluster(SEED + 1);
    const traced = await other.start({}, { traceRatio: 1, spanProcessors: [new SimpleSpanProcessor(exporter)] });
    const { migration } = await callUnary(traced.admin, 'startMigration', copy({ target: { ...TARGET, partitionCount: 2 } }), DEADLINE);
    await callUnary(traced.admin, 'cancelMigration', { id: 'c' }, DEADLINE);
    await eventuallyShown(traced.admin, 'c', 'it ends', hasEnded);
    const own = await eventually('the end is told', () => {
      const found = exporter.getFinishedSpans().filter((span) => span.name.startsWith('atoll.migration') && span.spanContext().traceId === migration!.traceId);
      return found.length === 2 && found;
    });
    expect(own.map(({ name, attributes }) => [name, attributes['atoll.migration'], attributes['atoll.method'], attributes['atoll.source'], attributes['atoll.target'], attributes['atoll.state']])).toEqual([
      ['atoll.migration', 'c', 'COPY', 'default', 'wide', undefined],
      ['atoll.migration.end', 'c', undefined, 'default', 'wide', 'CANCELLED'],
    ]);
    expect(own[1]!.parentSpanContext?.spanId).toBe(own[0]!.spanContext().spanId);
    expect(own[1]!.status).toMatchObject({ code: 2, message: 'cancelled by an operator' });
    await other.stop();
  });

  it('makes its keyspace as the source is, but for what was asked for; a dry run makes nothing; the same id answers with the same job', async () => {
    const dry = await start({ dryRun: true });
    expect([stateOf(dry.migration!), dry.migration!.description, dry.partitions.length, written()]).toEqual(['RUNNING', 'copy default to wide', 128, []]);
    const first = await start();
    expect(first.migration).toMatchObject({ id: 'c', method: MigrationMethod.MIGRATION_METHOD_COPY, partitionsTotal: 128, copy: { source: 'default', target: 'wide', following: false } });
    const source = stored('default')!;
    const made = stored('wide')!;
    expect(made).toEqual({ ...source, name: 'wide', id: made.id, partitionCount: 128, replicationFactor: 3, minInSync: 2, copyOf: { job: 'c', keyspace: 'default', keyspaceId: source.id, isPaused: false, firstGeneration: 65_537, traceparent: expect.stringContaining(first.migration!.traceId) } });
    expect(first.migration!.traceId).toMatch(/^[0-9a-f]{32}$/);
    expect((await start()).migration!.createdAtMs).toBe(first.migration!.createdAtMs);
    expect(stored('wide')!.id).toBe(made.id);
    await eventually('the nodes hold it', async () => (await tableOf(running.admin, 'wide')).filter(({ leader }) => leader !== '').length === 128, 20_000);
    // These nodes do not say how far they are: nothing is claimed.
    const { migration, partitions } = await shown(running.admin, 'c');
    expect([migration.copy, partitions.every((one) => stepOf(one) === 'WAITING')]).toEqual([expect.objectContaining({ following: false, lagSeq: undefined, lagMs: undefined }), true]);
    const { keyspace } = await callUnary(running.admin, 'getKeyspace', { name: 'wide' }, DEADLINE);
    expect(keyspace!.copyOf).toBe('default');
    expect((await callUnary(running.admin, 'listMigrations', { limit: 0, active: true }, DEADLINE)).migrations.map(({ id }) => id)).toEqual(['c']);
  });

  it('is paused and resumed by the record of its keyspace, which the nodes follow; both can be asked for twice', async () => {
    for (let time = 0; time < 2; time += 1) expect(stateOf((await callUnary(running.admin, 'pauseMigration', { id: 'c' }, DEADLINE)).migration!)).toBe('PAUSED');
    expect(stored('wide')!.copyOf!.isPaused).toBe(true);
    // Settings of the keyspace may change meanwhile, and what it is a copy of does not.
    const wide = (await callUnary(running.admin, 'getKeyspace', { name: 'wide' }, DEADLINE)).keyspace as Keyspace;
    await callUnary(running.admin, 'updateKeyspace', { keyspace: { ...wide, defaultTtlMs: 5000 }, fields: ['default_ttl_ms'] }, DEADLINE);
    expect(stored('wide')).toMatchObject({ defaultTtlMs: 5000, copyOf: { job: 'c', isPaused: true } });
    for (let time = 0; time < 2; time += 1) expect(stateOf((await callUnary(running.admin, 'resumeMigration', { id: 'c' }, DEADLINE)).migration!)).toBe('RUNNING');
    expect(stored('wide')!.copyOf!.isPaused).toBe(false);
  });

  it('takes another bound while it runs, and keeps it over a pause', async () => {
    expect((await shown(running.admin, 'c')).migration.bytesPerSecond).toBe(0);
    expect(await failureOf(callUnary(running.admin, 'resumeMigration', { id: 'c', bytesPerSecond: 10 }, DEADLINE))).toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'bytes_per_second' } });
    expect((await callUnary(running.admin, 'resumeMigration', { id: 'c', bytesPerSecond: 5000 }, DEADLINE)).migration).toMatchObject({ bytesPerSecond: 5000 });
    expect(stored('wide')!.copyOf).toMatchObject({ isPaused: false, bytesPerSecond: 5000 });
    await callUnary(running.admin, 'pauseMigration', { id: 'c' }, DEADLINE);
    await callUnary(running.admin, 'resumeMigration', { id: 'c' }, DEADLINE);
    expect(stored('wide')!.copyOf).toMatchObject({ isPaused: false, bytesPerSecond: 5000 });
    await callUnary(running.admin, 'resumeMigration', { id: 'c', bytesPerSecond: 0 }, DEADLINE);
    expect(stored('wide')!.copyOf!.bytesPerSecond).toBeUndefined();
  });

  it('of a range of tokens says so in the record of its keyspace; partitions outside of it have nothing to wait for', async () => {
    const tokens = { start: { high: 0x4000_0000, low: 0 }, end: { high: 0x8000_0000, low: 0 } };
    const { migration, partitions } = await start({ id: 'part', target: { ...TARGET, name: 'part', partitionCount: 4 }, tokenFrom: 1n << 62n, tokenTo: 1n << 63n });
    expect(migration).toMatchObject({ description: 'copy default, tokens 4000000000000000..8000000000000000, to part', copy: { tokenFrom: 1n << 62n, tokenTo: 1n << 63n } });
    expect(partitions).toHaveLength(4);
    expect(stored('part')!.copyOf!.tokens).toEqual(tokens);
    await eventually('the nodes hold it', async () => (await tableOf(running.admin, 'part')).filter(({ leader }) => leader !== '').length === 4, 20_000);
    expect((await shown(running.admin, 'part')).partitions.map((one) => [stepOf(one), one.lagSeq])).toEqual([['FOLLOW', 0], ['WAITING', undefined], ['FOLLOW', 0], ['FOLLOW', 0]]);
    expect(stateOf((await cancelled('part')).migration)).toBe('CANCELLED');
  });

  it('neither its source nor its keyspace is deleted while it runs, and a copy is no source', async () => {
    expect(await failureOf(callUnary(running.admin, 'deleteKeyspace', { name: 'wide' }, DEADLINE))).toMatchObject({ reason: 'MIGRATION_CONFLICT', metadata: { field: 'name', migration: 'c' } });
    expect(await failureOf(start({ id: 'd', keyspace: 'wide', target: { ...TARGET, name: 'wider' } }))).toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'keyspace' } });
  });

  it('goes on under another coordinator, which brings its end about: the keyspace is removed', async () => {
    const next = await cluster.coordinator('c2');
    await callUnary(running.admin, 'cancelMigration', { id: 'c' }, DEADLINE).then(() => running.stop());
    const { migration } = await eventuallyShown(next.admin, 'c', 'it ends', hasEnded);
    running = next;
    expect([stateOf(migration), migration.problem, stored('wide'), stored('default')]).toEqual(['CANCELLED', 'cancelled by an operator', undefined, expect.anything()]);
    await eventually('no record is left', () => cluster.etcd.list('partitions/wide/').length === 0);
    expect(await failureOf(callUnary(running.admin, 'pauseMigration', { id: 'c' }, DEADLINE))).toMatchObject({ reason: 'MIGRATION_CONFLICT', message: 'id: migration c has ended (CANCELLED) and cannot be paused' });
    expect(stateOf((await callUnary(running.admin, 'cancelMigration', { id: 'c' }, DEADLINE)).migration!)).toBe('CANCELLED');
  });

  it('an id that stands for a move, and one whose keyspace was made meanwhile, are conflicts', async () => {
    await start({ id: 'e', target: { ...TARGET, partitionCount: 2 } });
    expect(stored('wide')!.partitionCount).toBe(2);
    expect(await failureOf(start({ id: 'f' }))).toMatchObject({ reason: 'KEYSPACE_EXISTS' });
    expect(stateOf((await cancelled('e')).migration)).toBe('CANCELLED');
  });
});

// node:  a     b     c     d        e
// pool:  main  main  main  standby  standby
describe('pools of nodes, and standbys on another one (R15, R37)', () => {
  let standbys: StandbyClient;
  beforeAll(async () => {
    standbys = new StandbyClient(running.address, credentials.createInsecure());
    for (const id of ['d', 'e']) await cluster.node(id, { pool: 'standby' });
    await eventually('they are known', async () => (await callUnary(running.admin, 'listNodes', {}, DEADLINE)).nodes.filter(({ pool, wanted }) => pool === 'standby' && wanted === 'UP').length === 2);
  });
  afterAll(() => standbys.close());
  const create = (fields: Partial<CreateStandbyRequest> = {}) => callUnary(standbys, 'createStandby', CreateStandbyRequest.fromPartial({ pool: 'standby', keyspaces: ['orders'], ...fields }), DEADLINE);
  const promote = (fields: Partial<PromoteStandbyRequest> = {}) => callUnary(standbys, 'promoteStandby', PromoteStandbyRequest.fromPartial({ keyspace: 'orders', ...fields }), DEADLINE);
  const keyspace = (fields: Partial<Keyspace>) => callUnary(running.admin, 'createKeyspace', { keyspace: Keyspace.fromPartial({ name: 'orders', partitionCount: 4, ...fields }) }, DEADLINE);
  const holders = async (name: string): Promise<string> => [...new Set((await tableOf(running.admin, name)).flatMap(({ inSync, learners }) => [...inSync, ...learners]))].sort().join('');

  it('a pool that is not there, or is too small, is refused by name; a keyspace on one lies on its nodes alone', async () => {
    expect(await failureOf(keyspace({ pool: 'standbi' }))).toMatchObject({ reason: 'INVALID_ARGUMENT', message: expect.stringContaining('pool standbi has 0 nodes'), metadata: { field: 'keyspace.pool' } });
    expect(await failureOf(keyspace({ pool: 'standby', replicationFactor: 3 }))).toMatchObject({ reason: 'INVALID_ARGUMENT', message: expect.stringContaining('has 2 nodes, and there are to be 3'), metadata: { field: 'keyspace.pool' } });
    expect(await failureOf(keyspace({ pool: 'A pool' }))).toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'keyspace.pool' } });
    expect((await keyspace({ name: 'mirror', pool: 'standby' })).keyspace).toMatchObject({ pool: 'standby' });
    expect([await holders('mirror'), await holders('default')]).toEqual(['de', 'abc']);
    expect(await failureOf(callUnary(running.admin, 'startMigration', ask({ keyspace: 'mirror', from: 'd', to: 'a' }), DEADLINE))).toMatchObject({ reason: 'INVALID_ARGUMENT', message: expect.stringContaining('a is of pool main'), metadata: { field: 'to' } });
    expect(await failureOf(callUnary(running.admin, 'replaceNode', { id: '', from: 'a', to: 'd', dryRun: false, fullVerify: false, bytesPerSecond: 0 }, DEADLINE))).toMatchObject({ reason: 'INVALID_ARGUMENT', message: expect.stringContaining('d is of pool standby'), metadata: { field: 'to' } });
    const { moves } = await callUnary(running.admin, 'planRebalance', { keyspace: '' }, DEADLINE);
    expect(moves.filter((move) => (move.to === 'd' || move.to === 'e') !== (move.keyspace === 'mirror'))).toEqual([]);
    await callUnary(running.admin, 'deleteKeyspace', { name: 'mirror' }, DEADLINE);
  });

  it('is made in one write with the word for its primary, and takes its place by the statement alone; the way back keeps both', async () => {
    await keyspace({});
    expect(await failureOf(create({ pool: 'main' }))).toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'pool' } });
    expect(await failureOf(create({ sourceRouters: ['127.0.0.1:1'] }))).toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'pool' } });
    const [made] = (await create()).standbys;
    expect(made).toMatchObject({ keyspace: 'orders-standby', pool: 'standby', primary: 'orders', primaryPool: 'main', state: StandbyState.STANDBY_STATE_FILLING });
    expect((await create()).standbys[0]!.id).toBe(made!.id);
    expect([stored('orders')!.standby, stored('orders-standby')!.pool, stored('orders-standby')!.copyOf!.run]).toEqual(['orders-standby', 'standby', expect.any(Number)]);
    await eventually('it is placed', async () => (await holders('orders-standby')) === 'de');
    const marks = (name: string) => cluster.etcd.list(`partitions/${name}/`).filter(({ value }) => (JSON.parse(value) as { hasStandby?: boolean }).hasStandby === true).length;
    await eventually('leaders of the primary are told that they have to stop without etcd', () => marks('orders') === 4 && marks('orders-standby') === 0);
    expect(await failureOf(promote())).toMatchObject({ reason: 'SOURCE_UNREACHABLE', metadata: { field: 'without_primary', pool: 'main' } });
    expect(await failureOf(promote({ primaryIsStopped: 'standby' }))).toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'primary_is_stopped' } });
    expect(await failureOf(promote({ withoutPrimary: true }))).toMatchObject({ reason: 'CUT_OVER_REFUSED' });
    expect(stored('orders')!.freeze).toBeUndefined();
    const { standby } = await promote({ primaryIsStopped: 'main', acceptIncomplete: true });
    expect(standby).toMatchObject({ state: StandbyState.STANDBY_STATE_PROMOTED, promotion: { forced: true, incomplete: 4, primaryFenced: true } });
    expect(stored('orders-standby')).toMatchObject({ aliases: ['orders'], cutOver: { from: { keyspaceId: stored('orders')!.id } } });
    expect(stored('orders')).toMatchObject({ movedTo: 'orders-standby', freeze: { forStandby: 'orders-standby' } });
    const { id: fence } = stored('orders')!.freeze!;
    const frozen = () => cluster.etcd.list('partitions/orders/').map(({ value }) => (JSON.parse(value) as { frozen?: string }).frozen);
    await eventually('whoever reads its record stops', () => frozen().length === 4 && frozen().every((word) => word === fence));

    const [back] = (await create({ pool: 'main', resync: true })).standbys;
    expect(back).toMatchObject({ keyspace: 'orders', pool: 'main', primary: 'orders-standby', primaryPool: 'standby' });
    expect([stored('orders')!.movedTo, stored('orders')!.freeze, stored('orders-standby')!.standby]).toEqual([undefined, undefined, 'orders']);
    await eventually('records are thawed', () => frozen().every((word) => word === undefined));
    await promote({ primaryIsStopped: 'standby', acceptIncomplete: true });
    expect([stored('orders')!.aliases, stored('orders-standby')!.aliases, stored('orders-standby')!.movedTo]).toEqual([undefined, undefined, 'orders']);

    // By the name that clients use the one that stands by now is meant, and not the promotion before.
    const [again] = (await create({ resync: true })).standbys;
    const meant = async (name: string) => (await callUnary(standbys, 'listStandbys', { keyspace: name }, DEADLINE)).standbys.map(({ id }) => id);
    expect([await meant('orders'), await meant('orders-standby')]).toEqual([[again!.id], [again!.id]]);
    await promote({ primaryIsStopped: 'main', acceptIncomplete: true });
    expect(stored('orders-standby')!.aliases).toEqual(['orders']);
    const [last] = (await create({ pool: 'main', resync: true })).standbys;
    await callUnary(standbys, 'removeStandby', { keyspace: 'orders' }, DEADLINE);
    await eventuallyShown(running.admin, last!.id, 'it ends', hasEnded);
    expect([stored('orders'), stored('orders-standby')!.standby]).toEqual([undefined, undefined]);
    await eventually('and what stands alone goes on without etcd', () => marks('orders-standby') === 0);
  });

  it('of one that is deleted, what it took the place of goes with it', async () => {
    await keyspace({ name: 'users' });
    await create({ keyspaces: ['users'] });
    await promote({ keyspace: 'users', primaryIsStopped: 'main', acceptIncomplete: true });
    await callUnary(running.admin, 'deleteKeyspace', { name: 'users' }, DEADLINE);
    await eventually('both are gone', () => stored('users') === undefined && stored('users-standby') === undefined);
    expect((await callUnary(standbys, 'listStandbys', { keyspace: '' }, DEADLINE)).standbys.filter(({ primary }) => primary === 'users')).toEqual([]);
  });

  it('is given up node by node: the last one may go when no keyspace lies there any more', async () => {
    const drain = (node: string) => callUnary(running.admin, 'drainNode', { node, undo: false }, DEADLINE);
    await drain('d');
    expect(stored('orders-standby')!.pool).toBe('standby');
    expect(await failureOf(drain('e'))).toMatchObject({ reason: 'INVALID_ARGUMENT', message: expect.stringContaining('e is the only node of pool standby'), metadata: { field: 'node' } });
    await callUnary(running.admin, 'deleteKeyspace', { name: 'orders-standby' }, DEADLINE);
    await eventually('it is gone', () => stored('orders-standby') === undefined);
    expect((await drain('e')).node).toMatchObject({ pool: 'standby', wanted: 'DRAINING' });
  });
});
