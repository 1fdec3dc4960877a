import { Server, ServerCredentials, credentials, type handleUnaryCall } from '@grpc/grpc-js';
import { CopyClient, CopyService, type DescribeSourceRequest, type DescribeSourceResponse, type FenceSourceRequest, type FenceSourceResponse, type ListSourcesRequest, type ListSourcesResponse } from '@atoll/contracts/atoll/v1/copy';
import { MigrationMethod, type StartMigrationRequest } from '@atoll/contracts/atoll/v1/migration';
import { CreateStandbyRequest, PromoteStandbyRequest, StandbyClient, StandbyState } from '@atoll/contracts/atoll/v1/standby';
import { AtollError } from '@atoll/core-errors';
import { createKeyspaceSpec } from '@atoll/core-membership';
import { keyspaceKey, parseKeyspaceSpec } from '@atoll/platform-etcd';
import { callUnary, toServiceError } from '@atoll/platform-grpc';
import { toKeyspaceMessage } from '@atoll/platform-wire';
import { DEADLINE, MigrationCluster, ask, eventuallyShown, failureOf, hasEnded, stateOf } from '../testing/migration-cluster.ts';
import type { RunningCoordinator } from '../testing/run-coordinator.ts';

const SEED = 20_261_128;

/** A router of another cluster, as far as a coordinator sees it. */
class OtherRouter {
  readonly server = new Server();
  address = '';
  answer: (request: DescribeSourceRequest) => DescribeSourceResponse = () => {
    throw new AtollError('INTERNAL', 'nothing is scripted');
  };

  fenced: FenceSourceRequest[] = [];

  async start(): Promise<this> {
    const describeSource: handleUnaryCall<DescribeSourceRequest, DescribeSourceResponse> = ({ request }, reply) => {
      try {
        reply(null, this.answer(request));
      } catch (error) {
        reply(toServiceError(error));
      }
    };
    const fenceSource: handleUnaryCall<FenceSourceRequest, FenceSourceResponse> = ({ request }, reply) => {
      this.fenced.push(request);
      reply(null, { confirmed: true });
    };
    const listSources: handleUnaryCall<ListSourcesRequest, ListSourcesResponse> = (_call, reply) => reply(null, { clusterId: 'elsewhere', keyspaces: ['default', 'orders'] });
    const { describeSource: describe, fenceSource: fence, listSources: list } = CopyService;
    this.server.addService({ describeSource: describe, fenceSource: fence, listSources: list }, { describeSource, fenceSource, listSources });
    const port = await new Promise<number>((resolve, reject) => this.server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error === null ? resolve(bound) : reject(error))));
    this.address = `127.0.0.1:${port}`;
    return this;
  }
}

let cluster: MigrationCluster;
let running: RunningCoordinator;
let first: OtherRouter;
let second: OtherRouter;
let ownId: string;
beforeAll(async () => {
  cluster = new MigrationCluster(SEED);
  running = await cluster.start();
  ({ clusterId: ownId } = await callUnary(running.admin, 'getCluster', {}, DEADLINE));
  [first, second] = await Promise.all([new OtherRouter().start(), new OtherRouter().start()]);
});
afterAll(async () => {
  await cluster.stop();
  for (const { server } of [first, second]) server.forceShutdown();
});

const SOURCE = createKeyspaceSpec({ name: 'orders', id: 'far1', partitionCount: 16, replicationFactor: 3, defaultTtlMs: 5000, eviction: 'NONE' });
const told = (changes: Partial<DescribeSourceResponse> = {}): DescribeSourceResponse => ({ clusterId: 'elsewhere', keyspaceId: SOURCE.id, keyspace: toKeyspaceMessage(SOURCE), partitions: [], archive: '', ...changes });
const TARGET = { name: 'orders', partitionCount: 32, replicationFactor: 2, minInSync: 0 };
const routers = (): string[] => [first.address, second.address];
const start = (fields: Partial<StartMigrationRequest> = {}) => callUnary(running.admin, 'startMigration', ask({ id: 'c', method: MigrationMethod.MIGRATION_METHOD_COPY, keyspace: 'orders', target: TARGET, sourceRouters: routers(), ...fields }), DEADLINE);
const stored = (name: string) => {
  const text = cluster.etcd.get(keyspaceKey(name))?.value;
  const parsed = text === undefined ? undefined : parseKeyspaceSpec(text);
  return parsed?.kind === 'parsed' ? parsed.value : undefined;
};
const fail = (reason: ConstructorParameters<typeof AtollError>[0], message: string) => () => {
  throw new AtollError(reason, message);
};

