import type { Hash64 } from '@atoll/core-runtime';
import { entryContentHash } from '@atoll/core-store';

/** Count, and sums modulo 2^32 of the two halves of each entry's `entryContentHash`: key, value and expiry, no version. */
export interface ContentDigest {
  readonly entries: number;
  readonly sum: Hash64;
}

export const NO_CONTENT: ContentDigest = { entries: 0, sum: { high: 0, low: 0 } };

/**
 * The digest of archives (R39). It does not depend on order and adds up over ranges of keys, so what 64 partitions held
 * compares with what 16 hold. It tells states apart by accident, not by intent: against forgery there is the seal.
 */
export class ContentTally implements ContentDigest {
  entries = 0;
  readonly sum = { high: 0, low: 0 };

  /** `hash` is the key's. */
  add(hash: Hash64, value: Uint8Array, expiresAtMs: number): void {
    this.#take(entryContentHash(hash, value, expiresAtMs), 1);
  }

  /** Takes away what was added: a version that another one replaced. */
  remove(hash: Hash64, value: Uint8Array, expiresAtMs: number): void {
    this.#take(entryContentHash(hash, value, expiresAtMs), -1);
  }

  /** Of a hash that the caller has: digests of versions sum up alike. */
  addHash(hash: Hash64): void {
    this.#take(hash, 1);
  }

  addAll({ entries, sum }: ContentDigest): void {
    this.entries += entries;
    this.sum.high = (this.sum.high + sum.high) >>> 0;
    this.sum.low = (this.sum.low + sum.low) >>> 0;
  }

  #take({ high, low }: Hash64, sign: 1 | -1): void {
    this.entries += sign;
    this.sum.high = (this.sum.high + sign * high) >>> 0;
    this.sum.low = (this.sum.low + sign * low) >>> 0;
  }
}

export const isSameContent = (a: ContentDigest, b: ContentDigest): boolean => a.entries === b.entries && a.sum.high === b.sum.high && a.sum.low === b.sum.low;
