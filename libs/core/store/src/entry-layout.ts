// How one entry lies in a segment, as 32-bit words in the machine's byte order (it never leaves the process):
//
//   word  0      owner: number of the store that holds it, 0 once the entry is dead
//         1  2   key hash, high and low
//         3  4   generation, epoch
//         5  6   seq, low and high
//         7  8   expiry in ms, low 32 bits and high 16 bits; key length in the upper 16 bits of word 8
//         9      value length
//        10      last access, a tick of its store
//       [11      number of the outside value, only where the value lies outside the segment]
//   then the key, then the value unless it lies outside, then padding to 8 bytes.
//
// The header outlives the entry, so that whoever walks a segment can step over the dead.
import { KIB } from '@atoll/core-runtime';

export const WORD_OWNER = 0;
export const WORD_HASH_HIGH = 1;
export const WORD_HASH_LOW = 2;
export const WORD_GENERATION = 3;
export const WORD_EPOCH = 4;
export const WORD_SEQ_LOW = 5;
export const WORD_SEQ_HIGH = 6;
export const WORD_EXPIRY_LOW = 7;
export const WORD_EXPIRY_HIGH = 8;
export const WORD_VALUE_LENGTH = 9;
export const WORD_ACCESS = 10;
export const WORD_OUTSIDE = 11;

const HEADER_BYTES = 44;
const HEADER_BYTES_OUTSIDE = 48;
export const TWO_32 = 2 ** 32;

/** A value of at least this size lies outside the segments, as the Buffer that arrived. */
export const OUTSIDE_VALUE_BYTES_MIN = 64 * KIB;
/** A later expiry (after the year 10889) is kept as this one. */
export const EXPIRES_AT_MS_MAX = 2 ** 48 - 1;

/** Share of one entry in its index page: 12 bytes a slot, pages about 70 % full, and the page itself. */
export const INDEX_BYTES_PER_ENTRY = 20;
/** What the JavaScript heap holds for one outside value: Buffer, ArrayBuffer and backing store. */
const OUTSIDE_VALUE_OVERHEAD_BYTES = 256;

/** Offset of the key from the start of the entry. */
export function keyOffset(valueLength: number): number {
  return valueLength >= OUTSIDE_VALUE_BYTES_MIN ? HEADER_BYTES_OUTSIDE : HEADER_BYTES;
}

/** Bytes that an entry takes in its segment: a multiple of 8. */
export function segmentBytesOf(keyLength: number, valueLength: number): number {
  const bytes = valueLength >= OUTSIDE_VALUE_BYTES_MIN ? HEADER_BYTES_OUTSIDE + keyLength : HEADER_BYTES + keyLength + valueLength;
  return (bytes + 7) & ~7;
}

/** Everything that an entry costs: header, key, value, padding and its share of the index. */
export function entryBytesOf(keyLength: number, valueLength: number): number {
  const outside = valueLength >= OUTSIDE_VALUE_BYTES_MIN ? valueLength + OUTSIDE_VALUE_OVERHEAD_BYTES : 0;
  return segmentBytesOf(keyLength, valueLength) + outside + INDEX_BYTES_PER_ENTRY;
}

export function keyLengthAt(words: Uint32Array, at: number): number {
  return words[at + WORD_EXPIRY_HIGH]! >>> 16;
}

export function segmentBytesAt(words: Uint32Array, at: number): number {
  return segmentBytesOf(keyLengthAt(words, at), words[at + WORD_VALUE_LENGTH]!);
}

export function expiresAtMsAt(words: Uint32Array, at: number): number {
  return (words[at + WORD_EXPIRY_HIGH]! & 0xffff) * TWO_32 + words[at + WORD_EXPIRY_LOW]!;
}

export function seqAt(words: Uint32Array, at: number): number {
  return words[at + WORD_SEQ_HIGH]! * TWO_32 + words[at + WORD_SEQ_LOW]!;
}
