import type { Comparison } from '@atoll/platform-etcd';
import { InMemoryEtcd, InMemoryMetadataStore } from '@atoll/platform-etcd/testing';
import { RAISE_MAX, raiseRevision } from './raise-revision.ts';

const ELECTION: Comparison = { kind: 'createRevision', key: 'coordinator/1', equals: 2 };

describe('raiseRevision (R13)', () => {
  let store: InMemoryMetadataStore;
  const raise = (above: number, signal = new AbortController().signal): Promise<void> => raiseRevision(store, { above, election: ELECTION, signal });

  beforeEach(async () => {
    store = new InMemoryMetadataStore({ etcd: new InMemoryEtcd() });
    await store.transact([], [{ kind: 'put', key: 'coordinator/1', value: 'x' }]);
  });
  afterEach(() => store.close());

  it('writes until the revision is above, and nothing where it is', async () => {
    await raise(500);
    expect(store.etcd.revision).toBeGreaterThan(500);
    const { revision } = store.etcd;
    await raise(revision - 1);
    expect(store.etcd.revision).toBe(revision);
  });

  it('ends with the office (R11), with etcd, and with its caller', async () => {
    await store.transact([], [{ kind: 'delete', key: 'coordinator/1' }]);
    await expect(raise(100)).rejects.toMatchObject({ reason: 'METADATA_CONFLICT' });
    await store.transact([], [{ kind: 'put', key: 'coordinator/1', value: 'x' }]);
    store.goAway();
    await expect(raise(100)).rejects.toMatchObject({ reason: 'METADATA_UNAVAILABLE' });
    store.comeBack();
    await expect(raise(100, AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone');
  });

  it('leaves to etcd what would take too long (I10)', async () => {
    await expect(raise(store.etcd.revision + RAISE_MAX + 1)).rejects.toMatchObject({ reason: 'METADATA_REGRESSED', message: expect.stringContaining('--bump-revision') });
  });
});
