import type { Hash64, Random } from '@atoll/core-runtime';
import { compareHash } from '@atoll/core-runtime';
import { addContentToLeaf } from './content-digest.ts';
import { toSum, type ContentSum } from './content-sum.ts';
import type { StoreDigest } from './entry-digest.ts';
import { DIGEST_LEAVES, addToLeaf } from './entry-digest.ts';
import type { EntryHeap, NewEntry } from './entry-heap.ts';
import { wordOf } from './entry-heap.ts';
import { entryBytesOf } from './entry-layout.ts';
import type { EntryVersion } from './entry-version.ts';
import type { ExpiryLimits, ExpiryPlan } from './expiry-plan.ts';
import { isExpired, planExpiry } from './expiry-plan.ts';
import { HashIndex } from './hash-index.ts';
import type { HashPage } from './hash-page.ts';
import type { MemoryAccount } from './memory-account.ts';
import type { SliceLimits } from './range-walk.ts';
import { walkRange } from './range-walk.ts';
import type { EntryOwner } from './segment-log.ts';
import { pickVictims } from './victim-picker.ts';

/** An entry as read. The value is the reader's to keep, but not to change: from 64 KiB on it is shared with the store. */
export interface StoredEntry {
  readonly key: Uint8Array;
  readonly value: Buffer;
  readonly version: EntryVersion;
  /** Milliseconds since the epoch, 0 for never. Whether that is past is judged by the reader (R23). */
  readonly expiresAtMs: number;
}

/** What is known of an entry without reading its value. */
export interface EntryState {
  readonly version: EntryVersion;
  readonly expiresAtMs: number;
  /** What the entry costs its account. */
  readonly bytes: number;
}

/** One slice of a range. */
export interface RangeSlice {
  readonly entries: readonly (StoredEntry & { readonly hash: Hash64 })[];
  /** Where the next slice begins; undefined after the last. */
  readonly next: Hash64 | undefined;
}

/** An entry that was taken out of a store: all but its value. */
export interface TakenEntry extends EntryState {
  readonly key: Buffer;
  readonly hash: Hash64;
}

/**
 * The entries of one partition, in key-hash order (R32). It applies what the log says and judges nothing: conditions
 * are evaluated by `evaluateWrite`, expired entries stay until a watermark removes them (R23), and victims go when the
 * record that names them is applied (R22). All calls are synchronous; hashes are those of `keyHash`.
 */
export class PartitionStore {
  readonly #account: MemoryAccount;
  readonly #random: Random;
  readonly #heap: EntryHeap;
  readonly #index = new HashIndex();
  readonly #leaves = new Uint32Array(DIGEST_LEAVES * 2);
  readonly #owner: number;
  #liveBytes = 0;
  /** Counts accesses; tells how long an entry has been unused, modulo 2^32. */
  #tick = 0;

