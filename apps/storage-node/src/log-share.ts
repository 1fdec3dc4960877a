// How much log each replica of a node may keep in memory (R33). A replica that nobody waits for keeps a little, so that
// one that was away for a moment goes on from it; what the node has beyond that goes to those whose followers are away or
// behind, in equal parts, so that these need no full sync when they return.

export interface LogDemand {
  readonly bytes: number;
  /** Somebody who is to follow is away or behind, and could still go on from this log. */
  readonly isNeeded: boolean;
}

export interface LogLimits {
  /** Of all replicas of the node together. */
  readonly totalBytesMax: number;
  /** Of a replica that nobody waits for. */
  readonly eachBytesMax: number;
}

/**
 * The bound of each replica's log, in the order of the demands. Together they stay within the total as long as the logs
 * of those that nobody waits for do; a log that is pinned by an install may be above its bound for as long as that lasts.
 */
export function shareLog(demands: readonly LogDemand[], { totalBytesMax, eachBytesMax }: LogLimits): number[] {
  const base = Math.min(eachBytesMax, Math.floor(totalBytesMax / Math.max(1, demands.length)));
  let spare = totalBytesMax;
  let needed = 0;
  for (const { bytes, isNeeded } of demands) {
    if (isNeeded) needed += 1;
    else spare -= Math.min(bytes, base);
  }
  const more = needed === 0 ? base : Math.max(base, Math.floor(spare / needed));
  return demands.map(({ isNeeded }) => (isNeeded ? more : base));
}
