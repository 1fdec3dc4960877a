// One page of the index: entries in key-hash order (R32), packed, three words each: hash high, hash low, reference.
//
// Key hashes are uniform, so the place of a hash is guessed by interpolation (Perl, Itai, Avni, "Interpolation
// search: a log log N search", CACM 21(7), 1978) and mostly found a few slots beside the guess; hashes that are anything
// but uniform cost a binary search.

const SLOT_WORDS = 3;
const CAPACITY_MIN = 8;
/** How far from the guess to look before bisecting: three standard deviations in a full page. */
const NEAR_SLOTS = 32;

export class HashPage {
  /** The page holds the hashes whose upper `depth` bits equal those of `start`. */
  readonly depth: number;
  /** Upper half of the lowest hash that belongs here; the lower half is 0. */
  readonly start: number;
  count = 0;
  /** No entry here expires before this time; Infinity when none expires at all. A lower bound, not the minimum. */
  expiresAtMsMin = Number.POSITIVE_INFINITY;
  #slots: Uint32Array;
  /** One over the width of the page. */
  readonly #pagesPerHash: number;

  constructor(depth: number, start: number, capacity = 0) {
    this.depth = depth;
    this.start = start;
    this.#pagesPerHash = 1 / 2 ** (32 - depth);
    this.#slots = new Uint32Array(Math.max(capacity, CAPACITY_MIN) * SLOT_WORDS);
  }

  get capacity(): number {
    return this.#slots.length / SLOT_WORDS;
  }

  /** Upper half of the first hash beyond this page; 2^32 for the last page. */
  get end(): number {
    return this.start + 2 ** (32 - this.depth);
  }

  highAt(slot: number): number {
    return this.#slots[slot * SLOT_WORDS]!;
  }

  lowAt(slot: number): number {
    return this.#slots[slot * SLOT_WORDS + 1]!;
  }

  refAt(slot: number): number {
    return this.#slots[slot * SLOT_WORDS + 2]!;
  }

  setRef(slot: number, ref: number): void {
    this.#slots[slot * SLOT_WORDS + 2] = ref;
  }

  holds(slot: number, high: number, low: number): boolean {
    return slot < this.count && this.#slots[slot * SLOT_WORDS] === high && this.#slots[slot * SLOT_WORDS + 1] === low;
  }

  /** First slot whose hash is not below the given one; `count` if there is none. */
  lowerBound(high: number, low: number): number {
    const slots = this.#slots;
    const count = this.count;
    if (count === 0) return 0;
    let slot = Math.max(0, Math.min(Math.floor((high - this.start) * this.#pagesPerHash * count), count - 1));
    if (isBelow(slots, slot, high, low)) {
      const end = Math.min(slot + NEAR_SLOTS, count);
      do slot += 1;
      while (slot < end && isBelow(slots, slot, high, low));
      return slot < end || slot === count ? slot : bisect(slots, { first: slot, last: count, high, low });
    }
    const end = Math.max(slot - NEAR_SLOTS, 0);
    while (slot > end && !isBelow(slots, slot - 1, high, low)) slot -= 1;
    return slot > end || slot === 0 ? slot : bisect(slots, { first: 0, last: slot, high, low });
  }

  /** Needs `count < capacity`, and `slot` where the order wants it. */
  insertAt(slot: number, high: number, low: number, ref: number): void {
    const at = slot * SLOT_WORDS;
    if (slot < this.count) this.#slots.copyWithin(at + SLOT_WORDS, at, this.count * SLOT_WORDS);
    this.#slots[at] = high;
    this.#slots[at + 1] = low;
    this.#slots[at + 2] = ref;
    this.count += 1;
  }

  removeAt(slot: number): void {
    const at = slot * SLOT_WORDS;
    this.#slots.copyWithin(at, at + SLOT_WORDS, this.count * SLOT_WORDS);
    this.count -= 1;
  }

  /** Removes those of the slots [first, last) that `shouldRemove` names; it is asked once for each, in order. */
  removeWhere(first: number, last: number, shouldRemove: (ref: number) => boolean): number {
    let kept = first;
    for (let slot = first; slot < last; slot += 1) {
      if (shouldRemove(this.refAt(slot))) continue;
      if (kept < slot) this.#slots.copyWithin(kept * SLOT_WORDS, slot * SLOT_WORDS, (slot + 1) * SLOT_WORDS);
      kept += 1;
    }
    this.#slots.copyWithin(kept * SLOT_WORDS, last * SLOT_WORDS, this.count * SLOT_WORDS);
    this.count -= last - kept;
    return last - kept;
  }

  resize(capacity: number): void {
    const slots = new Uint32Array(Math.max(capacity, this.count, CAPACITY_MIN) * SLOT_WORDS);
    slots.set(this.#slots.subarray(0, this.count * SLOT_WORDS));
    this.#slots = slots;
  }

  /** The two halves by the next bit of the hash; this page is of no use afterwards. */
  split(): [lower: HashPage, upper: HashPage] {
    const half = this.start + 2 ** (31 - this.depth);
    const boundary = this.lowerBound(half, 0);
    return [this.#part(this.start, 0, boundary), this.#part(half, boundary, this.count)];
  }

  /** `lower` and `upper` are buddies: halves of one page. */
  static merge(lower: HashPage, upper: HashPage): HashPage {
    const merged = new HashPage(lower.depth - 1, lower.start, withRoom(lower.count + upper.count));
    merged.#slots.set(lower.#slots.subarray(0, lower.count * SLOT_WORDS));
    merged.#slots.set(upper.#slots.subarray(0, upper.count * SLOT_WORDS), lower.count * SLOT_WORDS);
    merged.count = lower.count + upper.count;
    merged.expiresAtMsMin = Math.min(lower.expiresAtMsMin, upper.expiresAtMsMin);
    return merged;
  }

  #part(start: number, first: number, last: number): HashPage {
    const part = new HashPage(this.depth + 1, start, withRoom(last - first));
    part.#slots.set(this.#slots.subarray(first * SLOT_WORDS, last * SLOT_WORDS));
    part.count = last - first;
    part.expiresAtMsMin = part.count === 0 ? Number.POSITIVE_INFINITY : this.expiresAtMsMin;
    return part;
  }
}

function isBelow(slots: Uint32Array, slot: number, high: number, low: number): boolean {
  const at = slot * SLOT_WORDS;
  const other = slots[at]!;
  return other < high || (other === high && slots[at + 1]! < low);
}

/** First of the slots [first, last) that is not below the hash; `last` if there is none. */
function bisect(slots: Uint32Array, range: { first: number; last: number; high: number; low: number }): number {
  let { first, last } = range;
  while (first < last) {
    const middle = (first + last) >>> 1;
    if (isBelow(slots, middle, range.high, range.low)) first = middle + 1;
    else last = middle;
  }
  return first;
}

/** Capacity for `count` entries and a quarter more. */
export function withRoom(count: number): number {
  return count + (count >>> 2) + 4;
}
