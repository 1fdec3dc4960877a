import { createKeyspaceSpec, type Member, type NodeRecord, type PartitionRecord, type VersionedRecord } from '@atoll/core-membership';
import { toEpoch, toNodeId, toPartitionId, toReplicaId } from '@atoll/core-runtime';
import { countHealth } from './partition-health.ts';

const member = (node: string): Member => ({ node: toNodeId(node), replica: toReplicaId(node.padEnd(16, '0')) });

const node = (id: string, incarnation = 'life-1'): NodeRecord => ({
  id: toNodeId(id),
  address: `127.0.0.1:1`,
  httpAddress: '',
  zone: 'z',
  weight: 1,
  incarnation,
  phase: 'SERVING',
});

const led = (partition: number, leader: string, inSync: readonly string[]): VersionedRecord => {
  const record: PartitionRecord = {
    keyspace: 'k',
    keyspaceId: 'id',
    partition: toPartitionId(partition),
    state: 'ACTIVE',
    generation: { counter: 1, id: 'g' },
    epoch: toEpoch(1),
    leader: member(leader),
    leaderIncarnation: 'life-1',
    relinquished: false,
    inSync: inSync.map(member),
    eligible: [],
    learners: [],
    leaving: [],
    changeId: 'c',
  };
  return { record, modRevision: 1 };
};

describe('the health of partitions', () => {
  const keyspaces = [createKeyspaceSpec({ name: 'k', id: 'id', partitionCount: 4 })];
  // partition:   0    1    2    3 (no record)
  // leader:      a    b    a
  // in sync:     a,b  b,a  a
  const records = [led(0, 'a', ['a', 'b']), led(1, 'b', ['b', 'a']), led(2, 'a', ['a'])];
  const count = (...nodes: readonly NodeRecord[]) =>
    countHealth({ keyspaces, recordsOf: () => records, nodes: new Map(nodes.map((each) => [each.id, each])) });

  it('counts what has no record as neither led nor replicated', () => {
    expect(count(node('a'), node('b'))).toEqual({ partitions: 4, withoutLeader: 1, underReplicated: 2, belowMinInSync: 1, bySetSize: [1, 1, 2, 0, 0, 0, 0, 0], epochs: new Map([['k', 3]]) });
  });

  it('counts a partition whose leader has vanished', () => {
    expect(count(node('a'))).toMatchObject({ partitions: 4, withoutLeader: 2, underReplicated: 4, belowMinInSync: 1, bySetSize: [1, 3, 0, 0, 0, 0, 0, 0] });
  });

  it('counts a partition whose leader was another life of the process', () => {
    expect(count(node('a'), node('b', 'life-2'))).toMatchObject({ partitions: 4, withoutLeader: 2, underReplicated: 2 });
  });

  it('counts nothing as missing of a keyspace whose place another one has taken: its nodes may be gone for good', () => {
    const retired = [{ ...keyspaces[0]!, movedTo: 'k-standby' }];
    expect(countHealth({ keyspaces: retired, recordsOf: () => records, nodes: new Map() })).toMatchObject({ partitions: 4, withoutLeader: 0, underReplicated: 0, belowMinInSync: 0, bySetSize: [4, 0, 0, 0, 0, 0, 0, 0] });
  });
});