beforeEach(() => {
  for (const router of [first, second]) router.answer = () => told();
});

describe(`copies of a keyspace of another cluster (seed ${SEED})`, () => {
  it.each<{ title: string; fields?: () => Partial<StartMigrationRequest>; given?: () => void; reason: string; field: string; message: string }>([
    { title: 'what is no address', fields: () => ({ sourceRouters: ['router-1'] }), reason: 'INVALID_ARGUMENT', field: 'source_routers', message: 'must be host:port, not "router-1"' },
    { title: 'a port of 0', fields: () => ({ sourceRouters: ['127.0.0.1:0'] }), reason: 'INVALID_ARGUMENT', field: 'source_routers', message: 'must be host:port' },
    { title: 'an address twice', fields: () => ({ sourceRouters: [first.address, first.address] }), reason: 'INVALID_ARGUMENT', field: 'source_routers', message: 'twice' },
    { title: '17 of them', fields: () => ({ sourceRouters: Array.from({ length: 17 }, (_, port) => `127.0.0.1:${port + 1}`) }), reason: 'INVALID_ARGUMENT', field: 'source_routers', message: 'at most 16, not 17' },
    { title: 'routers for a move', fields: () => ({ method: MigrationMethod.MIGRATION_METHOD_MOVE, target: undefined, from: 'a', to: 'b' }), reason: 'INVALID_ARGUMENT', field: 'source_routers', message: 'belong to a COPY' },
    { title: 'nobody there', fields: () => ({ sourceRouters: ['127.0.0.1:1'] }), reason: 'SOURCE_UNREACHABLE', field: 'source_routers', message: 'none of them answers: 127.0.0.1:1' },
    { title: 'a keyspace that they do not have', given: () => (first.answer = fail('KEYSPACE_NOT_FOUND', 'keyspace: there is none named "orders"')), reason: 'KEYSPACE_NOT_FOUND', field: 'keyspace', message: 'there is none named "orders" in the cluster of' },
    { title: 'a router that does not offer it', given: () => (second.answer = fail('COPY_NOT_OFFERED', 'ROUTER_COPY_SOURCES is off')), reason: 'COPY_NOT_OFFERED', field: 'source_routers', message: 'ROUTER_COPY_SOURCES is off' },
    { title: 'a server of another kind', fields: () => ({ sourceRouters: [running.address] }), reason: 'INVALID_ARGUMENT', field: 'source_routers', message: 'is no router that a keyspace can be copied through' },
    { title: 'routers of two clusters', given: () => (second.answer = () => told({ clusterId: 'third' })), reason: 'INVALID_ARGUMENT', field: 'source_routers', message: 'belong to different clusters' },
    { title: 'routers that know two keyspaces of the name', given: () => (second.answer = () => told({ keyspaceId: 'far2' })), reason: 'INVALID_ARGUMENT', field: 'source_routers', message: 'do not know the same keyspace' },
    { title: 'routers of this very cluster', given: () => ((first.answer = () => told({ clusterId: ownId })), (second.answer = first.answer)), reason: 'INVALID_ARGUMENT', field: 'source_routers', message: 'belongs to this very cluster' },
    { title: 'an answer without a keyspace', given: () => ((first.answer = () => told({ keyspace: undefined })), (second.answer = first.answer)), reason: 'INVALID_ARGUMENT', field: 'source_routers', message: 'is not understood' },
    { title: 'a keyspace that is a copy itself', given: () => ((first.answer = () => told({ keyspace: { ...toKeyspaceMessage(SOURCE), copyOf: 'older' } })), (second.answer = first.answer)), reason: 'INVALID_ARGUMENT', field: 'keyspace', message: 'itself being copied, from older' },
    { title: 'a place to take, of a copy that is no restore', fields: () => ({ target: { ...TARGET, takesPlaceOf: 'default' } }), reason: 'INVALID_ARGUMENT', field: 'target.takes_place_of', message: 'belongs to a restore of an archive' },
    { title: 'a place of nobody', fields: () => ({ target: { ...TARGET, takesPlaceOf: 'none' } }), given: () => ((first.answer = () => told({ archive: 'full/orders' })), (second.answer = first.answer)), reason: 'KEYSPACE_NOT_FOUND', field: 'keyspace', message: 'none' },
    { title: 'a target that there is', fields: () => ({ target: { ...TARGET, name: 'default' } }), reason: 'KEYSPACE_EXISTS', field: 'target.name', message: 'default' },
  ])('$title: $reason, naming $field; nothing is written', async ({ fields, given, reason, field, message }) => {
    given?.();
    expect(await failureOf(start(fields?.()))).toMatchObject({ reason, metadata: { field }, message: expect.stringContaining(message) });
    expect(cluster.etcd.list('jobs/copies/')).toEqual([]);
    expect(stored('orders')).toBeUndefined();
  });

  it('one router that answers is enough; the keyspace is made as it is there, and says where it is copied from', async () => {
    second.answer = fail('METADATA_UNAVAILABLE', 'the router waits for etcd');
    const { migration } = await start();
    const from = { id: 'elsewhere', routers: routers(), partitionCount: 16 };
    expect(migration).toMatchObject({ description: 'copy orders of cluster elsewhere to orders', partitionsTotal: 32, problem: '', copy: { source: 'orders', target: 'orders', sourceCluster: 'elsewhere', sourceRouters: routers() } });
    const made = stored('orders')!;
    expect(made).toEqual({ ...SOURCE, id: made.id, partitionCount: 32, replicationFactor: 2, minInSync: 1, copyOf: { job: 'c', keyspace: 'orders', keyspaceId: 'far1', isPaused: false, cluster: from, firstGeneration: 2 ** 16, traceparent: made.copyOf!.traceparent } });
    // The same request again is the same job, also while nobody answers there.
    first.answer = second.answer;
    expect((await start()).migration!.createdAtMs).toBe(migration!.createdAtMs);
    expect(stateOf((await callUnary(running.admin, 'pauseMigration', { id: 'c' }, DEADLINE)).migration!)).toBe('PAUSED');
    expect(stored('orders')!.copyOf).toEqual({ job: 'c', keyspace: 'orders', keyspaceId: 'far1', isPaused: true, cluster: from, firstGeneration: 2 ** 16, traceparent: made.copyOf!.traceparent });
    await callUnary(running.admin, 'cancelMigration', { id: 'c' }, DEADLINE);
    const ended = await eventuallyShown(running.admin, 'c', 'it ends', hasEnded);
    expect([stateOf(ended.migration), stored('orders')]).toEqual(['CANCELLED', undefined]);
    expect(ended.migration.copy).toMatchObject({ sourceCluster: 'elsewhere', sourceRouters: routers() });
  });

  it('is refused before it begins when it does not fit here, with what its partitions take there and what the nodes have free: CAPACITY_SHORT', async () => {
    const setMemory = (memory: { memoryUsedBytes?: number; memoryLimitBytes?: number }): void => {
      for (const node of cluster.nodes.values()) node.transfers = memory;
    };
    const partition = (id: number, bytes: number) => ({ partition: id, bytes, entries: 1, generation: 7 });
    setMemory({ memoryUsedBytes: 450, memoryLimitBytes: 1000 });
    // Half of the 16 partitions say that they take 94 bytes, by one router or the other: all together 1504, twice.
    first.answer = () => told({ partitions: [0, 1, 2, 3].map((id) => partition(id, 94)) });
    second.answer = () => told({ partitions: [3, 4, 5, 6, 7].map((id) => partition(id, 94)) });
    for (const dryRun of [true, false]) {
      expect(await failureOf(start({ id: 'big', dryRun }))).toMatchObject({ reason: 'CAPACITY_SHORT', message: 'target: 2 replicas of 1504 bytes do not fit into the 1500 bytes that 3 nodes have free below 95 %: 3008 are needed, and there are a 500, b 500, c 500', metadata: { field: 'target', needed_bytes: '3008', free_bytes: '1500' } });
    }
    // A quarter of the tokens is of four partitions.
    const { migration } = await start({ id: 'part', dryRun: true, tokenTo: 2n ** 62n });
    expect(migration!.copy).toMatchObject({ source: 'orders' });
    setMemory({});
    await start({ id: 'big' });
    expect(stored('orders')!.copyOf!.firstGeneration).toBe(7 + 2 ** 16);
    await callUnary(running.admin, 'cancelMigration', { id: 'big' }, DEADLINE);
    await eventuallyShown(running.admin, 'big', 'it ends', hasEnded);
  });

  it('of an archive says so, is asked of a backup service, and keeps whose place it takes until it has it', async () => {
    first.answer = () => told({ clusterId: 'archive-x', archive: 'full/orders' });
    second.answer = first.answer;
    const target = { ...TARGET, name: 'default-x', takesPlaceOf: 'default' };
    const { migration } = await start({ id: 'r', target });
    expect(migration).toMatchObject({ description: 'restore full/orders to default-x, in the place of default', copy: { sourceArchive: 'full/orders', takesPlaceOf: 'default' } });
    expect(stored('default-x')!.copyOf!.cluster).toMatchObject({ id: 'archive-x', archive: 'full/orders' });
    // Two cannot take one place.
    expect(await failureOf(start({ id: 's', target: { ...target, name: 'default-y' } }))).toMatchObject({ reason: 'MIGRATION_CONFLICT', metadata: { field: 'target.takes_place_of' } });
    await callUnary(running.admin, 'cancelMigration', { id: 'r' }, DEADLINE);
    await eventuallyShown(running.admin, 'r', 'it ends', hasEnded);
    expect(stored('default')).toBeDefined();
  });

  it('a keyspace of this cluster that has the name of the source may go, the copy may not', async () => {
    await callUnary(running.admin, 'createKeyspace', { keyspace: toKeyspaceMessage(createKeyspaceSpec({ name: 'orders', id: 'x', partitionCount: 2 })) }, DEADLINE);
    await start({ id: 'd', target: { ...TARGET, name: 'orders-copy' } });
    await callUnary(running.admin, 'deleteKeyspace', { name: 'orders' }, DEADLINE);
    expect(await failureOf(callUnary(running.admin, 'deleteKeyspace', { name: 'orders-copy' }, DEADLINE))).toMatchObject({ reason: 'MIGRATION_CONFLICT' });
    await callUnary(running.admin, 'cancelMigration', { id: 'd' }, DEADLINE);
    await eventuallyShown(running.admin, 'd', 'it ends', hasEnded);
  });
});

