import { Durability, NodeState, type AdminClient, type Event, type Keyspace, type Node, type Partition } from '@atoll/contracts/atoll/v1/admin';
import { isAtollError, type AtollError } from '@atoll/core-errors';
import { SeededRandom, randomHex } from '@atoll/core-runtime';
import { formatAddress } from '@atoll/platform-config';
import { InMemoryEtcd, InMemoryMetadataStore, eventually } from '@atoll/platform-etcd/testing';
import { callUnary } from '@atoll/platform-grpc';
import { ReplicationNode } from './testing/replication-node.ts';
import { runCoordinator as startCoordinator, type RunningCoordinator } from './testing/run-coordinator.ts';

const SEED = 20_260_101;
const DEADLINE = { deadlineMs: 30_000 };

/** Everything that a spec started, in the order of starting. */
let stops: (() => Promise<void>)[] = [];
let etcd: InMemoryEtcd;
let random: SeededRandom;

beforeEach(() => {
  stops = [];
  etcd = new InMemoryEtcd();
  random = new SeededRandom(SEED);
});

afterEach(async () => {
  for (const stop of stops.reverse()) await stop();
});

async function runCoordinator(id: string, env: Record<string, string> = {}, store = new InMemoryMetadataStore({ etcd })): Promise<RunningCoordinator> {
  const running = await startCoordinator({ id, env, store, seed: random.nextUint32() });
  stops.push(() => running.stop());
  return running;
}

async function runNode(id: string, options: { isDurable?: boolean } = {}): Promise<ReplicationNode> {
  const store = new InMemoryMetadataStore({ etcd });
  const node = new ReplicationNode(id, { store, seed: random.nextUint32(), ...options });
  await eventually('the cluster has an id', () => etcd.get('cluster'));
  await node.start();
  stops.push(async () => {
    await node.kill();
    await store.close();
  });
  return node;
}

async function partitionsOf(admin: AdminClient, keyspace = 'default'): Promise<Partition[]> {
  return (await callUnary(admin, 'listPartitions', { keyspace }, DEADLINE)).partitions;
}

const nodesOf = async (admin: AdminClient): Promise<Node[]> => (await callUnary(admin, 'listNodes', {}, DEADLINE).catch(() => ({ nodes: [] }))).nodes;

const eventsOf = async (admin: AdminClient): Promise<Event[]> => (await callUnary(admin, 'listEvents', { limit: 0, kind: '' }, DEADLINE)).events;

/** All events, newest first, once some of each kind are told: they are written behind what they tell of. */
function toldKinds(admin: AdminClient, kinds: readonly string[]): Promise<Event[]> {
  return eventually(`${kinds.join()} are told`, async () => {
    const events = await eventsOf(admin);
    return kinds.every((wanted) => events.some(({ kind }) => kind === wanted)) && events;
  });
}

/** Polls the partition table of `default` until it looks as wanted. */
function eventuallyTable(admin: AdminClient, what: string, isWanted: (partitions: Partition[]) => boolean): Promise<Partition[]> {
  return eventually(what, async () => {
    const partitions = await partitionsOf(admin).catch((): Partition[] => []);
    return partitions.length === 64 && isWanted(partitions) ? partitions : undefined;
  });
}

const isPlaced = (partitions: Partition[]): boolean => partitions.every((partition) => partition.leader !== '' && partition.inSync.length === 2);

const failureOf = (call: Promise<unknown>): Promise<AtollError | undefined> =>
  call.then(
    () => undefined,
    (error: unknown) => (isAtollError(error) ? error : undefined),
  );

const keyspaceMessage = (fields: Partial<Keyspace>): Keyspace => ({
  name: 'extra',
  partitionCount: 0,
  replicationFactor: 0,
  minInSync: 0,
  ack: 0,
  durability: 0,
  defaultTtlMs: 0,
  memoryShare: 0,
  eviction: 0,
  onDataLoss: 0,
  valueBytesMax: 0,
  aliases: [],
  pool: '',
  ...fields,
});

