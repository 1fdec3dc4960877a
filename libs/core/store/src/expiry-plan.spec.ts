import type { Hash64 } from '@atoll/core-runtime';
import { MIB, SeededRandom, compareHash, keyHash } from '@atoll/core-runtime';
import { PartitionStore } from './partition-store.ts';
import { FIRST_HASH } from './range-walk.ts';
import { StoreMemory } from './store-memory.ts';

const hashOf = (number: number) => keyHash(Buffer.from(`key-${number}`));

function openStore(expiries: (number: number) => number, count = 20_000): PartitionStore {
  const account = new StoreMemory({ bytesMax: 64 * MIB }).openAccount('default', 1);
  const store = new PartitionStore({ account, random: new SeededRandom(1) });
  for (let number = 0; number < count; number += 1) {
    const key = Buffer.from(`key-${number}`);
    const version = { generation: 1, epoch: 1, seq: number };
    store.put({ key, hash: keyHash(key), value: Buffer.alloc(8), version, expiresAtMs: expiries(number) });
  }
  return store;
}

describe('expiry (R23)', () => {
  it('passes over pages without expired entries at the cost of one step each', () => {
    const store = openStore((number) => (number % 2 === 0 ? 0 : 5000));
    expect(store.planExpiry(FIRST_HASH, 4999, { removedMax: 1, scannedMax: 200 })).toEqual({ to: undefined, count: 0 });
  });

  it.each(['lowest', 'highest'])('finds the one entry that expires, of the %s hash, after pages were split, emptied and joined', (end) => {
    const inOrder = Array.from({ length: 20_000 }, (_, number) => number).sort((a, b) => compareHash(hashOf(a), hashOf(b)));
    const expiring = inOrder.at(end === 'lowest' ? 0 : -1);
    const store = openStore((number) => (number === expiring ? 1000 : 0));
    for (const [place, number] of inOrder.entries()) {
      if (number !== expiring && place % 400 !== 7) store.delete(Buffer.from(`key-${number}`), hashOf(number));
    }
    expect(store.planExpiry(FIRST_HASH, 1000, { removedMax: 100, scannedMax: 1000 })).toEqual({ to: undefined, count: 1 });
    expect(store.removeExpired(FIRST_HASH, undefined, 1000)).toBe(1);
    expect(store.entryCount).toBe(50);
  });

  it('learns from a scan that a page has nothing expired any more', () => {
    const store = openStore((number) => (number === 7 ? 1000 : 5000));
    const gone = Buffer.from('key-7');
    store.delete(gone, keyHash(gone));
    expect(store.planExpiry(FIRST_HASH, 2000, { removedMax: 1, scannedMax: 200 }).to).toBeDefined();
    store.planExpiry(FIRST_HASH, 2000, { removedMax: 1, scannedMax: 100_000 });
    expect(store.planExpiry(FIRST_HASH, 2000, { removedMax: 1, scannedMax: 200 })).toEqual({ to: undefined, count: 0 });
  });

  it('removes the same entries on every replica, however each came to hold them', () => {
    const leader = openStore((number) => number % 1000);
    const follower = openStore((number) => number % 1000);
    let at: Hash64 | undefined = FIRST_HASH;
    let records = 0;
    while (at !== undefined) {
      const { to, count } = leader.planExpiry(at, 300, { removedMax: 100, scannedMax: 1000 });
      expect(count).toBeLessThanOrEqual(100);
      expect([leader.removeExpired(at, to, 300), follower.removeExpired(at, to, 300)]).toEqual([count, count]);
      expect(follower.digest()).toEqual(leader.digest());
      at = to;
      records += 1;
    }
    expect(leader.entryCount).toBe(20_000 - 6000);
    expect(records).toBeGreaterThanOrEqual(60);
  });

  it('keeps an expiry beyond the year 10889 as that year', () => {
    const store = openStore(() => 2 ** 52, 1);
    expect(store.peekState(Buffer.from('key-0'), keyHash(Buffer.from('key-0')))?.expiresAtMs).toBe(2 ** 48 - 1);
    expect(store.removeExpired(FIRST_HASH, undefined, Date.UTC(2300, 0))).toBe(0);
  });
});
