import { AtollError } from '@atoll/core-errors';
import { checksum32, hash64, type Hash64 } from '@atoll/core-runtime';

// A scan goes through the partitions in order, and through each in key-hash order (R32), so that a cursor means
// the same on every replica. 24 bytes: format 1, keyspace tag u64, partition u16, key hash u64, 1 byte of zero,
// xxh32 of everything before, all big-endian.

/** Where a scan goes on: the first key hash of a partition that was not returned yet. */
export interface ScanCursor {
  readonly partition: number;
  readonly position: Hash64;
}

const FORMAT = 1;
const CURSOR_BYTES = 24;
const BODY_BYTES = CURSOR_BYTES - 4;
const TAG_SEED = 0x61746f6c6c5f6372n; // "atoll_cr"

/** Hash of a keyspace id as cursors carry it. */
export function cursorTag(keyspaceId: string): Hash64 {
  return hash64(Buffer.from(keyspaceId), TAG_SEED);
}

export function encodeCursor(tag: Hash64, cursor: ScanCursor): Buffer {
  const bytes = Buffer.allocUnsafe(CURSOR_BYTES);
  bytes[0] = FORMAT;
  bytes.writeUInt32BE(tag.high, 1);
  bytes.writeUInt32BE(tag.low, 5);
  bytes.writeUInt16BE(cursor.partition, 9);
  bytes.writeUInt32BE(cursor.position.high, 11);
  bytes.writeUInt32BE(cursor.position.low, 15);
  bytes[19] = 0;
  bytes.writeUInt32BE(checksum32(bytes.subarray(0, BODY_BYTES)), BODY_BYTES);
  return bytes;
}

/**
 * The cursor that a client gives back; undefined for no bytes. Throws CURSOR_MALFORMED when it is damaged, of
 * another keyspace, or names a partition that the keyspace does not have.
 */
export function decodeCursor(bytes: Buffer, keyspace: { readonly tag: Hash64; readonly partitionCount: number }): ScanCursor | undefined {
  if (bytes.length === 0) return undefined;
  if (bytes.length !== CURSOR_BYTES || bytes[0] !== FORMAT || bytes.readUInt32BE(BODY_BYTES) !== checksum32(bytes.subarray(0, BODY_BYTES))) {
    throw malformed('is not a cursor that this cluster gave out');
  }
  if (bytes.readUInt32BE(1) !== keyspace.tag.high || bytes.readUInt32BE(5) !== keyspace.tag.low) throw malformed('belongs to another keyspace');
  const partition = bytes.readUInt16BE(9);
  if (partition >= keyspace.partitionCount) throw malformed(`names partition ${partition} of ${keyspace.partitionCount}`);
  return { partition, position: { high: bytes.readUInt32BE(11), low: bytes.readUInt32BE(15) } };
}

function malformed(problem: string): AtollError {
  return new AtollError('CURSOR_MALFORMED', `cursor: ${problem}`, { metadata: { field: 'cursor' } });
}
