// xxh64 of less than one stripe (github.com/Cyan4973/xxHash, doc/xxhash_spec.md) in plain arithmetic: for a key of ten
// bytes the way into WebAssembly and the BigInt that comes back cost more than the hash. short-hash.spec.ts holds both
// equal.
import type { Hash64 } from './hash.ts';

/** Longest input of `shortHash`, in bytes. */
export const SHORT_HASH_BYTES_MAX = 31;

// The five primes of xxh64 by halves.
const HIGH_1 = 0x9e3779b1 | 0;
const LOW_1 = 0x85ebca87 | 0;
const HIGH_2 = 0xc2b2ae3d | 0;
const LOW_2 = 0x27d4eb4f | 0;
const HIGH_3 = 0x165667b1 | 0;
const LOW_3 = 0x9e3779f9 | 0;
const HIGH_4 = 0x85ebca77 | 0;
const LOW_4 = 0xc2b2ae63 | 0;
const HIGH_5 = 0x27d4eb2f | 0;
const LOW_5 = 0x165667c5 | 0;

/** xxh64 of at most 31 bytes. Numbers of 64 bits are two signed halves. */
export function shortHash(bytes: Uint8Array, seed: Hash64): Hash64 {
  const { length } = bytes;
  let low = (seed.low + LOW_5) | 0;
  let high = (seed.high + HIGH_5 + carry(low, LOW_5)) | 0;
  low = (low + length) | 0;
  high = (high + carry(low, length)) | 0;
  let at = 0;
  let rotated = 0;
  for (; at + 8 <= length; at += 8) {
    let laneLow = wordAt(bytes, at);
    let laneHigh = upperHalf(wordAt(bytes, at + 4), laneLow, HIGH_2, LOW_2);
    laneLow = Math.imul(laneLow, LOW_2);
    rotated = (laneHigh << 31) | (laneLow >>> 1);
    laneLow = (laneLow << 31) | (laneHigh >>> 1);
    laneHigh = upperHalf(rotated, laneLow, HIGH_1, LOW_1);
    high ^= laneHigh;
    low ^= Math.imul(laneLow, LOW_1);
    rotated = (high << 27) | (low >>> 5);
    low = (low << 27) | (high >>> 5);
    high = upperHalf(rotated, low, HIGH_1, LOW_1);
    low = (Math.imul(low, LOW_1) + LOW_4) | 0;
    high = (high + HIGH_4 + carry(low, LOW_4)) | 0;
  }
  if (at + 4 <= length) {
    const word = wordAt(bytes, at);
    high ^= upperHalf(0, word, HIGH_1, LOW_1);
    low ^= Math.imul(word, LOW_1);
    rotated = (high << 23) | (low >>> 9);
    low = (low << 23) | (high >>> 9);
    high = upperHalf(rotated, low, HIGH_2, LOW_2);
    low = (Math.imul(low, LOW_2) + LOW_3) | 0;
    high = (high + HIGH_3 + carry(low, LOW_3)) | 0;
    at += 4;
  }
  for (; at < length; at += 1) {
    const byte = bytes[at]!;
    high ^= upperHalf(0, byte, HIGH_5, LOW_5);
    low ^= Math.imul(byte, LOW_5);
    rotated = (high << 11) | (low >>> 21);
    low = (low << 11) | (high >>> 21);
    high = upperHalf(rotated, low, HIGH_1, LOW_1);
    low = Math.imul(low, LOW_1);
  }
  low ^= high >>> 1; // the hash is mixed with itself, 33 bits down
  high = upperHalf(high, low, HIGH_2, LOW_2);
  low = Math.imul(low, LOW_2);
  low ^= (low >>> 29) | (high << 3);
  high ^= high >>> 29;
  high = upperHalf(high, low, HIGH_3, LOW_3);
  low = Math.imul(low, LOW_3);
  return { high: high >>> 0, low: (low ^ high) >>> 0 };
}

/** 1 when `sum`, of `addend` and another number, went beyond 32 bits. */
function carry(sum: number, addend: number): number {
  return sum >>> 0 < addend >>> 0 ? 1 : 0;
}

/**
 * Upper half of the product modulo 2^64; the lower half is `Math.imul(low, factorLow)`. The product of the lower halves is
 * put together of pieces of 16 bits, each of which is exact in 32.
 */
function upperHalf(high: number, low: number, factorHigh: number, factorLow: number): number {
  const left = low >>> 16;
  const right = low & 0xffff;
  const factorLeft = factorLow >>> 16;
  const factorRight = factorLow & 0xffff;
  const middle = (Math.imul(left, factorRight) + (Math.imul(right, factorRight) >>> 16)) >>> 0;
  const other = (Math.imul(right, factorLeft) + (middle & 0xffff)) >>> 0;
  return (Math.imul(left, factorLeft) + (middle >>> 16) + (other >>> 16) + Math.imul(high, factorLow) + Math.imul(low, factorHigh)) | 0;
}

function wordAt(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}
