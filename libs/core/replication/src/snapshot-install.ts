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
// What is still to come may be split into sub-ranges that are filled side by side, each in its own order. Nothing in the
// above minds which sub-range a chunk is of: a tombstone goes with the chunk that covers its key, and no sooner.
//
//   1. the rest is split into [0, m) and [m, end)
//   2. the receiver applies seq 12 from the log: delete k of [m, end)
//   3. [0, m) is done
//   4. the chunk with k comes, read at seq 10: the tombstone of 12 must still be there (I7)
//
// A chunk may be read on any whole replica of the lineage that has applied the log up to where the install's log begins:
// what is applied is committed (R19), and two replicas at one applied seq hold the same (I6), so the chunk says what the
// leader held at that seq, and all that came later is in the log that runs beside it.
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

/** Key hashes that no chunk has covered yet, `to` undefined: up to the end. */
export interface MissingRange {
  readonly from: Hash64;
  readonly to: Hash64 | undefined;
}

/** Sub-ranges into which an install may be split, at most. */
export const INSTALL_RANGES_MAX = 64;

const FIRST_HASH: Hash64 = { high: 0, low: 0 };

/** What a chunk has to bring to an install: the log that runs beside it brings all that is above `logSeq`. */
export function chunkEntries<Entry extends Pick<StoredEntry, 'version'>>(entries: readonly Entry[], logSeq: number): readonly Entry[] {
  return entries.every(({ version }) => version.seq <= logSeq) ? entries : entries.filter(({ version }) => version.seq <= logSeq);
}

export class SnapshotInstall {
  readonly #store: PartitionStore;
  readonly #tombstones = new Map<string, Tombstone>();
  #expiries: ExpiryMark[] = [];
  /** What is still to come, in order and apart from each other; empty when every chunk is in. */
  #missing: readonly MissingRange[] = [{ from: FIRST_HASH, to: undefined }];
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

  /** First key hash that is still to come: all below it is there; undefined when every chunk is in. */
  get next(): Hash64 | undefined {
    return this.#missing[0]?.from;
  }

  /** Sub-ranges that are still to come, in order. */
  get missing(): readonly MissingRange[] {
    return this.#missing;
  }