describe(`a coordinator and storage nodes (seed ${SEED})`, () => {
  it('makes default and shares it among the nodes that start together, with the fencing token of its term', async () => {
    const { admin } = await runCoordinator('c1');
    const nodes = await Promise.all(['a', 'b', 'c'].map((id) => runNode(id)));
    const partitions = await eventuallyTable(admin, 'default is placed', isPlaced);
    for (const { id } of nodes) {
      expect(partitions.filter((partition) => partition.leader === id).length).toBeLessThanOrEqual(24);
      expect(partitions.filter((partition) => partition.inSync.includes(id)).length).toBeLessThanOrEqual(47);
    }
    expect(partitions.map((partition) => partition.tokenStart)).toEqual(partitions.map((_, index) => BigInt(index) << 58n));
    expect(partitions[63]!.tokenEnd).toBe((1n << 64n) - 1n);
    const cluster = await callUnary(admin, 'getCluster', {}, DEADLINE);
    expect(cluster).toMatchObject({ coordinator: 'c1', nodesUp: 3, nodesTotal: 3, keyspaces: 1, partitions: 64, partitionsWithoutLeader: 0, partitionsUnderReplicated: 0 });
    const revision = etcd.list('coordinator/')[0]!.createRevision;
    for (const node of nodes) expect(new Set(node.revisions)).toEqual(new Set([revision]));
  });

  it('gives a node that joins its share, in sync, without a change of leaders where that is not wanted', async () => {
    const { admin } = await runCoordinator('c1', { COORDINATOR_FAILOVER_ACTIVE: 'drain-only' });
    for (const id of ['a', 'b', 'c']) await runNode(id);
    const before = await eventuallyTable(admin, 'default is placed', isPlaced);
    await runNode('d');
    const after = await eventuallyTable(
      admin,
      'd holds its share',
      (partitions) => partitions.filter((partition) => partition.inSync.includes('d')).length >= 28 && isPlaced(partitions) && partitions.every((partition) => partition.learners.length === 0),
    );
    expect(after.map((partition) => partition.leader)).toEqual(before.map((partition) => partition.leader));
    const { nodes } = await callUnary(admin, 'listNodes', {}, DEADLINE);
    expect(nodes.map(({ id, state }) => [id, state])).toEqual(['a', 'b', 'c', 'd'].map((id) => [id, NodeState.NODE_STATE_UP]));
    expect(nodes.reduce((sum, node) => sum + node.replicas, 0)).toBe(128);
  });

  it('promotes in-sync followers when a leader stops on purpose, and takes the node back when it returns', async () => {
    const { admin } = await runCoordinator('c1');
    const [a] = await Promise.all(['a', 'b', 'c'].map((id) => runNode(id)));
    await eventuallyTable(admin, 'default is placed', isPlaced);
    await a!.announceStop();
    await eventuallyTable(admin, 'a leads nothing', (partitions) => partitions.every(({ leader }) => leader !== 'a' && leader !== ''));
    await a!.kill();
    const left = await callUnary(admin, 'listNodes', {}, DEADLINE);
    expect(left.nodes[0]).toMatchObject({ id: 'a', state: NodeState.NODE_STATE_LEFT });
    await a!.start();
    await eventuallyTable(admin, 'a holds its share again', (partitions) => isPlaced(partitions) && partitions.some(({ inSync }) => inSync.includes('a')));
    // What others lead has a in sync all the while, so its share says nothing of the restart.
    const events = await toldKinds(admin, ['NODE_JOINED', 'NODE_LEFT', 'NODE_RESTARTED', 'LEADER_TRANSFERRED', 'KEYSPACE_CREATED']);
    expect(events.every(({ atMs }, index) => atMs <= (events[index - 1]?.atMs ?? Infinity))).toBe(true);
  });

  it('lets a node whose registration lapsed keep its offices: it answers (R11)', async () => {
    const { admin } = await runCoordinator('c1');
    const [a] = await Promise.all(['a', 'b', 'c'].map((id) => runNode(id)));
    const before = await eventuallyTable(admin, 'default is placed', isPlaced);
    await a!.vanish();
    const shown = await eventually('it is seen', async () => (await nodesOf(admin)).find(({ id, reason }) => id === 'a' && reason.includes('lapsed')));
    expect(shown.state).toBe(NodeState.NODE_STATE_UP);
    const after = await partitionsOf(admin);
    expect(after.filter(({ leader }) => leader === 'a').map(({ id, epoch }) => [id, epoch])).toEqual(before.filter(({ leader }) => leader === 'a').map(({ id, epoch }) => [id, epoch]));
  });

  it('shows a process that died as DOWN, with the reason and the event, although it is registered still (R30)', async () => {
    const { admin } = await runCoordinator('c1');
    const [a] = await Promise.all(['a', 'b', 'c'].map((id) => runNode(id)));
    await eventuallyTable(admin, 'default is placed', isPlaced);
    a!.crash();
    const shown = await eventually('it is down', async () => (await nodesOf(admin)).find(({ state }) => state === NodeState.NODE_STATE_DOWN));
    expect(shown).toMatchObject({ id: 'a', reason: expect.stringMatching(/^its process is dead: connections are refused to this coordinator, [bc]/), stateMs: expect.any(Number) });
    const events = await toldKinds(admin, ['NODE_DOWN']);
    expect(events.filter(({ kind }) => kind === 'NODE_DOWN').map(({ node }) => node)).toEqual(['a']);
  });

  it('shows a process that stands still as DOWN when nobody hears it, and as UP when it goes on', async () => {
    const { admin } = await runCoordinator('c1');
    const [a] = await Promise.all(['a', 'b', 'c'].map((id) => runNode(id)));
    a!.isReporting = false;
    const down = await eventually('it is down', async () => (await nodesOf(admin)).find(({ state }) => state === NodeState.NODE_STATE_DOWN));
    expect(down).toMatchObject({ id: 'a', reason: expect.stringMatching(/neither this coordinator nor (b, c|c, b) heard of it for 900 ms/) });
    a!.isReporting = true;
    await eventually('all are up', async () => (await nodesOf(admin)).every(({ state }) => state === NodeState.NODE_STATE_UP));
    const events = await toldKinds(admin, ['NODE_UP']);
    expect(events.filter(({ kind }) => /^NODE_(UP|DOWN|SUSPECT)$/.test(kind)).map(({ kind }) => kind)).toEqual(['NODE_UP', 'NODE_DOWN']);
  });

  it('fells nobody when it hears nobody (R30)', async () => {
    const { admin } = await runCoordinator('c1');
    const nodes = await Promise.all(['a', 'b', 'c'].map((id) => runNode(id)));
    await eventually('all are up', async () => (await nodesOf(admin)).filter(({ reason }) => reason === 'it answers').length === 3);
    for (const node of nodes) node.isReporting = false;
    await eventually('all were suspect for twice as long as it takes to be down', async () => (await nodesOf(admin)).every(({ state, stateMs }) => state === NodeState.NODE_STATE_SUSPECT && stateMs > 1800));
    const { events } = await callUnary(admin, 'listEvents', { limit: 0, kind: 'NODE_DOWN' }, DEADLINE);
    expect(events).toEqual([]);
  });

  it('tells the members of a record that it has written, before their watches do (R27), with the token of its term (R11)', async () => {
    const { admin } = await runCoordinator('c1');
    const nodes = await Promise.all(['a', 'b', 'c'].map((id) => runNode(id)));
    await eventuallyTable(admin, 'default is placed', isPlaced);
    const [a] = nodes;
    const told = await eventually('a was told of its partitions', () => {
      const records = a!.news.map(({ record }) => JSON.parse(record) as { partition: number });
      const mine = etcd.list('partitions/default/').filter(({ value }) => value.includes('"node":"a"')).length;
      return new Set(records.map(({ partition }) => partition)).size >= mine ? a!.news : undefined;
    });
    expect(told.every(({ modRevision }) => modRevision > 0)).toBe(true);
    expect(new Set(a!.reportRevisions)).toEqual(new Set([etcd.list('coordinator/')[0]!.createRevision]));
  });

  it('serves again, empty, after every node came back without its data, and says what was lost (R31)', async () => {
    const { admin } = await runCoordinator('c1');
    const nodes = await Promise.all(['a', 'b', 'c'].map((id) => runNode(id)));
    await eventuallyTable(admin, 'default is placed', isPlaced);
    for (const node of nodes) node.write();
    for (const node of nodes) await node.kill();
    for (const node of nodes) await node.start();
    const partitions = await eventuallyTable(admin, 'default is served again', (table) => isPlaced(table) && table.every(({ generation }) => generation === 2));
    expect(partitions.every(({ epoch }) => epoch > 1)).toBe(true);
    const events = await eventually('every loss is told', async () => {
      const losses = (await eventsOf(admin)).filter(({ kind }) => kind === 'DATA_LOSS');
      return new Set(losses.flatMap((event) => event.partitions)).size === 64 && losses;
    });
    expect(events[0]!.message).toMatch(/^\d+ partitions of keyspace default lost their data/);
  });

  it('tells once what a node found to be gone, with the first keys of it (R3, R15)', async () => {
    const { admin } = await runCoordinator('c1');
    const a = await runNode('a');
    a.report = { discards: [{ number: 1, keyspace: 'default', partitions: [3, 4], discarded: 3, superseded: 0, kept: 0, unknown: 0, firstKeys: ['k1', 'k2'], listFile: '' }] };
    const told = (): Promise<Event[]> => callUnary(admin, 'listEvents', { limit: 0, kind: 'DATA_DISCARDED' }, DEADLINE).then(({ events }) => events);
    const events = await eventually('it is told', async () => (await told().catch((): Event[] => [])).length > 0 && told());
    expect(events).toMatchObject([{ keyspace: 'default', node: 'a', partitions: [3, 4] }]);
    expect(events[0]!.message).toBe('node a held writes of an older generation: 3 that are gone; gone: k1, k2, and 1 more');
    await eventually('a goes on reporting it', () => a.beatsPerStream.some((beats) => beats > 3) && a.discardsTaken === 1);
    expect(await told()).toHaveLength(1);
  });

  it('loses nothing when every node comes back with its data, in new terms (R2)', async () => {
    const { admin } = await runCoordinator('c1');
    const nodes = await Promise.all(['a', 'b', 'c'].map((id) => runNode(id, { isDurable: true })));
    await eventuallyTable(admin, 'default is placed', isPlaced);
    for (const node of nodes) node.write();
    for (const node of nodes) await node.kill();
    for (const node of nodes) await node.start();
    const partitions = await eventuallyTable(admin, 'default is served again', (table) => isPlaced(table) && table.every(({ epoch }) => epoch >= 2));
    expect(partitions.every(({ generation }) => generation === 1)).toBe(true);
  });
});

