import type { Hash64 } from '@atoll/core-runtime';
import type { EntryHeap } from './entry-heap.ts';
import type { HashIndex } from './hash-index.ts';
import type { HashPage } from './hash-page.ts';

/** Bounds of one slice of a walk. At least the entries of one hash are visited, whatever the bounds say. */
export interface SliceLimits {
  readonly entriesMax: number;
  /** Of keys and values together. */
  readonly bytesMax: number;
}

/** The smallest hash: where a walk over everything begins. */
export const FIRST_HASH: Hash64 = { high: 0, low: 0 };

/**
 * Visits entries of [from, to) in key-hash order (R32), `to` undefined meaning to the end. The entries of one hash
 * are never parted. Returns where the next slice begins, undefined after the last.
 */
export function walkRange(
  source: { index: HashIndex; heap: EntryHeap },
  range: { from: Hash64; to: Hash64 | undefined },
  limits: SliceLimits,
  visit: (ref: number) => void,
): Hash64 | undefined {
  const { index, heap } = source;
  const { from, to } = range;
  let entries = 0;
  let bytes = 0;
  let last: Hash64 | undefined;
  let page: HashPage | undefined = index.pageOf(from.high);
  let slot = page.lowerBound(from.high, from.low);
  while (page !== undefined) {
    for (; slot < page.count; slot += 1) {
      const high = page.highAt(slot);
      const low = page.lowAt(slot);
      const ref = page.refAt(slot);
      if (last === undefined || last.high !== high || last.low !== low) {
        if (to !== undefined && (high > to.high || (high === to.high && low >= to.low))) return undefined;
        if (entries > 0 && (entries >= limits.entriesMax || bytes + heap.contentBytesAt(ref) > limits.bytesMax)) return { high, low };
        last = { high, low };
      }
      bytes += heap.contentBytesAt(ref);
      entries += 1;
      visit(ref);
    }
    if (to !== undefined && page.end > to.high) return undefined;
    page = index.pageAfter(page);
    slot = 0;
  }
  return undefined;
}
