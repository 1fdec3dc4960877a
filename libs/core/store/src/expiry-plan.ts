import type { Hash64 } from '@atoll/core-runtime';
import type { EntryHeap } from './entry-heap.ts';
import type { HashIndex } from './hash-index.ts';
import type { HashPage } from './hash-page.ts';

/** A range from the asked start to `to` (exclusive; undefined: the end) that holds `count` entries to remove. */
export interface ExpiryPlan {
  readonly to: Hash64 | undefined;
  readonly count: number;
}

/** Bounds of one plan, both at least 1. The entries of one hash count as one step, however many they are. */
export interface ExpiryLimits {
  /** Entries that the log record may remove. */
  readonly removedMax: number;
  /** Entries looked at; a page without expired entries counts as one. */
  readonly scannedMax: number;
}

/** Whether an entry is one that watermark `watermarkMs` removes (R23). */
export function isExpired(expiresAtMs: number, watermarkMs: number): boolean {
  return expiresAtMs > 0 && expiresAtMs <= watermarkMs;
}

/** How far from `from` one expiry record can reach within `limits`. Changes nothing. */
export function planExpiry(
  source: { index: HashIndex; heap: EntryHeap },
  from: Hash64,
  watermarkMs: number,
  limits: ExpiryLimits,
): ExpiryPlan {
  const { index, heap } = source;
  let count = 0;
  let scanned = 0;
  let page = index.pageOf(from.high);
  let slot = page.lowerBound(from.high, from.low);
  for (;;) {
    if (page.expiresAtMsMin > watermarkMs) {
      scanned += 1;
      slot = page.count;
    }
    const isWhole = slot === 0;
    let expiresAtMsMin = Number.POSITIVE_INFINITY;
    while (slot < page.count) {
      const run = scanHash({ page, slot, heap, watermarkMs });
      const isFirst = scanned === 0;
      if (!isFirst && (scanned >= limits.scannedMax || count + run.expired > limits.removedMax)) {
        return { to: { high: page.highAt(slot), low: page.lowAt(slot) }, count };
      }
      count += run.expired;
      scanned += run.end - slot;
      expiresAtMsMin = Math.min(expiresAtMsMin, run.expiresAtMsMin);
      slot = run.end;
    }
    if (isWhole) page.expiresAtMsMin = expiresAtMsMin;
    const next: HashPage | undefined = index.pageAfter(page);
    if (next === undefined) return { to: undefined, count };
    if (scanned >= limits.scannedMax || count >= limits.removedMax) return { to: { high: next.start, low: 0 }, count };
    page = next;
    slot = 0;
  }
}

/** The entries that share the hash at `slot`: where they end, how many are expired, and their earliest expiry. */
function scanHash(options: { page: HashPage; slot: number; heap: EntryHeap; watermarkMs: number }) {
  const { page, slot, heap, watermarkMs } = options;
  const high = page.highAt(slot);
  const low = page.lowAt(slot);
  let end = slot;
  let expired = 0;
  let expiresAtMsMin = Number.POSITIVE_INFINITY;
  for (; page.holds(end, high, low); end += 1) {
    const expiresAtMs = heap.expiresAtMs(page.refAt(end));
    if (isExpired(expiresAtMs, watermarkMs)) expired += 1;
    if (expiresAtMs > 0) expiresAtMsMin = Math.min(expiresAtMsMin, expiresAtMs);
  }
  return { end, expired, expiresAtMsMin };
}