describe('leaders and replicas that move', () => {
  const leads = (partitions: readonly Partition[], node: string): number => partitions.filter(({ leader }) => leader === node).length;

  it('go to in-sync members when the process of their leader dies, at once (R6, R30)', async () => {
    const { admin } = await runCoordinator('c1');
    const [a] = await Promise.all(['a', 'b', 'c'].map((id) => runNode(id)));
    await eventuallyTable(admin, 'default is placed', isPlaced);
    a!.crash();
    await eventuallyTable(admin, 'others lead', (partitions) => partitions.every(({ leader }) => leader === 'b' || leader === 'c'));
    const records = etcd.list('partitions/default/').map(({ value }) => JSON.parse(value) as { epoch: number; relinquished: boolean });
    expect(records.filter(({ epoch }) => epoch > 1).every(({ relinquished }) => !relinquished)).toBe(true);
  });

  it('are handed over when a node is drained, at the revision that its leader named, and the node ends with nothing (R29)', async () => {
    const { admin } = await runCoordinator('c1', { COORDINATOR_HAND_OVERS_MAX: '3' });
    const [a] = await Promise.all(['a', 'b', 'c'].map((id) => runNode(id)));
    await eventuallyTable(admin, 'default is placed', isPlaced);
    const drained = await callUnary(admin, 'drainNode', { node: 'a', undo: false }, DEADLINE);
    expect(drained.node).toMatchObject({ id: 'a', wanted: 'DRAINING' });
    await eventuallyTable(admin, 'a holds nothing', (partitions) => isPlaced(partitions) && partitions.every(({ inSync, learners }) => ![...inSync, ...learners].includes('a')));
    expect(a!.handOvers.every(({ items }) => items.length <= 3)).toBe(true);
    const records = etcd.list('partitions/default/').map(({ value }) => JSON.parse(value) as { epoch: number; relinquished: boolean });
    expect(records.filter(({ epoch }) => epoch > 1).every(({ relinquished }) => relinquished)).toBe(true);
    expect(await failureOf(callUnary(admin, 'removeNode', { node: 'a', dataIsLost: false }, DEADLINE))).toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'node' } });
    await a!.announceStop();
    await a!.kill();
    await eventually('a has left', async () => (await callUnary(admin, 'listNodes', {}, DEADLINE)).nodes[0]!.state === NodeState.NODE_STATE_LEFT);
    await callUnary(admin, 'removeNode', { node: 'a', dataIsLost: false }, DEADLINE);
    await toldKinds(admin, ['NODE_DRAINING', 'LEADER_TRANSFERRED', 'NODE_REMOVED']);
  });

  it('are succeeded without an agreement when a node that stops does not hand over', async () => {
    const { admin } = await runCoordinator('c1');
    const [a] = await Promise.all(['a', 'b', 'c'].map((id) => runNode(id)));
    await eventuallyTable(admin, 'default is placed', isPlaced);
    a!.handOverProblem = 'no';
    await a!.announceStop();
    await eventuallyTable(admin, 'others lead', (partitions) => leads(partitions, 'b') + leads(partitions, 'c') === 64);
    expect(a!.handOvers.length).toBeGreaterThan(0);
  });

  it('are handed over on request, each with its result', async () => {
    const { admin } = await runCoordinator('c1', { COORDINATOR_FAILOVER_ACTIVE: 'off' });
    for (const id of ['a', 'b']) await runNode(id);
    const before = await eventuallyTable(admin, 'default is placed', isPlaced);
    expect(await failureOf(callUnary(admin, 'transferLeadership', { keyspace: '', partitions: [], from: '', to: 'b' }, DEADLINE))).toMatchObject({ metadata: { field: 'partitions' } });
    expect((await failureOf(callUnary(admin, 'transferLeadership', { keyspace: '', partitions: [1], from: '', to: 'x' }, DEADLINE)))?.reason).toBe('NODE_NOT_FOUND');
    const { results } = await callUnary(admin, 'transferLeadership', { keyspace: '', partitions: [], from: 'a', to: 'b' }, DEADLINE);
    expect(results).toHaveLength(leads(before, 'a'));
    expect(results.every(({ leader, problem }) => leader === 'b' && problem === '')).toBe(true);
    expect(leads(await partitionsOf(admin), 'b')).toBe(64);
  });

  it('that nobody can lead are shown with what would be lost, and go on by the word of the operator alone (R15)', async () => {
    const { admin } = await runCoordinator('c1', { COORDINATOR_DEFAULT_REPLICATION_FACTOR: '1' });
    const [a] = await Promise.all(['a', 'b'].map((id) => runNode(id)));
    await eventuallyTable(admin, 'default is placed', (partitions) => partitions.every(({ leader }) => leader !== ''));
    const request = { keyspace: '', partitions: [], execute: false, oldMembersAreStopped: false, allowEmpty: true };
    expect((await callUnary(admin, 'recoverPartitions', request, DEADLINE)).recoveries).toEqual([]);
    a!.crash();
    const { recoveries } = await eventually('a is missing', async () => {
      const answer = await callUnary(admin, 'recoverPartitions', request, DEADLINE);
      return answer.recoveries.length > 0 ? answer : undefined;
    });
    expect(recoveries.every(({ missing, source, executed }) => missing.join() === 'a' && source === '' && !executed)).toBe(true);
    expect(await failureOf(callUnary(admin, 'recoverPartitions', { ...request, execute: true }, DEADLINE))).toMatchObject({ metadata: { field: 'old_members_are_stopped' } });
    const done = await callUnary(admin, 'recoverPartitions', { ...request, execute: true, oldMembersAreStopped: true }, DEADLINE);
    expect(done.recoveries.every(({ executed }) => executed)).toBe(true);
    const after = await partitionsOf(admin);
    expect(leads(after, 'b')).toBe(64);
    expect(after.filter(({ generation }) => generation === 2)).toHaveLength(recoveries.length);
  });
});

