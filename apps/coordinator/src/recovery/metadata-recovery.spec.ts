import { credentials } from '@grpc/grpc-js';
import type { AdminClient, Keyspace, Partition, RecoverMetadataResponse } from '@atoll/contracts/atoll/v1/admin';
import { AcquireRequest, LockScope, LocksClient } from '@atoll/contracts/atoll/v1/locks';
import { isAtollError, type AtollError } from '@atoll/core-errors';
import { SeededRandom } from '@atoll/core-runtime';
import { InMemoryEtcd, InMemoryMetadataStore, eventually, type InMemoryBackup } from '@atoll/platform-etcd/testing';
import { callUnary } from '@atoll/platform-grpc';
import { ReplicationNode } from '../testing/replication-node.ts';
import { runCoordinator as startCoordinator } from '../testing/run-coordinator.ts';

const SEED = 20_260_913;
const DEADLINE = { deadlineMs: 30_000 };

let stops: (() => Promise<void>)[];
let etcd: InMemoryEtcd;
let stores: InMemoryMetadataStore[];
let random: SeededRandom;
let nodes: ReplicationNode[];

beforeEach(() => {
  stops = [];
  stores = [];
  nodes = [];
  etcd = new InMemoryEtcd();
  random = new SeededRandom(SEED);
});

afterEach(async () => {
  for (const stop of stops.reverse()) await stop();
});

function connect(): InMemoryMetadataStore {
  const store = new InMemoryMetadataStore({ etcd });
  stores.push(store);
  return store;
}

/** Answers clients of its services, and how to stop it. */
async function runCoordinator(id: string): Promise<{ admin: AdminClient; locks: LocksClient; stop: () => Promise<void> }> {
  const running = await startCoordinator({ id, env: { COORDINATOR_FAILOVER_ACTIVE: 'off' }, store: connect(), seed: random.nextUint32() });
  const locks = new LocksClient(running.address, credentials.createInsecure());
  const stop = async (): Promise<void> => {
    locks.close();
    await running.stop();
  };
  stops.push(stop);
  return { admin: running.admin, locks, stop };
}

async function runNode(id: string): Promise<ReplicationNode> {
  const node = new ReplicationNode(id, { store: connect(), seed: random.nextUint32() });
  await eventually('the cluster has an id', () => etcd.get('cluster'));
  await node.start();
  nodes.push(node);
  stops.push(() => node.kill());
  return node;
}

/** etcd is stopped, an older state put back, and started; what hung on leases is gone, and comes back by itself. */
async function goBackTo(backup: InMemoryBackup | undefined): Promise<void> {
  for (const store of stores) store.goAway();
  etcd.restore(backup);
  for (const store of stores) store.comeBack();
  await Promise.all(nodes.map((node) => node.registerAgain()));
}

const partitionsOf = async (admin: AdminClient, keyspace: string): Promise<Partition[]> => (await callUnary(admin, 'listPartitions', { keyspace }, DEADLINE).catch(() => ({ partitions: [] }))).partitions;

/** Every partition is led, with two replicas in sync. */
const placed = (admin: AdminClient, keyspace: string, count: number): Promise<Partition[]> =>
  eventually(`${keyspace} is placed`, async () => {
    const partitions = await partitionsOf(admin, keyspace);
    return partitions.length === count && partitions.every(({ leader, inSync }) => leader !== '' && inSync.length === 2) ? partitions : undefined;
  });

const create = (admin: AdminClient, name: string): Promise<unknown> => callUnary(admin, 'createKeyspace', { keyspace: { ...UNSPECIFIED, name, partitionCount: 4 } }, DEADLINE);

const recover = (admin: AdminClient, request: { execute?: boolean; acceptRisks?: boolean } = {}): Promise<RecoverMetadataResponse> =>
  callUnary(admin, 'recoverMetadata', { execute: false, acceptRisks: false, ...request }, DEADLINE);

const failureOf = (call: Promise<unknown>): Promise<AtollError | undefined> => call.then(() => undefined, (error: unknown) => (isAtollError(error) ? error : undefined));

/** Until the coordinator that was asked is elected in the etcd that is there. */
const whenElected = <T>(call: () => Promise<T>): Promise<T> =>
  eventually('a coordinator is elected', () => call().catch((error: unknown) => {
    if (isAtollError(error) && (error.reason === 'NOT_COORDINATOR' || error.reason === 'METADATA_UNAVAILABLE')) return undefined;
    throw error;
  }));

