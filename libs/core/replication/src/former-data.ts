// What a replica held when it was told to install another lineage: after a reset or an unclean recovery its writes may
// be gone (R15), and this is the last place where they can be read. So the data is set aside, not cleared, and compared
// with what takes its place, behind the install and in small steps. It is never served, and never overwrites (R1, R3).
//
//   held here   in its place            counts as
//   v7          nothing, or v6          discarded: nobody has that write any more
//   v7          v7                      kept
//   v7          v9, a newer one         superseded: in the old lineage, or since
//   v7, expired                         nothing
//
// A lost delete is not seen. A key that was kept by an unclean recovery and deleted since counts as discarded: what the
// lineage began with is not known here.
import { compareHash, type Hash64 } from '@atoll/core-runtime';
import type { Generation } from '@atoll/core-membership';
import { FIRST_HASH, compareVersion, isExpired, type EntryVersion, type PartitionStore, type TakenEntry } from '@atoll/core-store';

/** Of the writes that are gone so many are named, and keys of so many bytes altogether (I10). */
export const DISCARDED_LISTED_MAX = 1000;
export const DISCARDED_KEY_BYTES_MAX = 256 * 1024;

/** A write that is gone. */
export interface DiscardedEntry {
  readonly key: Buffer;
  readonly version: EntryVersion;
  /** What the entry cost its account. */
  readonly bytes: number;
  /** False: it is not known whether it is gone everywhere. */
  readonly isCompared: boolean;
}

/** What became of the entries that a replica held of another lineage. Each entry is counted once. */
export interface DiscardReport {
  /** Of what was held. */
  readonly generation: Generation;
  readonly discarded: number;
  readonly superseded: number;
  readonly kept: number;
  /** Gone from here without being compared: expired ones included, and perhaps held elsewhere. */
  readonly unknown: number;
  /** The first of those that are discarded or unknown, in no order. */
  readonly listed: readonly DiscardedEntry[];
}

export class FormerData {
  readonly generation: Generation;
  readonly #store: PartitionStore;
  #next: Hash64 | undefined = FIRST_HASH;
  #discarded = 0;
  #superseded = 0;
  #kept = 0;
  #unknown = 0;
  readonly #listed: DiscardedEntry[] = [];
  #listedKeyBytes = 0;

  /** The store is this object's from now on. */
  constructor(options: { store: PartitionStore; generation: Generation }) {
    this.#store = options.store;
    this.generation = options.generation;
  }

  /** Nothing is left to compare. */
  get isDone(): boolean {
    return this.#next === undefined;
  }

  /**
   * Compares up to `entriesMax` entries below `to` (undefined: all) with what `store` has now, and gives their memory
   * back. Returns false when there is nothing more to compare below `to`. `timeMs`: the partition's time (R23).
   */
  compare(store: PartitionStore, to: Hash64 | undefined, limits: { readonly entriesMax: number; readonly timeMs: number }): boolean {
    if (this.#next === undefined || (to !== undefined && compareHash(this.#next, to) >= 0)) return false;
    const { entries, next } = this.#store.takeRange(this.#next, to, limits.entriesMax);
    for (const entry of entries) this.#judge(entry, store.peekState(entry.key, entry.hash)?.version, limits.timeMs);
    this.#next = next ?? to;
    return next !== undefined;
  }

  /** Gives back what is left: nobody compares it any more. Some of it is named. */
  giveUp(): void {
    this.#unknown += this.#store.entryCount;
    if (this.#next !== undefined) for (const entry of this.#store.takeRange(this.#next, undefined, DISCARDED_LISTED_MAX).entries) this.#list(entry, false);
    this.#next = undefined;
    this.#store.close();
  }

  report(): DiscardReport {
    const { generation } = this;
    return { generation, discarded: this.#discarded, superseded: this.#superseded, kept: this.#kept, unknown: this.#unknown, listed: this.#listed };
  }

  #judge(held: TakenEntry, present: EntryVersion | undefined, timeMs: number): void {
    if (isExpired(held.expiresAtMs, timeMs)) return;
    const order = present === undefined ? -1 : compareVersion(present, held.version);
    if (order === 0) this.#kept += 1;
    else if (order > 0) this.#superseded += 1;
    else {
      this.#discarded += 1;
      this.#list(held, true);
    }
  }

  #list({ key, version, bytes }: TakenEntry, isCompared: boolean): void {
    if (this.#listed.length >= DISCARDED_LISTED_MAX || this.#listedKeyBytes + key.length > DISCARDED_KEY_BYTES_MAX) return;
    this.#listedKeyBytes += key.length;
    this.#listed.push({ key, version, bytes, isCompared });
  }
}
