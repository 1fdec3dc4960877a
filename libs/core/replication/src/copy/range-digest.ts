// What a sub-range of the source, and of its copy, holds: count and digest over key, value and expiry. Versions are each one's
// own and are left out; sums do not depend on the order, nor on which partitions the keys lie in.
import type { Hash64 } from '@atoll/core-runtime';
import { entryContentHash, type PartitionStore, type SliceLimits } from '@atoll/core-store';

export interface RangeDigest {
  readonly entries: number;
  /** Sums modulo 2^32 of the two halves of each entry's hash. */
  readonly sum: Hash64;
}

export interface RangeDigestAsk {
  readonly from: Hash64;
  /** Undefined: to the end. */
  readonly to: Hash64 | undefined;
  readonly belongs: (key: Uint8Array) => boolean;
  /** Entries that expire up to then are left out: each side removes them by a clock of its own (R23). 0 means never. */
  readonly expiringByMs: number;
}

export interface RangeDigestRead {
  readonly digest: RangeDigest;
  /** Where the next one begins; undefined at the end. Where the limits ended it, it is of [from, next). */
  readonly next: Hash64 | undefined;
  /** Read, also of those that do not count. */
  readonly readEntries: number;
  readonly readBytes: number;
}

export function digestRange(store: PartitionStore, { from, to, belongs, expiringByMs }: RangeDigestAsk, limits: SliceLimits): RangeDigestRead {
  const slice = store.readRange(from, to, limits);
  let entries = 0;
  let high = 0;
  let low = 0;
  let readBytes = 0;
  for (const { key, hash, value, expiresAtMs } of slice.entries) {
    readBytes += key.length + value.length;
    if (!belongs(key) || (expiresAtMs > 0 && expiresAtMs <= expiringByMs)) continue;
    const ofEntry = entryContentHash(hash, value, expiresAtMs);
    entries += 1;
    high = (high + ofEntry.high) >>> 0;
    low = (low + ofEntry.low) >>> 0;
  }
  return { digest: { entries, sum: { high, low } }, next: slice.next, readEntries: slice.entries.length, readBytes };
}

export const isSameDigest = (a: RangeDigest, b: RangeDigest): boolean => a.entries === b.entries && a.sum.high === b.sum.high && a.sum.low === b.sum.low;
