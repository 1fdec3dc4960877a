// Damage that no checksum shows: the write-ahead log of a node that is stopped, with one key changed for another one of
// the same length and all checksums right (docs/design/wal-format.md), as broken memory would have written it.
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';

const FILE_HEADER_BYTES = 512;
const SALT_OFFSET = 12;
const FRAME_MAGIC = 'AWF1';
const FRAME_HEADER_BYTES = 32;

/** How many frames were changed. The directory is that of one node. */
export function changeKeyInLog(directory: string, from: string, to: string): number {
  if (from.length !== to.length) throw new Error('the keys differ in length');
  let changed = 0;
  for (const name of globSync('{segments,checkpoints}/*', { cwd: directory })) {
    const file = join(directory, name);
    const bytes = readFileSync(file);
    const inFile = changeFrames(bytes, Buffer.from(from), Buffer.from(to));
    if (inFile > 0) writeFileSync(file, bytes);
    changed += inFile;
  }
  return changed;
}

function changeFrames(bytes: Buffer, from: Buffer, to: Buffer): number {
  const salt = bytes.readUInt32LE(SALT_OFFSET);
  let changed = 0;
  for (let at = FILE_HEADER_BYTES; at + FRAME_HEADER_BYTES <= bytes.length && bytes.toString('latin1', at, at + 4) === FRAME_MAGIC; ) {
    const end = at + FRAME_HEADER_BYTES + bytes.readUInt32LE(at + 8);
    const payload = bytes.subarray(at + FRAME_HEADER_BYTES, end);
    const place = payload.indexOf(from);
    if (place >= 0) {
      to.copy(payload, place);
      bytes.writeUInt32LE(crc32(payload, salt), at + 12);
      bytes.writeUInt32LE(crc32(bytes.subarray(at + 8, at + FRAME_HEADER_BYTES), salt), at + 4);
      changed += 1;
    }
    at = end;
  }
  return changed;
}
