// Since when a partition of a copy has the results of all writes to its source, by op id (R21, R37): changes come with the op ids of
// the writes that made them, so its own table is filled by them. A write that is sent first at some moment behind the first batch of
// an office was appended at the source behind what that batch had read, and comes with a later one:
//
//   batch 1 is read at the source -> its place is in the copy's log, at the copy's time t -> the write is sent first
//   -> it is in the source's log -> it comes with a batch behind batch 1, and is stamped later than t here
//
// Times are those of the copy's partition alone. Nothing of it outlives an office: the next leader knows of its own.
import type { CopyPosition } from './copy-position.ts';
import type { CopyPositions } from './copy-positions.ts';

/** A time that is raised by more, in ms, when the copy ends, to that of the source, is another one than rows were stamped by. */
const RAISED_MS_MAX = 250;

export class CopiedResults {
  /** By partition of the source: the stamp of the first batch in this office. */
  readonly #since = new Map<number, number>();

  /** A batch was taken, and the entry with its place is stamped so; `isComplete`: changes of the log came with their op ids. */
  onBatch({ source, phase }: CopyPosition, stampMs: number, isComplete: boolean): void {
    if (!isComplete || phase === 'EMPTYING') this.#since.delete(source);
    else if (!this.#since.has(source)) this.#since.set(source, stampMs);
  }

  /** 0 where of some writes nothing is known but from the end of the copy on. */
  sinceMs(copies: CopyPositions, raisedMs: number): number {
    const sources = copies.sources();
    const known = sources.flatMap((source) => this.#since.get(source) ?? []);
    return raisedMs > RAISED_MS_MAX || known.length < sources.length || known.length === 0 ? 0 : Math.max(...known) + raisedMs;
  }
}
