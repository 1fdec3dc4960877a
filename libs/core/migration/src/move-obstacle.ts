// Why a move that should be made cannot be begun now.
import { isLastingFreeze, isRetired, isUsable, nameOf, type ClusterState, type KeyspaceSpec } from '@atoll/core-membership';
import type { NodeId } from '@atoll/core-runtime';
import { targetsOf, type MigrationOperator } from './operator.ts';
import type { PlannedOperator } from './plan-move.ts';

/**
 * - RANGE_LOCKED: another migration has the partition (R38);
 * - KEYSPACE_MOVED: another keyspace has the place of this one, in which nothing is decided any more;
 * - NO_LEADER: nobody leads, so there is nobody to copy from;
 * - CUT_OVER: leaders that stand still for it hand their office to nobody (R37);
 * - UNDER_REPAIR: a replica has been out of sync for too long, which is made good first (R31);
 * - NO_TARGET: the nodes are too few for all replicas;
 * - TARGET_AWAY: a target cannot get replicas at this moment;
 * - NO_ROOM: a target would be filled beyond FILL_SHARE_MAX of its memory.
 */
export type ObstacleKind = 'RANGE_LOCKED' | 'KEYSPACE_MOVED' | 'NO_LEADER' | 'CUT_OVER' | 'UNDER_REPAIR' | 'NO_TARGET' | 'TARGET_AWAY' | 'NO_ROOM';

export interface MoveObstacle {
  readonly kind: ObstacleKind;
  /** For people, with nodes and numbers; equal for partitions with the same cause. */
  readonly text: string;
  /** RANGE_LOCKED: the migration. */
  readonly migration?: string;
}

/** All but NO_TARGET, of which the plan knows, and NO_ROOM, for which nodes are asked. `operator`: what migrates the partition now. */
export function obstacleTo(planned: PlannedOperator, state: ClusterState, keyspace: KeyspaceSpec, operator: MigrationOperator | undefined): MoveObstacle | undefined {
  const { record } = planned;
  if (operator !== undefined) return { kind: 'RANGE_LOCKED', text: `migration ${operator.job} has the partition`, migration: operator.job };
  if (isRetired(state, keyspace)) return { kind: 'KEYSPACE_MOVED', text: `${keyspace.movedTo} has the place of the keyspace` };
  if (record.leader === undefined) return { kind: 'NO_LEADER', text: `nobody leads it: it is ${record.state}` };
  if (record.frozen !== undefined && !isLastingFreeze(record.frozen)) return { kind: 'CUT_OVER', text: 'its keyspace is being cut over' };
  const overdue = [...(state.failover.overdue.get(nameOf(record)) ?? [])];
  if (overdue.length > 0) return { kind: 'UNDER_REPAIR', text: `its replica on ${overdue.join(', ')} has been out of sync for too long, which is made good first` };
  const away = targetsOf(planned).find((node) => !isUsable(state, node));
  return away === undefined ? undefined : { kind: 'TARGET_AWAY', text: `${away} cannot get replicas now: it ${whyAway(state, away)}` };
}

function whyAway({ nodes, verdicts }: ClusterState, id: NodeId): string {
  const node = nodes.get(id);
  if (node === undefined) return 'is not registered';
  if (verdicts.get(id)?.state === 'DOWN') return 'is DOWN';
  return node.phase === 'SERVING' ? 'has not said yet what it holds' : `is ${node.phase}`;
}
