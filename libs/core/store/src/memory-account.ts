import { invalidArgument } from '@atoll/core-errors';
import type { StoreMemory } from './store-memory.ts';

/**
 * What one keyspace uses of a node's memory: for each entry its key, value, header and share of the index
 * (`PartitionStore.bytesOf`). It counts the living, so an overwritten entry is free at once, though the cleaner gives
 * its room back a little later.
 */
export class MemoryAccount {
  readonly name: string;
  /** For the stores of this account only. */
  readonly memory: StoreMemory;
  /** Entries that stores of this account removed to make room, and because they had expired; they only grow. */
  evictedEntries = 0;
  expiredEntries = 0;
  #usedBytes = 0;
  #bytesMax = 0;

  /** Throws INVALID_ARGUMENT for a bad share. */
  constructor(options: { memory: StoreMemory; name: string; share: number }) {
    this.name = options.name;
    this.memory = options.memory;
    this.setShare(options.share);
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  get bytesMax(): number {
    return this.#bytesMax;
  }

  /** What may still be admitted: the smaller of what the keyspace and the node have left. Negative after a soft overshoot. */
  get freeBytes(): number {
    return Math.min(this.#bytesMax - this.#usedBytes, this.memory.bytesMax - this.memory.usedBytes);
  }

  setShare(share: number): void {
    if (!(share > 0 && share <= 1)) throw invalidArgument('share', `must be above 0 and at most 1, is ${share}`);
    this.#bytesMax = Math.floor(this.memory.bytesMax * share);
  }

  /** For the stores of this account: `bytes` more live, or fewer if negative. */
  charge(bytes: number): void {
    this.#usedBytes += bytes;
    this.memory.charge(bytes);
  }
}