describe('several coordinators', () => {
  it('the elected one serves Admin, the others tell where it is, and one of them follows it', async () => {
    const first = await runCoordinator('c1');
    await eventually('c1 is elected', () => etcd.list('coordinator/').length === 1);
    const second = await runCoordinator('c2');
    for (const id of ['a', 'b']) await runNode(id);
    await eventuallyTable(first.admin, 'default is placed', isPlaced);
    const refused = await failureOf(callUnary(second.admin, 'listNodes', {}, DEADLINE));
    expect(refused).toMatchObject({ reason: 'NOT_COORDINATOR', metadata: { coordinator: 'c1', address: formatAddress(first.coordinator.address) } });
    await first.stop();
    await eventually('c2 serves', async () => (await failureOf(callUnary(second.admin, 'listNodes', {}, DEADLINE))) === undefined);
    await callUnary(second.admin, 'createKeyspace', { keyspace: keyspaceMessage({ partitionCount: 4 }) }, DEADLINE);
    expect(await partitionsOf(second.admin, 'extra')).toHaveLength(4);
  });
});

describe('a deletion that a coordinator began', () => {
  it('is finished by the next one', async () => {
    const first = await runCoordinator('c1');
    for (const id of ['a', 'b']) await runNode(id);
    await eventuallyTable(first.admin, 'default is placed', isPlaced);
    await callUnary(first.admin, 'createKeyspace', { keyspace: keyspaceMessage({ partitionCount: 8 }) }, DEADLINE);
    await first.stop();
    const { id } = JSON.parse(etcd.get('keyspaces/extra')!.value) as { id: string };
    etcd.transact([], [{ kind: 'put', key: 'jobs/delete-keyspace/extra', value: id }, { kind: 'delete', key: 'partitions/extra/0003' }]);
    await runCoordinator('c2');
    await eventually('the keyspace is gone', () => etcd.get('keyspaces/extra') === undefined);
    expect([...etcd.list('partitions/extra/'), ...etcd.list('jobs/')]).toEqual([]);
    expect(etcd.list('partitions/default/')).toHaveLength(64);
  });
});

