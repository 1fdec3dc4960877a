// What a copy holds already, in equal parts of the key hashes, as its source is told it: only parts that differ have to be sent.
//
// A part that is equal may be left out although both sides go on: let D be what the copy held when it made the digests, and let
// the source read the part later, with the log read to its end. For each key of the part, either it was changed since the
// stream's origin: then the change is on its way, and the copy ends with the source's value. Or it was not: then the copy has
// it as in D, and the source as it was read; the digests being equal, these are the same.
import { compareHash, type Hash64 } from '@atoll/core-runtime';
import { entryContentHash, type PartitionStore, type SliceLimits } from '@atoll/core-store';
import type { RangeDigest, RangeDigestAsk } from './range-digest.ts';

/** u32 entries, u32 u32 sum. */
export const PART_DIGEST_BYTES = 12;
/** 2^bits parts at most: 768 KiB of digests. */
export const PART_BITS_MAX = 16;
/** A part that differs is sent whole: so many entries, or bytes, are in one on average. */
const ENTRIES_PER_PART = 8;
const BYTES_PER_PART = 64 * 1024;

/** So many parts, as a power of two, keep what is sent near to what differs, and the digests below a few per cent of the data. */
export function partBits({ entries, bytes }: { readonly entries: number; readonly bytes: number }): number {
  const parts = Math.max(1, entries / ENTRIES_PER_PART, bytes / BYTES_PER_PART);
  return Math.min(PART_BITS_MAX, Math.ceil(Math.log2(parts)));
}

export class PartDigests {
  /** 0 to PART_BITS_MAX. */
  readonly bits: number;
  /** Entries that expire up to then are in no digest; ms since the epoch. */
  readonly expiringByMs: number;
  readonly #bytes: Buffer;

  /** Throws RangeError when the bytes are not those of so many parts. */
  constructor({ bits, expiringByMs, bytes }: { readonly bits: number; readonly expiringByMs: number; readonly bytes?: Buffer }) {
    if (!Number.isInteger(bits) || bits < 0 || bits > PART_BITS_MAX) throw new RangeError(`bits must be 0 to ${PART_BITS_MAX}, is ${bits}`);
    const length = PART_DIGEST_BYTES * 2 ** bits;
    if (bytes !== undefined && bytes.length !== length) throw new RangeError(`${bytes.length} bytes are no digests of 2^${bits} parts`);
    this.bits = bits;
    this.expiringByMs = expiringByMs;
    this.#bytes = bytes ?? Buffer.alloc(length);
  }

  encode(): Buffer {
    return this.#bytes;
  }

  /** Adds entries from `from` on, as many as the limits allow. Answers where to go on; undefined at the end. */
  add(store: PartitionStore, from: Hash64, belongs: RangeDigestAsk['belongs'], limits: SliceLimits): Hash64 | undefined {
    const { entries, next } = store.readRange(from, undefined, limits);
    for (const { key, hash, value, expiresAtMs } of entries) {
      if (!belongs(key) || (expiresAtMs > 0 && expiresAtMs <= this.expiringByMs)) continue;
      const { high, low } = entryContentHash(hash, value, expiresAtMs);
      const at = this.#indexOf(hash) * PART_DIGEST_BYTES;
      this.#bytes.writeUInt32LE((this.#bytes.readUInt32LE(at) + 1) >>> 0, at);
      this.#bytes.writeUInt32LE((this.#bytes.readUInt32LE(at + 4) + high) >>> 0, at + 4);
      this.#bytes.writeUInt32LE((this.#bytes.readUInt32LE(at + 8) + low) >>> 0, at + 8);
    }
    return next;
  }

  /** Of the part that the hash lies in; of what was added of it. */
  at(hash: Hash64): RangeDigest {
    const at = this.#indexOf(hash) * PART_DIGEST_BYTES;
    return { entries: this.#bytes.readUInt32LE(at), sum: { high: this.#bytes.readUInt32LE(at + 4), low: this.#bytes.readUInt32LE(at + 8) } };
  }

  /** The first hash behind the part that this one lies in; undefined: it is the last part. */
  endOf(hash: Hash64): Hash64 | undefined {
    const index = this.#indexOf(hash) + 1;
    return index === 2 ** this.bits ? undefined : { high: (index << (32 - this.bits)) >>> 0, low: 0 };
  }

  #indexOf({ high }: Hash64): number {
    return this.bits === 0 ? 0 : high >>> (32 - this.bits);
  }
}

/** Whether the hash lies in [from, to), to the end without `to`. */
export const isWithin = (hash: Hash64, { from, to }: { readonly from: Hash64; readonly to: Hash64 | undefined }): boolean => compareHash(hash, from) >= 0 && (to === undefined || compareHash(hash, to) < 0);
