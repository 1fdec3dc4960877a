/**
 * Which write made an entry: unique and totally ordered within a partition, across leaders (epoch) and
 * across lineages of the data (generation, R3).
 */
export interface EntryVersion {
  /** Counter of the partition's generation; below 2^32. */
  readonly generation: number;
  /** Epoch of the leader that gave the write its seq; below 2^32. */
  readonly epoch: number;
  /** Position in the partition's log; below 2^53. */
  readonly seq: number;
}

/** Negative, zero or positive as `a` is older than, equal to or newer than `b`. */
export function compareVersion(a: EntryVersion, b: EntryVersion): number {
  return a.generation - b.generation || a.epoch - b.epoch || a.seq - b.seq;
}
