import type { NodeId, PartitionId } from '@atoll/core-runtime';
import { leaderShares, toLoadBounds } from './fair-share.ts';
import { level } from './level.ts';
import { checkNodes } from './ring.ts';
import type { PlacementNode } from './ring.ts';

/** Who leads a partition, and who else could. */
export interface PartitionLeadership {
  readonly partition: PartitionId;
  /** Absent while the partition has none; such a partition is left to failover. */
  readonly leader?: NodeId;
  /** The in-sync set, in order of preference. Only its members become leader (I3). */
  readonly inSync: readonly NodeId[];
}

export interface LeaderChange {
  readonly partition: PartitionId;
  readonly from: NodeId;
  readonly to: NodeId;
}

/**
 * Changes of leadership that bring every node to at most ceil(1.1 x fair share) of the leaderships and at
 * least ceil(0.9 x fair share), as far as the in-sync sets permit; shares go by weight, and a node of
 * weight 0 should lead nothing. Few changes: nodes between the marks are left alone, and each partition
 * changes once. Partitions whose leader is not among `nodes` are left out. Changes are in order of partition.
 */
export function planLeaders(input: {
  readonly nodes: readonly PlacementNode[];
  readonly partitions: readonly PartitionLeadership[];
}): LeaderChange[] {
  const nodes = checkNodes(input.nodes);
  const indexOf = new Map(nodes.map((node, index) => [node.id, index]));
  const partitions = input.partitions.filter(({ leader }) => leader !== undefined && indexOf.has(leader));
  const candidates = partitions.map(({ inSync }) => inSync.map((id) => indexOf.get(id) ?? -1));
  const before = partitions.map(({ leader }) => indexOf.get(leader!)!);
  const leaders = [...before];
  const led = nodes.map(() => new Set<number>());
  for (const [item, leader] of leaders.entries()) led[leader]!.add(item);
  const load = led.map((items) => items.size);

  level({
    load,
    bounds: leaderShares(nodes, partitions.length).map((share) => toLoadBounds(share, partitions.length)),
    findMove: (from, to) => {
      let found: number | undefined;
      let lowest = Infinity;
      for (const item of led[from]!) {
        const place = candidates[item]!.indexOf(to);
        if (place < 0 || place > lowest || (place === lowest && item > found!)) continue;
        lowest = place;
        found = item;
      }
      return found;
    },
    move: (item, from, to) => {
      leaders[item] = to;
      led[from]!.delete(item);
      led[to]!.add(item);
      load[from]! -= 1;
      load[to]! += 1;
    },
  });

  return partitions
    .map(({ partition }, item) => ({ partition, from: nodes[before[item]!]!.id, to: nodes[leaders[item]!]!.id }))
    .filter(({ from, to }) => from !== to)
    .sort((a, b) => a.partition - b.partition);
}
