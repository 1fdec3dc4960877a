// What stands between where replicas are and where they should be: minimal moves, each with its reason.
import { placementNodes, poolOf, type ClusterState, type KeyspaceSpec, type PartitionRecord } from '@atoll/core-membership';
import { planPlacement, type MoveReason } from '@atoll/core-placement';
import { placedOn, type PlannedOperator } from './plan-move.ts';

export interface PlannedRebalance {
  readonly planned: readonly (PlannedOperator & { readonly reason: MoveReason })[];
  /** Why something is left out, for people. */
  readonly refusals: readonly string[];
}

/** `isBusy`: a migration has the partition already. */
export function planRebalance(state: ClusterState, keyspace: KeyspaceSpec, isBusy: (record: PartitionRecord) => boolean): PlannedRebalance {
  const records = (state.partitions.get(keyspace.name) ?? []).map(({ record }) => record).filter((record) => record.keyspaceId === keyspace.id);
  if (records.length < keyspace.partitionCount) return { planned: [], refusals: [`${keyspace.name}: ${keyspace.partitionCount - records.length} of ${keyspace.partitionCount} partitions are not placed yet`] };
  const nodes = placementNodes(state, poolOf(keyspace));
  if (nodes.length === 0) return { planned: [], refusals: [`${keyspace.name}: no node can hold it`] };
  const present = records.map(placedOn);
  const { desired, moves } = planPlacement({ keyspace: keyspace.name, partitionCount: keyspace.partitionCount, replicationFactor: keyspace.replicationFactor, present, nodes });
  const reasons = new Map<number, MoveReason>();
  for (const { partition, reason } of moves) if (!reasons.has(partition)) reasons.set(partition, reason);
  const planned = records.flatMap((record, index) => {
    const [before, after] = [present[index]!, desired[index]!];
    const isSame = before.length === after.length && after.every((node) => before.includes(node));
    return isSame ? [] : [{ record, before, after, reason: reasons.get(record.partition) ?? ('BALANCE' as const) }];
  });
  const busy = planned.filter(({ record }) => isBusy(record));
  const refusals = busy.length === 0 ? [] : [`${keyspace.name}: ${busy.length} partitions are being migrated already`];
  return { planned: planned.filter(({ record }) => !isBusy(record)), refusals };
}
