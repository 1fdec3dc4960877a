import { keyHash, type Hash64 } from '@atoll/core-runtime';

/** One call at a time uses it. */
const words = Buffer.allocUnsafe(24);

/**
 * Hash of an entry without its version: what copies and archives sum up, so that sums compare across epochs, generations
 * and partition counts (R37, R39). Part of the archive format. `hash` is the key's.
 */
export function entryContentHash(hash: Hash64, value: Uint8Array, expiresAtMs: number): Hash64 {
  const ofValue = keyHash(value);
  let at = words.writeUInt32LE(hash.high >>> 0, 0);
  at = words.writeUInt32LE(hash.low >>> 0, at);
  at = words.writeUInt32LE(ofValue.high >>> 0, at);
  at = words.writeUInt32LE(ofValue.low >>> 0, at);
  words.writeDoubleLE(expiresAtMs, at);
  return keyHash(words);
}
