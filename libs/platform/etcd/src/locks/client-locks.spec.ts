import { isAtollError } from '@atoll/core-errors';

import { InMemoryEtcd, InMemoryMetadataStore, eventually } from '../testing/index.ts';
import { clientLocksContract } from '../testing/client-locks-contract.ts';
import { heldLockContract } from '../testing/held-lock-contract.ts';
import { holdLock } from './held-lock.ts';
import { ClientLocks, LOCK_REQUESTS_PER_GROUP_MAX, type LockAsk } from './client-locks.ts';

async function inMemory() {
  const store = new InMemoryMetadataStore();
  const other = new InMemoryMetadataStore({ etcd: store.etcd });
  return { store, other, close: async () => void (await Promise.all([store.close(), other.close()])) };
}

clientLocksContract('InMemoryMetadataStore', inMemory);
heldLockContract('InMemoryMetadataStore', inMemory);

it('a process that cannot reach etcd stops holding its lock by its own clock (R11)', async () => {
  const store = new InMemoryMetadataStore();
  const lock = await holdLock({ store, name: 'backup', owner: 'a', ttlMs: 1000, waitMs: 0 });
  store.goAway();
  await eventually('it knows', () => lock.lost.aborted);
  expect(lock.isHeld()).toBe(false);
  await store.close();
});

describe('locks of clients when etcd fails', () => {
  let etcd: InMemoryEtcd;
  let store: InMemoryMetadataStore;
  let locks: ClientLocks;
  let count = 0;
  const ask = (fields: Partial<LockAsk> = {}): LockAsk => ({
    scope: { kind: 'name', name: 'n' },
    mode: 'EXCLUSIVE',
    ttlMs: 2000,
    waitMs: 0,
    requestId: `request-${(count += 1)}`,
    isRepeatable: true,
    owner: '',
    ...fields,
  });

  beforeEach(() => {
    etcd = new InMemoryEtcd();
    store = new InMemoryMetadataStore({ etcd });
    locks = new ClientLocks(store);
  });
  afterEach(async () => {
    await locks.close();
    await store.close();
  });

  it('a request whose entering was answered by nothing stands once, and is granted (R7)', async () => {
    store.loseNextAnswer();
    const lock = await locks.acquire(ask());
    expect(lock.fencingToken).toBe(etcd.list('locks/')[0]!.createRevision);
    expect(etcd.list('locks/')).toHaveLength(1);
  });

  it('with two answers lost the caller is told so, and the same request id finds what became of it', async () => {
    const request = ask();
    store.loseNextAnswer();
    store.loseNextAnswer();
    await expect(locks.acquire(request)).rejects.toMatchObject({ reason: 'METADATA_UNAVAILABLE' });
    expect((await locks.acquire(request)).requestId).toBe(request.requestId);
  });

  it('etcd away is METADATA_UNAVAILABLE, and the next call after its return succeeds', async () => {
    store.goAway();
    await expect(locks.acquire(ask())).rejects.toMatchObject({ reason: 'METADATA_UNAVAILABLE' });
    store.comeBack();
    expect((await locks.acquire(ask())).ttlMs).toBe(2000);
  });

  it('a waiter whose watch was away while it was its turn holds the lock afterwards (R36)', async () => {
    const other = new ClientLocks(new InMemoryMetadataStore({ etcd }));
    const held = ask({ ttlMs: 20_000 });
    await other.acquire(held);
    const waiting = locks.acquire(ask({ waitMs: 20_000, ttlMs: 20_000 }));
    await eventually('it waits', () => etcd.list('locks/').length === 2);
    await eventually('it was seen', () => locks.waiterCount === 1);
    store.goAway();
    await other.release(held.scope, held.requestId);
    store.comeBack();
    expect((await waiting).fencingToken).toBeGreaterThan(0);
    await other.close();
  });

  it('what is no request in etcd is nobody\'s lock', async () => {
    etcd.transact([], [{ kind: 'put', key: 'locks/name/bg/damaged1', value: '{' }, { kind: 'put', key: 'locks/other', value: '{}' }]);
    expect((await locks.acquire(ask())).ttlMs).toBe(2000);
    expect(await locks.list()).toHaveLength(1);
  });

  it('has a bound on requests for one lock (I10)', async () => {
    const value = etcdValueOf(await entered());
    for (let index = 0; index < LOCK_REQUESTS_PER_GROUP_MAX; index += 1) etcd.transact([], [{ kind: 'put', key: `locks/name/bg/waiting-${index}`, value }]);
    const refused = await eventually('they were seen', async () => (await failureOf(locks.acquire(ask()))) === 'OVERLOADED');
    expect(refused).toBe(true);
    expect(etcd.list('locks/')).toHaveLength(LOCK_REQUESTS_PER_GROUP_MAX + 1);
  });

  const entered = async (): Promise<string> => (await locks.acquire(ask())).requestId;
  const etcdValueOf = (requestId: string): string => etcd.get(`locks/name/bg/${requestId}`)!.value;
  const failureOf = async (work: Promise<unknown>): Promise<string> => {
    try {
      await work;
      return 'it succeeded';
    } catch (error) {
      return isAtollError(error) ? error.reason : String(error);
    }
  };
});
