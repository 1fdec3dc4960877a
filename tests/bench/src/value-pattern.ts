import { SeededRandom, hash64, type Hash64 } from '@atoll/core-runtime';

// Values whose content follows from the key and the number of the write, so that a value read back tells whether
// it is the one written last. A value is a stretch of one pool of random bytes, beginning where the hash of (key,
// number) says, with that hash written over its first bytes: cheap to make and to compare, and no two differ in a
// few bytes only.

const POOL_BYTES = 4 * 1024 * 1024;
const POOL_SEED = 0x61746f6c;
const STAMP_BYTES = 8;
const HASH_SEED = 0x76616c7565n; // "value"

const pool = makePool();

function makePool(): Buffer {
  const random = new SeededRandom(POOL_SEED);
  const words = new Uint32Array(POOL_BYTES / 4);
  for (let index = 0; index < words.length; index += 1) words[index] = random.nextUint32();
  return Buffer.from(words.buffer);
}

const hashOf = (key: string, writeNumber: number): Hash64 => hash64(Buffer.from(`${writeNumber} ${key}`), HASH_SEED);

const stampOf = (hash: Hash64): Buffer => {
  const stamp = Buffer.allocUnsafe(STAMP_BYTES);
  stamp.writeUInt32LE(hash.low, 0);
  stamp.writeUInt32LE(hash.high, 4);
  return stamp;
};

/** The value that write `writeNumber` of `key` writes. */
export function makeValue(key: string, writeNumber: number, bytes: number): Buffer {
  const hash = hashOf(key, writeNumber);
  const value = Buffer.allocUnsafe(bytes);
  let from = hash.low % POOL_BYTES;
  for (let at = 0; at < bytes; from = 0) at += pool.copy(value, at, from);
  stampOf(hash).copy(value);
  return value;
}

/** True when `value` is what `makeValue` makes of the same arguments. */
export function isValue(value: Buffer, key: string, writeNumber: number, bytes: number): boolean {
  if (value.length !== bytes) return false;
  const hash = hashOf(key, writeNumber);
  const stampEnd = Math.min(STAMP_BYTES, bytes);
  if (stampOf(hash).compare(value, 0, stampEnd, 0, stampEnd) !== 0) return false;
  let from = (hash.low % POOL_BYTES) + stampEnd;
  if (from >= POOL_BYTES) from -= POOL_BYTES;
  for (let at = stampEnd; at < bytes; from = 0) {
    const length = Math.min(bytes - at, POOL_BYTES - from);
    if (pool.compare(value, at, at + length, from, from + length) !== 0) return false;
    at += length;
  }
  return true;
}
