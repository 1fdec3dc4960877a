import { COPY_POSITION_BYTES, decodeCopyPosition, encodeCopyPosition, isTurn, type CopyPosition } from './copy-position.ts';

interface Held {
  readonly position: CopyPosition;
  readonly seq: number;
}

/**
 * The origins that a partition of a copy holds, by partition of the source (R37): replicated state, moved by entries of the
 * log alone. At most 4096 of them: one when the copy has at least as many partitions as its source. Those of a copy that ended
 * stay: they tell its former source what came from there.
 */
export class CopyPositions {
  /** With the seq of this partition's log at which each came to be. */
  readonly #bySource = new Map<number, Held>();
  /** The latest end, or the latest time that a keyspace became a copy again. */
  #turn: CopyPosition | undefined;

  get isEmpty(): boolean {
    return this.#bySource.size === 0 && this.#turn === undefined;
  }

  /** Whether it was a copy and is none any more: nothing is taken from a source again, unless it becomes a copy again. */
  get isEnded(): boolean {
    return this.#turn?.phase === 'ENDED';
  }

  /** Whether only what comes from a source may be written here. */
  get isOpen(): boolean {
    return !this.isEmpty && !this.isEnded;
  }

  /** Number of the copy that it is; 0 for one that began with the keyspace, and where it is none. */
  get run(): number {
    return this.#turn?.phase === 'RESUMED' ? this.#turn.origin.seq : 0;
  }

  /** The number at which the latest copy ended, or became one again: what is told of it with a lower one is old. */
  get turnedAt(): number {
    return this.#turn?.origin.seq ?? 0;
  }

  /** The end of this partition's log when it became a copy again: entries from before then are none of the source's. */
  get resumedBehind(): number {
    return this.#turn?.phase === 'RESUMED' ? this.#turn.stampMs : 0;
  }

  get(source: number): CopyPosition | undefined {
    return this.isEnded ? undefined : this.#bySource.get(source)?.position;
  }

  /** How far the partition had what its source had, when the copy ended. */
  former(source: number): CopyPosition | undefined {
    return this.isEnded ? this.#bySource.get(source)?.position : undefined;
  }

  /** As the entry `seq` of the log says; an earlier word than what is held changes nothing. */
  set(position: CopyPosition, seq: number): void {
    if (isTurn(position)) this.#turnTo(position);
    else if (!this.isEnded) this.#keep(position, seq);
  }

  clear(): void {
    this.#bySource.clear();
    this.#turn = undefined;
  }

  /** Partitions of the source of which it has a place; none once the copy ended. */
  sources(): readonly number[] {
    return this.isEnded ? [] : [...this.#bySource.keys()];
  }

  /** For snapshots and checkpoints. */
  encode(): Buffer {
    const held = [...(this.#turn === undefined ? [] : [this.#turn]), ...Array.from(this.#bySource.values(), ({ position }) => position)];
    const bytes = Buffer.allocUnsafe(held.length * COPY_POSITION_BYTES);
    let at = 0;
    for (const position of held) at = encodeCopyPosition(position, bytes, at);
    return bytes;
  }

  /**
   * Takes in what another replica holds at `seq`. The log that runs beside an install may be ahead of it here, for some of them:
   * what came with later entries stays. Throws RangeError on damage.
   */
  load(bytes: Buffer, seq: number): void {
    if (bytes.length % COPY_POSITION_BYTES !== 0) throw new RangeError(`${bytes.length} bytes are no positions of a copy`);
    const positions = Array.from({ length: bytes.length / COPY_POSITION_BYTES }, (_, index) => decodeCopyPosition(bytes, index * COPY_POSITION_BYTES));
    const turn = positions.find(isTurn);
    // The log has come further: it became another copy, or none.
    if ((turn?.origin.seq ?? 0) < this.turnedAt) return;
    if (turn !== undefined) this.#turnTo(turn);
    for (const position of positions) if (!isTurn(position)) this.#keep(position, seq);
  }

  #turnTo(turn: CopyPosition): void {
    if (turn.origin.seq <= this.turnedAt && this.#turn !== undefined) return;
    this.#turn = turn;
    if (turn.phase === 'RESUMED') this.#bySource.clear();
  }

  #keep(position: CopyPosition, seq: number): void {
    if (seq >= (this.#bySource.get(position.source)?.seq ?? 0)) this.#bySource.set(position.source, { position, seq });
  }
}
