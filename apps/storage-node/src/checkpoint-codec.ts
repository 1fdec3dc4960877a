// A replica's entries as opaque chunks of its checkpoint file. Each chunk is a row of records:
// One that begins with the generation 2^32 - 1 holds the highest fencing tokens instead (R38), one that begins with 2^32 - 2
// the origins of a copy (R37).
//   u32 generation | u32 epoch | u48 seq | f64 expiresAtMs | u16 key bytes | u32 value bytes | key | value
import { FenceTable } from '@atoll/core-locks';
import type { CopyPositions } from '@atoll/core-replication';
import { FIRST_HASH, type PartitionStore, type StoredEntry } from '@atoll/core-store';
import { MIB, keyHash, type Hash64 } from '@atoll/core-runtime';

const HEADER_BYTES = 4 + 4 + 6 + 8 + 2 + 4;
const CHUNK_BYTES = 1 * MIB;
const CHUNK_ENTRIES = 4096;
/** No generation comes so far. */
const FENCES_MARK = 0xffff_ffff;
const COPIES_MARK = 0xffff_fffe;

/** The parts of a ReplicaState that a checkpoint keeps. */
export interface CheckpointSource {
  readonly store: PartitionStore;
  readonly fences: FenceTable;
  readonly copies: CopyPositions;
}

/**
 * The store, read while it is served: a chunk may hold what entries behind the checkpoint's position did. The log
 * repeats those entries in order at recovery, so the state is whole again once it is applied that far.
 */
export async function* checkpointChunks({ store, fences, copies }: CheckpointSource, pause: () => Promise<void>): AsyncGenerator<Uint8Array> {
  if (!fences.isEmpty) yield Buffer.concat([Buffer.of(0xff, 0xff, 0xff, 0xff), fences.encode()]);
  if (!copies.isEmpty) yield Buffer.concat([Buffer.of(0xfe, 0xff, 0xff, 0xff), copies.encode()]);
  let from: Hash64 | undefined = FIRST_HASH;
  while (from !== undefined) {
    const slice = store.readRange(from, undefined, { entriesMax: CHUNK_ENTRIES, bytesMax: CHUNK_BYTES });
    if (slice.entries.length > 0) yield encodeEntries(slice.entries);
    from = slice.next;
    await pause();
  }
}

function encodeEntries(entries: readonly StoredEntry[]): Buffer {
  let size = 0;
  for (const entry of entries) size += HEADER_BYTES + entry.key.length + entry.value.length;
  const chunk = Buffer.allocUnsafe(size);
  let at = 0;
  for (const { key, value, version, expiresAtMs } of entries) {
    at = chunk.writeUInt32LE(version.generation, at);
    at = chunk.writeUInt32LE(version.epoch, at);
    at = chunk.writeUInt32LE(version.seq % 2 ** 32, at);
    at = chunk.writeUInt16LE(Math.floor(version.seq / 2 ** 32), at);
    at = chunk.writeDoubleLE(expiresAtMs, at);
    at = chunk.writeUInt16LE(key.length, at);
    at = chunk.writeUInt32LE(value.length, at);
    chunk.set(key, at);
    chunk.set(value, at + key.length);
    at += key.length + value.length;
  }
  return chunk;
}

/** Puts the content of one chunk into the store, the fences or the origins. */
export function restoreChunk({ store, fences, copies }: CheckpointSource, bytes: Uint8Array): void {
  const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (chunk.readUInt32LE(0) === FENCES_MARK) return fences.merge(FenceTable.decode(chunk.subarray(4)));
  // As of some entry behind the checkpoint's position: the log repeats in order what moved them.
  if (chunk.readUInt32LE(0) === COPIES_MARK) return copies.load(chunk.subarray(4), 0);
  for (let at = 0; at < chunk.length; ) {
    const version = {
      generation: chunk.readUInt32LE(at),
      epoch: chunk.readUInt32LE(at + 4),
      seq: chunk.readUInt32LE(at + 8) + chunk.readUInt16LE(at + 12) * 2 ** 32,
    };
    const expiresAtMs = chunk.readDoubleLE(at + 14);
    const keyBytes = chunk.readUInt16LE(at + 22);
    const valueBytes = chunk.readUInt32LE(at + 24);
    const keyAt = at + HEADER_BYTES;
    const key = chunk.subarray(keyAt, keyAt + keyBytes);
    const value = chunk.subarray(keyAt + keyBytes, keyAt + keyBytes + valueBytes);
    store.put({ key, hash: keyHash(key), value, version, expiresAtMs });
    at = keyAt + keyBytes + valueBytes;
  }
}
