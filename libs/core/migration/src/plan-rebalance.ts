// What stands between where replicas are and where they should be: minimal moves, each with its reason, and those that
// cannot be begun, each with what stands in the way.
import { nodesAfter, placementNodes, poolOf, type ClusterState, type KeyspaceSpec, type PartitionRecord } from '@atoll/core-membership';
import { planPlacement, type MoveReason, type PlacementNode } from '@atoll/core-placement';
import type { NodeId } from '@atoll/core-runtime';
import { obstacleTo, type MoveObstacle } from './move-obstacle.ts';
import type { MigrationOperator } from './operator.ts';
import { placedOn, type PlannedOperator } from './plan-move.ts';

export interface ReasonedMove extends PlannedOperator {
  readonly reason: MoveReason;
}

export interface RefusedMove extends ReasonedMove {
  readonly obstacle: MoveObstacle;
}

export interface PlannedRebalance {
  readonly planned: readonly ReasonedMove[];
  readonly refused: readonly RefusedMove[];
  /** Why nothing is planned in a keyspace, for people. */
  readonly refusals: readonly string[];
}

/**
 * `operatorOf`: what migrates a partition now. Of a move that NO_TARGET refuses `before` is where the partition is to be, and
 * `after` that without the nodes that should let go of it. Zones and loads refuse nothing: a plan keeps them always.
 */
export function planRebalance(state: ClusterState, keyspace: KeyspaceSpec, operatorOf: (record: PartitionRecord) => MigrationOperator | undefined): PlannedRebalance {
  const records = (state.partitions.get(keyspace.name) ?? []).map(({ record }) => record).filter((record) => record.keyspaceId === keyspace.id);
  if (records.length < keyspace.partitionCount) return nothing(`${keyspace.name}: ${keyspace.partitionCount - records.length} of ${keyspace.partitionCount} partitions are not placed yet`);
  const nodes = placementNodes(state, poolOf(keyspace));
  if (nodes.length === 0) return nothing(`${keyspace.name}: no node can hold it`);
  const present = records.map(placedOn);
  const { desired, moves } = planPlacement({ keyspace: keyspace.name, partitionCount: keyspace.partitionCount, replicationFactor: keyspace.replicationFactor, present, nodes });
  const reasons = new Map<number, MoveReason>();
  for (const { partition, reason } of moves) if (!reasons.has(partition)) reasons.set(partition, reason);
  const planned: ReasonedMove[] = [];
  const refused: RefusedMove[] = [];
  for (const [index, record] of records.entries()) {
    const before = present[index]!;
    const after = nodesAfter(before, desired[index]!, keyspace.replicationFactor);
    const isSame = before.length === after.length && after.every((node) => before.includes(node));
    const move = { record, before, after, reason: reasons.get(record.partition) ?? ('BALANCE' as const) };
    const obstacle = isSame ? undefined : obstacleTo(move, state, keyspace, operatorOf(record));
    if (obstacle !== undefined) refused.push({ ...move, obstacle });
    else if (!isSame) planned.push(move);
    refused.push(...withoutTarget(record, after, nodes, keyspace));
  }
  return { planned, refused, refusals: [] };
}

const nothing = (refusal: string): PlannedRebalance => ({ planned: [], refused: [], refusals: [refusal] });

/** Replicas that should be elsewhere, or should be, and have nowhere to go. */
function withoutTarget(record: PartitionRecord, after: readonly NodeId[], nodes: readonly PlacementNode[], keyspace: KeyspaceSpec): RefusedMove[] {
  const takers = new Set(nodes.filter(({ weight }) => weight > 0).map(({ id }) => id));
  const staying = after.filter((node) => takers.has(node));
  const { replicationFactor } = keyspace;
  if (staying.length >= replicationFactor) return [];
  const kept = after.filter((node) => !takers.has(node));
  const isDrained = nodes.some(({ id }) => kept.includes(id));
  const text = `there should be ${replicationFactor} replicas, and pool ${poolOf(keyspace)} has ${takers.size} ${takers.size === 1 ? 'node' : 'nodes'} to hold them`;
  return [{ record, before: after, after: staying, reason: isDrained ? 'DRAIN' : kept.length > 0 ? 'LOST' : 'MISSING', obstacle: { kind: 'NO_TARGET', text } }];
}
