// Where the replicas of a keyspace should be. A placement is planned from the present one: what is well
// placed stays, and only what breaks the rules moves (zones, loads, nodes that go). So a join moves what
// the new node gets and no more, where a bounded ring computed anew would cascade.
// docs/design/placement.md tells why, with measurements.
import type { NodeId } from '@atoll/core-runtime';
import { invalidArgument } from '@atoll/core-errors';
import { Assignment } from './assignment.ts';
import type { AssignmentOptions } from './assignment.ts';
import { level } from './level.ts';
import { describeMoves } from './moves.ts';
import type { Drop, Move } from './moves.ts';
import { buildRing } from './ring.ts';
import type { PlacementNode, Ring } from './ring.ts';

export interface PlanPlacementInput extends AssignmentOptions {
  /**
   * Replicas of each partition, the leader (or preferred leader) first; empty for a keyspace without any.
   * A replica on its way to a node counts as being there already.
   */
  readonly present: readonly (readonly NodeId[])[];
  /** Nodes of the cluster. A node that is not among them is lost; one of weight 0 is draining. */
  readonly nodes: readonly PlacementNode[];
  /** Ring points per unit of weight, default 128. */
  readonly virtualNodes?: number;
  /** No balance move takes the first replica of a partition from its node: for when leaders cannot move. Default false. */
  readonly keepLeaders?: boolean;
}

export interface PlacementPlan {
  /** Replicas of each partition in order of preference: the first should lead. */
  readonly desired: NodeId[][];
  readonly moves: Move[];
  readonly drops: Drop[];
}

/**
 * The placement to strive for and the moves that lead there.
 * - Replicas of a partition stand on different nodes, in different zones where there are as many zones as
 *   replicas, else as evenly over the zones as their nodes allow. Fewer nodes than replicas: as many as there are.
 * - No node holds more than ceil(1.1 x its fair share) replicas, nor leads more than ceil(1.1 x its share of
 *   the leaderships) where the replicas permit; a node below ceil(0.9 x share) is filled up to its share.
 * - A draining node keeps its replica where the others are too few to replace it.
 * Deterministic; a plan made from `desired` is empty. Throws INVALID_ARGUMENT for numbers out of range.
 */
export function planPlacement(input: PlanPlacementInput): PlacementPlan {
  const { present, nodes, partitionCount } = input;
  if (present.length > 0 && present.length !== partitionCount)
    throw invalidArgument('present', `has ${present.length} partitions of ${partitionCount}`);
  const ring = buildRing(nodes, { virtualNodes: input.virtualNodes });
  const assignment = new Assignment(ring, input);
  const indexOf = new Map(ring.nodes.map((node, index) => [node.id, index]));
  const before = Array.from({ length: partitionCount }, (_, partition) => [...new Set(present[partition])]);

  const kept = before.map((list) => list.map((id) => indexOf.get(id) ?? -1).filter((node) => node >= 0 && ring.nodes[node]!.weight > 0));
  keep(assignment, kept);
  const misplaced = kept.map((list, partition) => list.filter((node) => !assignment.lists[partition]!.includes(node)));
  assignment.fill();
  level(assignment.replicaBoard((partition, node) => input.keepLeaders === true && kept[partition]![0] === node));
  level(assignment.leaderBoard((partition, node) => kept[partition]!.includes(node)));

  const desired = assignment.lists.map((list) => list.map((node) => ring.nodes[node]!.id));
  for (const [partition, list] of desired.entries()) {
    const draining = before[partition]!.filter((id) => indexOf.has(id) && ring.nodes[indexOf.get(id)!]!.weight === 0);
    list.push(...draining.slice(0, Math.max(0, input.replicationFactor - list.length)));
  }
  const holders = new Set(before.flat());
  const { moves, drops } = describeMoves(before, desired, {
    isNew: (node) => holders.size > 0 && !holders.has(node),
    reasonToLeave: (partition, id) => {
      const node = indexOf.get(id);
      if (node === undefined) return 'LOST';
      if (ring.nodes[node]!.weight === 0) return 'DRAIN';
      return misplaced[partition]!.includes(node) ? 'ZONE' : undefined;
    },
  });
  return { desired, moves, drops };
}

/** Placement of a keyspace that has none yet: per partition the replicas in order of preference, leader first. */
export function desiredReplicas(ring: Ring, options: AssignmentOptions): NodeId[][] {
  const assignment = new Assignment(ring, options);
  assignment.fill();
  level(assignment.replicaBoard());
  level(assignment.leaderBoard(() => true));
  return assignment.lists.map((list) => list.map((node) => ring.nodes[node]!.id));
}

/**
 * Takes over every replica that may stay. Where a list is too long its leader stays, and of the others
 * those on the relatively fullest nodes go.
 */
function keep(assignment: Assignment, lists: readonly (readonly number[])[]): void {
  const held = new Map<number, number>();
  for (const node of lists.flat()) held.set(node, (held.get(node) ?? 0) + 1);
  const fullness = (node: number) => held.get(node)! / assignment.replicaShare(node);
  for (const [partition, list] of lists.entries()) {
    const [leader, ...others] = list;
    if (leader === undefined) continue;
    if (list.length > assignment.rule.replicas) others.sort((a, b) => fullness(a) - fullness(b));
    for (const node of [leader, ...others])
      if (!assignment.tryAdd(partition, node)) held.set(node, held.get(node)! - 1);
  }
}
