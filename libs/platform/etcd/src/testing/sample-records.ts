import { createKeyspaceSpec } from '@atoll/core-membership';
import type { KeyspaceSpec, NodeRecord, NodeSpec, PartitionRecord } from '@atoll/core-membership';
import { toEpoch, toNodeId, toPartitionId, toReplicaId } from '@atoll/core-runtime';

// Records that are valid, for specs that change a field or two of them.

export function sampleNode(id: string, changes: Partial<NodeRecord> = {}): NodeRecord {
  return {
    id: toNodeId(id),
    address: `127.0.0.1:${id.length}000`,
    httpAddress: '',
    zone: 'z1',
    weight: 1,
    incarnation: `${id}-life-1`,
    phase: 'SERVING',
    ...changes,
  };
}

export function sampleNodeSpec(id: string, changes: Partial<NodeSpec> = {}): NodeSpec {
  return { id: toNodeId(id), state: 'UP', zone: 'z1', weight: 1, incarnation: 'i', address: '127.0.0.1:1', stopped: false, ...changes };
}

export function sampleKeyspace(name: string): KeyspaceSpec {
  return createKeyspaceSpec({ name, id: `${name}-1` });
}

export function samplePartition(keyspace: string, partition: number, changes: Partial<PartitionRecord> = {}): PartitionRecord {
  const leader = { node: toNodeId('a'), replica: toReplicaId('00000000000000aa') };
  return {
    keyspace,
    keyspaceId: `${keyspace}-1`,
    partition: toPartitionId(partition),
    state: 'ACTIVE',
    generation: { counter: 1, id: 'g' },
    epoch: toEpoch(1),
    leader,
    leaderIncarnation: 'a-life-1',
    relinquished: false,
    inSync: [leader],
    eligible: [],
    learners: [],
    leaving: [],
    changeId: 'c',
    ...changes,
  };
}
