import type { Hash64 } from '@atoll/core-runtime';
import { MIB, SeededRandom, compareHash, keyHash, randomBelow } from '@atoll/core-runtime';
import { compareVersion } from './entry-version.ts';
import type { EntryVersion } from './entry-version.ts';
import { PartitionStore } from './partition-store.ts';
import type { RangeSlice } from './partition-store.ts';
import type { SliceLimits } from './range-walk.ts';
import { FIRST_HASH } from './range-walk.ts';
import { StoreMemory } from './store-memory.ts';

interface ModelEntry {
  key: Buffer;
  hash: Hash64;
  value: Buffer;
  version: EntryVersion;
  expiresAtMs: number;
}

/** How a test turns key number n into a hash; equal numbers give equal hashes. */
const hashings: Record<string, (key: Buffer) => Hash64> = {
  'real hashes': (key) => keyHash(key),
  'equal upper halves': (key) => ({ high: 0xdeadbeef, low: keyHash(key).low }),
  'equal upper 20 bits': (key) => ({ high: (0xabcde000 | (keyHash(key).high & 0xfff)) >>> 0, low: keyHash(key).low }),
  'upper halves at which pages begin': (key) => ({ high: (keyHash(key).high & 0xff00_0000) >>> 0, low: keyHash(key).low }),
  'few different hashes': (key) => ({ high: ((keyHash(key).high % 7) * 0x2492_4924) >>> 0, low: keyHash(key).low % 5 }),
  'the lowest and the highest hash': (key) => (keyHash(key).low % 2 === 0 ? { high: 0, low: 0 } : { high: 0xffff_ffff, low: 0xffff_ffff }),
};

function openStore(seed = 1, bytesMax = 64 * MIB) {
  const memory = new StoreMemory({ bytesMax });
  const account = memory.openAccount('default', 1);
  return { memory, account, store: new PartitionStore({ account, random: new SeededRandom(seed) }) };
}

function inOrder(model: Map<string, ModelEntry>): ModelEntry[] {
  return [...model.values()].sort((a, b) => compareHash(a.hash, b.hash) || Buffer.compare(a.key, b.key));
}

function isWithin(hash: Hash64, from: Hash64, to: Hash64 | undefined): boolean {
  return compareHash(hash, from) >= 0 && (to === undefined || compareHash(hash, to) < 0);
}

const textOf = (hash: Hash64) => `${hash.high}/${hash.low}`;

function check(isTrue: boolean, what: string): void {
  if (!isTrue) throw new Error(what);
}

/** Order, limits (which the entries of the last hash may exceed) and progress of one slice. */
function checkSlice({ entries, next }: RangeSlice, limits: SliceLimits): void {
  const last = entries.at(-1);
  const hashes = new Set(entries.map(({ hash }) => textOf(hash)));
  const before = entries.filter(({ hash }) => textOf(hash) !== textOf(last!.hash));
  const bytes = before.reduce((sum, { key, value }) => sum + key.length + value.length, 0);
  check(hashes.size <= limits.entriesMax && bytes <= limits.bytesMax, 'a slice exceeds its limits');
  check(entries.every(({ hash }, index) => index === 0 || compareHash(entries[index - 1]!.hash, hash) <= 0), 'a slice is out of order');
  check(next === undefined || (last !== undefined && compareHash(last.hash, next) < 0), 'a slice makes no progress');
}

/** Reads a range slice by slice; entries of one hash are put in key order to compare. */
function readAll(store: PartitionStore, from: Hash64, to: Hash64 | undefined, limits: SliceLimits) {
  const found: ModelEntry[] = [];
  let at: Hash64 | undefined = from;
  while (at !== undefined) {
    const slice = store.readRange(at, to, limits);
    checkSlice(slice, limits);
    found.push(...slice.entries.map((entry) => ({ ...entry, key: Buffer.from(entry.key) })));
    at = slice.next;
  }
  return found.sort((a, b) => compareHash(a.hash, b.hash) || Buffer.compare(a.key, b.key));
}

