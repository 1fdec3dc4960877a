import type { PartitionRecord, VersionedRecord } from '@atoll/core-membership';
import { toEpoch, toNodeId, toPartitionId, toReplicaId } from '@atoll/core-runtime';
import { encodePartitionRecord, parsePartitionRecord, partitionKey } from '@atoll/platform-etcd';
import { InMemoryMetadataStore, eventually } from '@atoll/platform-etcd/testing';
import { createLogger } from '@atoll/platform-telemetry';
import { RecordKeeper } from './record-keeper.ts';

const leader = { node: toNodeId('a'), replica: toReplicaId('00000000000000aa') };
const record: PartitionRecord = {
  keyspace: 'default',
  keyspaceId: 'k1',
  partition: toPartitionId(0),
  state: 'ACTIVE',
  generation: { counter: 1, id: 'g' },
  epoch: toEpoch(1),
  leader,
  leaderIncarnation: 'i',
  relinquished: false,
  inSync: [leader],
  eligible: [],
  learners: [],
  leaving: [],
  changeId: 'c1',
};
const key = partitionKey('default', 0);

describe('RecordKeeper', () => {
  let store: InMemoryMetadataStore;
  let keeper: RecordKeeper;

  beforeEach(() => {
    store = new InMemoryMetadataStore();
    store.etcd.transact([], [{ kind: 'put', key, value: encodePartitionRecord(record) }]);
    keeper = new RecordKeeper({ store, logger: createLogger({ service: 's', instanceId: 'i', level: 'silent', format: 'json' }) });
  });

  afterEach(async () => {
    keeper.close();
    await store.close();
  });

  const changeIdInEtcd = (): string | undefined => {
    const parsed = parsePartitionRecord(store.etcd.get(key)!.value);
    return parsed.kind === 'parsed' ? parsed.value.changeId : undefined;
  };
  const attempt = (changeId: string, baseRevision = store.etcd.get(key)!.modRevision) => ({ changeId, baseRevision, record: { ...record, changeId } });

  it('tells a change that succeeded, was refused, or is in doubt, and sends it once (R7)', async () => {
    const first = attempt('c2');
    expect(await keeper.change(first)).toEqual({ kind: 'succeeded', modRevision: store.etcd.get(key)!.modRevision });
    expect(await keeper.change(first)).toEqual({ kind: 'refused' });
    store.loseNextAnswer();
    expect(await keeper.change(attempt('c3'))).toEqual({ kind: 'unknown' });
    expect(changeIdInEtcd()).toBe('c3');
    store.goAway();
    expect(await keeper.change(attempt('c4'))).toEqual({ kind: 'unknown' });
    expect(changeIdInEtcd()).toBe('c3');
  });

  it('reads until it is answered, once for all who ask meanwhile', async () => {
    store.goAway();
    const seen: VersionedRecord[] = [];
    keeper.read('default', 0, (versioned) => seen.push(versioned));
    keeper.read('default', 0, (versioned) => seen.push(versioned));
    store.comeBack();
    await eventually('the record', () => seen.length > 0);
    expect(seen).toEqual([{ record, modRevision: store.etcd.get(key)!.modRevision }]);
  });

  it('tells nothing of a record that is gone, and the id of a keyspace as it is now', async () => {
    const seen: unknown[] = [];
    keeper.read('default', 7, (versioned) => seen.push(versioned));
    keeper.readKeyspaceId('nowhere', (id) => seen.push(id));
    await eventually('an answer', () => seen.length > 0);
    expect(seen).toEqual([undefined]);
  });

  it('is silent after its end', async () => {
    const seen: unknown[] = [];
    keeper.read('default', 0, (versioned) => seen.push(versioned));
    keeper.close();
    keeper.readKeyspaceId('default', (id) => seen.push(id));
    await store.get(key);
    await store.get(key);
    expect(seen).toEqual([]);
  });
});
