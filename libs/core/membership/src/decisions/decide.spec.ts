import { planPlacement } from '@atoll/core-placement';
import { hasReplica, standbyFence, type PartitionRecord } from '../partition-record.ts';
import { ToyCluster } from '../testing/toy-cluster.ts';

/** One keyspace of `partitionCount` on nodes a, b, c, settled, with one write in every partition. */
function createCluster(options: { nodes?: readonly string[]; partitionCount?: number; replicationFactor?: number; durable?: boolean } = {}): ToyCluster {
  const cluster = new ToyCluster();
  for (const node of options.nodes ?? ['a', 'b', 'c']) cluster.start(node);
  cluster.keyspace({ name: 'default', partitionCount: options.partitionCount ?? 8, replicationFactor: options.replicationFactor ?? 2 });
  cluster.settle();
  cluster.write(options.durable ?? false);
  cluster.history.length = 0;
  return cluster;
}

const all = (cluster: ToyCluster): PartitionRecord[] => [...cluster.records.values()].map(({ record }) => record);
const nodesOf = (record: PartitionRecord): string[] => record.inSync.map((member) => member.node).toSorted();
const ledBy = (cluster: ToyCluster, node: string): PartitionRecord[] => all(cluster).filter((record) => record.leader?.node === node);

/** How many in-sync replicas each node holds. */
function loads(cluster: ToyCluster): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const record of all(cluster)) for (const { node } of record.inSync) counts[node] = (counts[node] ?? 0) + 1;
  return counts;
}

describe('a keyspace without records', () => {
  // node:      a    b    c      8 partitions x 2 replicas
  // replicas:  5-6  5-6  5-6    leaders 2-3 each
  it('is placed evenly on the nodes that are up, all replicas in sync, the first term given to the running process', () => {
    const cluster = createCluster();
    expect(all(cluster)).toHaveLength(8);
    for (const record of all(cluster)) {
      expect(record).toMatchObject({ state: 'ACTIVE', epoch: 1, generation: { counter: 1 }, learners: [], leaving: [], eligible: [] });
      expect(record.inSync).toHaveLength(2);
      expect(record.leaderIncarnation).toBe(cluster.nodes.get(record.leader!.node)!.incarnation);
    }
    expect(Object.values(loads(cluster)).every((load) => load >= 5 && load <= 6)).toBe(true);
    expect(['a', 'b', 'c'].every((node) => ledBy(cluster, node).length <= 3)).toBe(true);
  });

  it('is placed on as many nodes as there are, and completed when another one joins', () => {
    const cluster = createCluster({ nodes: ['a'] });
    expect(loads(cluster)).toEqual({ a: 8 });
    cluster.start('b');
    cluster.settle();
    expect(loads(cluster)).toEqual({ a: 8, b: 8 });
    expect(all(cluster).every((record) => record.leader?.node === 'a' && record.epoch === 1)).toBe(true);
  });

  it('waits while nodes that start together may still be joining', () => {
    const cluster = new ToyCluster();
    cluster.isSettled = false;
    cluster.start('a');
    cluster.keyspace({ name: 'default' });
    cluster.settle();
    expect(cluster.history).toEqual(['spec a JOINED']);
  });

  it('is not placed on what a node still holds of an older keyspace of that name', () => {
    const cluster = createCluster();
    const former = cluster.keyspaces.get('default')!.id;
    cluster.keyspace({ name: 'default', partitionCount: 8 });
    for (const action of cluster.decide()) cluster.execute(action);
    expect(cluster.records.size).toBe(0);
    cluster.replicas.forEach((held) => held.clear());
    cluster.settle();
    expect(all(cluster)).toHaveLength(8);
    expect(all(cluster).every((record) => record.keyspaceId !== former && record.generation.counter === 1)).toBe(true);
  });
});

describe('a node that joins', () => {
  it('gets its share as learners, which the leaders bring in sync before anything leaves', () => {
    const cluster = createCluster({ partitionCount: 64 });
    cluster.start('d');
    cluster.settle();
    // 128 replicas on 4 nodes: fair share 32, at most ceil(1.1 x 32) = 36
    for (const load of Object.values(loads(cluster))) expect(load).toBeLessThanOrEqual(36);
    expect(loads(cluster).d).toBeGreaterThanOrEqual(28);
    for (const record of all(cluster)) {
      expect(record).toMatchObject({ epoch: 1, learners: [], leaving: [] });
      expect(record.inSync).toHaveLength(2);
    }
    const order = cluster.history.filter((kind) => ['ADD_LEARNER', 'MARK_LEAVING', 'DROP_LEAVING'].includes(kind));
    expect(order[0]).toBe('ADD_LEARNER');
    expect(order.filter((kind) => kind === 'MARK_LEAVING')).toHaveLength(loads(cluster).d!);
    expect(order.filter((kind) => kind === 'DROP_LEAVING')).toHaveLength(loads(cluster).d!);
  });

  it('fills at most learnersPerNodeMax replicas at a time', () => {
    const cluster = createCluster({ partitionCount: 64 });
    cluster.learnersPerNodeMax = 3;
    cluster.start('d');
    for (let round = 0; round < 4; round += 1) for (const action of cluster.decide()) cluster.execute(action);
    expect(all(cluster).filter((record) => record.learners.length > 0)).toHaveLength(3);
  });

  it('does not move a replica because of a node that is away', () => {
    const cluster = createCluster({ partitionCount: 64 });
    cluster.vanish('c');
    cluster.settle();
    expect(cluster.history).toEqual([]);
    expect(loads(cluster).c).toBeLessThan(64);
    cluster.writtenOff.add('c');
    cluster.settle();
    const ledElsewhere = all(cluster).filter((record) => record.leader?.node !== 'c');
    for (const record of ledElsewhere) expect(nodesOf(record)).toEqual(['a', 'b']);
    expect(ledBy(cluster, 'c').every((record) => record.epoch === 1)).toBe(true);
  });
});

