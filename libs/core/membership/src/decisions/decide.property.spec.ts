import { SeededRandom, randomBelow } from '@atoll/core-runtime';
import { assertRecord, hasReplica, membersOf, type PartitionRecord } from '../partition-record.ts';
import type { Action } from './action.ts';
import { nameOf } from './cluster-state.ts';
import { PlacementPlans } from './placement-plans.ts';
import { ToyCluster } from '../testing/toy-cluster.ts';

const NODES = ['a', 'b', 'c', 'd', 'e'];
const STEPS = 120;

/** In-sync replicas that hold `writes` writes of the record's generation, whether or not their node runs. */
function completeReplicas(cluster: ToyCluster, record: PartitionRecord, writes: number): number {
  return record.inSync.filter((member) => {
    const held = cluster.held(member.node, record);
    return held?.replica === member.replica && held.lineage === record.generation.id && held.writes >= writes;
  }).length;
}

/** Committed writes that some in-sync replica still holds. */
function writesOf(cluster: ToyCluster, record: PartitionRecord): number {
  const counts = record.inSync.map((member) => {
    const held = cluster.held(member.node, record);
    return held?.replica === member.replica ? held.writes : 0;
  });
  return Math.max(0, ...counts);
}

/** What is wrong with the step from one record to the next; empty when nothing is. */
function problemsOf(cluster: ToyCluster, former: PartitionRecord, record: PartitionRecord): string[] {
  const problems: string[] = [];
  const complain = (isWrong: boolean, problem: string): void => void (isWrong && problems.push(problem));
  const isDown = former.leader !== undefined && cluster.verdicts.get(former.leader.node)?.state === 'DOWN';
  complain(record.epoch !== former.epoch && cluster.isInOffice(former) && !isDown && !record.relinquished, 'a leader was felled that may be serving (R11)');
  complain(record.epoch < former.epoch, 'the epoch went back (R2)');
  complain(record.epoch === former.epoch && record.leader?.replica !== former.leader?.replica, 'two leaders in one epoch (I1)');
  if (record.generation.id === former.generation.id) {
    const isNewLeader = record.epoch > former.epoch && record.leader !== undefined;
    complain(isNewLeader && !hasReplica(former.inSync, record.leader.replica), 'a leader from outside the in-sync set (I3)');
  } else {
    complain(record.generation.counter !== former.generation.counter + 1, 'a generation was left out (R3)');
    const isHeld = former.inSync.some((member) => cluster.held(member.node, former)?.replica === member.replica);
    complain(isHeld, 'reset although a replica is held (R31)');
  }
  return problems;
}

const recordsOf = (cluster: ToyCluster): Map<string, PartitionRecord> =>
  new Map([...cluster.records].map(([name, { record }]) => [name, record]));

function check(cluster: ToyCluster, before: ReadonlyMap<string, PartitionRecord>): void {
  for (const [name, record] of recordsOf(cluster)) {
    assertRecord(record);
    const former = before.get(name);
    expect(former === undefined ? [] : problemsOf(cluster, former, record)).toEqual([]);
  }
}

/** Carries out an action; the last complete replica is never taken out of the record by it (I2). */
function executeChecked(cluster: ToyCluster, action: Action): void {
  const before = recordsOf(cluster);
  const former = action.kind === 'writeRecord' ? before.get(nameOf(action.record)) : undefined;
  const writes = former === undefined ? 0 : writesOf(cluster, former);
  const hadComplete = former !== undefined && completeReplicas(cluster, former, writes) > 0;
  cluster.execute(action);
  check(cluster, before);
  const after = former && cluster.record(former.keyspace, former.partition);
  expect(hadComplete && completeReplicas(cluster, after!, writes) === 0).toBe(false);
}

function randomStep(cluster: ToyCluster, random: SeededRandom, isDurable: boolean, poolOf: (node: string) => string | undefined = () => undefined): void {
  const node = NODES[randomBelow(random, NODES.length)]!;
  const steps = [
    () => cluster.start(node, { pool: poolOf(node) }),
    () => cluster.vanish(node),
    () => cluster.judge(node, 'DOWN'),
    () => cluster.nodes.get(node)?.phase === 'SERVING' && cluster.judge(node, 'UP'),
    () => cluster.planHandOvers().slice(0, 3).forEach((transfer) => cluster.handOver(transfer)),
    () => cluster.stopping(node),
    () => (cluster.plans = new PlacementPlans()), // another coordinator takes over
    () => cluster.write(isDurable),
    () => cluster.leadersStep(),
    () => cluster.nodesStep(),
  ];
  const step = steps[randomBelow(random, steps.length + 3)];
  const before = recordsOf(cluster);
  if (step !== undefined) {
    step();
    check(cluster, before);
    return;
  }
  // Some of the actions are lost, as when a coordinator dies in the middle.
  const actions = cluster.decide();
  for (const action of actions.slice(0, 1 + randomBelow(random, actions.length + 1))) executeChecked(cluster, action);
}

describe('decisions under random starts, restarts, stops, lapses, verdicts and transfers', () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])('keep every committed write that somebody holds, and come to rest: seed %i', (seed) => {
    const random = new SeededRandom(seed);
    const cluster = new ToyCluster(seed * 7919);
    cluster.start('a');
    cluster.start('b');
    const replicationFactor = 1 + randomBelow(random, 3);
    cluster.keyspace({ name: 'default', partitionCount: 8, replicationFactor });
    cluster.settle();
    const isDurable = randomBelow(random, 2) === 1;
    for (let step = 0; step < STEPS; step += 1) randomStep(cluster, random, isDurable);
    for (const node of NODES) {
      if (cluster.nodes.get(node)?.phase === 'SERVING') cluster.judge(node, 'UP');
      else cluster.start(node);
    }
    cluster.settle();
    for (const record of recordsOf(cluster).values()) {
      expect(record).toMatchObject({ state: 'ACTIVE', learners: [], leaving: [] });
      expect(record.inSync).toHaveLength(replicationFactor);
    }
  });
});

