/** A slot without an entry. Keys are never negative. */
const FREE = -1;
const SLOTS_MIN = 16;
/** 2^32 divided by the golden ratio (Knuth, TAOCP 3, section 6.4): spreads keys that follow each other, and those that end alike. */
const SPREAD = 0x9e3779b1;

/**
 * A map by whole numbers from 0 to 2^53 - 1, for what is under way: entries come and go by the ten thousand each second.
 * Iterates in no order. Open addressing with linear probing (Knuth, TAOCP 3, section 6.4, algorithms L and R).
 *
 * Why no Map: V8 gives a Map a new table each time that it was filled and emptied, for a Map that lives long among the old
 * objects, and the table before it goes on naming what was in it until the next collection of the whole heap. The
 * collector of young objects takes all of that for alive and copies it: with Maps on the path a `set` cost 1.4 times the
 * CPU time (docs/benchmarks.md).
 */
export class NumberMap<T> {
  #keys = freeKeys(SLOTS_MIN);
  #values: (T | undefined)[] = noValues(SLOTS_MIN);
  #shift = 28;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(key: number): T | undefined {
    return this.#values[this.#slotOf(key)];
  }

  has(key: number): boolean {
    return this.#keys[this.#slotOf(key)] === key;
  }

  set(key: number, value: T): void {
    let slot = this.#slotOf(key);
    if (this.#keys[slot] !== key) {
      // At most half full: a look takes one or two steps.
      if (this.#size * 2 >= this.#keys.length) {
        this.#resize(this.#keys.length * 2);
        slot = this.#slotOf(key);
      }
      this.#keys[slot] = key;
      this.#size += 1;
    }
    this.#values[slot] = value;
  }

  /** Returns whether there was an entry. */
  delete(key: number): boolean {
    const keys = this.#keys;
    const values = this.#values;
    let gap = this.#slotOf(key);
    if (keys[gap] !== key) return false;
    const mask = keys.length - 1;
    // Closes the gap: an entry behind it moves up unless its own place lies between the two.
    for (let slot = (gap + 1) & mask; keys[slot] !== FREE; slot = (slot + 1) & mask) {
      const distance = (slot - this.#homeOf(keys[slot]!)) & mask;
      if (distance < ((slot - gap) & mask)) continue;
      keys[gap] = keys[slot]!;
      values[gap] = values[slot];
      gap = slot;
    }
    keys[gap] = FREE;
    values[gap] = undefined;
    this.#size -= 1;
    return true;
  }

  /** Gives the memory of a burst back, too. */
  clear(): void {
    this.#keys = freeKeys(SLOTS_MIN);
    this.#values = noValues(SLOTS_MIN);
    this.#shift = 28;
    this.#size = 0;
  }

  /** The map must not change meanwhile. */
  *values(): IterableIterator<T> {
    for (let slot = 0; slot < this.#keys.length; slot += 1) if (this.#keys[slot] !== FREE) yield this.#values[slot]!;
  }

  /** Where the key stands, or the free slot where it would. */
  #slotOf(key: number): number {
    const keys = this.#keys;
    const mask = keys.length - 1;
    let slot = this.#homeOf(key);
    while (keys[slot] !== key && keys[slot] !== FREE) slot = (slot + 1) & mask;
    return slot;
  }

  #homeOf(key: number): number {
    return Math.imul(key ^ (key / 2 ** 32), SPREAD) >>> this.#shift;
  }

  #resize(slots: number): void {
    const keys = this.#keys;
    const values = this.#values;
    this.#keys = freeKeys(slots);
    this.#values = noValues(slots);
    this.#shift = 32 - Math.log2(slots);
    for (let former = 0; former < keys.length; former += 1) {
      if (keys[former] === FREE) continue;
      const slot = this.#slotOf(keys[former]!);
      this.#keys[slot] = keys[former]!;
      this.#values[slot] = values[former];
    }
    // What is done with must name nothing.
    values.fill(undefined);
  }
}

const freeKeys = (slots: number): Float64Array => new Float64Array(slots).fill(FREE);
const noValues = (slots: number): undefined[] => Array.from({ length: slots }, () => undefined);