describe('placement that is carried out step by step', () => {
  it('ends where a plan finds nothing to move, also when another coordinator takes over at every step', () => {
    const cluster = createCluster({ partitionCount: 32 });
    cluster.start('d');
    for (let round = 0; round < 200; round += 1) {
      cluster.plans = new (cluster.plans.constructor as new () => typeof cluster.plans)();
      for (const action of cluster.decide()) cluster.execute(action);
      cluster.leadersStep();
      cluster.nodesStep();
    }
    cluster.settle();
    const present = all(cluster).map((record) => [record.leader!.node, ...record.inSync.map((member) => member.node)]);
    const { moves } = planPlacement({ keyspace: 'default', partitionCount: 32, replicationFactor: 2, present, nodes: [...cluster.specs.values()] });
    expect(moves).toEqual([]);
  });
});

describe('a keyspace whose place a copy has taken (R37)', () => {
  it('is given no leader any more: those that are sealed are its last ones', () => {
    const cluster = createCluster();
    const before = all(cluster);
    cluster.keyspaces.set('default', { ...cluster.keyspaces.get('default')!, movedTo: 'wide' });
    cluster.judge('a', 'DOWN');
    expect(cluster.decide()).toEqual([]);
    expect(all(cluster)).toEqual(before);
    cluster.keyspaces.set('default', { ...cluster.keyspaces.get('default')!, movedTo: undefined });
    expect(cluster.decide().length).toBeGreaterThan(0);
    // One that is kept to become a standby: its records seal whoever leads by them (R15).
    cluster.keyspaces.set('default', { ...cluster.keyspaces.get('default')!, movedTo: 'wide' });
    for (const record of before) cluster.put({ ...record, frozen: standbyFence('1') });
    expect(cluster.decide().length).toBeGreaterThan(0);
  });
});

describe('a leader that stops on purpose', () => {
  it('hands over to an in-sync member, in the next epoch, and stays named as a learner (R29)', () => {
    const cluster = createCluster();
    const led = ledBy(cluster, 'a').map((record) => record.partition);
    cluster.stopping('a');
    for (const action of cluster.decide()) cluster.execute(action);
    for (const transfer of cluster.planHandOvers()) cluster.handOver(transfer);
    for (const partition of led) {
      const record = cluster.record('default', partition);
      expect(record).toMatchObject({ epoch: 2, state: 'ACTIVE', relinquished: true });
      expect(record.leader!.node).not.toBe('a');
      expect(record.leaderIncarnation).toBe(cluster.nodes.get(record.leader!.node)!.incarnation);
      expect(record.learners.map((member) => member.node)).toEqual(['a']);
    }
    expect(cluster.specs.get('a')!.stopped).toBe(true);
  });

  it('stays in the in-sync set where fewer than minInSync would be left', () => {
    const cluster = createCluster({ replicationFactor: 3 });
    cluster.vanish('b');
    cluster.leadersStep();
    const [record] = ledBy(cluster, 'a');
    cluster.stopping('a');
    for (const transfer of cluster.planHandOvers()) cluster.handOver(transfer);
    expect(cluster.record('default', record!.partition).leader!.node).toBe('c');
    expect(nodesOf(cluster.record('default', record!.partition))).toEqual(['a', 'c']);
  });

  it('leaves the partition waiting when nobody else is in sync, until its data returns', () => {
    const cluster = createCluster({ nodes: ['a'], durable: true });
    cluster.stopping('a');
    cluster.settle();
    expect(all(cluster).every((record) => record.state === 'ACTIVE' && record.epoch === 1)).toBe(true);
    cluster.vanish('a');
    cluster.settle();
    expect(all(cluster).every((record) => record.state === 'WAITING' && record.leader === undefined && record.epoch === 2)).toBe(true);
    cluster.start('a');
    cluster.settle();
    expect(all(cluster).every((record) => record.leader?.node === 'a' && record.epoch === 3 && record.generation.counter === 1)).toBe(true);
  });
});

