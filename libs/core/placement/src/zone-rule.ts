// How many replicas of one partition a zone may hold. With as many zones as replicas: one. With fewer, the
// replicas spread as evenly as the zones' node counts allow, so that the loss of a zone costs as little as
// possible: counts are `level` or `level - 1`, or all the nodes that a small zone has.

/** Nodes and zones are indices. The sets that the rule accepts are the bases of a matroid, so greedy choices complete. */
export interface ZoneRule {
  /** Replicas per partition: the replication factor, or the number of nodes where those are fewer. */
  readonly replicas: number;
  /** Zone of each node; -1 for a node that may not hold replicas. */
  readonly zoneOf: readonly number[];
  /** Every zone holds min <= count <= max replicas of each partition. */
  readonly min: readonly number[];
  readonly max: readonly number[];
  /** Replicas beyond the minima: sum of (count - min) = spare. */
  readonly spare: number;
}

export function createZoneRule(nodes: readonly { zone: string; weight: number }[], replicationFactor: number): ZoneRule {
  const usable = nodes.filter((node) => node.weight > 0);
  const names = [...new Set(usable.map((node) => node.zone))].sort();
  const sizes = names.map((name) => usable.filter((node) => node.zone === name).length);
  const replicas = Math.min(replicationFactor, usable.length);
  const roomAt = (level: number) => sizes.reduce((sum, size) => sum + Math.min(size, level), 0);
  let level = replicas === 0 ? 0 : 1;
  while (roomAt(level) < replicas) level += 1;
  const min = sizes.map((size) => Math.min(size, Math.max(0, level - 1)));
  return {
    replicas,
    zoneOf: nodes.map((node) => (node.weight > 0 ? names.indexOf(node.zone) : -1)),
    min,
    max: sizes.map((size) => Math.min(size, level)),
    spare: replicas - min.reduce((sum, count) => sum + count, 0),
  };
}

/** True when `node` can join the replicas in `list` (which keep the rule), passing over `leaving`, which goes. */
export function canJoin(rule: ZoneRule, list: readonly number[], node: number, leaving = -1): boolean {
  const zone = rule.zoneOf[node]!;
  if (zone < 0 || list.includes(node)) return false;
  if (leaving >= 0 && rule.zoneOf[leaving] === zone) return true;
  const count = countIn(rule, list, zone, leaving);
  if (count < rule.min[zone]!) return true;
  return count < rule.max[zone]! && spareUsed(rule, list, leaving) < rule.spare;
}

function countIn(rule: ZoneRule, list: readonly number[], zone: number, leaving: number): number {
  let count = 0;
  for (const node of list) if (node !== leaving && rule.zoneOf[node] === zone) count += 1;
  return count;
}

function spareUsed(rule: ZoneRule, list: readonly number[], leaving: number): number {
  let used = 0;
  for (let index = 0; index < list.length; index += 1) {
    const node = list[index]!;
    if (node === leaving) continue;
    // The replica is spare when its zone has its minimum in the replicas before it.
    const zone = rule.zoneOf[node]!;
    let before = 0;
    for (let other = 0; other < index; other += 1)
      if (list[other] !== leaving && rule.zoneOf[list[other]!] === zone) before += 1;
    if (before >= rule.min[zone]!) used += 1;
  }
  return used;
}
