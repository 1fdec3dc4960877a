import { MIB } from '@atoll/core-runtime';
import type { WalFile } from './file-system.ts';
import { FRAME_HEADER_BYTES, FRAME_MAGIC, checksumOf, decodeFrameHeader } from './frame.ts';
import type { FrameHeader } from './frame.ts';

const WINDOW_BYTES = MIB;
const SECTOR_BYTES = 512;

/** Where a walk over frames ended without an intact frame. */
export interface BadFrame {
  readonly offset: number;
  /** The header, if that is intact. */
  readonly header: FrameHeader | undefined;
  /** The file ends inside the frame. */
  readonly isShort: boolean;
}

export interface Frame {
  readonly header: FrameHeader;
  readonly offset: number;
  /** Valid until the next frame is read: whoever keeps some of it copies. */
  readonly payload: Buffer;
}

/** Walks over the frames of one file through a window, so that small frames cost no read each. */
export class FrameReader {
  readonly #file: WalFile;
  readonly #salt: number;
  /** Position of the file's byte 0. */
  readonly #base: number;
  /** Nobody writes to a file that is read back. */
  #fileBytes: number | undefined;
  #window: Buffer = Buffer.alloc(0);
  #windowOffset = 0;
  #offset: number;

  constructor(file: WalFile, options: { salt: number; base: number; offset: number }) {
    this.#file = file;
    this.#salt = options.salt;
    this.#base = options.base;
    this.#offset = options.offset;
  }

  /** Where the next frame begins. */
  get offset(): number {
    return this.#offset;
  }

  /** The next frame; undefined at the end of the file; a BadFrame ends the walk. */
  async next(): Promise<Frame | BadFrame | undefined> {
    const offset = this.#offset;
    const head = this.#peek(offset, FRAME_HEADER_BYTES) ?? (await this.#fill(offset, FRAME_HEADER_BYTES));
    if (head.length === 0) return undefined;
    const header = decodeFrameHeader(head, this.#salt, this.#base + offset);
    if (header === undefined) return { offset, header, isShort: head.length < FRAME_HEADER_BYTES };
    const payloadOffset = offset + FRAME_HEADER_BYTES;
    const payload = this.#peek(payloadOffset, header.payloadBytes) ?? (await this.#fill(payloadOffset, header.payloadBytes));
    if (payload.length < header.payloadBytes) return { offset, header, isShort: true };
    if (checksumOf([payload], this.#salt) !== header.payloadChecksum) return { offset, header, isShort: false };
    this.#offset = payloadOffset + header.payloadBytes;
    return { header, offset, payload };
  }

  /** Whether an intact frame of a group above `group` begins behind `offset`. */
  async hasLaterGroup(offset: number, group: number): Promise<boolean> {
    let from = offset + 1;
    for (;;) {
      const filled = await this.#read(from, WINDOW_BYTES);
      let at = filled.indexOf(FRAME_MAGIC);
      for (; at >= 0; at = filled.indexOf(FRAME_MAGIC, at + 1)) {
        const header = decodeFrameHeader(filled.subarray(at), this.#salt, this.#base + from + at);
        if (header !== undefined && header.group > group) return true;
      }
      if (filled.length < WINDOW_BYTES) return false;
      from += WINDOW_BYTES - FRAME_HEADER_BYTES + 1;
    }
  }

  /**
   * Whether some disk sector of `[from, to)` holds zeros only, which is how a sector of a growing file reads
   * that was never written (etcd judges the same way: server/storage/wal/decoder.go, isTornEntry).
   */
  async hasUnwrittenSector(from: number, to: number): Promise<boolean> {
    for (let start = from; start < to; start = nextMultiple(start, WINDOW_BYTES)) {
      const end = Math.min(to, nextMultiple(start, WINDOW_BYTES));
      const filled = await this.#read(start, end - start);
      for (let at = start; at < start + filled.length; at = nextMultiple(at, SECTOR_BYTES)) {
        if (filled.subarray(at - start, nextMultiple(at, SECTOR_BYTES) - start).every((byte) => byte === 0)) return true;
      }
    }
    return false;
  }

  #peek(offset: number, length: number): Buffer | undefined {
    const start = offset - this.#windowOffset;
    return start >= 0 && start + length <= this.#window.length ? this.#window.subarray(start, start + length) : undefined;
  }

  async #fill(offset: number, length: number): Promise<Buffer> {
    this.#window = await this.#read(offset, Math.max(length, WINDOW_BYTES));
    this.#windowOffset = offset;
    return this.#window.subarray(0, length);
  }

  /** What the file has of these bytes; takes no more memory than that. */
  async #read(offset: number, length: number): Promise<Buffer> {
    this.#fileBytes ??= await this.#file.sizeBytes();
    const target = Buffer.allocUnsafeSlow(Math.max(0, Math.min(length, this.#fileBytes - offset)));
    return target.subarray(0, await this.#file.read(target, offset));
  }
}

/** Smallest multiple of `unit` above `value`. */
function nextMultiple(value: number, unit: number): number {
  return (Math.floor(value / unit) + 1) * unit;
}

export function isBadFrame(frame: Frame | BadFrame): frame is BadFrame {
  return !('payload' in frame);
}
