// Where entries live: a log of segments outside the JavaScript heap, shared by every partition of the node.
//
// New entries go to the end of the log. An overwritten or deleted entry leaves a hole; the cleaner takes the
// emptiest segment, copies what still lives to a segment of survivors, and gives the emptied one back.
// Rumble, Kejriwal, Ousterhout, "Log-structured Memory for DRAM-based Storage" (FAST 2014): any mix of sizes,
// also one that changes over time, is held at a chosen utilisation, where size classes keep what an earlier mix
// left them with. Unlike there, the log serves no durability: an entry of the same size is overwritten in place,
// and victims are chosen by their holes alone, not by their age; survivors lie apart from fresh entries, which separates cold
// from hot.
//
// Cleaning is paid by writes: each may copy at most CLEAN_BYTES_PER_BYTE times its own size. Should that not
// suffice, the log grows, its segments get emptier, and cleaning them gets cheaper until it does.
import { KIB } from '@atoll/core-runtime';
import { TWO_32, WORD_HASH_HIGH, WORD_HASH_LOW, WORD_OWNER, segmentBytesAt } from './entry-layout.ts';

/** Seven of the largest entries that lie inside fit into one segment. */
export const SEGMENT_BYTES = 512 * KIB;
/** A reference has 16 bits for the segment and 16 for the offset in units of 8 bytes. */
export const SEGMENTS_MAX = 65536;

/** Cleaning begins when less than this part of the segments lives ... */
const UTILISATION_MIN = 0.86;
/** ... and holes make up at least this part: the unused ends of segments full of large entries are not to be gained. */
const HOLES_MIN = 0.05;
const CLEAN_BYTES_PER_BYTE = 4;
/** Bound of what one call cleans; about half a millisecond. */
const CLEAN_BYTES_MAX = 256 * KIB;
/** What looking at one entry costs beside copying it, in bytes copied. */
const CLEAN_ENTRY_BYTES = 32;
/** Empty segments kept for the next need, as a part of those in use. */
const SPARE_PART = 1 / 64;
const SPARE_MIN = 1;

/** Who must learn that one of its entries moved. */
export interface EntryOwner {
  entryMoved(hashHigh: number, hashLow: number, from: number, to: number): void;
}

export class Segment {
  readonly id: number;
  readonly bytes: Buffer;
  readonly words: Uint32Array;
  /** End of the last entry; 0 <= liveBytes <= usedBytes <= SEGMENT_BYTES. */
  usedBytes = 0;
  liveBytes = 0;
  /** Sealed segments take no more entries and may be cleaned. */
  sealed = false;

  constructor(id: number) {
    this.id = id;
    this.bytes = Buffer.allocUnsafeSlow(SEGMENT_BYTES);
    this.words = new Uint32Array(this.bytes.buffer, this.bytes.byteOffset, SEGMENT_BYTES / 4);
  }
}

export class SegmentLog {
  /** By id; holes are ids without a segment. */
  readonly segments: (Segment | undefined)[] = [];
  readonly #owners: (EntryOwner | undefined)[] = [undefined];
  readonly #freeOwners: number[] = [];
  readonly #freeIds: number[] = [];
  readonly #spares: Segment[] = [];
  #fresh: Segment | undefined;
  #survivors: Segment | undefined;
  #victim: Segment | undefined;
  #victimAt = 0;
  #inUse = 0;
  #usedBytes = 0;
  #liveBytes = 0;
  #copiedBytes = 0;

  get liveBytes(): number {
    return this.#liveBytes;
  }