describe.each(Object.keys(hashings))('PartitionStore against a Map, %s', (name) => {
  const hashOf = hashings[name]!;

  it.each([11, 12, 13, 14])('agrees after every step (seed %i)', (seed) => {
    const random = new SeededRandom(seed);
    const below = (bound: number) => randomBelow(random, bound);
    const { memory, account, store } = openStore(seed);
    const model = new Map<string, ModelEntry>();
    const keyOf = (number: number) => Buffer.from(`key-${number}${'x'.repeat(number % 40)}`);
    const keys = seed % 2 === 0 ? 3000 : 150;
    const randomHash = (): Hash64 => {
      const entries = [...model.values()];
      return below(4) === 0 || entries.length === 0 ? { high: random.nextUint32(), low: random.nextUint32() } : entries[below(entries.length)]!.hash;
    };
    let seq = 2 ** 40;
    let nowMs = 1000;

    const put = () => {
      const key = keyOf(below(keys));
      const value = Buffer.alloc(below(100) === 0 ? 65_000 + below(2000) : below(200), below(256));
      const version = { generation: 1 + below(3), epoch: below(2 ** 32), seq: (seq += 1) };
      const entry = { key, hash: hashOf(key), value, version, expiresAtMs: below(3) === 0 ? nowMs + below(500) : 0 };
      store.put(entry);
      model.set(key.toString(), entry);
    };
    const remove = () => {
      const key = keyOf(below(keys));
      expect(store.delete(key, hashOf(key))).toBe(model.delete(key.toString()));
    };
    const removeModel = (gone: (entry: ModelEntry) => boolean) => {
      let removed = 0;
      for (const [text, entry] of model) if (gone(entry) && model.delete(text)) removed += 1;
      return removed;
    };
    const removeRange = () => {
      const from = randomHash();
      const to = below(4) === 0 ? undefined : randomHash();
      const bit = below(4);
      const gone = (version: EntryVersion) => version.seq % 4 === bit;
      expect(store.removeRange(from, to, gone)).toBe(removeModel((entry) => isWithin(entry.hash, from, to) && gone(entry.version)));
    };
    const takeRange = () => {
      const from = randomHash();
      const to = below(4) === 0 ? undefined : randomHash();
      const { entries, next } = store.takeRange(from, to, 1 + below(20));
      const expected = inOrder(model).filter(({ hash }) => isWithin(hash, from, to) && (next === undefined || compareHash(hash, next) < 0));
      const named = (each: readonly Omit<ModelEntry, 'value'>[]) =>
        each.map(({ key, hash, version, expiresAtMs }) => ({ key: key.toString(), hash, version, expiresAtMs })).sort((a, b) => (a.key < b.key ? -1 : 1));
      expect(named(entries)).toEqual(named(expected));
      expect(removeModel((entry) => expected.includes(entry))).toBe(entries.length);
    };
    const expire = () => {
      nowMs += below(300);
      const from = below(2) === 0 ? FIRST_HASH : randomHash();
      const limits = { removedMax: 1 + below(40), scannedMax: 1 + below(400) };
      const { to, count } = store.planExpiry(from, nowMs, limits);
      check(to === undefined || compareHash(to, from) > 0, 'an expiry plan makes no progress');
      const removed = store.removeExpired(from, to, nowMs);
      expect(removed).toBe(count);
      const expired = (entry: ModelEntry) => entry.expiresAtMs > 0 && entry.expiresAtMs <= nowMs && isWithin(entry.hash, from, to);
      const gone = [...model.values()].filter(expired);
      expect(removed).toBe(removeModel(expired));
      const hashes = new Set(gone.map(({ hash }) => textOf(hash)));
      check(removed <= limits.removedMax || hashes.size === 1, 'an expiry plan exceeds its limits');
    };
    const checkOne = (key: Buffer) => {
      const expected = model.get(key.toString());
      const found = below(2) === 0 ? store.get(key, hashOf(key)) : store.peek(key, hashOf(key));
      expect(found?.value.toString('latin1')).toBe(expected?.value.toString('latin1'));
      expect(store.peekState(key, hashOf(key))?.version).toEqual(expected?.version);
    };
    const checkAll = () => {
      const from = randomHash();
      const to = below(2) === 0 ? undefined : randomHash();
      const expected = inOrder(model).filter((entry) => isWithin(entry.hash, from, to));
      const found = readAll(store, from, to, { entriesMax: 1 + below(300), bytesMax: 1 + below(100_000) });
      expect(found.length).toBe(expected.length);
      for (const [index, entry] of found.entries()) {
        const other = expected[index]!;
        expect(entry.key.equals(other.key) && entry.value.equals(other.value)).toBe(true);
        expect([entry.version, entry.expiresAtMs]).toEqual([other.version, other.expiresAtMs]);
      }
      let bytes = 0;
      for (const { key, value } of model.values()) bytes += store.bytesOf(key.length, value.length);
      expect([store.liveBytes, account.usedBytes, memory.usedBytes]).toEqual([bytes, bytes, bytes]);
      const again = openStore(seed + 1).store;
      for (const entry of inOrder(model)) again.put(entry);
      expect(again.digest()).toEqual(store.digest());
    };

    const filling = seed % 2 === 0 ? 4000 : 0;
    for (let step = 0; step < filling; step += 1) put();
    for (let step = 0; step < 6000; step += 1) {
      const dice = below(1000);
      if (dice < 600) put();
      else if (dice < 900) remove();
      else if (dice < 902) removeRange();
      else if (dice < 904) takeRange();
      else if (dice < 925) expire();
      else if (dice < 926 && below(4) === 0) {
        store.clear();
        model.clear();
      } else {
        checkOne(keyOf(below(keys)));
      }
      if (store.entryCount !== model.size) throw new Error(`step ${step}: ${store.entryCount} entries, expected ${model.size}`);
      if (step % 1000 === 799) checkAll();
    }
    store.close();
    expect([account.usedBytes, memory.usedBytes, memory.heap.log.liveBytes, memory.heap.outside.bytes]).toEqual([0, 0, 0, 0]);
  });
});

