// A checkpoint is a file of its own: header, one frame per chunk (group = number of the chunk), and an empty
// last frame, so that a file that lost its end is never taken for a shorter state.
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { ReplicaId } from '@atoll/core-runtime';
import { MIB } from '@atoll/core-runtime';
import { CHECKPOINT_MAGIC, FILE_HEADER_BYTES, encodeFileHeader, readFileHeader } from './file-header.ts';
import type { Owner } from './file-header.ts';
import type { WalFile, WalFileSystem } from './file-system.ts';
import { FRAME_HEADER_BYTES, FRAME_PAYLOAD_BYTES_MAX, checksumOf, encodeFrameHeader } from './frame.ts';
import { FrameReader, isBadFrame } from './frame-reader.ts';
import { damaged } from './wal-error.ts';
import type { LogTail } from './wal.ts';

const WRITE_BYTES = MIB;
/** Syncing on the way keeps the last sync, and group commits beside it, short. */
const SYNC_EVERY_BYTES = 16 * MIB;
const TEMPORARY_SUFFIX = '.new';
const CHECKPOINT_NAME = /^[0-9a-f]{16}-(\d+)\.checkpoint(\.new)?$/;

interface CheckpointMeta extends Owner {
  readonly replicaId: ReplicaId;
  readonly applied: LogTail;
  readonly timeMs: number;
}

/** A sync failed while a checkpoint was written: unlike a failed write, that ends the process (R25). */
export class SyncFailure extends Error {
  override readonly name = 'SyncFailure';
}

export const checkpointName = (replicaId: ReplicaId, number: number): string => `${replicaId}-${number}.checkpoint`;

/** Number of a checkpoint's file name, temporary or not; undefined if it is none. */
export function parseCheckpointNumber(name: string): number | undefined {
  const digits = CHECKPOINT_NAME.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** Writes the file whole and durable under a temporary name, then renames it. Resolves to its length in bytes. */
export async function writeCheckpointFile(
  fileSystem: WalFileSystem,
  place: { directory: string; name: string },
  meta: CheckpointMeta,
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<number> {
  const path = join(place.directory, place.name);
  const file = await fileSystem.open(path + TEMPORARY_SUFFIX, 'create');
  let bytes: number;
  try {
    bytes = await writeChunks(file, meta, chunks);
    await orSyncFailure(file.datasync());
  } catch (error) {
    await file.close();
    await fileSystem.remove(path + TEMPORARY_SUFFIX);
    throw error;
  }
  await file.close();
  await fileSystem.rename(path + TEMPORARY_SUFFIX, path);
  await orSyncFailure(fileSystem.syncDirectory(place.directory));
  return bytes;
}

async function writeChunks(file: WalFile, meta: CheckpointMeta, chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<number> {
  const salt = randomBytes(4).readUInt32LE();
  let parts: Uint8Array[] = [encodeFileHeader({ magic: CHECKPOINT_MAGIC, salt, meta })];
  let written = 0;
  let synced = 0;
  let position = FILE_HEADER_BYTES;
  let count = 0;
  const add = (chunk: Uint8Array, isLast: boolean) => {
    if (chunk.length > FRAME_PAYLOAD_BYTES_MAX) throw new RangeError(`a chunk of ${chunk.length} bytes is too long`);
    const header = { payloadBytes: chunk.length, payloadChecksum: checksumOf([chunk], salt), group: count, isLast, position };
    parts.push(encodeFrameHeader(header, salt), chunk);
    position += FRAME_HEADER_BYTES + chunk.length;
    count += 1;
  };
  const write = async () => {
    await file.write(parts, written);
    parts = [];
    written = position;
  };
  for await (const chunk of chunks) {
    add(chunk, false);
    if (position - written >= WRITE_BYTES) await write();
    if (written - synced >= SYNC_EVERY_BYTES) {
      await orSyncFailure(file.datasync());
      synced = written;
    }
  }
  add(new Uint8Array(0), true);
  await write();
  return position;
}

/** The chunks of a stored checkpoint. @throws WalError DAMAGED */
export async function* readCheckpointFile(
  fileSystem: WalFileSystem,
  path: string,
  expected: { owner: Owner; replicaId: ReplicaId; applied: LogTail },
): AsyncGenerator<Uint8Array> {
  const file = await fileSystem.open(path, 'read');
  try {
    const { salt, meta } = await readFileHeader<CheckpointMeta>(file, path, { magic: CHECKPOINT_MAGIC, owner: expected.owner });
    const isExpected = meta.replicaId === expected.replicaId && meta.applied.seq === expected.applied.seq && meta.applied.epoch === expected.applied.epoch;
    if (!isExpected) throw damaged({ file: path, offset: 0 }, `the file holds replica ${meta.replicaId} at seq ${meta.applied.seq}, the log expects replica ${expected.replicaId} at seq ${expected.applied.seq}`);
    const reader = new FrameReader(file, { salt, base: 0, offset: FILE_HEADER_BYTES });
    for (let count = 0; ; count += 1) {
      const { offset } = reader;
      const frame = await reader.next();
      if (frame === undefined || isBadFrame(frame) || frame.header.group !== count)
        throw damaged({ file: path, offset }, `chunk ${count} of the checkpoint is not intact`);
      if (frame.header.isLast) return;
      yield Buffer.from(frame.payload);
    }
  } finally {
    await file.close();
  }
}

async function orSyncFailure(sync: Promise<void>): Promise<void> {
  try {
    await sync;
  } catch (error) {
    throw new SyncFailure('a sync failed', { cause: error });
  }
}