describe('keyspaces', () => {
  it('are created with defaults filled in when every partition has a leader, updated by field, and deleted', async () => {
    const { admin } = await runCoordinator('c1');
    for (const id of ['a', 'b', 'c']) await runNode(id);
    const created = await callUnary(admin, 'createKeyspace', { keyspace: keyspaceMessage({ replicationFactor: 3, partitionCount: 256, durability: Durability.DURABILITY_SYNC }) }, DEADLINE);
    expect(created.keyspace).toMatchObject({ name: 'extra', partitionCount: 256, replicationFactor: 3, minInSync: 2, durability: Durability.DURABILITY_SYNC, memoryShare: 1 });
    expect(await partitionsOf(admin, 'extra')).toHaveLength(256);
    const twice = await failureOf(callUnary(admin, 'createKeyspace', { keyspace: keyspaceMessage({}) }, DEADLINE));
    expect(twice?.reason).toBe('KEYSPACE_EXISTS');
    const updated = await callUnary(admin, 'updateKeyspace', { keyspace: keyspaceMessage({ defaultTtlMs: 5000, minInSync: 1 }), fields: ['default_ttl_ms'] }, DEADLINE);
    expect(updated.keyspace).toMatchObject({ defaultTtlMs: 5000, minInSync: 2 });
    await callUnary(admin, 'deleteKeyspace', { name: 'extra' }, DEADLINE);
    expect(etcd.list('partitions/extra/')).toEqual([]);
    expect(etcd.list('jobs/')).toEqual([]);
    expect((await failureOf(callUnary(admin, 'getKeyspace', { name: 'extra' }, DEADLINE)))?.reason).toBe('KEYSPACE_NOT_FOUND');
    const { keyspaces } = await callUnary(admin, 'listKeyspaces', {}, DEADLINE);
    expect(keyspaces.map(({ name }) => name)).toEqual(['default']);
    await callUnary(admin, 'createKeyspace', { keyspace: keyspaceMessage({ partitionCount: 2 }) }, DEADLINE);
    expect(await partitionsOf(admin, 'extra')).toHaveLength(2);
  });

  it.each([
    { title: 'a name in capitals', keyspace: { name: 'Extra' }, field: 'keyspace.name' },
    { title: 'a partition count that is no power of two', keyspace: { partitionCount: 48 }, field: 'keyspace.partition_count' },
    { title: 'eight replicas', keyspace: { replicationFactor: 8 }, field: 'keyspace.replication_factor' },
    { title: 'more in sync than there are replicas', keyspace: { minInSync: 3 }, field: 'keyspace.min_in_sync' },
    { title: 'a share of memory above 1', keyspace: { memoryShare: 1.5 }, field: 'keyspace.memory_share' },
    { title: 'an ack level from the future', keyspace: { ack: 9 as never }, field: 'keyspace.ack' },
  ])('refuses $title, naming $field', async ({ keyspace, field }) => {
    const { admin } = await runCoordinator('c1');
    const refused = await failureOf(callUnary(admin, 'createKeyspace', { keyspace: keyspaceMessage(keyspace) }, DEADLINE));
    expect(refused).toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field } });
  });

  it('refuses to change what is fixed, to delete default, and to create without nodes within the deadline', async () => {
    const { admin } = await runCoordinator('c1');
    const update = { keyspace: keyspaceMessage({ name: 'default' }), fields: ['partition_count'] };
    expect(await failureOf(callUnary(admin, 'updateKeyspace', update, DEADLINE))).toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'fields' } });
    expect(await failureOf(callUnary(admin, 'deleteKeyspace', { name: 'default' }, DEADLINE))).toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'name' } });
    await eventually('c1 is elected', async () => (await failureOf(callUnary(admin, 'listNodes', {}, DEADLINE))) === undefined);
    const late = await failureOf(callUnary(admin, 'createKeyspace', { keyspace: keyspaceMessage({}) }, { deadlineMs: 300 }));
    expect(late?.reason).toBe('DEADLINE_EXCEEDED');
  });
});