describe('a node that is silent', () => {
  it('fells nobody: its partitions keep leader, epoch and in-sync set (R11)', () => {
    const cluster = createCluster();
    const before = ledBy(cluster, 'a');
    cluster.vanish('a');
    for (const action of cluster.decide()) cluster.execute(action);
    expect(ledBy(cluster, 'a')).toEqual(before);
    expect(cluster.history).toEqual([]);
  });
});

describe('a node that registers again as another process', () => {
  it.each([
    { title: 'with its data, and its partitions go to another in-sync member (R2)', durable: true },
    { title: 'without its data, and what it lost is dropped in the promotion (R6)', durable: false },
  ])('$title', ({ durable }) => {
    const cluster = createCluster({ durable });
    const led = ledBy(cluster, 'a');
    cluster.start('a');
    for (let round = 0; round < 2; round += 1) for (const action of cluster.decide()) cluster.execute(action);
    for (const { partition, leader } of led) {
      const record = cluster.record('default', partition);
      expect(record).toMatchObject({ epoch: 2, state: 'ACTIVE', generation: { counter: 1 } });
      expect(record.leader!.node).not.toBe('a');
      expect(hasReplica(record.inSync, leader!.replica)).toBe(durable);
    }
    cluster.settle();
    for (const record of all(cluster)) expect(record.inSync).toHaveLength(2);
  });

  it('alone with its data leads again, but only in a new epoch', () => {
    const cluster = createCluster({ nodes: ['a'], durable: true });
    cluster.start('a');
    cluster.settle();
    expect(all(cluster).every((record) => record.epoch === 2 && record.leaderIncarnation === cluster.nodes.get('a')!.incarnation)).toBe(true);
  });

  it('gets no office before its spec names it, so that a later coordinator can tell its terms from those of its successor', () => {
    const cluster = createCluster({ nodes: ['a'], durable: true });
    cluster.start('a');
    const actions = cluster.decide();
    expect(actions.map(({ kind }) => kind)).toEqual(['writeSpec']);
    cluster.vanish('a');
    expect(cluster.decide()).toEqual([]);
  });

  it('as a follower without its data is filled under its new replica id; only the leader drops the old one (R6)', () => {
    const cluster = createCluster({ nodes: ['a', 'b'] });
    const [record] = ledBy(cluster, 'a');
    const old = record!.inSync.find((member) => member.node === 'b')!;
    cluster.start('b');
    for (let round = 0; round < 3; round += 1) for (const action of cluster.decide()) cluster.execute(action);
    const after = cluster.record('default', record!.partition);
    expect(after.epoch).toBe(1);
    expect(hasReplica(after.inSync, old.replica)).toBe(true);
    expect(after.learners.map((member) => member.node)).toEqual(['b']);
    expect(hasReplica(after.learners, old.replica)).toBe(false);
    cluster.settle();
    expect(nodesOf(cluster.record('default', record!.partition))).toEqual(['a', 'b']);
  });
});

describe('a restart of the whole cluster', () => {
  it('serves again, empty, in a new generation, once no member can bring the data back (R31)', () => {
    const cluster = createCluster();
    const before = new Map(all(cluster).map((record) => [record.partition, record]));
    cluster.start('a');
    cluster.vanish('b');
    cluster.vanish('c');
    cluster.settle();
    const lostWith = (nodes: readonly string[]) => all(cluster).filter((record) => record.generation.counter === 2 && nodesOf(before.get(record.partition)!).every((node) => nodes.includes(node)));
    expect(all(cluster).filter((record) => record.generation.counter === 2)).toEqual([]);
    cluster.start('b');
    cluster.settle();
    expect(lostWith(['a', 'b'])).toHaveLength(all(cluster).filter((record) => record.generation.counter === 2).length);
    cluster.start('c');
    cluster.settle();
    for (const record of all(cluster)) {
      const former = before.get(record.partition)!;
      expect(record).toMatchObject({ state: 'ACTIVE', generation: { counter: 2 } });
      expect(record.generation.id).not.toBe(former.generation.id);
      expect(record.epoch).toBeGreaterThan(former.epoch);
      expect(nodesOf(record)).toEqual(nodesOf(former));
      expect(record.inSync.some((member) => hasReplica(former.inSync, member.replica))).toBe(false);
    }
  });

  it('keeps the data where the members come back with it', () => {
    const cluster = createCluster({ durable: true });
    for (const node of ['a', 'b', 'c']) cluster.stopping(node);
    cluster.settle();
    for (const node of ['a', 'b', 'c']) cluster.vanish(node);
    for (const node of ['c', 'b', 'a']) cluster.start(node);
    cluster.settle();
    expect(all(cluster).every((record) => record.state === 'ACTIVE' && record.generation.counter === 1 && record.inSync.length === 2)).toBe(true);
  });
});

describe('a keyspace that is no more', () => {
  it('loses its records', () => {
    const cluster = createCluster();
    cluster.keyspaces.delete('default');
    cluster.settle();
    expect(cluster.records.size).toBe(0);
  });
});
