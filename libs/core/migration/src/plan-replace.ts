// One node takes the place of another: it gets what that one holds, as far as zones and loads let it.
import { isSameMember, nameOf, placementNodes, poolOf, type ClusterState, type KeyspaceSpec, type NodeSpec, type PartitionRecord } from '@atoll/core-membership';
import { planPlacement } from '@atoll/core-placement';
import type { NodeId } from '@atoll/core-runtime';
import { isEnded, type MigrationJob } from './migration-job.ts';
import { destinationOf, sourcesOf, type MigrationOperator } from './operator.ts';
import { placedOn, type PlannedMoves, type PlannedOperator } from './plan-move.ts';

export interface ReplaceAsk {
  readonly from: NodeId;
  readonly to: NodeId;
  /** The node that goes answers. One that does not may have vanished from the records of partitions that it held: these lack a replica. */
  readonly isFromThere: boolean;
}

/**
 * What one keyspace's part in the replacement of a node is. Where the new node has a replica already, or the placement
 * does not want it there (zones, loads), the replica goes to the node that the placement chooses. `operatorOf`: what
 * migrates a partition now. `refusals`: why partitions stay, or are left to others.
 */
export function planReplace(state: ClusterState, keyspace: KeyspaceSpec, { from, to, isFromThere }: ReplaceAsk, operatorOf: (record: PartitionRecord) => MigrationOperator | undefined): PlannedMoves {
  const records = (state.partitions.get(keyspace.name) ?? []).map(({ record }) => record).filter((record) => record.keyspaceId === keyspace.id);
  if (records.length < keyspace.partitionCount) return { operators: [], refusals: [`${keyspace.name}: ${keyspace.partitionCount - records.length} of ${keyspace.partitionCount} partitions are not placed yet`] };
  const nodes = placementNodes(state, poolOf(keyspace)).map((node) => (node.id === from ? { ...node, weight: 0 } : node));
  const replicasMax = Math.min(keyspace.replicationFactor, nodes.filter(({ weight }) => weight > 0).length);
  const present = records.map((record) => {
    const operator = operatorOf(record);
    const placed = operator === undefined ? placedOn(record) : [...destinationOf(operator)];
    const isMissing = !isFromThere && operator === undefined && !placed.includes(from) && placed.length < replicasMax;
    return isMissing ? [...placed, from] : placed;
  });
  const hoped = present.map((placed) => placed.map((node) => (node === from && !placed.includes(to) ? to : node)));
  const { partitionCount, replicationFactor } = keyspace;
  const { desired } = planPlacement({ keyspace: keyspace.name, partitionCount, replicationFactor, present: hoped, nodes, keepLeaders: true });
  const operators: PlannedOperator[] = [];
  const refusals: string[] = [];
  for (const [index, record] of records.entries()) {
    const before = present[index]!;
    if (!before.includes(from)) continue;
    const candidates = desired[index]!.filter((node) => node !== from && !before.includes(node));
    const target = candidates.includes(to) ? to : candidates[0];
    if (!isFromThere && !record.inSync.some(({ node }) => node !== from)) refusals.push(`${nameOf(record)} has no in-sync replica but the one on ${from}`);
    else if (target === undefined) refusals.push(`${nameOf(record)} can go nowhere: every node has it already`);
    else operators.push({ record, before: leaderFirst(before, record), after: leaderFirst(before, record).map((node) => (node === from ? target : node)) });
  }
  return { operators, refusals };
}

function leaderFirst(nodes: readonly NodeId[], { leader, inSync }: PartitionRecord): readonly NodeId[] {
  const led = inSync.find((member) => isSameMember(member, leader))?.node;
  return led === undefined || !nodes.includes(led) ? nodes : [led, ...nodes.filter((node) => node !== led)];
}

/**
 * What is wanted of nodes that are being replaced: to be drained for as long as that goes on, so that nothing else comes
 * to them; and to be there again when it is cancelled.
 */
export function wantedOfReplaced(operators: Iterable<MigrationOperator>, jobs: ReadonlyMap<string, MigrationJob>): ReadonlyMap<NodeId, Extract<NodeSpec['state'], 'UP' | 'DRAINING'>> {
  const wanted = new Map<NodeId, 'UP' | 'DRAINING'>();
  for (const operator of operators) {
    const job = jobs.get(operator.job);
    if (job?.reason !== 'REPLACE' || job.state === 'PREPARING' || isEnded(job)) continue;
    for (const node of sourcesOf(operator)) wanted.set(node, job.state === 'CANCELLING' ? 'UP' : 'DRAINING');
  }
  return wanted;
}
