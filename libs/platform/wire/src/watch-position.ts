import { AtollError } from '@atoll/core-errors';
import { checksum32, hash64, type Hash64 } from '@atoll/core-runtime';
import { VERSION_BYTES, decodeVersion, writeVersion, type VersionParts } from './version-codec.ts';

// How far a watch is in one partition: everything up to this version was seen. 31 bytes: format 1, keyspace tag u64,
// partition u16, version (generation u32, epoch u32, seq u64), xxh32 of everything before, all big-endian. The
// checksum guards against truncation and mix-ups, not against forgery.

export interface WatchPosition {
  readonly partition: number;
  readonly version: VersionParts;
}

const FORMAT = 1;
const BODY_BYTES = 1 + 8 + 2 + VERSION_BYTES;
const POSITION_BYTES = BODY_BYTES + 4;
const TAG_SEED = 0x61746f6c6c5f7770n; // "atoll_wp"

/** Hash of a keyspace id as watch positions carry it: a keyspace made again is another one. */
export function watchTag(keyspaceId: string): Hash64 {
  return hash64(Buffer.from(keyspaceId), TAG_SEED);
}

export function encodeWatchPosition(tag: Hash64, { partition, version }: WatchPosition): Buffer {
  const bytes = Buffer.allocUnsafe(POSITION_BYTES);
  bytes[0] = FORMAT;
  bytes.writeUInt32BE(tag.high, 1);
  bytes.writeUInt32BE(tag.low, 5);
  bytes.writeUInt16BE(partition, 9);
  writeVersion(version, bytes, 11);
  bytes.writeUInt32BE(checksum32(bytes.subarray(0, BODY_BYTES)), BODY_BYTES);
  return bytes;
}

/**
 * A position that a client gives back. Throws WATCH_POSITION_MALFORMED when it is damaged, of another keyspace, or
 * names a partition that the keyspace does not have.
 */
export function decodeWatchPosition(bytes: Buffer, keyspace: { readonly tag: Hash64; readonly partitionCount: number }): WatchPosition {
  if (bytes.length !== POSITION_BYTES || bytes[0] !== FORMAT || bytes.readUInt32BE(BODY_BYTES) !== checksum32(bytes.subarray(0, BODY_BYTES))) {
    throw malformed('is not a position that this cluster gave out');
  }
  if (bytes.readUInt32BE(1) !== keyspace.tag.high || bytes.readUInt32BE(5) !== keyspace.tag.low) throw malformed('belongs to another keyspace');
  const partition = watchedPartition(bytes);
  if (partition >= keyspace.partitionCount) throw malformed(`names partition ${partition} of ${keyspace.partitionCount}`);
  return { partition, version: decodeVersion(bytes.subarray(11, 11 + VERSION_BYTES), 'positions')! };
}

/** The partition of a position that came from a storage node, without any check but its length. */
export function watchedPartition(position: Buffer): number {
  if (position.length !== POSITION_BYTES) throw malformed('is not a position that this cluster gave out');
  return position.readUInt16BE(9);
}

function malformed(problem: string): AtollError {
  return new AtollError('WATCH_POSITION_MALFORMED', `positions: ${problem}`, { metadata: { field: 'positions' } });
}
