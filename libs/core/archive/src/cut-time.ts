/** How far a wall clock may be from the time of partitions before it counts as wrong, in milliseconds. */
export const CLOCK_SLACK_MS = 60_000;

/**
 * The moment of a cut, ms since the epoch: the wall clock of whoever takes it, unless that is more than `CLOCK_SLACK_MS` from what most
 * partitions have for the time. Theirs never goes back and is slewed, not stepped (R23), and several machines keep it: a clock that was
 * set wrong on the one that backs up must not date archives, since their dates decide which of them stay. Without partitions the wall
 * clock stands.
 */
export function cutTime(wallMs: number, partitionMs: readonly number[]): number {
  if (partitionMs.length === 0) return wallMs;
  const sorted = [...partitionMs].sort((a, b) => a - b);
  const medianMs = sorted[Math.floor((sorted.length - 1) / 2)]!;
  return Math.abs(wallMs - medianMs) <= CLOCK_SLACK_MS ? wallMs : Math.round(medianMs);
}
