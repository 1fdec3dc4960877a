// A snapshot that replaces (R33). The leader sends sub-ranges of its entries in key-hash order, each as it stands
// at some applied seq of the leader, while the log runs beside them at the receiver. Both may know an entry, in
// either order, so whatever is newer stands, and until the last chunk is in, removals leave tombstones:
//
//   1. the leader reads chunk [a, b) at seq 10: key k as written by seq 7
//   2. the receiver applies seq 12 from the log: delete k
//   3. the chunk arrives: without a tombstone of 12 it would bring k back (I7)
//
// What was written behind the log's start comes by the log alone, so chunks leave it out: however fast clients write, no
// more is to be sent than the partition held when the install was ordered.
//
// The receiver's state equals the leader's as soon as all chunks are in and the log is applied up to the highest
// seq at which one of them was read.
import { compareHash, keyHash, type Hash64 } from '@atoll/core-runtime';
import type { PartitionStore, StoredEntry } from '@atoll/core-store';
import type { LogEntry } from './log-entry.ts';
import { toKeyText } from './uncommitted.ts';

export interface SnapshotChunk {
  readonly from: Hash64;
  /** Undefined in the last chunk. */
  readonly to: Hash64 | undefined;
  /** The leader's applied seq when it read the sub-range. */
  readonly readSeq: number;
  readonly entries: readonly StoredEntry[];
}

interface Tombstone {
  readonly hash: Hash64;
  readonly seq: number;
}

interface ExpiryMark {
  readonly from: Hash64;
  readonly to: Hash64 | undefined;
  readonly watermarkMs: number;
  readonly seq: number;
}

const FIRST_HASH: Hash64 = { high: 0, low: 0 };

/** What a chunk has to bring to an install: the log that runs beside it brings all that is above `logSeq`. */
export function chunkEntries<Entry extends Pick<StoredEntry, 'version'>>(entries: readonly Entry[], logSeq: number): readonly Entry[] {
  return entries.every(({ version }) => version.seq <= logSeq) ? entries : entries.filter(({ version }) => version.seq <= logSeq);
}

export class SnapshotInstall {
  readonly #store: PartitionStore;
  readonly #tombstones = new Map<string, Tombstone>();
  #expiries: ExpiryMark[] = [];
  /** First key hash that is still to come; undefined when every chunk is in. */
  #next: Hash64 | undefined = FIRST_HASH;
  #readSeqMax: number;
  /** Every entry above it comes by the log; the store holds none of them yet when the install begins. */
  readonly logSeq: number;
  #entryCount = 0;

  /**
   * `logSeq`: chunks that were read before it are not taken, since the log that runs beside them begins behind it.
   *
   *   1. the leader orders an install, the log goes on behind 40
   *   2. a chunk arrives that was read at 35: by a new leader that has not applied more yet, or for an earlier install
   *   3. entries 36 to 40 would be neither in the chunk nor in the log
   */
  constructor(store: PartitionStore, logSeq = 0) {
    this.#store = store;
    this.#readSeqMax = logSeq;
    this.logSeq = logSeq;
  }

  get next(): Hash64 | undefined {
    return this.#next;
  }

  /** Entries taken from chunks so far. */
  get entryCount(): number {
    return this.#entryCount;
  }

  /** The store may hold entries up to this seq, whatever is applied of the log. */
  get readSeqMax(): number {
    return this.#readSeqMax;
  }

  /** Whether the state equals the leader's at `appliedSeq`. */
  isComplete(appliedSeq: number): boolean {
    return this.#next === undefined && appliedSeq >= this.#readSeqMax;
  }

  /**
   * Takes a chunk. Returns false, with nothing changed, when it is not the next one (a repeated or overtaken chunk), or
   * was read too early.
   */
  takeChunk(chunk: SnapshotChunk): boolean {
    if (this.#next === undefined || compareHash(chunk.from, this.#next) !== 0 || chunk.readSeq < this.logSeq) return false;
    this.#store.removeRange(chunk.from, chunk.to, (version) => version.seq <= this.logSeq);
    for (const entry of chunk.entries) {
      const hash = keyHash(entry.key);
      if (this.#isOutdated(entry, hash)) continue;
      this.#store.put({ key: entry.key, hash, value: entry.value, version: entry.version, expiresAtMs: entry.expiresAtMs });
      this.#entryCount += 1;
    }
    this.#next = chunk.to;
    this.#readSeqMax = Math.max(this.#readSeqMax, chunk.readSeq);
    for (const [key, tombstone] of this.#tombstones) {
      if (chunk.to === undefined || compareHash(tombstone.hash, chunk.to) < 0) this.#tombstones.delete(key);
    }
    this.#expiries = this.#expiries.filter((mark) => this.#next !== undefined && (mark.to === undefined || compareHash(mark.to, this.#next) > 0));
    return true;
  }

  /** Applies a log entry to the half-installed store. */
  applyEntry(entry: LogEntry, generation: number): void {
    for (const key of entry.evicted) this.#remove(key, entry.seq);
    const { operation } = entry;
    switch (operation.kind) {
      case 'put': {
        const hash = keyHash(operation.key);
        const present = this.#store.peek(operation.key, hash);
        if (present !== undefined && present.version.seq >= entry.seq) return;
        // An expiry record removes it without naming it: what it replaced must not come back then.
        if (operation.expiresAtMs > 0) this.#mark(operation.key, hash, entry.seq);
        else this.#tombstones.delete(toKeyText(operation.key));
        const version = { generation, epoch: entry.epoch, seq: entry.seq };
        this.#store.put({ key: operation.key, hash, value: operation.value, version, expiresAtMs: operation.expiresAtMs });
        return;
      }
      case 'delete':
        this.#remove(operation.key, entry.seq);
        return;
      case 'expire':
        this.#store.removeExpired(operation.from, operation.to, operation.watermarkMs);
        if (this.#next !== undefined) this.#expiries.push({ ...operation, seq: entry.seq });
        return;
      case 'office':
      case 'marker':
      case 'unchanged':
      case 'fence':
      case 'copied':
    }
  }

  #remove(key: Uint8Array, seq: number): void {
    const hash = keyHash(key);
    const present = this.#store.peek(key, hash);
    if (present !== undefined && present.version.seq >= seq) return;
    this.#store.delete(key, hash);
    this.#mark(key, hash, seq);
  }

  /** No chunk that is still to come may bring back anything of the key that is older than `seq`. */
  #mark(key: Uint8Array, hash: Hash64, seq: number): void {
    if (this.#next !== undefined && compareHash(hash, this.#next) >= 0) this.#tombstones.set(toKeyText(key), { hash, seq });
  }

  #isOutdated(entry: StoredEntry, hash: Hash64): boolean {
    const present = this.#store.peek(entry.key, hash);
    if (present !== undefined && present.version.seq >= entry.version.seq) return true;
    const tombstone = this.#tombstones.get(toKeyText(entry.key));
    if (tombstone !== undefined && tombstone.seq > entry.version.seq) return true;
    return this.#expiries.some(
      (mark) =>
        mark.seq > entry.version.seq &&
        entry.expiresAtMs > 0 &&
        entry.expiresAtMs <= mark.watermarkMs &&
        compareHash(hash, mark.from) >= 0 &&
        (mark.to === undefined || compareHash(hash, mark.to) < 0),
    );
  }
}
