import { GIB, MIB, SeededRandom, keyHash, randomBelow } from '@atoll/core-runtime';
import { PartitionStore } from './partition-store.ts';
import { FIRST_HASH } from './range-walk.ts';
import { SEGMENT_BYTES } from './segment-log.ts';
import { MEMORY_BYTES_MAX, StoreMemory } from './store-memory.ts';

const version = { generation: 1, epoch: 1, seq: 1 };
const keyOf = (number: number) => Buffer.from(`key-${number}`);

function openStores(count: number, bytesMax = GIB) {
  const memory = new StoreMemory({ bytesMax });
  const account = memory.openAccount('default', 1);
  const stores = Array.from({ length: count }, (_, seed) => new PartitionStore({ account, random: new SeededRandom(seed) }));
  return { memory, account, stores };
}

function put(store: PartitionStore, number: number, value: Buffer): void {
  store.put({ key: keyOf(number), hash: keyHash(keyOf(number)), value, version, expiresAtMs: 0 });
}

describe('churn', () => {
  it.each([
    ['small values', 21, (random: SeededRandom) => randomBelow(random, 800)],
    ['sizes over four orders of magnitude', 22, (random: SeededRandom) => Math.floor(2 ** (randomBelow(random, 1300) / 100))],
    ['values just below the bound that keeps them in segments', 23, (random: SeededRandom) => 60_000 + randomBelow(random, 5536)],
  ])('of %s keeps at least 80 % of the memory in use, at a bounded cost per write (seed %i)', (_, seed, sizeOf) => {
    const random = new SeededRandom(seed);
    const { memory, stores } = openStores(3);
    const values = new Map<number, Buffer>();
    const mean = Array.from({ length: 1000 }, () => sizeOf(random)).reduce((sum, size) => sum + size, 0) / 1000;
    const keys = Math.floor((32 * MIB) / (mean + 60));
    let written = 0;
    let utilisationMin = 1;
    for (let step = 0; step < keys * 2; step += 1) {
      const number = step < keys ? step : randomBelow(random, keys);
      const value = Buffer.alloc(sizeOf(random), step);
      put(stores[number % 3]!, number, value);
      values.set(number, value);
      written += value.length + 60;
      if (step >= keys) utilisationMin = Math.min(utilisationMin, memory.utilisation);
    }
    expect(utilisationMin).toBeGreaterThan(0.8);
    expect(memory.heap.log.copiedBytes).toBeLessThan(4 * written);
    expect(memory.heap.log.copiedBytes).toBeGreaterThan(0);
    let wrong = 0;
    for (const [number, value] of values) if (!stores[number % 3]!.peek(keyOf(number), keyHash(keyOf(number)))?.value.equals(value)) wrong += 1;
    expect(wrong).toBe(0);
  });

  it('comes to an end in idle moments, also where the ends of segments are too small for any entry', () => {
    const { memory, stores } = openStores(1);
    for (let number = 0; number < 700; number += 1) put(stores[0]!, number, Buffer.alloc(65_535));
    for (let number = 0; number < 700; number += 9) put(stores[0]!, number, Buffer.alloc(65_000));
    let rounds = 0;
    while (memory.clean(MIB) && rounds < 1000) rounds += 1;
    expect(rounds).toBeLessThan(1000);
    expect(memory.utilisation).toBeGreaterThan(0.8);
  });

  it('overwrites a value of the same size in place', () => {
    const { memory, stores } = openStores(1);
    for (let number = 0; number < 20_000; number += 1) put(stores[0]!, number % 1000, Buffer.alloc(100, number));
    expect(memory.heap.log.copiedBytes).toBe(0);
    expect(memory.allocatedBytes).toBe(SEGMENT_BYTES);
  });

  it('gives memory back when the mix of sizes changes, which strands size classes', () => {
    const { memory, account, stores } = openStores(1);
    for (let number = 0; number < 40_000; number += 1) put(stores[0]!, number, Buffer.alloc(100));
    for (let number = 0; number < 40_000; number += 1) {
      stores[0]!.delete(keyOf(number), keyHash(keyOf(number)));
      if (number % 10 === 0) put(stores[0]!, 1_000_000 + number, Buffer.alloc(1300));
    }
    expect(account.usedBytes).toBe(stores[0]!.liveBytes);
    expect(memory.utilisation).toBeGreaterThan(0.8);
  });
});