  /** Share of the key hashes that is there, 0 to 1. */
  get progress(): number {
    return Math.max(0, 1 - this.#missing.reduce((sum, range) => sum + widthOf(range), 0) / HASH_SPAN);
  }

  /**
   * Splits what is still to come into at least `count` sub-ranges, the widest ones first, at most INSTALL_RANGES_MAX. What
   * is on its way for one that is cut short is taken up to the cut.
   */
  split(count: number): void {
    const ranges = [...this.#missing];
    while (ranges.length > 0 && ranges.length < Math.min(count, INSTALL_RANGES_MAX)) {
      const index = ranges.reduce((widest, range, at) => (widthOf(range) > widthOf(ranges[widest]!) ? at : widest), 0);
      const { from, to } = ranges[index]!;
      const middle = middleOf(from, to);
      if (middle === undefined) break;
      ranges.splice(index, 1, { from, to: middle }, { from: middle, to });
    }
    this.#missing = ranges;
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
    return this.#missing.length === 0 && appliedSeq >= this.#readSeqMax;
  }

  /**
   * Takes a chunk, as far as its sub-range reaches. Returns false, with nothing changed, when it is the next one of none
   * (a repeated or overtaken chunk), or was read too early.
   */
  takeChunk(chunk: SnapshotChunk): boolean {
    const index = this.#missing.findIndex(({ from }) => compareHash(from, chunk.from) === 0);
    const range = this.#missing[index];
    if (range === undefined || chunk.readSeq < this.logSeq) return false;
    const covered: MissingRange = { from: chunk.from, to: earlier(chunk.to, range.to) };
    this.#store.removeRange(covered.from, covered.to, (version) => version.seq <= this.logSeq);
    for (const entry of chunk.entries) {
      const hash = keyHash(entry.key);
      if (!isWithin(hash, covered) || this.#isOutdated(entry, hash)) continue;
      this.#store.put({ key: entry.key, hash, value: entry.value, version: entry.version, expiresAtMs: entry.expiresAtMs });
      this.#entryCount += 1;
    }
    const isOver = covered.to === undefined || (range.to !== undefined && compareHash(covered.to, range.to) >= 0);
    this.#missing = this.#missing.toSpliced(index, 1, ...(isOver ? [] : [{ from: covered.to, to: range.to }]));
    this.#readSeqMax = Math.max(this.#readSeqMax, chunk.readSeq);
    for (const [key, { hash }] of this.#tombstones) if (isWithin(hash, covered)) this.#tombstones.delete(key);
    this.#expiries = this.#expiries.filter((mark) => this.#missing.some((each) => doOverlap(mark, each)));
    return true;
  }

  /** Applies a log entry to the half-installed store. */
  applyEntry(entry: LogEntry, generation: number): void {
    for (const key of entry.evicted) this.#remove(key, entry.seq);
    const { operation } = entry;
    switch (operation.kind) {
      case 'put': {
        const hash = keyHash(operation.key);
        const present = this.#store.peekState(operation.key, hash);
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
        if (this.#missing.some((range) => doOverlap(operation, range))) this.#expiries.push({ ...operation, seq: entry.seq });
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
    const present = this.#store.peekState(key, hash);
    if (present !== undefined && present.version.seq >= seq) return;
    this.#store.delete(key, hash);
    this.#mark(key, hash, seq);
  }

  /** No chunk that is still to come may bring back anything of the key that is older than `seq`. */
  #mark(key: Uint8Array, hash: Hash64, seq: number): void {
    if (this.#missing.some((range) => isWithin(hash, range))) this.#tombstones.set(toKeyText(key), { hash, seq });
  }

  #isOutdated(entry: StoredEntry, hash: Hash64): boolean {
    const present = this.#store.peekState(entry.key, hash);
    if (present !== undefined && present.version.seq >= entry.version.seq) return true;
    const tombstone = this.#tombstones.size === 0 ? undefined : this.#tombstones.get(toKeyText(entry.key));
    if (tombstone !== undefined && tombstone.seq > entry.version.seq) return true;
    return this.#expiries.some(
      (mark) =>
        mark.seq > entry.version.seq &&
        entry.expiresAtMs > 0 &&
        entry.expiresAtMs <= mark.watermarkMs &&
        isWithin(hash, mark),
    );
  }
}

const HASH_SPAN = 2 ** 64;
const HALF_SPAN = 2 ** 32;

/** About, as a number: a double tells hashes apart by their upper 53 bits. */
const numberOf = ({ high, low }: Hash64): number => high * HALF_SPAN + low;

const widthOf = ({ from, to }: MissingRange): number => (to === undefined ? HASH_SPAN : numberOf(to)) - numberOf(from);

const isWithin = (hash: Hash64, { from, to }: MissingRange): boolean => compareHash(hash, from) >= 0 && (to === undefined || compareHash(hash, to) < 0);

const doOverlap = (a: MissingRange, b: MissingRange): boolean => isBelow(a.from, b.to) && isBelow(b.from, a.to);

const isBelow = (hash: Hash64, end: Hash64 | undefined): boolean => end === undefined || compareHash(hash, end) < 0;

const earlier = (a: Hash64 | undefined, b: Hash64 | undefined): Hash64 | undefined => (a === undefined || (b !== undefined && compareHash(b, a) < 0) ? b : a);

/** Between the two by the upper halves; undefined where these are too close, which is where a few keys are left. */
function middleOf(from: Hash64, to: Hash64 | undefined): Hash64 | undefined {
  const high = Math.floor((from.high + (to?.high ?? HALF_SPAN)) / 2);
  return high > from.high ? { high, low: 0 } : undefined;
}
