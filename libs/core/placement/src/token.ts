// From a key to its partition: key -> (hash tag) -> token -> one of N equal ranges of the token space.
// Clients in other languages compute the same; token.spec.ts has golden vectors for them.
import { PARTITION_COUNT_MAX, toPartitionId, tokenHash } from '@atoll/core-runtime';
import type { Hash64, PartitionId } from '@atoll/core-runtime';
import { invalidArgument } from '@atoll/core-errors';

const OPENING_BRACE = 0x7b;
const CLOSING_BRACE = 0x7d;
const HALF = 2 ** 32;

/** Half-open range of tokens [start, end); `end` is undefined where it would be 2^64. */
export interface TokenRange {
  readonly start: Hash64;
  readonly end: Hash64 | undefined;
}

/**
 * The part of the key that decides its partition: what stands between the first `{` and the first `}`
 * after it, if that is not empty; else the whole key. Keys with one tag share a partition.
 * The result is a view of `key`. Redis Cluster specification, "Hash tags".
 */
export function hashTagOf(key: Uint8Array): Uint8Array {
  const opening = indexOfByte(key, OPENING_BRACE, 0);
  if (opening < 0) return key;
  const closing = indexOfByte(key, CLOSING_BRACE, opening + 1);
  return closing > opening + 1 ? key.subarray(opening + 1, closing) : key;
}

/** As `indexOf`, which for a Buffer is a call of the engine: for a key of ten bytes that costs more than the look. */
function indexOfByte(bytes: Uint8Array, byte: number, from: number): number {
  for (let index = from; index < bytes.length; index += 1) if (bytes[index] === byte) return index;
  return -1;
}

/** Token of a key: decides the partition and nothing else (R32). */
export function tokenOfKey(key: Uint8Array): Hash64 {
  return tokenHash(hashTagOf(key));
}

/** Throws INVALID_ARGUMENT unless `partitionCount` is a power of two from 1 to 4096. */
export function checkPartitionCount(partitionCount: number): void {
  const powerOfTwo = Number.isInteger(partitionCount) && partitionCount > 0 && (partitionCount & (partitionCount - 1)) === 0;
  if (!powerOfTwo || partitionCount > PARTITION_COUNT_MAX)
    throw invalidArgument('partition_count', `must be a power of two from 1 to ${PARTITION_COUNT_MAX}, is ${partitionCount}`);
}

/**
 * The partition that owns a token: its upper log2(partitionCount) bits. `partitionCount` is a power of
 * two up to 4096, so the product below is exact.
 */
export function partitionOfToken(token: Hash64, partitionCount: number): PartitionId {
  return toPartitionId(Math.floor((token.high * partitionCount) / HALF));
}

/** The tokens of a partition. The ranges of all partitions are equal and cover the space without overlap. */
export function tokenRangeOf(partition: PartitionId, partitionCount: number): TokenRange {
  checkPartitionCount(partitionCount);
  if (!Number.isInteger(partition) || partition < 0 || partition >= partitionCount)
    throw invalidArgument('partition', `must be from 0 to ${partitionCount - 1}, is ${partition}`);
  const width = HALF / partitionCount;
  const next = (partition + 1) * width;
  return { start: { high: partition * width, low: 0 }, end: next === HALF ? undefined : { high: next, low: 0 } };
}

export function tokenToBigInt(token: Hash64): bigint {
  return (BigInt(token.high) << 32n) | BigInt(token.low);
}

/** Takes 0 to 2^64 - 1. */
export function tokenFromBigInt(token: bigint): Hash64 {
  return { high: Number((token >> 32n) & 0xffff_ffffn), low: Number(token & 0xffff_ffffn) };
}

/** A range as contracts carry it: `last` is inclusive, because 2^64 does not fit into fixed64. */
export function tokenRangeToBigInt(range: TokenRange): { first: bigint; last: bigint } {
  return { first: tokenToBigInt(range.start), last: (range.end === undefined ? 1n << 64n : tokenToBigInt(range.end)) - 1n };
}