describe('memory comes back', () => {
  const fill = (store: PartitionStore) => {
    for (let number = 0; number < 30_000; number += 1) put(store, number, Buffer.alloc(200));
  };
  const few = 5 * SEGMENT_BYTES;

  it.each([
    ['clear', (store: PartitionStore) => store.clear()],
    ['close', (store: PartitionStore) => store.close()],
    ['removeRange', (store: PartitionStore) => store.removeRange(FIRST_HASH, undefined, () => true)],
    [
      'delete of every entry',
      (store: PartitionStore) => {
        for (let number = 0; number < 30_000; number += 1) store.delete(keyOf(number), keyHash(keyOf(number)));
      },
    ],
  ])('after %s', (_, empty) => {
    const { memory, account, stores } = openStores(1);
    fill(stores[0]!);
    expect(memory.allocatedBytes).toBeGreaterThan(7 * MIB);
    empty(stores[0]!);
    expect([account.usedBytes, memory.usedBytes, memory.heap.log.liveBytes, stores[0]!.entryCount]).toEqual([0, 0, 0, 0]);
    expect(memory.allocatedBytes).toBeLessThanOrEqual(few);
  });

  it('when one of two stores goes whose entries lie in the same segments, after cleaning in idle moments', () => {
    const { memory, account, stores } = openStores(2);
    for (let number = 0; number < 30_000; number += 1) put(stores[number % 2]!, number, Buffer.alloc(200));
    stores[0]!.close();
    let rounds = 0;
    while (memory.clean(64 * 1024)) rounds += 1;
    expect(rounds).toBeLessThan(1000);
    expect(memory.allocatedBytes).toBeLessThan(memory.heap.log.liveBytes / 0.86 + 5 * SEGMENT_BYTES);
    expect(account.usedBytes).toBe(stores[1]!.liveBytes);
    let found = 0;
    for (let number = 1; number < 30_000; number += 2) if (stores[1]!.peek(keyOf(number), keyHash(keyOf(number))) !== undefined) found += 1;
    expect(found).toBe(15_000);
  });

  it('of large values, which are accounted though they lie outside', () => {
    const { memory, account, stores } = openStores(1);
    put(stores[0]!, 1, Buffer.alloc(3 * MIB));
    expect(account.usedBytes).toBe(stores[0]!.bytesOf(5, 3 * MIB));
    expect(memory.allocatedBytes).toBe(3 * MIB + SEGMENT_BYTES);
    put(stores[0]!, 1, Buffer.alloc(100));
    expect(account.usedBytes).toBe(stores[0]!.bytesOf(5, 100));
    put(stores[0]!, 1, Buffer.alloc(65_536));
    stores[0]!.delete(keyOf(1), keyHash(keyOf(1)));
    expect([account.usedBytes, memory.heap.outside.bytes]).toEqual([0, 0]);
  });
});

describe('MemoryAccount', () => {
  it('has its share of the node and tells what is left of it', () => {
    const memory = new StoreMemory({ bytesMax: 10 * MIB });
    const half = memory.openAccount('half', 0.5);
    expect([half.bytesMax, half.usedBytes, half.freeBytes]).toEqual([5 * MIB, 0, 5 * MIB]);
    const store = new PartitionStore({ account: half, random: new SeededRandom(1) });
    put(store, 1, Buffer.alloc(1 * MIB));
    expect(half.freeBytes).toBe(5 * MIB - store.bytesOf(5, 1 * MIB));
    expect(memory.openAccount('half', 0.2)).toBe(half);
    expect(half.bytesMax).toBe(2 * MIB);
  });

  it('has no more left than the node, where shares overlap', () => {
    const memory = new StoreMemory({ bytesMax: 10 * MIB });
    const store = new PartitionStore({ account: memory.openAccount('a', 1), random: new SeededRandom(1) });
    const other = memory.openAccount('b', 1);
    put(store, 1, Buffer.alloc(4 * MIB));
    expect(other.freeBytes).toBe(10 * MIB - store.liveBytes);
  });

  it('goes below zero instead of refusing a record that the leader has logged', () => {
    const { account, stores } = openStores(1, 1 * MIB);
    for (let number = 0; number < 30; number += 1) put(stores[0]!, number, Buffer.alloc(100_000));
    expect(stores[0]!.entryCount).toBe(30);
    expect(account.freeBytes).toBeLessThan(-1.8 * MIB);
  });

  it('closes only when it is empty', () => {
    const { memory, stores } = openStores(1);
    put(stores[0]!, 1, Buffer.alloc(1));
    expect(() => memory.closeAccount('default')).toThrow('still holds entries');
    stores[0]!.close();
    memory.closeAccount('default');
  });

  it.each([0, -1, 1.1, Number.NaN])('refuses the share %d', (share) => {
    expect(() => new StoreMemory({ bytesMax: 1000 }).openAccount('default', share)).toThrow('share');
  });

  it.each([0, 1.5, -1, MEMORY_BYTES_MAX + 1])('refuses %d bytes', (bytesMax) => {
    expect(() => new StoreMemory({ bytesMax })).toThrow('bytesMax');
  });
});
