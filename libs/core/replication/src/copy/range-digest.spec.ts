import { MIB, keyHash } from '@atoll/core-runtime';
import { FIRST_HASH, type PartitionStore } from '@atoll/core-store';
import { openState } from '../testing/solo.ts';
import { digestRange, isSameDigest, type RangeDigest } from './range-digest.ts';

const ALL = { entriesMax: 100_000, bytesMax: 64 * MIB };
const ask = { from: FIRST_HASH, to: undefined, belongs: (_key: Uint8Array): boolean => true, expiringByMs: 0 };

function storeOf(entries: readonly { readonly key: string; readonly value: string; readonly expiresAtMs?: number; readonly seq?: number }[]): PartitionStore {
  const { store } = openState('a');
  for (const { key, value, expiresAtMs = 0, seq = 1 } of entries) store.put({ key: Buffer.from(key), hash: keyHash(Buffer.from(key)), value: Buffer.from(value), version: { generation: 1, epoch: 1, seq }, expiresAtMs });
  return store;
}

const BASE = [{ key: 'a', value: '1' }, { key: 'b', value: '2', expiresAtMs: 5000 }, { key: 'c', value: 'x'.repeat(1000) }];
const digestOf = (entries: Parameters<typeof storeOf>[0], changes: Partial<typeof ask> = {}): RangeDigest => digestRange(storeOf(entries), { ...ask, ...changes }, ALL).digest;

describe('what a sub-range of a copy and of its source hold (R37)', () => {
  it('is the same whatever versions they have and in what order they came', () => {
    expect(isSameDigest(digestOf(BASE), digestOf(BASE.toReversed().map((entry, index) => ({ ...entry, seq: 50 + index }))))).toBe(true);
  });

  it.each([
    ['a value', [{ key: 'a', value: '2' }, ...BASE.slice(1)]],
    ['a byte of a long value', [...BASE.slice(0, 2), { key: 'c', value: `${'x'.repeat(999)}y` }]],
    ['an expiry', [BASE[0]!, { ...BASE[1]!, expiresAtMs: 5001 }, BASE[2]!]],
    ['a key', [{ key: 'd', value: '1' }, ...BASE.slice(1)]],
    ['one entry less', BASE.slice(1)],
    ['one entry more', [...BASE, { key: 'd', value: '' }]],
    ['two values the other way round', [{ key: 'a', value: '2' }, { ...BASE[1]!, value: '1' }, BASE[2]!]],
  ])('differs by %s', (_name, entries) => {
    expect(isSameDigest(digestOf(BASE), digestOf(entries))).toBe(false);
  });

  it('leaves out what is about to expire, and keys of others', () => {
    expect(digestOf(BASE, { expiringByMs: 5000 })).toEqual(digestOf([BASE[0]!, BASE[2]!]));
    expect(digestOf(BASE, { belongs: (key) => key[0] !== 0x61 })).toEqual(digestOf(BASE.slice(1)));
  });

  it('is read in slices that add up to the whole', () => {
    const store = storeOf(Array.from({ length: 500 }, (_, index) => ({ key: `key-${index}`, value: `v${index}` })));
    const whole = digestRange(store, ask, ALL);
    let entries = 0;
    let high = 0;
    for (let from: typeof whole.next = FIRST_HASH; from !== undefined; ) {
      const { digest, next, readEntries } = digestRange(store, { ...ask, from }, { entriesMax: 40, bytesMax: MIB });
      expect(digestRange(store, { ...ask, from, to: next }, ALL).digest).toEqual(digest);
      expect(readEntries).toBe(digest.entries);
      entries += digest.entries;
      high = (high + digest.sum.high) >>> 0;
      from = next;
    }
    expect([entries, high, whole.next]).toEqual([500, whole.digest.sum.high, undefined]);
  });
});