const regressed = (admin: AdminClient) => eventually('the coordinator knows', async () => (await callUnary(admin, 'getCluster', {}, DEADLINE).catch(() => undefined))?.metadataRegressed.length || undefined);

describe(`etcd goes back (R13, seed ${SEED})`, () => {
  it('nothing is changed until the records were rebuilt from the nodes, above everything that was seen', async () => {
    const { admin } = await runCoordinator('c1');
    await runNode('a');
    await runNode('b');
    await placed(admin, 'default', 64);
    await create(admin, 'deleted');
    const backup = etcd.backup();
    await create(admin, 'made');
    const before = await placed(admin, 'made', 4);
    await callUnary(admin, 'deleteKeyspace', { name: 'deleted' }, DEADLINE);
    expect((await failureOf(recover(admin)))?.reason).toBe('NOTHING_TO_RECOVER');
    const seen = etcd.revision;
    await goBackTo(backup);
    await regressed(admin);

    for (const change of [create(admin, 'next'), callUnary(admin, 'deleteKeyspace', { name: 'made' }, DEADLINE), callUnary(admin, 'drainNode', { node: 'a', undo: false }, DEADLINE)]) {
      expect(await failureOf(change)).toMatchObject({ reason: 'METADATA_REGRESSED', metadata: { command: 'atoll cluster recover-metadata' } });
    }
    expect(await partitionsOf(admin, 'made')).toEqual(before);
    await eventually('the nodes are shown to know', async () => (await callUnary(admin, 'listNodes', {}, DEADLINE).catch(() => ({ nodes: [] }))).nodes.filter((node) => node.metadataRegressed).length === 2);

    const shown = await whenElected(() => recover(admin));
    expect(shown).toMatchObject({ executed: false, asked: ['a', 'b'], unreachable: [], risks: [] });
    expect(shown.keyspaces).toEqual([{ name: 'default', outcome: 'KEPT' }, { name: 'made', outcome: 'RESTORED' }, { name: 'deleted', outcome: 'REMOVED' }]);
    expect(shown.partitions).toHaveLength(68);
    expect(etcd.get('keyspaces/made')).toBeUndefined();

    expect((await recover(admin, { execute: true })).executed).toBe(true);
    expect(etcd.revision).toBeGreaterThan(seen);
    expect(etcd.get('keyspaces/deleted')).toBeUndefined();
    const after = await eventually('every record has a higher epoch than before', async () => {
      const partitions = await partitionsOf(admin, 'made');
      return partitions.length === 4 && partitions.every(({ epoch, leader }, index) => epoch > before[index]!.epoch && leader === before[index]!.leader) ? partitions : undefined;
    });
    expect(after.map(({ inSync }) => inSync.toSorted())).toEqual(before.map(({ inSync }) => inSync.toSorted()));
    await whenElected(() => create(admin, 'next').then(() => true));
    // The office of the coordinator, too, has a token that no node has seen before (R11).
    expect(etcd.list('coordinator/')[0]!.createRevision).toBeGreaterThan(seen);
    await eventually('nodes take its commands', () => nodes.every(({ revisions }) => revisions.at(-1)! > seen));
    expect((await failureOf(recover(admin)))?.reason).toBe('NOTHING_TO_RECOVER');
  });

  it('a coordinator that begins on the old state decides nothing before it has heard the nodes', async () => {
    const first = await runCoordinator('c1');
    await runNode('a');
    await runNode('b');
    await placed(first.admin, 'default', 64);
    const backup = etcd.backup();
    await create(first.admin, 'made');
    await placed(first.admin, 'made', 4);
    await first.stop();
    await goBackTo(backup);
    const records = etcd.list('partitions/').map(({ key, modRevision }) => `${key} ${modRevision}`);
    const second = await runCoordinator('c2');
    await regressed(second.admin);
    expect((await failureOf(create(second.admin, 'next')))?.reason).toBe('METADATA_REGRESSED');
    expect(etcd.list('partitions/').map(({ key, modRevision }) => `${key} ${modRevision}`)).toEqual(records);
    expect((await whenElected(() => recover(second.admin, { execute: true }))).executed).toBe(true);
    expect((await placed(second.admin, 'made', 4)).every(({ epoch }) => epoch === 2)).toBe(true);
    await whenElected(() => create(second.admin, 'next').then(() => true));
    // It judges and decides as ever.
    nodes[0]!.crash();
    await eventually('b leads everything', async () => (await partitionsOf(second.admin, 'default')).every(({ leader }) => leader === 'b'));
  });

  it('a wiped etcd is filled again', async () => {
    const { admin } = await runCoordinator('c1');
    await runNode('a');
    await runNode('b');
    const before = await placed(admin, 'default', 64);
    const identity = etcd.get('cluster')!.value;
    await goBackTo(undefined);
    await regressed(admin);
    expect((await whenElected(() => recover(admin, { execute: true }))).executed).toBe(true);
    const after = await eventually('default is back', async () => {
      const partitions = await partitionsOf(admin, 'default');
      return partitions.length === 64 && partitions.every(({ epoch }) => epoch === 2) ? partitions : undefined;
    });
    expect(after.map(({ leader }) => leader)).toEqual(before.map(({ leader }) => leader));
    expect(etcd.get('cluster')!.value).toBe(identity);
  });

  it('the etcd of another cluster is not taken over, and no lock is granted in it', async () => {
    const { admin, locks } = await runCoordinator('c1');
    await runNode('a');
    await runNode('b');
    await placed(admin, 'default', 64);
    const identity = JSON.stringify({ id: 'another', formatVersion: 1 });
    await goBackTo({ revision: 90_000, keys: [{ key: 'cluster', value: identity, createRevision: 2, modRevision: 2, leaseId: undefined }] });
    await regressed(admin);
    expect((await failureOf(whenElected(() => recover(admin, { execute: true, acceptRisks: true }))))?.reason).toBe('WRONG_CLUSTER');
    expect(etcd.get('cluster')!.value).toBe(identity);
    expect(etcd.list('partitions/')).toEqual([]);
    const ask = AcquireRequest.create({ scope: LockScope.create({ name: 'l' }) });
    expect((await failureOf(callUnary(locks, 'acquire', ask, DEADLINE)))?.reason).toBe('METADATA_REGRESSED');
  });

  it('does not go on without a leader that does not answer, unless the operator accepts what may be lost; can be run twice', async () => {
    const { admin } = await runCoordinator('c1');
    const a = await runNode('a');
    await runNode('b');
    const backup = etcd.backup();
    await placed(admin, 'default', 64);
    a.isAnswering = false;
    await goBackTo(backup);
    await regressed(admin);
    const refused = await whenElected(() => recover(admin, { execute: true }));
    expect(refused).toMatchObject({ executed: false, asked: ['b'], unreachable: ['a'] });
    expect(refused.risks.length).toBe(refused.partitions.filter(({ leader }) => leader === 'a').length);
    expect(refused.risks[0]).toContain('a did not answer');
    expect(etcd.list('partitions/').length).toBe(backup.keys.filter(({ key }) => key.startsWith('partitions/')).length);
    expect((await failureOf(recover(admin, { acceptRisks: true })))?.reason).toBe('INVALID_ARGUMENT');
    expect((await recover(admin, { execute: true, acceptRisks: true })).executed).toBe(true);
    // What was seen last is shown until etcd has been read again.
    const once = await eventually('default is back', async () => {
      const partitions = await partitionsOf(admin, 'default');
      return partitions.length === 64 && partitions.every(({ epoch }) => epoch >= 2) ? partitions : undefined;
    });
    expect(once.every(({ epoch }) => epoch >= 2)).toBe(true);
    // And back again.
    await goBackTo(backup);
    await regressed(admin);
    expect((await whenElected(() => recover(admin, { execute: true, acceptRisks: true }))).executed).toBe(true);
    await eventually('every epoch is higher again', async () => {
      const partitions = await partitionsOf(admin, 'default');
      return partitions.length === 64 && partitions.every(({ epoch }, index) => epoch > once[index]!.epoch);
    });
  });
});

const UNSPECIFIED: Keyspace = { name: '', partitionCount: 0, replicationFactor: 0, minInSync: 0, ack: 0, durability: 0, defaultTtlMs: 0, memoryShare: 0, eviction: 0, onDataLoss: 0, valueBytesMax: 0, aliases: [], pool: '' };
