// The index of one partition: pages in key-hash order under a directory by the upper bits of the hash. Extendible
// hashing (Fagin, Nievergelt, Pippenger, Strong, ACM TODS 4(3), 1979) with an order-preserving hash function, the
// identity on an already uniform hash: growth splits one page at a time, and walking the pages walks the hashes in order.
import type { Hash64 } from '@atoll/core-runtime';
import { HashPage, withRoom } from './hash-page.ts';

/** A fuller page is split, if its hashes differ early enough; a split moves 6 KiB. */
const PAGE_ENTRIES_MAX = 512;
/** Buddies that hold no more than this together are merged. Far below the split, so that pages do not swing. */
const MERGE_ENTRIES_MAX = 160;
/** The directory has at most one place per so many entries; pages whose hashes begin alike grow instead. */
const ENTRIES_PER_PLACE = 16;
const DEPTH_MAX = 24;

export class HashIndex {
  #depth = 0;
  #directory: HashPage[] = [new HashPage(0, 0)];
  /** How many pages have each depth; none is deeper than the directory. */
  #pagesOfDepth: number[] = [1];
  #entryCount = 0;

  get entryCount(): number {
    return this.#entryCount;
  }

  /** The page that holds the hashes with this upper half. */
  pageOf(high: number): HashPage {
    return this.#depth === 0 ? this.#directory[0]! : this.#directory[high >>> (32 - this.#depth)]!;
  }

  /** The page that follows in hash order. */
  pageAfter(page: HashPage): HashPage | undefined {
    return page.end < 2 ** 32 ? this.pageOf(page.end) : undefined;
  }

  /** `slot` is where the order wants it in `page`, which is the page of `high`. Returns the page it ended up in. */
  insert(page: HashPage, slot: number, hash: Hash64, ref: number): HashPage {
    let target = page;
    let targetSlot = slot;
    while (target.count === target.capacity) {
      if (target.count >= PAGE_ENTRIES_MAX && this.#canSplit(target)) {
        this.#split(target);
        const lower = this.pageOf(target.start);
        if (hash.high >= lower.end) targetSlot -= lower.count;
        target = this.pageOf(hash.high);
      } else {
        const capacity = target.count + (target.count >>> 1);
        target.resize(target.count < PAGE_ENTRIES_MAX ? Math.min(capacity, PAGE_ENTRIES_MAX) : capacity);
      }
    }
    target.insertAt(targetSlot, hash.high, hash.low, ref);
    this.#entryCount += 1;
    return target;
  }

  removeAt(page: HashPage, slot: number): void {
    page.removeAt(slot);
    this.#entryCount -= 1;
    this.#settle(page);
  }

  /** Must follow `HashPage.removeWhere`. The page may be gone afterwards: go on by hash. */
  afterRemoval(page: HashPage, removed: number): void {
    this.#entryCount -= removed;
    if (removed > 0) this.#settle(page);
  }

  /** The pages in hash order. The index must not change meanwhile. */
  *pages(): IterableIterator<HashPage> {
    for (let page: HashPage | undefined = this.pageOf(0); page !== undefined; page = this.pageAfter(page)) yield page;
  }

  clear(): void {
    this.#depth = 0;
    this.#directory = [new HashPage(0, 0)];
    this.#pagesOfDepth = [1];
    this.#entryCount = 0;
  }

  #canSplit(page: HashPage): boolean {
    if (page.depth < this.#depth) return true;
    return this.#depth < DEPTH_MAX && this.#directory.length * 2 <= this.#entryCount / ENTRIES_PER_PLACE;
  }

  #split(page: HashPage): void {
    if (page.depth === this.#depth) this.#doubleDirectory();
    const [lower, upper] = page.split();
    this.#place(lower);
    this.#place(upper);
    this.#countPages(page.depth, -1);
    this.#countPages(page.depth + 1, 2);
  }

  /** Gives back the room of a page that got emptier: by a smaller array, and by joining it with its buddy. */
  #settle(page: HashPage): void {
    if (page.count === 0) page.expiresAtMsMin = Number.POSITIVE_INFINITY;
    let settled = page;
    while (settled.depth > 0 && settled.count <= MERGE_ENTRIES_MAX) {
      const width = 2 ** (32 - settled.depth);
      const isLower = (settled.start / width) % 2 === 0;
      const buddy = this.pageOf(isLower ? settled.start + width : settled.start - width);
      if (buddy.depth !== settled.depth || buddy.count + settled.count > MERGE_ENTRIES_MAX) break;
      const depth = settled.depth;
      settled = isLower ? HashPage.merge(settled, buddy) : HashPage.merge(buddy, settled);
      this.#place(settled);
      this.#countPages(depth, -2);
      this.#countPages(depth - 1, 1);
    }
    while (this.#depth > 0 && this.#pagesOfDepth[this.#depth] === 0) this.#halveDirectory();
    if (settled.capacity > 16 && settled.count < settled.capacity / 3) settled.resize(withRoom(settled.count));
  }

  #place(page: HashPage): void {
    const width = 2 ** (32 - this.#depth);
    this.#directory.fill(page, page.start / width, page.end / width);
  }

  #countPages(depth: number, change: number): void {
    this.#pagesOfDepth[depth] = (this.#pagesOfDepth[depth] ?? 0) + change;
  }

  #doubleDirectory(): void {
    const doubled: HashPage[] = [];
    for (const page of this.#directory) doubled.push(page, page);
    this.#directory = doubled;
    this.#depth += 1;
  }

  #halveDirectory(): void {
    this.#directory = this.#directory.filter((_, place) => place % 2 === 0);
    this.#depth -= 1;
  }
}
