import { toPartitionId } from '@atoll/core-runtime';
import type { NodeId, PartitionId } from '@atoll/core-runtime';

/**
 * Why a replica goes somewhere, in order of priority:
 * - MISSING: the partition has fewer replicas than it should, and none is to be removed for this one;
 * - LOST: the old replica's node is no longer a node of the cluster;
 * - DRAIN: it has weight 0;
 * - ZONE: it shares a zone that its partition should use less;
 * - JOIN: the new node held nothing of the keyspace;
 * - BALANCE: a node held too much, or too little.
 */
export type MoveReason = 'MISSING' | 'LOST' | 'DRAIN' | 'ZONE' | 'JOIN' | 'BALANCE';

/** One replica to make, and the one to remove once it is in sync. */
export interface Move {
  readonly partition: PartitionId;
  /** Absent for MISSING. A LOST one has no data to copy from. */
  readonly from?: NodeId;
  readonly to: NodeId;
  readonly reason: MoveReason;
}

/** A replica that goes without another in its place. */
export interface Drop {
  readonly partition: PartitionId;
  readonly from: NodeId;
}

const PRIORITY: readonly MoveReason[] = ['MISSING', 'LOST', 'DRAIN', 'ZONE', 'JOIN', 'BALANCE'];

export interface MoveContext {
  /** Why a replica must leave, where it is not for the sake of balance. */
  readonly reasonToLeave: (partition: number, node: NodeId) => 'LOST' | 'DRAIN' | 'ZONE' | undefined;
  readonly isNew: (node: NodeId) => boolean;
}

/** What leads from `present` to `desired`: moves by priority, then partition. */
export function describeMoves(
  present: readonly (readonly NodeId[])[],
  desired: readonly (readonly NodeId[])[],
  { reasonToLeave, isNew }: MoveContext,
): { moves: Move[]; drops: Drop[] } {
  const moves: Move[] = [];
  const drops: Drop[] = [];
  for (const [index, wanted] of desired.entries()) {
    const partition = toPartitionId(index);
    const before = [...new Set(present[index])];
    const added = wanted.filter((node) => !before.includes(node));
    const leaving = before
      .filter((node) => !wanted.includes(node))
      .map((node) => ({ node, why: reasonToLeave(index, node) }))
      .sort((a, b) => urgency(a.why) - urgency(b.why));
    for (const to of added) {
      const source = leaving.shift();
      if (source === undefined) moves.push({ partition, to, reason: 'MISSING' });
      else moves.push({ partition, from: source.node, to, reason: source.why ?? (isNew(to) ? 'JOIN' : 'BALANCE') });
    }
    for (const { node } of leaving) drops.push({ partition, from: node });
  }
  moves.sort((a, b) => PRIORITY.indexOf(a.reason) - PRIORITY.indexOf(b.reason) || a.partition - b.partition);
  return { moves, drops };
}

const urgency = (reason: MoveReason | undefined) => PRIORITY.indexOf(reason ?? 'BALANCE');
