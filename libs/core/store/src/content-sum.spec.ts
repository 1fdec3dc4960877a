import { SeededRandom, keyHash, MIB } from '@atoll/core-runtime';
import { CONTENT_RANGE_COUNTS, ContentSum, contentRange, leafOfRange } from './content-sum.ts';
import { DIGEST_LEAVES, leafOf, leafRange } from './entry-digest.ts';
import { entryVersionHash } from './entry-version-hash.ts';
import { PartitionStore } from './partition-store.ts';
import { StoreMemory } from './store-memory.ts';

const SEED = 20_261_121;
const ENTRIES = 2000;
const version = { generation: 1, epoch: 2, seq: 3 };
const EVERYTHING = { entriesMax: ENTRIES, bytesMax: 64 * MIB };

function openStore(): PartitionStore {
  const account = new StoreMemory({ bytesMax: 64 * MIB }).openAccount('default', 1);
  const store = new PartitionStore({ account, random: new SeededRandom(SEED) });
  for (let number = 0; number < ENTRIES; number += 1) put(store, `key-${number}`, Buffer.alloc(number % 300, number));
  return store;
}

function put(store: PartitionStore, name: string, value: Uint8Array, changes: object = {}): number {
  const key = Buffer.from(name);
  const hash = keyHash(key);
  store.put({ key, hash, value, version, expiresAtMs: 0, ...changes });
  return leafOf(hash.high);
}

function read(store: PartitionStore, range: number, count: number, entriesMax = ENTRIES): ContentSum {
  const sum = new ContentSum(contentRange(range, count));
  for (let at: ReturnType<PartitionStore['readContent']> = sum.from; at !== undefined; ) at = store.readContent(sum, at, { ...EVERYTHING, entriesMax });
  return sum;
}

const shown = ({ versions, content, entries, bytes }: ContentSum) => ({ versions, content, entries, bytes });

describe(`the content of a sub-range (R34; seed ${SEED})`, () => {
  it('of leaves: their ranges, all entries once, and the sums that the store keeps up', () => {
    const store = openStore();
    let entries = 0;
    for (let leaf = 0; leaf < DIGEST_LEAVES; leaf += 1) {
      expect(contentRange(leaf, DIGEST_LEAVES)).toEqual(leafRange(leaf));
      const sum = read(store, leaf, DIGEST_LEAVES);
      expect(sum.versions).toBe(store.leafSums(leaf));
      entries += sum.entries;
    }
    expect(entries).toBe(ENTRIES);
  });

  it('of versions is what the entries add up to, one by one, for who has them and no store', () => {
    const store = openStore();
    put(store, 'late', Buffer.from('x'), { expiresAtMs: 1_795_000_000_123, version: { generation: 7, epoch: 8, seq: 2 ** 40 + 5 } });
    const sums = [0, 0];
    for (const entry of store.readRange({ high: 0, low: 0 }, undefined, { ...EVERYTHING, entriesMax: ENTRIES + 1 }).entries) {
      const { high, low } = entryVersionHash(entry.hash, entry.version, entry.expiresAtMs);
      sums[0] = (sums[0]! + high) >>> 0;
      sums[1] = (sums[1]! + low) >>> 0;
    }
    const { leaves } = store.digest();
    const held = [0, 1].map((lane) => leaves.filter((_, index) => index % 2 === lane).reduce((sum, leaf) => (sum + leaf) >>> 0, 0));
    expect(sums).toEqual(held);
  });

  it.each(CONTENT_RANGE_COUNTS)('cut into %i covers every entry once, each in the leaf that it names', (count) => {
    const store = openStore();
    const bytes = Array.from({ length: DIGEST_LEAVES }, () => 0);
    for (let range = 0; range < count; range += 1) bytes[leafOfRange(range, count)]! += read(store, range, count).bytes;
    expect(bytes).toEqual(Array.from({ length: DIGEST_LEAVES }, (_, leaf) => read(store, leaf, DIGEST_LEAVES).bytes));
  });

  it('is the same in slices of any size, and whatever the order in which entries came', () => {
    const store = openStore();
    const other = openStore();
    const leaf = put(other, 'key-7', Buffer.from('for a while'));
    put(other, 'key-7', Buffer.alloc(7, 7));
    expect(shown(read(store, leaf, DIGEST_LEAVES, 3))).toEqual(shown(read(other, leaf, DIGEST_LEAVES)));
  });

  it('tells a value that differs under the same version, which the digest of versions does not', () => {
    const store = openStore();
    const before = Array.from({ length: DIGEST_LEAVES }, (_, leaf) => shown(read(store, leaf, DIGEST_LEAVES)));
    const digest = store.digest();
    const leaf = put(store, 'key-200', Buffer.concat([Buffer.alloc(199, 200), Buffer.from([201])]));
    expect(store.digest()).toEqual(digest);
    const after = shown(read(store, leaf, DIGEST_LEAVES));
    expect(after).toEqual({ ...before[leaf]!, content: expect.any(BigInt) });
    expect(after.content).not.toBe(before[leaf]!.content);
  });

  it('tells another version and another expiry from both sums', () => {
    const store = openStore();
    for (const changes of [{ version: { ...version, seq: 4 } }, { expiresAtMs: 5 }]) {
      const other = openStore();
      const leaf = put(other, 'key-1', Buffer.alloc(1, 1), changes);
      const [was, is] = [read(store, leaf, DIGEST_LEAVES), read(other, leaf, DIGEST_LEAVES)];
      expect(is.versions).not.toBe(was.versions);
      expect(is.content).not.toBe(was.content);
      expect(other.leafSums(leaf)).not.toBe(store.leafSums(leaf));
    }
  });
});
