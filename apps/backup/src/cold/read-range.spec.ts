// Which replica of a partition a job reads.
import { createKeyspaceSpec } from '@atoll/core-membership';
import { toNodeId, toPartitionId, toReplicaId } from '@atoll/core-runtime';
import { encodeKeyspaceSpec, encodeNodeRecord, encodePartitionRecord, ensureClusterId, keyspaceKey, nodeKey, openClusterView, partitionKey, type ClusterView } from '@atoll/platform-etcd';
import { InMemoryMetadataStore, sampleNode, samplePartition } from '@atoll/platform-etcd/testing';
import { NodeClients } from './node-clients.ts';
import { addressesOf } from './read-range.ts';

const NODES = ['a', 'b', 'c'];
const addressOf = (node: string): string => `127.0.0.1:${1000 + NODES.indexOf(node)}`;
const member = (node: string) => ({ node: toNodeId(node), replica: toReplicaId(`00000000000000a${NODES.indexOf(node)}`) });

describe('a partition is read', () => {
  let store: InMemoryMetadataStore;
  let view: ClusterView;
  let clients: NodeClients;

  /** Partition 0 is led by a, partition 1 by b. */
  beforeEach(async () => {
    store = new InMemoryMetadataStore();
    clients = new NodeClients();
    await ensureClusterId(store, () => 'test');
    await store.transact([], [
      { kind: 'put', key: keyspaceKey('k'), value: encodeKeyspaceSpec(createKeyspaceSpec({ name: 'k', id: 'k-1', partitionCount: 2, replicationFactor: 3 })) },
      ...NODES.map((node) => ({ kind: 'put', key: nodeKey(node), value: encodeNodeRecord(sampleNode(node, { address: addressOf(node) })) }) as const),
      ...['a', 'b'].map((leader, partition) => ({ kind: 'put', key: partitionKey('k', partition), value: encodePartitionRecord(samplePartition('k', partition, { leader: member(leader), inSync: NODES.map(member) })) }) as const),
    ]);
    view = await openClusterView(store, { onProblem: () => undefined });
  });
  afterEach(async () => {
    clients.close();
    await view.close();
    await store.close();
  });

  const nodesOf = (partition: number): readonly string[] =>
    addressesOf({ keyspace: view.keyspace('k')!, partition: toPartitionId(partition) }, { view, clients }).map((address) => NODES.find((node) => addressOf(node) === address)!);

  it('from followers, and from the leader where no follower can be read', () => {
    expect([nodesOf(0), nodesOf(1)]).toEqual([['b', 'c', 'a'], ['c', 'a', 'b']]);
  });

  it('from the follower whose node sends least to the job: each node bounds what it sends, and one that sends nothing is lost time', () => {
    const ended = clients.countStream(addressOf('b'));
    expect(nodesOf(0)).toEqual(['c', 'b', 'a']);
    clients.countStream(addressOf('c'));
    clients.countStream(addressOf('c'));
    expect([nodesOf(0), nodesOf(1)]).toEqual([['b', 'c', 'a'], ['a', 'c', 'b']]);
    ended();
    expect(clients.streamsOf(addressOf('b'))).toBe(0);
  });
});
