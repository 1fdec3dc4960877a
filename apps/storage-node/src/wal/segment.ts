import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { FILE_HEADER_BYTES, SEGMENT_MAGIC, encodeFileHeader } from './file-header.ts';
import type { Owner } from './file-header.ts';
import type { WalFile, WalFileSystem } from './file-system.ts';

/** The segment header's own fields. */
export interface SegmentMeta extends Owner {
  /** The first segment ever is 1. */
  readonly number: number;
  /** Log position of the segment's first byte: that of the end of the segment before. */
  readonly base: number;
  /** Group commit that the segment's first frame belongs to. */
  readonly group: number;
}

export interface SegmentFile {
  readonly number: number;
  readonly base: number;
  readonly salt: number;
  readonly path: string;
  readonly file: WalFile;
}

const SEGMENT_NAME = /^(\d{16})\.wal$/;
const TEMPORARY_SUFFIX = '.new';

export const segmentName = (number: number): string => `${String(number).padStart(16, '0')}.wal`;

/** Number of a segment's file name; undefined if it is none. */
export function parseSegmentName(name: string): number | undefined {
  const digits = SEGMENT_NAME.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** A segment whose creation a crash interrupted. */
export function isTemporarySegment(name: string): boolean {
  return name.endsWith(TEMPORARY_SUFFIX) && parseSegmentName(name.slice(0, -TEMPORARY_SUFFIX.length)) !== undefined;
}

/** Creates the file under a temporary name, so that a segment with its final name always has a whole, durable header. */
export async function createSegment(fileSystem: WalFileSystem, directory: string, meta: SegmentMeta): Promise<SegmentFile> {
  const path = join(directory, segmentName(meta.number));
  const salt = randomBytes(4).readUInt32LE();
  await fileSystem.remove(path + TEMPORARY_SUFFIX);
  const file = await fileSystem.open(path + TEMPORARY_SUFFIX, 'create');
  try {
    await file.write([encodeFileHeader({ magic: SEGMENT_MAGIC, salt, meta })], 0);
    await file.datasync();
    await fileSystem.rename(path + TEMPORARY_SUFFIX, path);
    await fileSystem.syncDirectory(directory);
  } catch (error) {
    await file.close();
    throw error;
  }
  return { number: meta.number, base: meta.base, salt, path, file };
}

/** Offset of the first frame. */
export const FIRST_FRAME_OFFSET = FILE_HEADER_BYTES;
