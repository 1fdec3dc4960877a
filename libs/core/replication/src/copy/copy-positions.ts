import { COPY_POSITION_BYTES, decodeCopyPosition, encodeCopyPosition, type CopyPosition } from './copy-position.ts';

/**
 * The origins that a partition of a copy holds, by partition of the source (R37): replicated state, moved by entries of the
 * log alone. At most 4096 of them: one when the copy has at least as many partitions as its source.
 */
export class CopyPositions {
  /** With the seq of this partition's log at which each came to be. */
  readonly #bySource = new Map<number, { readonly position: CopyPosition; readonly seq: number }>();

  get isEmpty(): boolean {
    return this.#bySource.size === 0;
  }

  /** Whether it was a copy and is none any more: nothing is taken from a source again. */
  get isEnded(): boolean {
    return this.#bySource.get(0)?.position.phase === 'ENDED';
  }

  get(source: number): CopyPosition | undefined {
    return this.#bySource.get(source)?.position;
  }

  /** As the entry `seq` of the log says; an earlier word than what is held changes nothing. */
  set(position: CopyPosition, seq: number): void {
    if (this.isEnded) return;
    if (position.phase === 'ENDED') this.clear();
    if (seq >= (this.#bySource.get(position.source)?.seq ?? 0)) this.#bySource.set(position.source, { position, seq });
  }

  clear(): void {
    this.#bySource.clear();
  }

  /** For snapshots and checkpoints. */
  encode(): Buffer {
    const bytes = Buffer.allocUnsafe(this.#bySource.size * COPY_POSITION_BYTES);
    let at = 0;
    for (const { position } of this.#bySource.values()) at = encodeCopyPosition(position, bytes, at);
    return bytes;
  }

  /**
   * Takes in what another replica holds at `seq`. The log that runs beside an install may be ahead of it here, for some of them:
   * what came with later entries stays. Throws RangeError on damage.
   */
  load(bytes: Buffer, seq: number): void {
    if (bytes.length % COPY_POSITION_BYTES !== 0) throw new RangeError(`${bytes.length} bytes are no positions of a copy`);
    for (let at = 0; at < bytes.length; at += COPY_POSITION_BYTES) this.set(decodeCopyPosition(bytes, at), seq);
  }
}