  constructor(options: { account: MemoryAccount; random: Random }) {
    this.#account = options.account;
    this.#random = options.random;
    this.#heap = options.account.memory.heap;
    const owner: EntryOwner = { entryMoved: (high, low, from, to) => this.#entryMoved({ high, low }, from, to) };
    this.#owner = this.#heap.log.addOwner(owner);
  }

  /** An empty store of the same account. */
  sibling(): PartitionStore {
    return new PartitionStore({ account: this.#account, random: this.#random });
  }

  get entryCount(): number {
    return this.#index.entryCount;
  }

  /** What the entries cost their account: the sum of `bytesOf` over all of them. */
  get liveBytes(): number {
    return this.#liveBytes;
  }

  /** What an entry with a key and a value of these lengths costs. */
  bytesOf(keyLength: number, valueLength: number): number {
    return entryBytesOf(keyLength, valueLength);
  }

  /** Counts as a use of the entry (R22). The `key` of the result is the one passed in. */
  get(key: Uint8Array, hash: Hash64): StoredEntry | undefined {
    const ref = this.#find(key, hash);
    if (ref < 0) return undefined;
    this.#heap.setAccess(ref, this.#nextTick());
    return this.#read(ref, key);
  }

  /** As `get`, but no use of the entry. */
  peek(key: Uint8Array, hash: Hash64): StoredEntry | undefined {
    const ref = this.#find(key, hash);
    return ref < 0 ? undefined : this.#read(ref, key);
  }

  /** As `peek`, without the value. */
  peekState(key: Uint8Array, hash: Hash64): EntryState | undefined {
    const ref = this.#find(key, hash);
    if (ref < 0) return undefined;
    return { version: this.#heap.versionAt(ref), expiresAtMs: this.#heap.expiresAtMs(ref), bytes: this.#heap.bytesAt(ref) };
  }

  /** Replaces what the key had, whatever its version. Always succeeds: see `StoreMemory`. */
  put(entry: NewEntry): void {
    const { key, hash } = entry;
    let page = this.#index.pageOf(hash.high);
    let slot = page.lowerBound(hash.high, hash.low);
    while (page.holds(slot, hash.high, hash.low) && !this.#heap.keyEquals(page.refAt(slot), key)) slot += 1;
    let ref: number;
    if (page.holds(slot, hash.high, hash.low)) {
      ref = this.#replace(page, slot, entry);
    } else {
      ref = this.#heap.write(this.#owner, entry, this.#nextTick());
      page = this.#index.insert(page, slot, hash, ref);
    }
    if (entry.expiresAtMs > 0 && entry.expiresAtMs < page.expiresAtMsMin) page.expiresAtMsMin = entry.expiresAtMs;
    this.#charge(entryBytesOf(key.length, entry.value.length));
    addToLeaf(this.#leaves, this.#heap.wordsOf(ref), wordOf(ref), 1);
    this.#heap.log.cleanFor(key.length + entry.value.length);
  }

  /** As `delete`, of an entry that makes room (R22). */
  evict(key: Uint8Array, hash: Hash64): boolean {
    const wasThere = this.delete(key, hash);
    if (wasThere) this.#account.evictedEntries += 1;
    return wasThere;
  }

  /** Returns whether there was an entry. */
  delete(key: Uint8Array, hash: Hash64): boolean {
    const page = this.#index.pageOf(hash.high);
    const slot = this.#slotOf(page, key, hash);
    if (slot < 0) return false;
    const ref = page.refAt(slot);
    const bytes = this.#heap.bytesAt(ref);
    this.#drop(ref);
    this.#index.removeAt(page, slot);
    this.#heap.log.cleanFor(bytes);
    return true;
  }

  /**
   * Entries of [from, to) in hash order, `to` undefined meaning to the end; expired ones included. Entries of one hash
   * come in one slice, also when that exceeds the limits.
   */
  readRange(from: Hash64, to: Hash64 | undefined, limits: SliceLimits): RangeSlice {
    const entries: (StoredEntry & { hash: Hash64 })[] = [];
    const next = walkRange({ index: this.#index, heap: this.#heap }, { from, to }, limits, (ref) => {
      const { value, version, expiresAtMs } = this.#read(ref, EMPTY_KEY);
      entries.push({ key: this.#heap.keyAt(ref), hash: this.#heap.hashAt(ref), value, version, expiresAtMs });
    });
    return { entries, next };
  }

  /** Removes those entries of [from, to) whose version `shouldRemove` names; it must not throw. Returns how many (R33). */
  removeRange(from: Hash64, to: Hash64 | undefined, shouldRemove: (version: EntryVersion) => boolean): number {
    return this.#removeBetween(from, to, { removes: (ref) => shouldRemove(this.#heap.versionAt(ref)) });
  }

  /** Removes about the first `entriesMax` entries of [from, to) and names them; those of one hash are never parted. `next`: as `readRange`. */
  takeRange(from: Hash64, to: Hash64 | undefined, entriesMax: number): { readonly entries: readonly TakenEntry[]; readonly next: Hash64 | undefined } {
    const heap = this.#heap;
    const entries: TakenEntry[] = [];
    const limits = { entriesMax, bytesMax: Number.POSITIVE_INFINITY };
    const next = walkRange({ index: this.#index, heap }, { from, to }, limits, (ref) => {
      entries.push({ key: heap.keyAt(ref), hash: heap.hashAt(ref), version: heap.versionAt(ref), expiresAtMs: heap.expiresAtMs(ref), bytes: heap.bytesAt(ref) });
    });
    this.#removeBetween(from, next ?? to, { removes: () => true });
    return { entries, next };
  }

  /** Chooses how far from `from` an expiry record goes; the leader logs [from, to) and the watermark (R23). */
  planExpiry(from: Hash64, watermarkMs: number, limits: ExpiryLimits): ExpiryPlan {
    return planExpiry({ index: this.#index, heap: this.#heap }, from, watermarkMs, limits);
  }

  /**
   * Removes exactly the entries of [from, to) with 0 < expiresAtMs <= watermarkMs, and names each key (a copy) to
   * `onRemoved`, which must not throw. Returns how many (R23).
   */
  removeExpired(from: Hash64, to: Hash64 | undefined, watermarkMs: number, onRemoved?: (key: Buffer) => void): number {
    return this.#removeBetween(from, to, {
      skipsPage: (page) => page.expiresAtMsMin > watermarkMs,
      removes: (ref) => {
        if (!isExpired(this.#heap.expiresAtMs(ref), watermarkMs)) return false;
        onRemoved?.(this.#heap.keyAt(ref));
        this.#account.expiredEntries += 1;
        return true;
      },
    });
  }

  /**
   * Names the keys to evict for `bytesNeeded` bytes: about the least recently used (R22), at most VICTIMS_MAX of them.
   * They may cost less than was asked when there is no more. Never names `except`: one key, or those that it says yes to.
   */
  pickVictims(bytesNeeded: number, except?: Uint8Array | ((key: Uint8Array) => boolean)): Buffer[] {
    const heap = this.#heap;
    const isExcepted = (ref: number): boolean => {
      if (except === undefined) return false;
      return typeof except === 'function' ? except(heap.keyAt(ref)) : heap.keyEquals(ref, except);
    };
    const source = { index: this.#index, heap, random: this.#random, tick: this.#tick };
    return pickVictims(source, bytesNeeded, isExcepted).map((ref) => heap.keyAt(ref));
  }

  /** Leaf sums over (key hash, version, expiry) as they are now (R34); a copy. */
  digest(): StoreDigest {
    return { leaves: this.#leaves.slice(), count: this.entryCount };
  }

  /**
   * Adds to `leaves` (two words for each of the 64 leaves) the sums over key, value, version and expiry of the entries
   * from `from` on, one slice at a time, so that the caller can yield in between. Returns where the next slice begins.
   */
  addContentDigest(leaves: Uint32Array, from: Hash64, limits: SliceLimits): Hash64 | undefined {
    const source = { index: this.#index, heap: this.#heap };
    return walkRange(source, { from, to: undefined }, limits, (ref) => addContentToLeaf(leaves, this.#heap, ref));
  }

  /**
   * Reads entries of [sum.from, sum.to) from `from` on into `sum`, one slice at a time, so that the caller can yield in
   * between; what came in between does not count twice only where `leafSums` says that nothing did. Returns where the
   * next slice begins, undefined after the last.
   */
  readContent(sum: ContentSum, from: Hash64, limits: SliceLimits): Hash64 | undefined {
    const source = { index: this.#index, heap: this.#heap };
    return walkRange(source, { from, to: sum.to }, limits, (ref) => sum.add(this.#heap, ref));
  }

  /** The two sums of one leaf, as one number: another one as soon as an entry of the leaf changes. */
  leafSums(leaf: number): bigint {
    return toSum(this.#leaves[2 * leaf]!, this.#leaves[2 * leaf + 1]!);
  }

  /** Removes everything; takes about 0.1 ms per thousand entries, so remove by range where that is too long a pause. */
  clear(): void {
    const bytes = this.#liveBytes;
    for (const page of this.#index.pages()) {
      for (let slot = 0; slot < page.count; slot += 1) this.#heap.free(page.refAt(slot));
    }
    this.#index.clear();
    this.#leaves.fill(0);
    this.#charge(-bytes);
    this.#heap.log.cleanFor(bytes);
  }

  /** Clears and leaves the node's memory; the store is of no use afterwards. */
  close(): void {
    this.clear();
    this.#heap.log.removeOwner(this.#owner);
  }

  #nextTick(): number {
    this.#tick = (this.#tick + 1) >>> 0;
    return this.#tick;
  }

  #charge(bytes: number): void {
    this.#liveBytes += bytes;
    this.#account.charge(bytes);
  }

  #slotOf(page: HashPage, key: Uint8Array, hash: Hash64): number {
    const { high, low } = hash;
    for (let slot = page.lowerBound(high, low); page.holds(slot, high, low); slot += 1) {
      if (this.#heap.keyEquals(page.refAt(slot), key)) return slot;
    }
    return -1;
  }

  /** Reference of the key's entry, -1 if there is none. */
  #find(key: Uint8Array, hash: Hash64): number {
    const page = this.#index.pageOf(hash.high);
    const slot = this.#slotOf(page, key, hash);
    return slot < 0 ? -1 : page.refAt(slot);
  }

  #read(ref: number, key: Uint8Array): StoredEntry {
    const heap = this.#heap;
    return { key, value: heap.valueAt(ref), version: heap.versionAt(ref), expiresAtMs: heap.expiresAtMs(ref) };
  }

  /** Puts the entry in the place of the one at `slot`, which is of the same key; charges for the loss only. */
  #replace(page: HashPage, slot: number, entry: NewEntry): number {
    const old = page.refAt(slot);
    const access = this.#nextTick();
    this.#forget(old);
    if (this.#heap.overwrite(old, entry, access)) return old;
    const ref = this.#heap.write(this.#owner, entry, access);
    page.setRef(slot, ref);
    this.#heap.free(old);
    return ref;
  }

  /** Takes an entry out of digest and account. */
  #forget(ref: number): void {
    addToLeaf(this.#leaves, this.#heap.wordsOf(ref), wordOf(ref), -1);
    this.#charge(-this.#heap.bytesAt(ref));
  }

  /** Takes an entry out of everything but the index. */
  #drop(ref: number): void {
    this.#forget(ref);
    this.#heap.free(ref);
  }

  #removeBetween(
    from: Hash64,
    to: Hash64 | undefined,
    rule: { skipsPage?: (page: HashPage) => boolean; removes: (ref: number) => boolean },
  ): number {
    if (to !== undefined && compareHash(from, to) >= 0) return 0;
    const bytesBefore = this.#liveBytes;
    let removed = 0;
    let at = from;
    for (;;) {
      const page = this.#index.pageOf(at.high);
      const end = page.end;
      const isLast = end >= 2 ** 32 || (to !== undefined && (to.high < end || (to.high === end && to.low === 0)));
      if (rule.skipsPage?.(page) !== true) {
        const first = page.lowerBound(at.high, at.low);
        const last = to === undefined || to.high >= end ? page.count : page.lowerBound(to.high, to.low);
        removed += this.#removeSlots(page, first, last, rule.removes);
      }
      if (isLast) break;
      at = { high: end, low: 0 };
    }
    this.#heap.log.cleanFor(bytesBefore - this.#liveBytes);
    return removed;
  }

  #removeSlots(page: HashPage, first: number, last: number, removes: (ref: number) => boolean): number {
    const isWhole = first === 0 && last === page.count;
    let expiresAtMsMin = Number.POSITIVE_INFINITY;
    const removed = page.removeWhere(first, last, (ref) => {
      if (removes(ref)) {
        this.#drop(ref);
        return true;
      }
      const expiresAtMs = this.#heap.expiresAtMs(ref);
      if (expiresAtMs > 0 && expiresAtMs < expiresAtMsMin) expiresAtMsMin = expiresAtMs;
      return false;
    });
    if (isWhole) page.expiresAtMsMin = expiresAtMsMin;
    this.#index.afterRemoval(page, removed);
    return removed;
  }

  #entryMoved(hash: Hash64, from: number, to: number): void {
    const page = this.#index.pageOf(hash.high);
    let slot = page.lowerBound(hash.high, hash.low);
    while (page.refAt(slot) !== from) {
      slot += 1;
      if (!page.holds(slot, hash.high, hash.low)) throw new Error('a live entry of the log is not in the index of its store');
    }
    page.setRef(slot, to);
  }
}

const EMPTY_KEY = Buffer.alloc(0);