describe('nodes that do not do as they are asked', () => {
  it('a keyspace that a node cannot hold is refused with its reason, and is not there afterwards', async () => {
    const { admin } = await runCoordinator('c1');
    const nodes = await Promise.all(['a', 'b'].map((id) => runNode(id)));
    await eventuallyTable(admin, 'default is placed', isPlaced);
    for (const node of nodes) node.refused.add('extra');
    const refused = await failureOf(callUnary(admin, 'createKeyspace', { keyspace: keyspaceMessage({}) }, DEADLINE));
    expect(refused).toMatchObject({ reason: 'INVALID_ARGUMENT', message: expect.stringMatching(/cannot hold it: no disk for extra/) });
    await eventually('it is gone', async () => (await callUnary(admin, 'listKeyspaces', {}, DEADLINE)).keyspaces.length === 1);
    const { nodes: shown } = await callUnary(admin, 'listNodes', {}, DEADLINE);
    expect(shown.map(({ replicas }) => replicas)).toEqual([64, 64]);
  });

  it('a node that does not answer gets nothing, and its share when it does', async () => {
    const { admin } = await runCoordinator('c1');
    for (const id of ['a', 'b']) await runNode(id);
    await eventuallyTable(admin, 'default is placed', isPlaced);
    const c = await runNode('c');
    c.isAnswering = false;
    await callUnary(admin, 'createKeyspace', { keyspace: keyspaceMessage({ partitionCount: 8 }) }, DEADLINE);
    expect((await partitionsOf(admin, 'extra')).filter(({ inSync }) => inSync.includes('c'))).toEqual([]);
    c.isAnswering = true;
    await eventually('c holds its share', async () => (await partitionsOf(admin, 'extra')).filter(({ inSync }) => inSync.includes('c')).length >= 4);
  });
});

