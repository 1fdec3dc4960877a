// A digest that also covers keys and values: read on demand, never kept up.
import type { Hash64 } from '@atoll/core-runtime';
import { KIB, hash64 } from '@atoll/core-runtime';
import { addToLeaf } from './entry-digest.ts';
import type { EntryHeap } from './entry-heap.ts';
import { wordOf } from './entry-heap.ts';

const CONTENT_SEED = 0x61746f6c6c5f6364n; // "atoll_cd"
/** Larger values are hashed piece by piece, each seeded by the one before. */
const PIECE_BYTES = 256 * KIB;

/** Adds one entry (key, value, version, expiry) to its leaf. */
export function addContentToLeaf(leaves: Uint32Array, heap: EntryHeap, ref: number): void {
  let hash = hash64(heap.keyAt(ref), CONTENT_SEED);
  const value = heap.valueAt(ref);
  for (let at = 0; at < value.length; at += PIECE_BYTES) hash = hash64(value.subarray(at, at + PIECE_BYTES), toSeed(hash));
  addToLeaf(leaves, heap.wordsOf(ref), wordOf(ref), 1, hash);
}

function toSeed(hash: Hash64): bigint {
  return (BigInt(hash.high) << 32n) | BigInt(hash.low);
}
