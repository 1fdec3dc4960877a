// The list of discarded writes beside the data, for whoever has to find out what is gone. Keys of users are in no log
// (architecture invariants); this file is as private as the data next to it.
import { appendFile, mkdir, rename, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { MIB } from '@atoll/core-runtime';

export const DISCARD_FILE = 'discarded.jsonl';
const FORMER_FILE = 'discarded.old.jsonl';
const FILE_BYTES_MAX = 16 * MIB;

export class DiscardFile {
  readonly path: string;
  readonly #bytesMax: number;

  /** `bytesMax`: a larger file becomes `discarded.old.jsonl`, in place of the one before. Default 16 MiB. */
  constructor(directory: string, bytesMax = FILE_BYTES_MAX) {
    this.path = resolve(directory, DISCARD_FILE);
    this.#bytesMax = bytesMax;
  }

  /** One line each. One call at a time. Rejects as the disk does. */
  async append(lines: readonly string[]): Promise<void> {
    await mkdir(dirname(this.path), { recursive: true });
    const bytes = await stat(this.path).then(({ size }) => size, () => 0);
    if (bytes > this.#bytesMax) await rename(this.path, resolve(dirname(this.path), FORMER_FILE));
    await appendFile(this.path, lines.map((line) => `${line}\n`).join(''));
  }
}