describe('PartitionStore', () => {
  const key = Buffer.from('key');
  const hash = keyHash(key);
  const version = { generation: 1, epoch: 2, seq: 3 };

  it('keeps the extremes of every field', () => {
    const { store } = openStore();
    const extreme = { generation: 2 ** 32 - 1, epoch: 2 ** 32 - 1, seq: 2 ** 53 - 1 };
    const longKey = Buffer.alloc(4096, 'k');
    store.put({ key: longKey, hash: keyHash(longKey), value: Buffer.alloc(0), version: extreme, expiresAtMs: 2 ** 48 - 1 });
    expect(store.get(longKey, keyHash(longKey))).toEqual({ key: longKey, value: Buffer.alloc(0), version: extreme, expiresAtMs: 2 ** 48 - 1 });
  });

  it('gives values that later writes do not change', () => {
    const { store } = openStore();
    for (const length of [0, 1, 24, 25, 1000, 65_535, 65_536, 200_000]) {
      store.put({ key, hash, value: Buffer.alloc(length, 'a'), version, expiresAtMs: 0 });
      const value = store.get(key, hash)!.value;
      store.put({ key, hash, value: Buffer.alloc(length, 'b'), version, expiresAtMs: 0 });
      store.clear();
      expect(value.equals(Buffer.alloc(length, 'a'))).toBe(true);
    }
  });

  it('shares a large value that fills its backing store, and copies one that is a part of something larger', () => {
    const { store } = openStore();
    const whole = Buffer.alloc(100_000, 'v');
    store.put({ key, hash, value: whole, version, expiresAtMs: 0 });
    expect(store.get(key, hash)!.value.buffer).toBe(whole.buffer);
    const part = Buffer.alloc(1_000_000, 'v').subarray(5000, 105_000);
    store.put({ key, hash, value: part, version, expiresAtMs: 0 });
    expect(store.get(key, hash)!.value.buffer.byteLength).toBe(100_000);
  });

  it('has different digests for a different version or expiry, not for a different value (R34)', () => {
    const digestOf = (change: object, content = false) => {
      const { store } = openStore();
      store.put({ key, hash, value: Buffer.from('value'), version, expiresAtMs: 5, ...change });
      const leaves = new Uint32Array(128);
      if (!content) return store.digest().leaves.join();
      store.addContentDigest(leaves, FIRST_HASH, { entriesMax: 10, bytesMax: 1000 });
      return leaves.join();
    };
    const changes = [
      {},
      { version: { ...version, seq: 4 } },
      { version: { ...version, seq: 3 + 2 ** 32 } },
      { version: { ...version, epoch: 3 } },
      { version: { ...version, generation: 2 } },
      { expiresAtMs: 6 },
      { expiresAtMs: 5 + 2 ** 32 },
    ];
    expect(new Set(changes.map((change) => digestOf(change))).size).toBe(changes.length);
    expect(digestOf({ value: Buffer.from('other') })).toBe(digestOf({}));
    expect(digestOf({ value: Buffer.from('other') }, true)).not.toBe(digestOf({}, true));
    expect(new Set(changes.map((change) => digestOf(change, true))).size).toBe(changes.length);
  });

  it('computes the content digest in slices of any size with one result', () => {
    const { store } = openStore();
    for (let number = 0; number < 500; number += 1) {
      const name = Buffer.from(`key-${number}`);
      store.put({ key: name, hash: keyHash(name), value: Buffer.alloc(number * 7, number), version, expiresAtMs: 0 });
    }
    const digest = (entriesMax: number) => {
      const leaves = new Uint32Array(128);
      let slices = 0;
      for (let at: Hash64 | undefined = FIRST_HASH; at !== undefined; slices += 1) at = store.addContentDigest(leaves, at, { entriesMax, bytesMax: MIB });
      return { leaves, slices };
    };
    expect(digest(7).leaves).toEqual(digest(10_000).leaves);
    expect(digest(7).slices).toBeGreaterThan(70);
  });
});

describe('compareVersion', () => {
  it('orders by generation, then epoch, then seq', () => {
    const ordered = [[1, 1, 9], [1, 2, 3], [1, 2, 4], [2, 1, 1]].map(([generation, epoch, seq]) => ({ generation, epoch, seq }) as EntryVersion);
    for (const [i, a] of ordered.entries()) for (const [j, b] of ordered.entries()) expect(Math.sign(compareVersion(a, b))).toBe(Math.sign(i - j));
  });
});
