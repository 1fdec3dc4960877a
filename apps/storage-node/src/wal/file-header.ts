// Every file of the log begins with one sector that says what it is and whose. docs/design/wal-format.md
import { crc32 } from 'node:zlib';
import { AtollError } from '@atoll/core-errors';
import type { WalFile } from './file-system.ts';
import { WalError, damaged } from './wal-error.ts';

export const FORMAT_VERSION = 1;
/** Length of the header, in bytes: one disk sector. */
export const FILE_HEADER_BYTES = 512;

export const SEGMENT_MAGIC = 'ATOLLWAL';
export const CHECKPOINT_MAGIC = 'ATOLLCKP';

const META_OFFSET = 20;
const CHECKSUM_OFFSET = FILE_HEADER_BYTES - 4;

/** Who may open the files. */
export interface Owner {
  readonly clusterId: string;
  readonly nodeId: string;
}

export interface FileHeader<Meta> {
  readonly magic: string;
  /** Random, seeds the checksums in this file: bytes of another log that users store as values never pass for frames. */
  readonly salt: number;
  readonly meta: Meta;
}

export function encodeFileHeader(header: FileHeader<Owner>): Buffer {
  const meta = Buffer.from(JSON.stringify(header.meta));
  if (meta.length > CHECKSUM_OFFSET - META_OFFSET) throw new RangeError(`file header of ${meta.length} bytes is too long`);
  const bytes = Buffer.alloc(FILE_HEADER_BYTES);
  bytes.write(header.magic, 0, 'latin1');
  bytes.writeUInt32LE(FORMAT_VERSION, 8);
  bytes.writeUInt32LE(header.salt, 12);
  bytes.writeUInt32LE(meta.length, 16);
  meta.copy(bytes, META_OFFSET);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, CHECKSUM_OFFSET)), CHECKSUM_OFFSET);
  return bytes;
}

/**
 * Reads and checks the header of `path`.
 * @throws WalError DAMAGED or UNKNOWN_FORMAT; AtollError WRONG_CLUSTER if the file belongs to another cluster or node.
 */
export async function readFileHeader<Meta extends Owner>(
  file: WalFile,
  path: string,
  expected: { magic: string; owner: Owner },
): Promise<FileHeader<Meta>> {
  const bytes = Buffer.alloc(FILE_HEADER_BYTES);
  const place = { file: path, offset: 0 };
  if ((await file.read(bytes, 0)) < FILE_HEADER_BYTES) throw damaged(place, 'the file ends inside its header');
  if (bytes.toString('latin1', 0, 8) !== expected.magic) throw damaged(place, `the file does not begin with ${expected.magic}`);
  if (crc32(bytes.subarray(0, CHECKSUM_OFFSET)) !== bytes.readUInt32LE(CHECKSUM_OFFSET)) throw damaged(place, 'the header has a wrong checksum');
  const version = bytes.readUInt32LE(8);
  if (version !== FORMAT_VERSION)
    throw new WalError('UNKNOWN_FORMAT', `format version ${version}, but this release reads version ${FORMAT_VERSION}`, place);
  const meta = JSON.parse(bytes.toString('utf8', META_OFFSET, META_OFFSET + bytes.readUInt32LE(16))) as Meta;
  assertOwner(meta, expected.owner, path);
  return { magic: expected.magic, salt: bytes.readUInt32LE(12), meta };
}

function assertOwner(found: Owner, expected: Owner, path: string): void {
  for (const field of ['clusterId', 'nodeId'] as const) {
    if (found[field] === expected[field]) continue;
    const what = field === 'clusterId' ? 'cluster' : 'node';
    throw new AtollError('WRONG_CLUSTER', `${path} belongs to ${what} ${found[field]}, but this process is of ${what} ${expected[field]}`, {
      metadata: { file: path, [field]: found[field], [`${field}Expected`]: expected[field] },
    });
  }
}
