// What a sub-range of key hashes holds, read entry by entry (R34): a leaf, or a part of one, where a whole leaf does not
// stand still for long enough to be compared with that of another replica.
import type { Hash64 } from '@atoll/core-runtime';
import { addContentToLeaf } from './content-digest.ts';
import { DIGEST_LEAVES, addToLeaf } from './entry-digest.ts';
import type { EntryHeap } from './entry-heap.ts';
import { wordOf } from './entry-heap.ts';

/** In how many sub-ranges of equal width the key hashes may be cut to be read: the leaves, and finer ones. */
export const CONTENT_RANGE_COUNTS: readonly number[] = [DIGEST_LEAVES, 16 * DIGEST_LEAVES, 256 * DIGEST_LEAVES];

/** Key hashes of sub-range `range` of `count`: [from, to), to the end without `to`. */
export function contentRange(range: number, count: number): { readonly from: Hash64; readonly to: Hash64 | undefined } {
  const width = 2 ** 32 / count;
  return { from: { high: range * width, low: 0 }, to: range + 1 < count ? { high: (range + 1) * width, low: 0 } : undefined };
}

/** The leaf that the sub-range is, or is a part of. */
export const leafOfRange = (range: number, count: number): number => Math.floor(range / (count / DIGEST_LEAVES));

/** What was read of [from, to) so far. Sums do not depend on order. */
export class ContentSum {
  readonly from: Hash64;
  readonly to: Hash64 | undefined;
  readonly #versions = new Uint32Array(2 * DIGEST_LEAVES);
  readonly #content = new Uint32Array(2 * DIGEST_LEAVES);
  #entries = 0;
  #bytes = 0;

  constructor({ from, to }: { readonly from: Hash64; readonly to: Hash64 | undefined }) {
    this.from = from;
    this.to = to;
  }

  /** Over key hash, version and expiry of every entry. */
  get versions(): bigint {
    return total(this.#versions);
  }

  /** Over key, value, version and expiry of every entry. */
  get content(): bigint {
    return total(this.#content);
  }

  get entries(): number {
    return this.#entries;
  }

  /** Of keys and values. */
  get bytes(): number {
    return this.#bytes;
  }

  add(heap: EntryHeap, ref: number): void {
    addToLeaf(this.#versions, heap.wordsOf(ref), wordOf(ref), 1);
    addContentToLeaf(this.#content, heap, ref);
    this.#entries += 1;
    this.#bytes += heap.contentBytesAt(ref);
  }
}

/** Two 32-bit sums as one number. */
export const toSum = (first: number, second: number): bigint => (BigInt(first) << 32n) | BigInt(second);

/** A sub-range lies in one leaf, so all others are 0, unless what is stored says otherwise, which must not go unseen. */
function total(leaves: Uint32Array): bigint {
  let sum = 0n;
  for (let at = 0; at < leaves.length; at += 2) sum ^= toSum(leaves[at]!, leaves[at + 1]!);
  return sum;
}
