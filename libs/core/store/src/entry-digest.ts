// What a replica can say about its entries in a few hundred bytes (R34): the key-hash range is cut into 64 leaves by
// its upper 6 bits, and each leaf is the sum, modulo 2^32 in each of two lanes, of a hash over (key hash, version,
// expiry) of its entries. A sum does not depend on order and is kept up by adding and subtracting. It tells replicas of
// one history apart; it is no defence against somebody who forges entries.
import type { Hash64 } from '@atoll/core-runtime';
import {
  WORD_EPOCH,
  WORD_EXPIRY_HIGH,
  WORD_EXPIRY_LOW,
  WORD_GENERATION,
  WORD_HASH_HIGH,
  WORD_HASH_LOW,
  WORD_SEQ_HIGH,
  WORD_SEQ_LOW,
} from './entry-layout.ts';

const LEAF_BITS = 6;
export const DIGEST_LEAVES = 2 ** LEAF_BITS;

const NO_CONTENT: Hash64 = { high: 0, low: 0 };

/** Digest of a whole store. */
export interface StoreDigest {
  /** Two words for each of the 64 leaves, in hash order. */
  readonly leaves: Uint32Array;
  readonly count: number;
}

/** The leaf of a key hash, by its upper half. */
export function leafOf(hashHigh: number): number {
  return hashHigh >>> (32 - LEAF_BITS);
}

/** Key hashes of a leaf: [from, to), to the end without `to`. */
export function leafRange(leaf: number): { readonly from: Hash64; readonly to: Hash64 | undefined } {
  const startOf = (index: number): Hash64 => ({ high: (index << (32 - LEAF_BITS)) >>> 0, low: 0 });
  return { from: startOf(leaf), to: leaf + 1 < DIGEST_LEAVES ? startOf(leaf + 1) : undefined };
}

/** Adds the entry whose header is at `words[at]` to its leaf (`sign` 1) or takes it away (`sign` -1). */
export function addToLeaf(leaves: Uint32Array, words: Uint32Array, at: number, sign: 1 | -1, content: Hash64 = NO_CONTENT): void {
  const high = words[at + WORD_HASH_HIGH]!;
  const expiryHigh = words[at + WORD_EXPIRY_HIGH]! & 0xffff;
  let first = 0x9e3779b9 ^ content.high;
  let second = 0x85ebca6b ^ content.low;
  first = mix(first, high);
  second = mix(second, words[at + WORD_HASH_LOW]!);
  first = mix(first, words[at + WORD_SEQ_LOW]!);
  second = mix(second, words[at + WORD_SEQ_HIGH]!);
  first = mix(first, words[at + WORD_EPOCH]!);
  second = mix(second, words[at + WORD_GENERATION]!);
  first = mix(first, words[at + WORD_EXPIRY_LOW]!);
  second = mix(second, expiryHigh);
  first = mix(first, second);
  second = mix(second, first);
  const leaf = leafOf(high) * 2;
  leaves[leaf] = leaves[leaf]! + sign * finish(first);
  leaves[leaf + 1] = leaves[leaf + 1]! + sign * finish(second);
}

/** A round of MurmurHash3_x86_32 (Austin Appleby, public domain). */
function mix(state: number, word: number): number {
  let block = Math.imul(word, 0xcc9e2d51);
  block = Math.imul((block << 15) | (block >>> 17), 0x1b873593);
  const mixed = state ^ block;
  return (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe6546b64) | 0;
}

/** Its finalizer. */
function finish(state: number): number {
  let mixed = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
