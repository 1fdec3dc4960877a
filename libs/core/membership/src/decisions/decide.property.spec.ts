import { SeededRandom, randomBelow } from '@atoll/core-runtime';
import { assertRecord, hasReplica, type PartitionRecord } from '../partition-record.ts';
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

function randomStep(cluster: ToyCluster, random: SeededRandom, isDurable: boolean): void {
  const node = NODES[randomBelow(random, NODES.length)]!;
  const steps = [
    () => cluster.start(node),
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
