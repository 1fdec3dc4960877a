import { statfs } from 'node:fs/promises';

export interface SpaceReading {
  /** Free for this process; NaN before the first answer of the file system. */
  readonly freeBytes: number;
  readonly bytes: number;
}

/**
 * The space of a file system, as it was when it was last asked: each reading asks for the next one. A disk that does not
 * answer keeps nobody waiting: the thread that answers heartbeats reads this.
 */
export class DiskSpace {
  readonly #directory: string;
  #last: SpaceReading = { freeBytes: NaN, bytes: NaN };
  #isAsking = false;

  constructor(directory: string) {
    this.#directory = directory;
    this.#ask();
  }

  read(): SpaceReading {
    this.#ask();
    return this.#last;
  }

  #ask(): void {
    if (this.#isAsking) return;
    this.#isAsking = true;
    const settle = (reading: SpaceReading): void => {
      this.#last = reading;
      this.#isAsking = false;
    };
    statfs(this.#directory).then(
      ({ bavail, blocks, bsize }) => settle({ freeBytes: bavail * bsize, bytes: blocks * bsize }),
      () => settle({ freeBytes: NaN, bytes: NaN }),
    );
  }
}
