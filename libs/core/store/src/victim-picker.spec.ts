import { MIB, SeededRandom, keyHash, randomBelow } from '@atoll/core-runtime';
import { PartitionStore } from './partition-store.ts';
import { StoreMemory } from './store-memory.ts';
import { VICTIMS_MAX } from './victim-picker.ts';

const version = { generation: 1, epoch: 1, seq: 1 };
const value = Buffer.alloc(100);

function openStore(seed: number): PartitionStore {
  const account = new StoreMemory({ bytesMax: 64 * MIB }).openAccount('default', 1);
  return new PartitionStore({ account, random: new SeededRandom(seed) });
}

function put(store: PartitionStore, name: string): void {
  const key = Buffer.from(name);
  store.put({ key, hash: keyHash(key), value, version, expiresAtMs: 0 });
}

function fill(store: PartitionStore, count: number): void {
  for (let number = 0; number < count; number += 1) put(store, `key-${number}`);
}

/** Key numbers drawn with probability proportional to 1 / rank^exponent. */
function zipfTrace(options: { random: SeededRandom; keys: number; exponent: number; length: number }): number[] {
  const { random, keys, exponent, length } = options;
  const cumulative: number[] = [];
  let sum = 0;
  for (let rank = 1; rank <= keys; rank += 1) cumulative.push((sum += rank ** -exponent));
  return Array.from({ length }, () => {
    const target = (random.nextUint32() / 2 ** 32) * sum;
    let [first, last] = [0, keys - 1];
    while (first < last) {
      const middle = (first + last) >>> 1;
      if (cumulative[middle]! < target) first = middle + 1;
      else last = middle;
    }
    return first;
  });
}

function hitsOfTrueLru(trace: number[], capacity: number): number {
  const held = new Set<number>();
  let hits = 0;
  for (const number of trace) {
    if (held.delete(number)) hits += 1;
    else if (held.size === capacity) held.delete(held.values().next().value!);
    held.add(number);
  }
  return hits;
}

function hitsOfStore(trace: number[], capacity: number, seed: number): number {
  const store = openStore(seed);
  let hits = 0;
  for (const number of trace) {
    const key = Buffer.from(`key-${number}`);
    if (store.get(key, keyHash(key)) !== undefined) {
      hits += 1;
      continue;
    }
    if (store.entryCount === capacity) for (const victim of store.pickVictims(1)) store.delete(victim, keyHash(victim));
    put(store, `key-${number}`);
  }
  return hits;
}

describe('pickVictims (R22)', () => {
  it.each([
    [0.8, 31],
    [1, 32],
  ])('comes within one point of the hit ratio of true LRU on a Zipf trace (exponent %d, seed %i)', (exponent, seed) => {
    const trace = zipfTrace({ random: new SeededRandom(seed), keys: 10_000, exponent, length: 60_000 });
    const exact = hitsOfTrueLru(trace, 1000) / trace.length;
    const sampled = hitsOfStore(trace, 1000, seed) / trace.length;
    expect(exact).toBeGreaterThan(0.2);
    expect(sampled).toBeGreaterThan(exact - 0.01);
  });

  it('prefers entries that were not read; a peek is no use', () => {
    const store = openStore(1);
    fill(store, 2000);
    for (let number = 0; number < 2000; number += 1) {
      const key = Buffer.from(`key-${number}`);
      if (number % 2 === 0) store.get(key, keyHash(key));
      else store.peek(key, keyHash(key));
    }
    const victims = store.pickVictims(200 * store.bytesOf(8, 100));
    const read = victims.filter((key) => Number(key.toString().slice(4)) % 2 === 0);
    expect(victims.length).toBeGreaterThanOrEqual(200);
    expect(read.length).toBeLessThan(5);
  });

  it('names enough bytes, each key once, and removes nothing', () => {
    const store = openStore(2);
    fill(store, 1000);
    const needed = 50_000;
    const victims = store.pickVictims(needed);
    expect(new Set(victims.map(String)).size).toBe(victims.length);
    const bytes = victims.map((key) => store.peekState(key, keyHash(key))!.bytes);
    const sum = bytes.reduce((total, some) => total + some, 0);
    expect(sum).toBeGreaterThanOrEqual(needed);
    expect(sum - bytes.at(-1)!).toBeLessThan(needed);
    expect(store.entryCount).toBe(1000);
  });

  it.each([1, 2, 7, 300])('names everything but the exception when %d entries are not enough', (count) => {
    const store = openStore(3);
    fill(store, count);
    const victims = store.pickVictims(1e9, Buffer.from('key-0')).map(String).sort();
    expect(victims).toEqual(Array.from({ length: count - 1 }, (_, number) => `key-${number + 1}`).sort());
  });

  it('asks a function for the exceptions', () => {
    const store = openStore(4);
    fill(store, 100);
    const isOdd = (key: Uint8Array) => Number(Buffer.from(key).toString().slice(4)) % 2 === 1;
    expect(store.pickVictims(1e9, isOdd).length).toBe(50);
  });

  it('names nobody in an empty store, or when nothing is needed, and never more than its bound', () => {
    const store = openStore(5);
    expect(store.pickVictims(100)).toEqual([]);
    fill(store, VICTIMS_MAX + 500);
    expect(store.pickVictims(0)).toEqual([]);
    expect(store.pickVictims(1e9).length).toBe(VICTIMS_MAX);
  });

  it('agrees with itself: one seed, one choice', () => {
    const choice = () => {
      const store = openStore(randomBelow(new SeededRandom(6), 1000));
      fill(store, 500);
      return store.pickVictims(5000).map(String);
    };
    expect(choice()).toEqual(choice());
  });
});