// node:      a     b     c     d        e
// pool:      main  main  main  standby  standby
// keyspaces: default and wide lie on main, mirror and single on standby
describe('pools under random starts, restarts, stops, lapses, verdicts and transfers', () => {
  const poolOf = (node: string): string => (node < 'd' ? 'main' : 'standby');
  const KEYSPACES = [
    { name: 'default', partitionCount: 8, replicationFactor: 2 },
    { name: 'wide', partitionCount: 4, replicationFactor: 3, onDataLoss: 'RESET' },
    { name: 'mirror', partitionCount: 8, replicationFactor: 2, pool: 'standby' },
    { name: 'single', partitionCount: 4, replicationFactor: 1, pool: 'standby', onDataLoss: 'RESET' },
  ] as const;
  const strangers = (cluster: ToyCluster): string[] =>
    [...cluster.records.values()].flatMap(({ record }) => membersOf(record).filter(({ node }) => poolOf(node) !== (cluster.keyspaces.get(record.keyspace)!.pool ?? 'main')).map(({ node }) => `${nameOf(record)} on ${node}`));

  it.each([1, 2, 3, 4, 5, 6])('no replica ever stands on a node of another pool, and each pool comes to rest by itself: seed %i', (seed) => {
    const random = new SeededRandom(seed * 31);
    const cluster = new ToyCluster(seed * 104_729);
    cluster.active = 'on';
    for (const node of NODES) cluster.start(node, { pool: poolOf(node) });
    for (const keyspace of KEYSPACES) cluster.keyspace(keyspace);
    for (let step = 0; step < STEPS; step += 1) {
      randomStep(cluster, random, step % 2 === 0, poolOf);
      // One that has been away for long is written off, or a replica of it is overdue: others of its pool take over.
      if (randomBelow(random, 8) === 0) cluster.writtenOff.add(NODES[randomBelow(random, NODES.length)]!);
      if (randomBelow(random, 8) === 0) cluster.writtenOff.clear();
      const late = NODES[randomBelow(random, NODES.length)]!;
      cluster.failover = { ...cluster.failover, overdue: randomBelow(random, 4) === 0 ? new Map([...cluster.records.keys()].map((name) => [name, new Set([late])])) : new Map() };
      expect(strangers(cluster)).toEqual([]);
    }
    cluster.writtenOff.clear();
    cluster.failover = { ...cluster.failover, overdue: new Map() };
    for (const node of NODES) {
      if (cluster.nodes.get(node)?.phase === 'SERVING') cluster.judge(node, 'UP');
      else cluster.start(node, { pool: poolOf(node) });
    }
    cluster.settle();
    expect(strangers(cluster)).toEqual([]);
    for (const { record } of cluster.records.values()) expect([record.state, record.inSync.length]).toEqual(['ACTIVE', cluster.keyspaces.get(record.keyspace)!.replicationFactor]);
    const led = NODES.map((node) => [...cluster.records.values()].filter(({ record }) => record.leader?.node === node).length);
    // 12 leaderships of each pool: 4 for each of three nodes, 6 for each of two.
    expect([Math.max(...led.slice(0, 3)) - Math.min(...led.slice(0, 3)), Math.max(...led.slice(3)) - Math.min(...led.slice(3))].every((difference) => difference <= 1)).toBe(true);
  });

  it('a node of another pool that joins changes nothing; a node keeps the pool that it joined first', () => {
    const cluster = new ToyCluster(7);
    for (const node of ['a', 'b']) cluster.start(node);
    cluster.keyspace({ name: 'default', partitionCount: 8, replicationFactor: 2 });
    cluster.settle();
    const before = recordsOf(cluster);
    cluster.start('d', { pool: 'standby' });
    cluster.settle();
    expect(recordsOf(cluster)).toEqual(before);
    cluster.start('d', { pool: 'main' });
    cluster.settle();
    expect([cluster.specs.get('d')!.pool, recordsOf(cluster)]).toEqual(['standby', before]);
    expect(cluster.specs.get('a')).not.toHaveProperty('pool');
  });

  it('a partition that is reset starts on nodes of its pool, or waits for some', () => {
    const cluster = new ToyCluster(9);
    cluster.start('a');
    cluster.start('d', { pool: 'standby' });
    cluster.keyspace({ name: 'mirror', partitionCount: 2, replicationFactor: 1, pool: 'standby', onDataLoss: 'RESET' });
    cluster.settle();
    cluster.stopping('d');
    cluster.settle();
    cluster.vanish('d');
    cluster.specs.set('d', { ...cluster.specs.get('d')!, state: 'REMOVED' });
    cluster.settle();
    expect([...recordsOf(cluster).values()].flatMap((record) => membersOf(record).map(({ node }) => node))).toEqual(['d', 'd']);
    cluster.start('e', { pool: 'standby' });
    cluster.settle();
    expect([...recordsOf(cluster).values()].map(({ state, inSync }) => [state, ...inSync.map(({ node }) => node)])).toEqual([['ACTIVE', 'e'], ['ACTIVE', 'e']]);
  });
});
