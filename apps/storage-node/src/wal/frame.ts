// A frame is what one checksum covers: many small records, or one big one. Frames of one group commit carry
// one group number, and a group is written only after the group before it was synced. So a valid frame of
// group g + 1 proves that group g was durable, and whatever is wrong in it is damage, not a torn write.
//
//   0  magic "AWF1"            16  group number (48 bits)
//   4  checksum of bytes 8-31  22  flags (16 bits)
//   8  payload length          24  position of the frame (64 bits)
//  12  checksum of the payload 32  payload
import { crc32 } from 'node:zlib';
import { MIB } from '@atoll/core-runtime';
import { readUint53, writeUint53 } from './integers.ts';

export const FRAME_HEADER_BYTES = 32;
/** Longest payload, in bytes: an entry of 64 MiB with what travels beside it, several times over. */
export const FRAME_PAYLOAD_BYTES_MAX = 256 * MIB;
export const FRAME_MAGIC = Buffer.from('AWF1', 'latin1');
/** The last frame of its group (of a checkpoint: of the file). */
export const FLAG_LAST = 1;

export interface FrameHeader {
  readonly payloadBytes: number;
  readonly payloadChecksum: number;
  readonly group: number;
  readonly isLast: boolean;
  /** Where the frame begins: in a segment the log's position, in a checkpoint the offset in the file. */
  readonly position: number;
}

/** Checksum of a payload in parts, as if they were one. */
export function checksumOf(parts: readonly Uint8Array[], salt: number): number {
  let checksum = salt;
  for (const part of parts) checksum = crc32(part, checksum);
  return checksum;
}

export function encodeFrameHeader(header: FrameHeader, salt: number): Buffer {
  const bytes = Buffer.allocUnsafe(FRAME_HEADER_BYTES);
  FRAME_MAGIC.copy(bytes, 0);
  bytes.writeUInt32LE(header.payloadBytes, 8);
  bytes.writeUInt32LE(header.payloadChecksum, 12);
  bytes.writeUIntLE(header.group, 16, 6);
  bytes.writeUInt16LE(header.isLast ? FLAG_LAST : 0, 22);
  writeUint53(bytes, header.position, 24);
  bytes.writeUInt32LE(crc32(bytes.subarray(8), salt), 4);
  return bytes;
}

/** The header at the start of `bytes`, or undefined if these are not an intact header of a frame at `position`. */
export function decodeFrameHeader(bytes: Buffer, salt: number, position: number): FrameHeader | undefined {
  if (bytes.length < FRAME_HEADER_BYTES || FRAME_MAGIC.compare(bytes, 0, FRAME_MAGIC.length) !== 0) return undefined;
  if (crc32(bytes.subarray(8, FRAME_HEADER_BYTES), salt) !== bytes.readUInt32LE(4)) return undefined;
  const header = {
    payloadBytes: bytes.readUInt32LE(8),
    payloadChecksum: bytes.readUInt32LE(12),
    group: bytes.readUIntLE(16, 6),
    isLast: (bytes.readUInt16LE(22) & FLAG_LAST) !== 0,
    position: readUint53(bytes, 24),
  };
  return header.position === position && header.payloadBytes <= FRAME_PAYLOAD_BYTES_MAX ? header : undefined;
}
