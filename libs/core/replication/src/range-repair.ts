// A sub-range of a replica that is found to differ is installed again while the replica goes on (R34, R33). The leader
// sends chunks of the sub-range, each as it stood at some applied seq of the leader; the log runs beside them. Unlike a
// first install the replica is whole, may be read, and must stay equal to the log at its applied seq outside of what is
// wrong. So a chunk is held until the replica has applied what the chunk shows, and is then taken in one step:
//
//   1. the repair begins at applied 7, and notes from then on which keys of the sub-range the log touches
//   2. the leader reads the chunk at 10; the replica gets it at 8 and holds it
//   3. applied 10: what the chunk covers is replaced by it
//   or 2'. the replica gets it at 12: keys that 11 and 12 touched stay as they are, all else is replaced
//
// A state at one seq is the same whoever leads (I2), so the chunk is right also if the leader changes in between.
import { compareHash, keyHash, type Hash64 } from '@atoll/core-runtime';
import type { EntryVersion, PartitionStore, StoredEntry } from '@atoll/core-store';
import type { LogEntry } from './log-entry.ts';
import type { SnapshotChunk } from './snapshot-install.ts';
import { toKeyText } from './uncommitted.ts';

/** Keys that the log may touch in the sub-range during its repair; beyond that the repair is given up (I10). */
export const TOUCHED_MAX = 100_000;

interface ExpiryMark {
  readonly from: Hash64;
  readonly to: Hash64 | undefined;
  readonly watermarkMs: number;
  readonly seq: number;
}

export class RangeRepair {
  readonly #store: PartitionStore;
  readonly #to: Hash64 | undefined;
  readonly #startSeq: number;
  readonly #generation: number;
  /** Seq of the last entry of the log that touched a key of [next, to). */
  readonly #touched = new Map<string, { readonly hash: Hash64; readonly seq: number }>();
  #expiries: ExpiryMark[] = [];
  #next: Hash64 | undefined;
  #held: { readonly chunk: SnapshotChunk; readonly onTaken: () => void } | undefined;
  #isOverrun = false;
  #entryCount = 0;
  #bytes = 0;

  /** `appliedSeq` is that of the replica now: chunks that were read before it are not taken. */
  constructor(options: { store: PartitionStore; from: Hash64; to: Hash64 | undefined; appliedSeq: number; generation: number }) {
    this.#store = options.store;
    this.#next = options.from;
    this.#to = options.to;
    this.#startSeq = options.appliedSeq;
    this.#generation = options.generation;
  }

  /** First key hash that is still to come; undefined when the sub-range is done. */
  get next(): Hash64 | undefined {
    return this.#next;
  }

  /** Entries taken from chunks so far. */
  get entryCount(): number {
    return this.#entryCount;
  }

  /** Bytes of their keys and values. */
  get bytes(): number {
    return this.#bytes;
  }

  /** More was written meanwhile than can be noted: begin again. */
  get isOverrun(): boolean {
    return this.#isOverrun;
  }

  /**
   * Hands a chunk over; `onTaken` is called when it is in the store. Returns false, with nothing changed, when it is not
   * the next one, was read too early, or another one is held.
   */
  offer(chunk: SnapshotChunk, appliedSeq: number, onTaken: () => void): boolean {
    const isNext = this.#next !== undefined && compareHash(chunk.from, this.#next) === 0;
    if (!isNext || this.#isOverrun || this.#held !== undefined || chunk.readSeq < this.#startSeq) return false;
    this.#held = { chunk, onTaken };
    this.settle(appliedSeq);
    return true;
  }

  /** The store has all entries up to `appliedSeq`. */
  settle(appliedSeq: number): void {
    const held = this.#held;
    if (held === undefined || held.chunk.readSeq > appliedSeq) return;
    this.#held = undefined;
    if (this.#isOverrun) return;
    this.#take(held.chunk, appliedSeq);
    held.onTaken();
  }

  /** The log's entry was, or is about to be, applied. */
  noteEntry(entry: LogEntry): void {
    for (const key of entry.evicted) this.#touch(key, entry.seq);
    const { operation } = entry;
    if (operation.kind === 'put' || operation.kind === 'delete') this.#touch(operation.key, entry.seq);
    else if (operation.kind === 'expire') this.#expiries.push({ ...operation, seq: entry.seq });
    if (this.#touched.size + this.#expiries.length > TOUCHED_MAX) this.#isOverrun = true;
  }

  #touch(key: Uint8Array, seq: number): void {
    const hash = keyHash(key);
    if (this.#next === undefined || compareHash(hash, this.#next) < 0) return;
    if (this.#to !== undefined && compareHash(hash, this.#to) >= 0) return;
    this.#touched.set(toKeyText(key), { hash, seq });
  }

  #take(chunk: SnapshotChunk, appliedSeq: number): void {
    const { from, readSeq } = chunk;
    const to = chunk.to ?? this.#to;
    const isNewer = ({ generation, seq }: EntryVersion): boolean => generation === this.#generation && seq > readSeq && seq <= appliedSeq;
    this.#store.removeRange(from, to, (version) => !isNewer(version));
    for (const entry of chunk.entries) {
      const hash = keyHash(entry.key);
      if (this.#isOutdated(entry, hash, readSeq)) continue;
      this.#store.put({ key: entry.key, hash, value: entry.value, version: entry.version, expiresAtMs: entry.expiresAtMs });
      this.#entryCount += 1;
      this.#bytes += entry.key.length + entry.value.length;
    }
    const isLast = chunk.to === undefined || (this.#to !== undefined && compareHash(chunk.to, this.#to) >= 0);
    this.#next = isLast ? undefined : chunk.to;
    for (const [key, { hash }] of this.#touched) {
      if (this.#next === undefined || compareHash(hash, this.#next) < 0) this.#touched.delete(key);
    }
  }

  /** Whether the log did something to the key that the chunk does not know. */
  #isOutdated(entry: StoredEntry, hash: Hash64, readSeq: number): boolean {
    const touched = this.#touched.get(toKeyText(entry.key));
    if (touched !== undefined && touched.seq > readSeq) return true;
    return this.#expiries.some(
      (mark) =>
        mark.seq > readSeq &&
        entry.expiresAtMs > 0 &&
        entry.expiresAtMs <= mark.watermarkMs &&
        compareHash(hash, mark.from) >= 0 &&
        (mark.to === undefined || compareHash(hash, mark.to) < 0),
    );
  }
}
