// What each node should hold: in proportion to its weight, as far as zones and the number of partitions
// allow. A node holds a partition at most once, and a zone at most as often as the zone rule says; what a
// node or zone cannot take is spread over the others, again by weight.
import type { ZoneRule } from './zone-rule.ts';

/** Bounded load: no node above ceil(LOAD_FACTOR x fair share). See docs/design/placement.md for the choice. */
export const LOAD_FACTOR = 1.1;
/** A node below ceil(this x fair share) is filled up; between the two a node is left alone. */
const LOW_FACTOR = 0.9;
/** Keeps 1.1 x 10 at 11: far above the error of the sums below, far below one replica. */
const EPSILON = 1e-6;

/** Load limits of one node, in replicas or in leaderships. low <= target <= share <= aim <= cap, up to rounding. */
export interface LoadBounds {
  /** Fair share, not rounded. */
  readonly share: number;
  /** Below this the node is filled up to `target`. */
  readonly low: number;
  readonly target: number;
  /** New replicas go to nodes below this first. */
  readonly aim: number;
  /** Above this the node must give away. */
  readonly cap: number;
}

/** The bounds for a fair share of items of which a node can hold at most `most`. */
export function toLoadBounds(share: number, most: number): LoadBounds {
  const target = Math.floor(share + EPSILON);
  return {
    share,
    low: Math.min(target, roundUp(share * LOW_FACTOR)),
    target,
    aim: Math.min(most, roundUp(share)),
    cap: Math.min(most, roundUp(share * LOAD_FACTOR)),
  };
}

const roundUp = (value: number) => Math.max(0, Math.ceil(value - EPSILON));

/**
 * Splits `total` by weight with every part kept in [min, max]. What a clamped part cannot take, or must
 * take, is settled by the others: the flexible-lengths procedure of CSS Flexbox (section 9.7), which ends
 * after at most as many rounds as there are parts. Needs sum(min) <= total <= sum(max) and weights > 0.
 */
export function splitByWeight(total: number, parts: readonly { weight: number; min: number; max: number }[]): number[] {
  const shares: (number | undefined)[] = parts.map(() => undefined);
  for (;;) {
    let rest = total;
    let weights = 0;
    for (const [index, part] of parts.entries()) {
      if (shares[index] === undefined) weights += part.weight;
      else rest -= shares[index];
    }
    const offer = parts.map((part) => (rest * part.weight) / weights);
    let over = 0;
    let under = 0;
    for (const [index, part] of parts.entries()) {
      if (shares[index] !== undefined) continue;
      over += Math.max(0, offer[index]! - part.max);
      under += Math.max(0, part.min - offer[index]!);
    }
    if (over <= EPSILON && under <= EPSILON) return parts.map((_, index) => shares[index] ?? offer[index]!);
    for (const [index, part] of parts.entries()) {
      if (shares[index] !== undefined) continue;
      if (over >= under && offer[index]! > part.max) shares[index] = part.max;
      else if (over < under && offer[index]! < part.min) shares[index] = part.min;
    }
  }
}

/** Fair share of replicas of each node, in the order of `nodes`; 0 at weight 0. */
export function replicaShares(nodes: readonly { weight: number }[], rule: ZoneRule, partitionCount: number): number[] {
  const zones = rule.max.map((max, zone) => ({
    weight: nodes.reduce((sum, node, index) => sum + (rule.zoneOf[index] === zone ? node.weight : 0), 0),
    min: rule.min[zone]! * partitionCount,
    max: max * partitionCount,
  }));
  const shares = nodes.map(() => 0);
  if (zones.length === 0) return shares;
  for (const [zone, zoneShare] of splitByWeight(rule.replicas * partitionCount, zones).entries()) {
    const members = [...nodes.keys()].filter((node) => rule.zoneOf[node] === zone);
    const parts = members.map((node) => ({ weight: nodes[node]!.weight, min: 0, max: partitionCount }));
    for (const [index, share] of splitByWeight(zoneShare, parts).entries()) shares[members[index]!] = share;
  }
  return shares;
}

/** Fair share of leaderships of each node: by weight alone; 0 at weight 0. */
export function leaderShares(nodes: readonly { weight: number }[], partitionCount: number): number[] {
  const weights = nodes.reduce((sum, node) => sum + node.weight, 0);
  return nodes.map((node) => (weights === 0 ? 0 : (partitionCount * node.weight) / weights));
}