  get allocatedBytes(): number {
    return (this.#inUse + this.#spares.length) * SEGMENT_BYTES;
  }

  /** Bytes that the cleaner has copied so far. */
  get copiedBytes(): number {
    return this.#copiedBytes;
  }

  addOwner(owner: EntryOwner): number {
    const id = this.#freeOwners.pop() ?? this.#owners.length;
    this.#owners[id] = owner;
    return id;
  }

  /** The owner must have freed all its entries. */
  removeOwner(id: number): void {
    this.#owners[id] = undefined;
    this.#freeOwners.push(id);
  }

  /** Room for an entry of `bytes` (a multiple of 8); the caller fills it before it calls anything else here. */
  allocate(bytes: number): number {
    let segment = this.#fresh;
    if (segment === undefined || segment.usedBytes + bytes > SEGMENT_BYTES) {
      this.#seal(segment);
      segment = this.#fresh = this.#open();
    }
    return this.#take(segment, bytes);
  }

  free(ref: number, bytes: number): void {
    const segment = this.segments[ref >>> 16]!;
    segment.words[((ref & 0xffff) << 1) + WORD_OWNER] = 0;
    segment.liveBytes -= bytes;
    this.#liveBytes -= bytes;
    if (segment.liveBytes > 0) return;
    if (segment.sealed) this.#release(segment);
    else this.#empty(segment);
  }

  /** Pays for a change of `bytes` by cleaning in proportion to it. */
  cleanFor(bytes: number): void {
    if (this.#victim !== undefined || this.#isSparse()) this.clean(Math.min(bytes * CLEAN_BYTES_PER_BYTE, CLEAN_BYTES_MAX));
  }

  /** Copies about `bytesMax` at most; false when there is nothing left to clean. */
  clean(bytesMax: number): boolean {
    let budget = bytesMax;
    while (budget > 0) {
      if (this.#victim === undefined && !this.#chooseVictim()) return false;
      budget -= this.#cleanNext(this.#victim!);
    }
    return this.#victim !== undefined || this.#isSparse();
  }

  #take(segment: Segment, bytes: number): number {
    const ref = (segment.id * 65536 + (segment.usedBytes >>> 3)) % TWO_32;
    segment.usedBytes += bytes;
    segment.liveBytes += bytes;
    this.#usedBytes += bytes;
    this.#liveBytes += bytes;
    return ref;
  }

  #open(): Segment {
    let segment = this.#spares.pop();
    if (segment === undefined) {
      const id = this.#freeIds.pop() ?? this.segments.length;
      if (id >= SEGMENTS_MAX) throw new Error(`the entry log has no room beyond ${SEGMENTS_MAX} segments`);
      segment = new Segment(id);
      this.segments[id] = segment;
    }
    this.#inUse += 1;
    return segment;
  }

  #seal(segment: Segment | undefined): void {
    if (segment === undefined) return;
    segment.sealed = true;
    if (segment.liveBytes === 0) this.#release(segment);
  }

  #empty(segment: Segment): void {
    this.#usedBytes -= segment.usedBytes;
    segment.usedBytes = 0;
  }

  #release(segment: Segment): void {
    if (segment === this.#victim) this.#victim = undefined;
    this.#empty(segment);
    segment.sealed = false;
    this.#inUse -= 1;
    if (this.#spares.length < Math.max(SPARE_MIN, this.#inUse * SPARE_PART)) {
      this.#spares.push(segment);
      return;
    }
    this.segments[segment.id] = undefined;
    this.#freeIds.push(segment.id);
  }

  /** Whether there is more waste than UTILISATION_MIN allows and cleaning would help. What open segments have left is no waste. */
  #isSparse(): boolean {
    const holes = this.#usedBytes - this.#liveBytes;
    if (holes <= SEGMENT_BYTES) return false;
    const sealed = this.#inUse * SEGMENT_BYTES - unusedBytes(this.#fresh) - unusedBytes(this.#survivors);
    return this.#liveBytes < UTILISATION_MIN * sealed && holes > HOLES_MIN * sealed;
  }

  #chooseVictim(): boolean {
    if (!this.#isSparse()) return false;
    let best: Segment | undefined;
    let bestHoles = 0;
    for (const segment of this.segments) {
      if (segment === undefined || !segment.sealed) continue;
      const holes = segment.usedBytes - segment.liveBytes;
      if (holes <= bestHoles) continue;
      best = segment;
      bestHoles = holes;
    }
    this.#victim = best;
    this.#victimAt = 0;
    return best !== undefined;
  }

  /** Handles the next entry of the victim, or gives the victim back after its last; returns what it cost. */
  #cleanNext(victim: Segment): number {
    const at = this.#victimAt >>> 2;
    const bytes = segmentBytesAt(victim.words, at);
    const ownerId = victim.words[at + WORD_OWNER]!;
    this.#victimAt += bytes;
    let cost = CLEAN_ENTRY_BYTES;
    if (ownerId !== 0) {
      this.#moveToSurvivors(victim, at, bytes, this.#owners[ownerId]!);
      cost += bytes;
    }
    if (victim.liveBytes === 0) this.#release(victim);
    return cost;
  }

  #moveToSurvivors(victim: Segment, at: number, bytes: number, owner: EntryOwner): void {
    let target = this.#survivors;
    if (target === undefined || target.usedBytes + bytes > SEGMENT_BYTES) {
      this.#seal(target);
      target = this.#survivors = this.#open();
    }
    const to = this.#take(target, bytes);
    copyWords(victim.words, at, target.words, (to & 0xffff) << 1, bytes >>> 2);
    const from = victim.id * 65536 + (at >>> 1);
    owner.entryMoved(victim.words[at + WORD_HASH_HIGH]!, victim.words[at + WORD_HASH_LOW]!, from, to);
    victim.words[at + WORD_OWNER] = 0;
    victim.liveBytes -= bytes;
    this.#liveBytes -= bytes;
    this.#copiedBytes += bytes;
  }
}

function unusedBytes(segment: Segment | undefined): number {
  return segment === undefined ? 0 : SEGMENT_BYTES - segment.usedBytes;
}

function copyWords(source: Uint32Array, from: number, target: Uint32Array, to: number, count: number): void {
  if (count > 128) {
    target.set(source.subarray(from, from + count), to);
    return;
  }
  for (let index = 0; index < count; index += 1) target[to + index] = source[from + index]!;
}
