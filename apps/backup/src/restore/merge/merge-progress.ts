// How far a merge is: which partitions of the archive are done, and where it is in those that are begun. They are begun in their order, so
// one number and a few places say it all, and fit into the record of the job however many partitions there are.
import type { Hash64 } from '@atoll/core-runtime';
import { FIRST_HASH, type MergeOutcome } from '@atoll/core-store';

/** Entries of the archive by what became of them. */
export type MergeCounts = Readonly<Record<MergeOutcome, number>>;

/** As the record has it. */
export interface MergeNotes {
  /** Partitions that were begun, in their order. */
  readonly begun: number;
  /** Those of them that are not done, by their place in that order, and the next key hash of each in 16 hex digits. */
  readonly open: readonly (readonly [number, string])[];
  /** Written, kept, same, expired. */
  readonly counts: readonly [number, number, number, number];
}

/** A keyspace that is there and is kept, as the record has it. */
export interface PartMerge {
  /** One that was made again is not gone on with. */
  readonly keyspaceId: string;
  readonly partitions: number;
  /** It is the keyspace that was archived: versions tell which entry is newer. */
  readonly isArchived: boolean;
  readonly notes: MergeNotes;
}

export const NO_MERGES: MergeNotes = { begun: 0, open: [], counts: [0, 0, 0, 0] };

export const countsOf = ({ counts: [written, kept, same, expired] }: MergeNotes): MergeCounts => ({ written, kept, same, expired });

/** A partition to go on with. */
export interface MergePiece {
  readonly index: number;
  readonly from: Hash64;
}

export class MergeProgress {
  readonly #total: number;
  readonly #waiting: MergePiece[];
  readonly #open: Map<number, Hash64>;
  #begun: number;
  #counts: Record<MergeOutcome, number>;

  constructor(total: number, notes: MergeNotes = NO_MERGES) {
    this.#total = total;
    this.#begun = notes.begun;
    this.#counts = { ...countsOf(notes) };
    this.#waiting = notes.open.map(([index, hash]) => ({ index, from: { high: Number.parseInt(hash.slice(0, 8), 16), low: Number.parseInt(hash.slice(8), 16) } }));
    this.#open = new Map(this.#waiting.map(({ index, from }) => [index, from]));
  }

  /** The next partition to work on: first those that were begun before. Undefined: all are begun. */
  take(): MergePiece | undefined {
    const waiting = this.#waiting.shift();
    if (waiting !== undefined) return waiting;
    if (this.#begun === this.#total) return undefined;
    const piece = { index: this.#begun, from: FIRST_HASH };
    this.#begun += 1;
    this.#open.set(piece.index, piece.from);
    return piece;
  }

  /** All up to `next` came to an end, as `counts` says; undefined: the partition is done. */
  advance(index: number, next: Hash64 | undefined, counts: Partial<MergeCounts>): void {
    if (next === undefined) this.#open.delete(index);
    else this.#open.set(index, next);
    for (const outcome of ['written', 'kept', 'same', 'expired'] as const) this.#counts[outcome] += counts[outcome] ?? 0;
  }

  get counts(): MergeCounts {
    return this.#counts;
  }

  get done(): number {
    return this.#begun - this.#open.size;
  }

  get total(): number {
    return this.#total;
  }

  get notes(): MergeNotes {
    const { written, kept, same, expired } = this.#counts;
    return { begun: this.#begun, open: [...this.#open].map(([index, hash]) => [index, toHex(hash)] as const), counts: [written, kept, same, expired] };
  }
}

const toHex = ({ high, low }: Hash64): string => high.toString(16).padStart(8, '0') + low.toString(16).padStart(8, '0');
