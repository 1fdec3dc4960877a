import { COPY_POSITION_BYTES, decodeCopyPosition, encodeCopyPosition, type CopyPosition } from './copy-position.ts';

/**
 * The origins that a partition of a copy holds, by partition of the source (R37): replicated state, moved by entries of the
 * log alone. At most 4096 of them: one when the copy has at least as many partitions as its source.
 */
export class CopyPositions {
  readonly #bySource = new Map<number, CopyPosition>();

  get isEmpty(): boolean {
    return this.#bySource.size === 0;
  }

  get(source: number): CopyPosition | undefined {
    return this.#bySource.get(source);
  }

  set(position: CopyPosition): void {
    this.#bySource.set(position.source, position);
  }

  clear(): void {
    this.#bySource.clear();
  }

  /** For snapshots and checkpoints. */
  encode(): Buffer {
    const bytes = Buffer.allocUnsafe(this.#bySource.size * COPY_POSITION_BYTES);
    let at = 0;
    for (const position of this.#bySource.values()) at = encodeCopyPosition(position, bytes, at);
    return bytes;
  }

  /** Takes the place of what is held. Throws RangeError on damage. */
  load(bytes: Buffer): void {
    if (bytes.length % COPY_POSITION_BYTES !== 0) throw new RangeError(`${bytes.length} bytes are no positions of a copy`);
    this.clear();
    for (let at = 0; at < bytes.length; at += COPY_POSITION_BYTES) this.set(decodeCopyPosition(bytes, at));
  }
}
