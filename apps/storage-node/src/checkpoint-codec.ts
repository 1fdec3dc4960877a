// A replica's entries as opaque chunks of its checkpoint file, each of them rows (entry-rows.ts of core-store). One that begins with the
// generation 2^32 - 1 holds the highest fencing tokens instead (R38), one that begins with 2^32 - 2 the origins of a copy (R37).
import { FenceTable } from '@atoll/core-locks';
import type { CopyPositions } from '@atoll/core-replication';
import { FIRST_HASH, decodeRows, encodeRows, type PartitionStore } from '@atoll/core-store';
import { MIB, keyHash, type Hash64 } from '@atoll/core-runtime';

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
    if (slice.entries.length > 0) yield encodeRows(slice.entries);
    from = slice.next;
    await pause();
  }
}

/** Puts the content of one chunk into the store, the fences or the origins. */
export function restoreChunk({ store, fences, copies }: CheckpointSource, bytes: Uint8Array): void {
  const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (chunk.readUInt32LE(0) === FENCES_MARK) return fences.merge(FenceTable.decode(chunk.subarray(4)));
  // As of some entry behind the checkpoint's position: the log repeats in order what moved them.
  if (chunk.readUInt32LE(0) === COPIES_MARK) return copies.load(chunk.subarray(4), 0);
  for (const { key, value, version, expiresAtMs } of decodeRows(chunk)) store.put({ key, hash: keyHash(key), value, version, expiresAtMs });
}
