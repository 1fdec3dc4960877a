import { invalidArgument } from '@atoll/core-errors';

/** Which write made an entry: generation counter, epoch, seq (R3). Totally ordered inside a partition. */
export interface VersionParts {
  /** 0 to 2^32 - 1. */
  readonly generation: number;
  /** 0 to 2^32 - 1. */
  readonly epoch: number;
  /** 0 to 2^53 - 1. */
  readonly seq: number;
}

/** Length of a version on the wire. */
export const VERSION_BYTES = 16;

const TWO_32 = 2 ** 32;

/**
 * Big-endian generation u32, epoch u32, seq u64, so that the order of the bytes (memcmp) is the order of the
 * versions. Opaque to clients.
 */
export function encodeVersion(version: VersionParts): Buffer {
  const bytes = Buffer.allocUnsafe(VERSION_BYTES);
  writeVersion(version, bytes, 0);
  return bytes;
}

/** Writes the 16 bytes of `encodeVersion` at `offset`. */
export function writeVersion(version: VersionParts, target: Buffer, offset: number): void {
  target.writeUInt32BE(version.generation, offset);
  target.writeUInt32BE(version.epoch, offset + 4);
  target.writeUInt32BE(Math.floor(version.seq / TWO_32), offset + 8);
  target.writeUInt32BE(version.seq % TWO_32, offset + 12);
}

/**
 * The version that a client gives back; undefined for no bytes. Throws INVALID_ARGUMENT that names `field` when
 * the length is another one or the seq is beyond 2^53 - 1.
 */
export function decodeVersion(bytes: Uint8Array, field = 'expected_version'): VersionParts | undefined {
  if (bytes.length === 0) return undefined;
  if (bytes.length !== VERSION_BYTES) throw invalidArgument(field, `must be a version of ${VERSION_BYTES} bytes, not ${bytes.length} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const seq = view.getUint32(8) * TWO_32 + view.getUint32(12);
  if (!Number.isSafeInteger(seq)) throw invalidArgument(field, 'is not a version that this cluster gave out');
  return { generation: view.getUint32(0), epoch: view.getUint32(4), seq };
}
