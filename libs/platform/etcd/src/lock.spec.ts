import { isAtollError } from '@atoll/core-errors';

import { acquireLock } from './lock.ts';
import type { HeldLock } from './lock.ts';
import { InMemoryEtcd, InMemoryMetadataStore, eventually } from './testing/index.ts';

const reasonOf = async (work: Promise<unknown>): Promise<string> => {
  try {
    await work;
    return 'it succeeded';
  } catch (error) {
    return isAtollError(error) ? error.reason : String(error);
  }
};

describe('acquireLock', () => {
  let etcd: InMemoryEtcd;
  let stores: InMemoryMetadataStore[];
  const client = (): InMemoryMetadataStore => {
    const store = new InMemoryMetadataStore({ etcd });
    stores.push(store);
    return store;
  };
  const acquire = (store: InMemoryMetadataStore, options: Partial<Parameters<typeof acquireLock>[1]> = {}) =>
    acquireLock(store, { name: 'rebalance', ttlMs: 1000, waitMs: 10_000, ...options });
  const takeAndRelease = async (whileHeld: () => void): Promise<void> => {
    const lock = await acquire(client());
    whileHeld();
    await lock.release();
  };
  const waiting = (count: number) => eventually(`${count} requests stand`, () => etcd.list('locks/').length === count);

  beforeEach(() => {
    etcd = new InMemoryEtcd();
    stores = [];
  });
  afterEach(async () => {
    await Promise.all(stores.map((store) => store.close()));
  });

  it('is held by one of many at a time, and its fencing token grows from holder to holder (I9)', async () => {
    const tokens: number[] = [];
    let holders = 0;
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        const lock = await acquire(client());
        holders += 1;
        expect(holders).toBe(1);
        expect(lock.isHeld()).toBe(true);
        tokens.push(lock.fencingToken);
        holders -= 1;
        await lock.release();
        expect(lock.isHeld()).toBe(false);
      }),
    );
    expect(tokens).toHaveLength(20);
    expect(tokens).toEqual([...tokens].sort((a, b) => a - b));
    await waiting(0);
  });

  it('is given in the order of arrival (R38)', async () => {
    const first = await acquire(client());
    const order: number[] = [];
    const later: Promise<void>[] = [];
    for (const number of [1, 2, 3]) {
      later.push(takeAndRelease(() => order.push(number)));
      await waiting(number + 1);
    }
    await first.release();
    await Promise.all(later);
    expect(order).toEqual([1, 2, 3]);
  });

  it('passes on when its holder dies, and the holder knows that it lost it before the next one holds it', async () => {
    const dying = client();
    const lock = await acquire(dying);
    let lostAtMs = 0;
    lock.onLost(() => (lostAtMs = performance.now()));
    const next = acquire(client());
    await waiting(2);
    dying.goAway();
    const lockAfter = await next;
    expect(lock.isHeld()).toBe(false);
    expect(lostAtMs).toBeGreaterThan(0);
    expect(lostAtMs).toBeLessThanOrEqual(performance.now());
    expect(lockAfter.fencingToken).toBeGreaterThan(lock.fencingToken);
    await lockAfter.release();
  });

  it('leaves a transaction of a former holder without effect', async () => {
    const store = client();
    const lock = await acquire(store);
    expect((await store.transact([lock.comparison], [{ kind: 'put', key: 'k', value: '1' }])).kind).toBe('succeeded');
    await lock.release();
    expect(await store.transact([lock.comparison], [{ kind: 'put', key: 'k', value: '2' }])).toEqual({ kind: 'refused' });
  });

  it('is passed by a waiting client that goes away', async () => {
    const first = await acquire(client());
    const vanishing = client();
    const gone = reasonOf(acquire(vanishing));
    await waiting(2);
    const third = acquire(client());
    await waiting(3);
    vanishing.goAway();
    await first.release();
    const lock: HeldLock = await third;
    expect(lock.isHeld()).toBe(true);
    expect(await gone).toBe('METADATA_UNAVAILABLE');
    await lock.release();
  });

  it('is not waited for longer than asked: LOCK_HELD, and the request leaves the queue', async () => {
    const lock = await acquire(client());
    await expect(acquire(client(), { waitMs: 0 })).rejects.toMatchObject({ reason: 'LOCK_HELD' });
    await expect(acquire(client(), { waitMs: 20 })).rejects.toMatchObject({ reason: 'LOCK_HELD' });
    await waiting(1);
    await lock.release();
    const free = await acquire(client(), { waitMs: 0 });
    await free.release();
  });

  it('is not waited for after the signal: CANCELLED, and the request leaves the queue', async () => {
    const lock = await acquire(client());
    const stop = new AbortController();
    const cancelled = reasonOf(acquire(client(), { signal: stop.signal }));
    await waiting(2);
    stop.abort();
    expect(await cancelled).toBe('CANCELLED');
    await waiting(1);
    await expect(acquire(client(), { signal: stop.signal })).rejects.toMatchObject({ reason: 'CANCELLED' });
    await lock.release();
  });

  it('says METADATA_UNAVAILABLE when the answer to its request was lost, and leaves nothing behind (R7)', async () => {
    const store = client();
    store.loseNextAnswer();
    await expect(acquire(store)).rejects.toMatchObject({ reason: 'METADATA_UNAVAILABLE' });
    await waiting(0);
  });

  it('keeps names apart, slashes included', async () => {
    const names = ['a', 'a/b', 'a/', 'ä'];
    const locks = await Promise.all(names.map((name) => acquire(client(), { name, waitMs: 1000 })));
    expect(locks.every((lock) => lock.isHeld())).toBe(true);
    await Promise.all(locks.map((lock) => lock.release()));
  });

  it.each([
    [{ name: '' }, 'name'],
    [{ name: 'ä'.repeat(129) }, 'name'],
    [{ ttlMs: 999 }, 'ttl_ms'],
    [{ ttlMs: Number.NaN }, 'ttl_ms'],
    [{ waitMs: -1 }, 'wait_ms'],
  ])('refuses %j', async (options, field) => {
    await expect(acquire(client(), options)).rejects.toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field } });
  });
});