describe('standbys of keyspaces of another cluster (R37)', () => {
  let standbys: StandbyClient;
  beforeAll(() => (standbys = new StandbyClient(running.address, credentials.createInsecure())));
  afterAll(() => standbys.close());
  beforeEach(() => {
    for (const router of [first, second]) router.answer = () => told({ partitions: [{ partition: 0, bytes: 1, entries: 1, generation: 1 }] });
  });
  const create = (fields: Partial<CreateStandbyRequest> = {}) => callUnary(standbys, 'createStandby', CreateStandbyRequest.fromPartial({ sourceRouters: routers(), keyspaces: ['orders'], ...fields }), DEADLINE);
  const promote = (fields: Partial<PromoteStandbyRequest> = {}) => callUnary(standbys, 'promoteStandby', PromoteStandbyRequest.fromPartial({ keyspace: 'orders', ...fields }), DEADLINE);
  const list = async () => (await callUnary(standbys, 'listStandbys', { keyspace: '' }, DEADLINE)).standbys;
  const gone = fail('METADATA_UNAVAILABLE', 'the router waits for etcd');

  it.each<{ title: string; fields: Partial<CreateStandbyRequest>; given?: () => void; reason: string; field: string }>([
    { title: 'no router', fields: { sourceRouters: [] }, reason: 'INVALID_ARGUMENT', field: 'source_routers' },
    { title: 'no keyspace', fields: { keyspaces: [] }, reason: 'INVALID_ARGUMENT', field: 'keyspaces' },
    { title: 'names beside all', fields: { all: true }, reason: 'INVALID_ARGUMENT', field: 'keyspaces' },
    { title: '257 names', fields: { keyspaces: Array.from({ length: 257 }, (_, index) => `k${index}`) }, reason: 'INVALID_ARGUMENT', field: 'keyspaces' },
    { title: 'a primary that is none any more', fields: {}, given: () => ((first.answer = () => told({ keyspace: { ...toKeyspaceMessage(SOURCE), freeze: { id: 'f', sinceMs: 1, note: '', movedToCluster: 'third', movedToKeyspace: 'orders' } } })), (second.answer = first.answer)), reason: 'KEYSPACE_MOVED', field: 'keyspace' },
    // Both began by themselves: a version of the one could be one of the other (R3).
    { title: 'a keyspace here that is not related', fields: { keyspaces: ['default'], resync: true }, reason: 'KEYSPACE_EXISTS', field: 'target.name' },
  ])('$title: $reason, naming $field', async ({ fields, given, reason, field }) => {
    given?.();
    expect(await failureOf(create(fields))).toMatchObject({ reason, metadata: { field } });
    expect(await list()).toEqual([]);
  });

  it('is made once, takes its turn in the migrations, and is removed with what it holds', async () => {
    const [made] = (await create()).standbys;
    expect(made).toMatchObject({ keyspace: 'orders', state: StandbyState.STANDBY_STATE_FILLING, primaryCluster: 'elsewhere', partitions: 16, following: 0, promotion: undefined });
    expect((await create()).standbys[0]!.id).toBe(made!.id);
    expect(stored('orders')!.copyOf).toMatchObject({ job: made!.id, keyspaceId: 'far1', run: expect.any(Number) });
    expect(await failureOf(create({ sourceRouters: ['127.0.0.1:1'] }))).toMatchObject({ reason: 'MIGRATION_CONFLICT' });
    expect(await failureOf(callUnary(running.admin, 'deleteKeyspace', { name: 'orders' }, DEADLINE))).toMatchObject({ reason: 'MIGRATION_CONFLICT' });
    await callUnary(standbys, 'removeStandby', { keyspace: 'orders' }, DEADLINE);
    await eventuallyShown(running.admin, made!.id, 'it ends', hasEnded);
    expect([stored('orders'), await list()]).toEqual([undefined, []]);
    expect(await failureOf(callUnary(standbys, 'removeStandby', { keyspace: 'orders' }, DEADLINE))).toMatchObject({ reason: 'STANDBY_NOT_FOUND' });
  });

  it('that has the name `default` is kept beside the one that is there always', async () => {
    const { standbys: made } = await create({ keyspaces: [], all: true });
    expect(made.map(({ keyspace }) => keyspace)).toEqual(['default-standby', 'orders']);
    for (const { keyspace } of made) await callUnary(standbys, 'removeStandby', { keyspace }, DEADLINE);
    for (const { id } of made) await eventuallyShown(running.admin, id, 'it ends', hasEnded);
  });

  it('is promoted without its primary when that is declared stopped, and tells it when it is there again', async () => {
    await create();
    for (const router of [first, second]) router.answer = gone;
    const elsewhere = { primaryIsStopped: 'elsewhere' };
    expect(await failureOf(promote())).toMatchObject({ reason: 'SOURCE_UNREACHABLE', metadata: { field: 'primary_is_stopped', cluster: 'elsewhere' } });
    expect(await failureOf(promote({ maxPauseMs: 99 }))).toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'max_pause_ms' } });
    expect(await failureOf(promote({ primaryIsStopped: 'third' }))).toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'primary_is_stopped' } });
    expect(await failureOf(promote({ acceptIncomplete: true }))).toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'accept_incomplete' } });
    expect(await failureOf(promote(elsewhere))).toMatchObject({ reason: 'CUT_OVER_REFUSED', message: expect.stringContaining('16 of 16 partitions of orders lack keys') });
    expect(await failureOf(callUnary(standbys, 'fencePrimary', { keyspace: 'orders' }, DEADLINE))).toMatchObject({ reason: 'MIGRATION_CONFLICT' });
    // Where all of it answers, that it is stopped cannot be.
    first.answer = () => told({ partitions: Array.from({ length: 16 }, (_, partition) => ({ partition, bytes: 1, entries: 1, generation: 1 })) });
    expect(await failureOf(promote({ ...elsewhere, acceptIncomplete: true }))).toMatchObject({ reason: 'INVALID_ARGUMENT', message: expect.stringContaining('every partition of orders answers') });
    first.answer = gone;
    for (const router of [first, second]) router.fenced = [];
    const { standby } = await promote({ ...elsewhere, acceptIncomplete: true });
    expect(standby).toMatchObject({ state: StandbyState.STANDBY_STATE_PROMOTED, promotion: { forced: true, incomplete: 16, unknown: 16, missingKnown: 0, primaryFenced: false } });
    expect(stored('orders')!.copyOf).toBeUndefined();
    expect(stored('orders')).toMatchObject({ cutOver: { job: standby!.id, from: { cluster: 'elsewhere', keyspaceId: 'far1' } } });
    // Once more is the same as once; here its routers answer for the rest.
    expect((await promote()).standby!.promotion!.forced).toBe(true);
    expect((await callUnary(standbys, 'fencePrimary', { keyspace: 'orders' }, DEADLINE)).standby!.promotion!.primaryFenced).toBe(true);
    expect([...first.fenced, ...second.fenced][0]).toEqual({ clusterId: 'elsewhere', keyspace: 'orders', keyspaceId: 'far1', toClusterId: ownId, toKeyspace: 'orders' });
    expect(await failureOf(callUnary(standbys, 'removeStandby', { keyspace: 'orders' }, DEADLINE))).toMatchObject({ reason: 'MIGRATION_CONFLICT' });
    await callUnary(running.admin, 'deleteKeyspace', { name: 'orders' }, DEADLINE);
  });

  it('a primary that is told so takes no writes any more, and says where they go', async () => {
    await callUnary(running.admin, 'createKeyspace', { keyspace: toKeyspaceMessage(createKeyspaceSpec({ name: 'users', id: 'x', partitionCount: 2 })) }, DEADLINE);
    const { id } = stored('users')!;
    const copy = new CopyClient(running.address, credentials.createInsecure());
    const fence = (fields: Partial<FenceSourceRequest> = {}) => callUnary(copy, 'fenceSource', { clusterId: ownId, keyspace: 'users', keyspaceId: id, toClusterId: 'elsewhere', toKeyspace: 'users', ...fields }, DEADLINE);
    expect(await failureOf(fence({ clusterId: 'third' }))).toMatchObject({ reason: 'WRONG_CLUSTER' });
    expect(await failureOf(fence({ toClusterId: '' }))).toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'to_cluster_id' } });
    // One that was made again is another one, which nobody has promoted a standby of.
    expect(await fence({ keyspaceId: 'older' })).toEqual({ confirmed: true });
    expect(stored('users')!.freeze).toBeUndefined();
    await fence();
    const { freeze } = stored('users')!;
    expect(freeze!.movedTo).toMatchObject({ cluster: 'elsewhere', keyspace: 'users' });
    await fence({ toClusterId: 'third' });
    expect(stored('users')!.freeze).toEqual(freeze);
    copy.close();
  });
});
