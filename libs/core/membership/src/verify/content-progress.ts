// Which sub-ranges of two replicas were found to hold the same, entry by entry, while clients write (R34). Two readings of
// a sub-range can be compared when both show the same versions: then they are of one state, and any other difference is
// one of content. A sub-range that is written to all the time is hardly ever read in one state on both; it is cut into
// finer ones, most of which stand still, and what is left of it is read at a marker.

/** What a replica told of one sub-range. */
export interface RangeReading {
  readonly range: number;
  /** A write came in between: it is of no one state. */
  readonly unsettled: boolean;
  /** Over key hash, version and expiry. */
  readonly versions: bigint;
  /** Over key, value, version and expiry. */
  readonly content: bigint;
  readonly entries: number;
  readonly bytes: number;
}

export class ContentProgress {
  /** Leaves, and in how many sub-ranges the key hashes are cut beyond them. */
  readonly #counts: readonly number[];
  #level = 0;
  #outstanding: readonly number[];
  readonly #different = new Set<number>();
  /** By leaf, what was found equal. */
  readonly #found = new Map<number, { entries: number; equal: number }>();

  /** `leaves`: which are compared. `counts`: 64, and multiples of each other, ascending. */
  constructor(leaves: readonly number[], counts: readonly number[]) {
    this.#outstanding = [...leaves];
    this.#counts = counts;
  }

  /** In how many sub-ranges the key hashes are cut now. */
  get rangeCount(): number {
    return this.#counts[this.#level]!;
  }

  /** Sub-ranges, ascending, of which nothing is known yet. */
  get outstanding(): readonly number[] {
    return this.#outstanding;
  }

  /** Leaves, ascending, that hold something else in one state. */
  get different(): readonly number[] {
    return [...this.#different].sort((one, other) => one - other);
  }

  /** Entries of the leader that were found equal, but for those of different leaves. */
  get entries(): number {
    return this.#sum('entries');
  }

  /** How much was found equal, in the finest sub-ranges, but for different leaves. */
  get equal(): number {
    return this.#sum('equal');
  }

  /** Two readings of the same sub-ranges; `isOneState`: of one state whatever the versions, as at a marker. Returns how many were decided. */
  take(leader: readonly RangeReading[], target: readonly RangeReading[], isOneState = false): number {
    const its = new Map(target.map((reading) => [reading.range, reading]));
    const decided = new Set<number>();
    for (const mine of leader) {
      const other = its.get(mine.range);
      if (other === undefined || mine.unsettled || other.unsettled || (mine.versions !== other.versions && !isOneState)) continue;
      decided.add(mine.range);
      if (mine.versions === other.versions && mine.content === other.content && mine.entries === other.entries && mine.bytes === other.bytes) {
        const found = this.#found.get(this.#leafOf(mine.range)) ?? { entries: 0, equal: 0 };
        this.#found.set(this.#leafOf(mine.range), { entries: found.entries + mine.entries, equal: found.equal + this.#counts.at(-1)! / this.rangeCount });
      } else this.#different.add(this.#leafOf(mine.range));
    }
    this.#outstanding = this.#outstanding.filter((range) => !decided.has(range) && !this.#different.has(this.#leafOf(range)));
    return decided.size;
  }

  /** Cuts what is outstanding into finer sub-ranges; false when there are none. */
  refine(): boolean {
    if (this.#level + 1 >= this.#counts.length) return false;
    const parts = this.#counts[this.#level + 1]! / this.rangeCount;
    this.#outstanding = this.#outstanding.flatMap((range) => Array.from({ length: parts }, (_, part) => range * parts + part));
    this.#level += 1;
    return true;
  }

  #sum(what: 'entries' | 'equal'): number {
    let sum = 0;
    for (const [leaf, found] of this.#found) if (!this.#different.has(leaf)) sum += found[what];
    return sum;
  }

  #leafOf(range: number): number {
    return Math.floor(range / (this.rangeCount / this.#counts[0]!));
  }
}
