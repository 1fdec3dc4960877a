import { createKeyspaceSpec, type KeyspaceSpec } from '@atoll/core-membership';
import { completeCutOver, type CopyJob } from '@atoll/core-migration';
import { copyKey, encodeCopyJob, encodeKeyspaceSpec, keyspaceKey, parseKeyspaceSpec, type Comparison } from '@atoll/platform-etcd';
import { InMemoryEtcd, InMemoryMetadataStore } from '@atoll/platform-etcd/testing';
import { CopyStore } from './copy-store.ts';

const ELECTION_KEY = 'coordinator/1';
const CUT_OVER = { id: 'x', maxPauseMs: 1000 };
const job: CopyJob = { id: 'c', state: 'CUTTING_OVER', source: 's', sourceId: '1', target: 't', targetId: '2', partitionCount: 4, createdMs: 1, endedMs: 0, bytesPerSecond: 0, traceparent: '', problem: '', cutOver: CUT_OVER };

let etcd: InMemoryEtcd;
let client: InMemoryMetadataStore;
let store: CopyStore;
/** etcd goes away just when a transaction is sent. */
let isEtcdLostInTransactions = false;
beforeEach(() => {
  etcd = new InMemoryEtcd();
  client = new InMemoryMetadataStore({ etcd });
  etcd.transact([], [
    { kind: 'put', key: ELECTION_KEY, value: 'c1' },
    { kind: 'put', key: copyKey('c'), value: encodeCopyJob(job) },
    { kind: 'put', key: keyspaceKey('s'), value: encodeKeyspaceSpec(createKeyspaceSpec({ name: 's', id: '1', aliases: ['older'] })) },
    { kind: 'put', key: keyspaceKey('t'), value: encodeKeyspaceSpec(createKeyspaceSpec({ name: 't', id: '2', copyOf: { job: 'c', keyspace: 's', keyspaceId: '1', isPaused: false } })) },
  ]);
  const election: Comparison = { kind: 'modRevision', key: ELECTION_KEY, equals: etcd.get(ELECTION_KEY)!.modRevision };
  isEtcdLostInTransactions = false;
  store = new CopyStore({
    store: {
      get: (key) => client.get(key),
      list: (prefix) => client.list(prefix),
      transact: (comparisons, changes) => {
        if (isEtcdLostInTransactions) client.goAway();
        return client.transact(comparisons, changes);
      },
    },
    election,
  });
});
afterEach(() => client.close());

const spec = (name: string): KeyspaceSpec => {
  const parsed = parseKeyspaceSpec(etcd.get(keyspaceKey(name))!.value);
  if (parsed.kind !== 'parsed') throw new Error(parsed.problem);
  return parsed.value;
};
const complete = (before: CopyJob): CopyJob => completeCutOver(before, { pausesMs: [5], endedMs: 9, extent: { comparedEntries: 3, bytes: 8, entries: 3 } });
const cutOver = (): Promise<CopyJob> =>
  store.cutOver('c', complete, ({ source, target }, revision) => ({
    source: { ...source, aliases: undefined, movedTo: 't' },
    target: { ...target, copyOf: undefined, aliases: ['s', ...(source.aliases ?? [])], cutOver: { job: 'c', id: 'x', fencesBelow: revision + 1, timeMs: 0 } },
  }));
const isSwitched = (): boolean => spec('s').movedTo === 't' && spec('t').copyOf === undefined && spec('t').aliases?.join() === 's,older';
const isAsBefore = (): boolean => spec('s').movedTo === undefined && spec('t').copyOf !== undefined && spec('t').aliases === undefined;
const elected = (): void => void etcd.transact([], [{ kind: 'put', key: ELECTION_KEY, value: 'c2' }]);

describe('the transaction of a cut-over (R37)', () => {
  it('is one: the job, the source, which is called so no more, and the copy, which is', async () => {
    expect(await cutOver()).toMatchObject({ state: 'SUCCEEDED', pauseMsMax: 5, sourceRemains: true });
    expect(isSwitched()).toBe(true);
    const { modRevision } = etcd.get(copyKey('c'))!;
    expect([keyspaceKey('s'), keyspaceKey('t')].map((key) => etcd.get(key)!.modRevision)).toEqual([modRevision, modRevision]);
    // Later than whatever token was given out before it.
    expect(spec('t').cutOver!.fencesBelow).toBe(modRevision);
  });

  it('whose answer is lost is read as it is, and is settled by that (R7)', async () => {
    await store.refresh();
    client.loseNextAnswer();
    expect((await cutOver()).state).toBe('SUCCEEDED');
    expect(isSwitched()).toBe(true);
    await store.settle();
  });

  it('that did not happen is refused for ever once it is settled, however late it arrives (R7)', async () => {
    await store.refresh();
    const late = etcd.get(copyKey('c'))!.modRevision;
    isEtcdLostInTransactions = true;
    await expect(cutOver()).rejects.toMatchObject({ reason: 'METADATA_UNAVAILABLE' });
    isEtcdLostInTransactions = false;
    client.comeBack();
    // As if it had been sent before etcd went away.
    const lost = (): number | undefined => etcd.transact([{ kind: 'modRevision', key: copyKey('c'), equals: late }], [{ kind: 'put', key: keyspaceKey('s'), value: 'late' }]);
    await store.update('c', (before) => ({ ...before, problem: 'as abort writes it' }));
    expect(lost()).toBeUndefined();
    expect(isAsBefore()).toBe(true);
  });

  it('whose fate is open lets nobody go on until etcd says how it stands', async () => {
    await store.refresh();
    const before = etcd.get(copyKey('c'))!.modRevision;
    isEtcdLostInTransactions = true;
    await expect(cutOver()).rejects.toMatchObject({ reason: 'METADATA_UNAVAILABLE' });
    isEtcdLostInTransactions = false;
    await expect(store.settle()).rejects.toMatchObject({ reason: 'METADATA_UNAVAILABLE' });
    client.comeBack();
    await store.settle();
    expect(etcd.get(copyKey('c'))!.modRevision).toBeGreaterThan(before);
    expect(isAsBefore()).toBe(true);
    expect((await cutOver()).state).toBe('SUCCEEDED');
  });

  it.each<[string, () => Promise<unknown> | void]>([
    ['the job was cancelled meanwhile', () => store.update('c', (before) => ({ ...before, state: 'CANCELLING', cutOver: undefined }))],
    ['the source was made again', () => void etcd.transact([], [{ kind: 'put', key: keyspaceKey('s'), value: encodeKeyspaceSpec(createKeyspaceSpec({ name: 's', id: '3' })) }])],
    ['another coordinator is elected', elected],
  ])('does not happen when %s (R11)', async (_name, meanwhile) => {
    await store.refresh();
    await meanwhile();
    expect((await cutOver()).state).not.toBe('SUCCEEDED');
    expect(spec('t').cutOver).toBeUndefined();
  });

  it('a copy that is being cut over takes what its source has, and is not paused', async () => {
    await store.update('c', (before) => ({ ...before, problem: 'written' }));
    expect(spec('t').copyOf?.isPaused).toBe(false);
  });
});