describe('etcd', () => {
  it('away at the start: the coordinator says so and waits', async () => {
    const store = new InMemoryMetadataStore({ etcd });
    store.goAway();
    const { coordinator, admin } = await runCoordinator('c1', {}, store);
    expect(coordinator.readiness()).toEqual({ ready: false, reasons: ['waiting for etcd'] });
    expect((await failureOf(callUnary(admin, 'listNodes', {}, DEADLINE)))?.reason).toBe('METADATA_UNAVAILABLE');
    store.comeBack();
    await eventually('it is ready', () => coordinator.readiness().ready);
    await eventually('it serves', async () => (await failureOf(callUnary(admin, 'listNodes', {}, DEADLINE))) === undefined);
  });

  it('away later: what was seen last is shown, changes are refused, and all goes on when it is back', async () => {
    const { admin, store, coordinator } = await runCoordinator('c1');
    for (const id of ['a', 'b']) await runNode(id);
    const before = await eventuallyTable(admin, 'default is placed', isPlaced);
    store.goAway();
    await eventually('it is not ready', () => !coordinator.readiness().ready);
    // Until its term runs out, which it may have by now.
    const reading = (await failureOf(callUnary(admin, 'listMigrations', { limit: 0, active: false }, DEADLINE)))?.reason;
    expect([undefined, 'NOT_COORDINATOR']).toContain(reading);
    expect(await partitionsOf(admin)).toEqual(before);
    const refused = await failureOf(callUnary(admin, 'createKeyspace', { keyspace: keyspaceMessage({}) }, DEADLINE));
    expect(refused?.reason).toBe('METADATA_UNAVAILABLE');
    store.comeBack();
    await eventually('it serves changes again', async () => (await failureOf(callUnary(admin, 'createKeyspace', { keyspace: keyspaceMessage({ name: `k${randomHex(random, 4)}`, partitionCount: 1 }) }, DEADLINE))) === undefined);
  });

  it('loses answers: every decision is settled by a further compare-and-swap (R7)', async () => {
    const { admin, store } = await runCoordinator('c1');
    await eventually('c1 is elected', async () => (await failureOf(callUnary(admin, 'listNodes', {}, DEADLINE))) === undefined);
    for (let count = 0; count < 6; count += 1) store.loseNextAnswer();
    for (const id of ['a', 'b', 'c']) await runNode(id);
    const partitions = await eventuallyTable(admin, 'default is placed', isPlaced);
    expect(partitions.every(({ epoch, generation }) => epoch === 1 && generation === 1)).toBe(true);
  });

  it('metrics tell of the election, nodes and partitions', async () => {
    const { admin, telemetry } = await runCoordinator('c1');
    for (const id of ['a', 'b']) await runNode(id);
    await eventuallyTable(admin, 'default is placed', isPlaced);
    const { resourceMetrics } = await telemetry.metrics.collect();
    const values = new Map(resourceMetrics.scopeMetrics[0]!.metrics.map(({ descriptor, dataPoints }) => [descriptor.name, dataPoints.map((point) => [point.attributes, point.value])]));
    expect(values.get('atoll_coordinator_elected')).toEqual([[{}, 1]]);
    expect(values.get('atoll_cluster_nodes')).toEqual([[{ state: 'UP' }, 2], [{ state: 'SUSPECT' }, 0], [{ state: 'DOWN' }, 0], [{ state: 'LEFT' }, 0]]);
    expect(values.get('atoll_cluster_partitions_without_leader')).toEqual([[{}, 0]]);
    expect(values.get('atoll_coordinator_decisions_total')).toEqual(expect.arrayContaining([[{ kind: 'PLACE' }, 64]]));
  });
});
