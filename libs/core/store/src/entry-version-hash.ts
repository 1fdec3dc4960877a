import type { Hash64 } from '@atoll/core-runtime';
import { addToLeaf, leafOf, DIGEST_LEAVES } from './entry-digest.ts';
import { WORD_EPOCH, WORD_EXPIRY_HIGH, WORD_EXPIRY_LOW, WORD_GENERATION, WORD_HASH_HIGH, WORD_HASH_LOW, WORD_SEQ_HIGH, WORD_SEQ_LOW } from './entry-layout.ts';
import type { EntryVersion } from './entry-version.ts';

const TWO_32 = 2 ** 32;
const words = new Uint32Array(WORD_EXPIRY_HIGH + 1);
const leaves = new Uint32Array(2 * DIGEST_LEAVES);

/**
 * What an entry adds to the digest of a store (R34), for whoever holds the entry and no store: the sums of both lanes over all
 * entries are those over all leaves of `StoreDigest`.
 */
export function entryVersionHash({ high, low }: Hash64, { generation, epoch, seq }: EntryVersion, expiresAtMs: number): Hash64 {
  words[WORD_HASH_HIGH] = high;
  words[WORD_HASH_LOW] = low;
  words[WORD_GENERATION] = generation;
  words[WORD_EPOCH] = epoch;
  words[WORD_SEQ_LOW] = seq;
  words[WORD_SEQ_HIGH] = seq / TWO_32;
  words[WORD_EXPIRY_LOW] = expiresAtMs;
  words[WORD_EXPIRY_HIGH] = expiresAtMs / TWO_32;
  const at = leafOf(high) * 2;
  leaves[at] = 0;
  leaves[at + 1] = 0;
  addToLeaf(leaves, words, 0, 1);
  return { high: leaves[at], low: leaves[at + 1]! };
}
