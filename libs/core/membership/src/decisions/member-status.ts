import type { NodeId } from '@atoll/core-runtime';
import type { NodeRecord } from '../node-record.ts';
import type { Member, PartitionRecord } from '../partition-record.ts';
import { nameOf, type ClusterState, type NodeInventory } from './cluster-state.ts';

/**
 * PRESENT:  its node runs and holds the replica.
 * STOPPING: holds it still, takes no office any more.
 * LOST:     its node runs and does not hold it, or is removed: that data comes back never.
 * DOWN:     by the failure detector its node is dead or cut off; it may come back, with its data or without.
 * SILENT:   nothing is known; it may come back.
 */
export type MemberStatus = 'PRESENT' | 'STOPPING' | 'LOST' | 'DOWN' | 'SILENT';

export function statusOf(state: ClusterState, record: PartitionRecord, member: Member): MemberStatus {
  const node = state.nodes.get(member.node);
  const inventory = node && inventoryOf(state, node);
  if (node === undefined && state.specs.get(member.node)?.state === 'REMOVED') return 'LOST';
  const isDown = isNodeDown(state, member.node);
  if (node === undefined || inventory === undefined) return isDown ? 'DOWN' : 'SILENT';
  if (inventory.replicas.get(nameOf(record))?.replica !== member.replica) return 'LOST';
  if (isDown) return 'DOWN';
  return node.phase === 'STOPPING' ? 'STOPPING' : 'PRESENT';
}

/** The failure detector's verdict: the process of the registration, or of the last one, is dead or cut off from everybody. */
export function isNodeDown(state: ClusterState, id: NodeId): boolean {
  return state.verdicts.get(id)?.state === 'DOWN';
}

/** What the registered process holds; undefined as long as that very process has not said so. */
export function inventoryOf(state: ClusterState, node: NodeRecord): NodeInventory | undefined {
  const inventory = state.inventories.get(node.id);
  return inventory?.incarnation === node.incarnation ? inventory : undefined;
}

/**
 * The node's process can be given office: it serves, its inventory is known, and the node's spec names it. The
 * spec comes first so that a later coordinator can tell a leader that went away from one that was succeeded by
 * another process: see isLeaderGone.
 */
export function isReachable(state: ClusterState, id: NodeId): boolean {
  const node = state.nodes.get(id);
  if (node === undefined || node.phase !== 'SERVING' || isNodeDown(state, id)) return false;
  return inventoryOf(state, node) !== undefined && state.specs.get(id)?.incarnation === node.incarnation;
}

/** Reachable and wanted: new replicas may go there. */
export function isUsable(state: ClusterState, id: NodeId): boolean {
  return isReachable(state, id) && state.specs.get(id)?.state === 'UP';
}

/**
 * True when nobody leads by this record any more, for certain:
 *  - another process of the leader's node has registered since, and leads nothing until given a new epoch (R2);
 *  - or the leader's process wrote STOPPING, and its registration is gone since;
 *  - or it does not hold the replica, so it declines (R1).
 * A node that is merely silent may be leading, and so may one that is DOWN.
 */
export function isLeaderGone(state: ClusterState, record: PartitionRecord): boolean {
  const { leader, leaderIncarnation } = record;
  if (leader === undefined) return true;
  const node = state.nodes.get(leader.node);
  if (node === undefined) {
    const spec = state.specs.get(leader.node);
    return spec !== undefined && (spec.stopped || spec.incarnation !== leaderIncarnation);
  }
  if (node.incarnation !== leaderIncarnation) return true;
  return statusOf(state, record, leader) === 'LOST';
}
