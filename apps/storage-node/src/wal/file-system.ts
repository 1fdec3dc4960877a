// The few file operations that the log needs, as a port: tests count syncs and let them fail.
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

export interface WalFile {
  /** Writes all parts, in order, from `position` on. */
  write(parts: readonly Uint8Array[], position: number): Promise<void>;
  /** Bytes read into `target` from `position` on; fewer than asked only at the end of the file. */
  read(target: Uint8Array, position: number): Promise<number>;
  /** Returns when everything written, and the size of the file, is on the device: fdatasync(2). */
  datasync(): Promise<void>;
  sizeBytes(): Promise<number>;
  truncate(bytes: number): Promise<void>;
  close(): Promise<void>;
}

export interface WalFileSystem {
  /** `create` fails if the file exists; `update` and `read` fail if it does not. */
  open(path: string, mode: 'create' | 'read' | 'update'): Promise<WalFile>;
  list(directory: string): Promise<string[]>;
  makeDirectory(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  /** A new, renamed or removed name is durable only after its directory was synced (fsync(2), NOTES). */
  syncDirectory(path: string): Promise<void>;
}

const FLAGS = { create: 'wx+', read: 'r', update: 'r+' } as const;

class NodeWalFile implements WalFile {
  readonly #handle: FileHandle;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async write(parts: readonly Uint8Array[], position: number): Promise<void> {
    let rest = parts;
    let at = position;
    while (rest.length > 0) {
      const { bytesWritten } = await this.#handle.writev([...rest], at);
      at += bytesWritten;
      rest = skipBytes(rest, bytesWritten);
      if (bytesWritten === 0 && rest.length > 0) throw new Error('the file takes no more bytes');
    }
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    let filled = 0;
    while (filled < target.length) {
      const { bytesRead } = await this.#handle.read(target, filled, target.length - filled, position + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return filled;
  }

  datasync(): Promise<void> {
    return this.#handle.datasync();
  }

  async sizeBytes(): Promise<number> {
    return (await this.#handle.stat()).size;
  }

  truncate(bytes: number): Promise<void> {
    return this.#handle.truncate(bytes);
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

function skipBytes(parts: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let left = bytes;
  const rest: Uint8Array[] = [];
  for (const part of parts) {
    if (left >= part.length) left -= part.length;
    else {
      rest.push(left === 0 ? part : part.subarray(left));
      left = 0;
    }
  }
  return rest;
}

/** The machine's file system. */
export const nodeFileSystem: WalFileSystem = {
  open: async (path, mode) => new NodeWalFile(await open(path, FLAGS[mode])),
  list: (directory) => readdir(directory),
  makeDirectory: async (path) => {
    await mkdir(path, { recursive: true });
  },
  rename: (from, to) => rename(from, to),
  remove: (path) => rm(path, { force: true }),
  syncDirectory: async (path) => {
    const directory = await open(path, 'r');
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  },
};
