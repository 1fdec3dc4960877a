// Whom to evict: least recently used, approximately. Instead of keeping all entries in order of use, look at some at
// random and take the longest unused, remembering the runners-up; so does Redis (antirez, "Random notes on improving
// the Redis LRU algorithm", 2016: with a pool and 10 samples hardly to be told from true LRU).
// `victim-picker.spec.ts` compares the hit ratios on a Zipf trace.
import type { Random } from '@atoll/core-runtime';
import { randomBelow } from '@atoll/core-runtime';
import type { EntryHeap } from './entry-heap.ts';
import type { HashIndex } from './hash-index.ts';

/** Samples per victim. */
const SAMPLES = 8;
/** Longest unused entries remembered between the samples of one call. */
const POOL_MAX = 16;
/** Bound of one call, so that no log record names more keys. */
export const VICTIMS_MAX = 4096;
/** Empty pages passed over before a sample is given up. */
const EMPTY_PAGES_MAX = 64;

interface Candidate {
  readonly ref: number;
  /** Accesses to the store since the last one to this entry, modulo 2^32. */
  readonly idle: number;
}

export interface VictimSource {
  readonly index: HashIndex;
  readonly heap: EntryHeap;
  readonly random: Random;
  /** The store's present access tick. */
  readonly tick: number;
}

/** References of entries that together cost `bytesNeeded` or more; fewer when the store or VICTIMS_MAX ends first. */
export function pickVictims(source: VictimSource, bytesNeeded: number, isExcepted: (ref: number) => boolean): number[] {
  const { heap } = source;
  const victims: number[] = [];
  const seen = new Set<number>();
  const pool: Candidate[] = [];
  let bytes = 0;
  while (bytes < bytesNeeded && victims.length < VICTIMS_MAX) {
    for (let sample = 0; sample < SAMPLES; sample += 1) {
      const ref = randomEntry(source);
      if (ref === undefined || seen.has(ref) || isExcepted(ref)) continue;
      seen.add(ref);
      remember(pool, { ref, idle: (source.tick - heap.accessAt(ref)) >>> 0 }, seen);
    }
    const oldest = pool.pop();
    if (oldest === undefined) return sweep(source, { victims, bytes, bytesNeeded, isExcepted });
    victims.push(oldest.ref);
    bytes += heap.bytesAt(oldest.ref);
  }
  return victims;
}

/** Keeps the pool in order of idleness, the longest unused last. Whoever drops out may be drawn again. */
function remember(pool: Candidate[], candidate: Candidate, seen: Set<number>): void {
  let place = pool.length;
  while (place > 0 && pool[place - 1]!.idle > candidate.idle) place -= 1;
  pool.splice(place, 0, candidate);
  if (pool.length > POOL_MAX) seen.delete(pool.shift()!.ref);
}

/** Any entry, each about equally likely where hashes are uniform; undefined after a few empty pages. */
function randomEntry({ index, random }: VictimSource): number | undefined {
  let page = index.pageOf(random.nextUint32());
  for (let skipped = 0; page.count === 0; skipped += 1) {
    if (skipped === EMPTY_PAGES_MAX) return undefined;
    page = index.pageAfter(page) ?? index.pageOf(0);
  }
  return page.refAt(randomBelow(random, page.count));
}

/** When samples find nobody new, nearly everybody is a victim already: takes the rest in order. */
function sweep(
  { index, heap }: VictimSource,
  state: { victims: number[]; bytes: number; bytesNeeded: number; isExcepted: (ref: number) => boolean },
): number[] {
  const { victims, bytesNeeded, isExcepted } = state;
  const picked = new Set(victims);
  let bytes = state.bytes;
  for (const page of index.pages()) {
    for (let slot = 0; slot < page.count; slot += 1) {
      if (bytes >= bytesNeeded || victims.length >= VICTIMS_MAX) return victims;
      const ref = page.refAt(slot);
      if (picked.has(ref) || isExcepted(ref)) continue;
      victims.push(ref);
      bytes += heap.bytesAt(ref);
    }
  }
  return victims;
}
