// The two hashes of the design: the token (of the key, or of its {tag}) decides the partition and
// nothing else; the key hash (of the whole key) orders everything inside a partition (R32).
// Both are xxh64 (github.com/Cyan4973/xxHash, doc/xxhash_spec.md) with different fixed seeds. Changing a
// seed moves every key, so they are part of the on-disk and wire format.
import xxhash from 'xxhash-wasm';
import { SHORT_HASH_BYTES_MAX, shortHash } from './short-hash.ts';

// oxlint-disable-next-line typescript/unbound-method -- functions of a record, not methods: none uses `this`
const { h64Raw, h32Raw } = await xxhash();

const TOKEN_SEED = 0x61746f6c6c5f746bn; // "atoll_tk"
const KEY_HASH_SEED = 0x61746f6c6c5f6b68n; // "atoll_kh"

/** A 64-bit unsigned number as two halves: BigInt arithmetic is too slow for the data path. */
export interface Hash64 {
  /** Upper 32 bits, unsigned. */
  readonly high: number;
  /** Lower 32 bits, unsigned. */
  readonly low: number;
}

/** From two optional fields of a message; undefined unless both are there. */
export const hashOfHalves = (high: number | undefined, low: number | undefined): Hash64 | undefined => (high === undefined || low === undefined ? undefined : { high, low });

const toHalves = (hash: bigint): Hash64 => ({
  high: Number(hash >> 32n),
  low: Number(hash & 0xffff_ffffn),
});

const TOKEN_SEED_HALVES = toHalves(TOKEN_SEED);
const KEY_HASH_SEED_HALVES = toHalves(KEY_HASH_SEED);

/** xxh64 of `bytes` with the token seed. Callers want `tokenOfKey` of core-placement, which knows hash tags. */
export function tokenHash(bytes: Uint8Array): Hash64 {
  return bytes.length <= SHORT_HASH_BYTES_MAX ? shortHash(bytes, TOKEN_SEED_HALVES) : toHalves(h64Raw(bytes, TOKEN_SEED));
}

/** Order of a key inside its partition (R32). */
export function keyHash(key: Uint8Array): Hash64 {
  return key.length <= SHORT_HASH_BYTES_MAX ? shortHash(key, KEY_HASH_SEED_HALVES) : toHalves(h64Raw(key, KEY_HASH_SEED));
}

/** General-purpose 64-bit hash for digests and ring points, with a caller's seed. */
export function hash64(bytes: Uint8Array, seed: bigint): Hash64 {
  return toHalves(h64Raw(bytes, seed));
}

/** 32-bit checksum of a record on the wire or on disk. */
export function checksum32(bytes: Uint8Array): number {
  return h32Raw(bytes, 0);
}

/** Negative, zero or positive as `a` is below, equal to or above `b`. */
export function compareHash(a: Hash64, b: Hash64): number {
  return a.high - b.high || a.low - b.low;
}
