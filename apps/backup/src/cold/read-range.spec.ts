// Which replica of a partition a job reads.
import { createKeyspaceSpec } from '@atoll/core-membership';
import { toNodeId, toPartitionId, toReplicaId } from '@atoll/core-runtime';
import { encodeKeyspaceSpec, encodeNodeRecord, encodePartitionRecord, ensureClusterId, keyspaceKey, nodeKey, openClusterView, partitionKey, type ClusterView } from '@atoll/platform-etcd';
import { InMemoryMetadataStore, eventually, sampleNode, samplePartition } from '@atoll/platform-etcd/testing';
import { NodeClients } from './node-clients.ts';
import { addressesOf, takeLeastBusy } from './read-range.ts';

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

  it('from the follower whose node sends least to the job', () => {
    const ended = clients.countStream(addressOf('b'));
    expect(nodesOf(0)).toEqual(['c', 'b', 'a']);
    clients.countStream(addressOf('c'));
    clients.countStream(addressOf('c'));
    expect([nodesOf(0), nodesOf(1)]).toEqual([['b', 'c', 'a'], ['a', 'c', 'b']]);
    ended();
    expect(clients.streamsOf(addressOf('b'))).toBe(0);
  });

  it('after one whose node sends more: where there are two replicas, each partition has one follower', async () => {
    const lone = ['a', 'b'].map((leader, partition) => samplePartition('k', partition, { leader: member(leader), inSync: [member(leader), member(leader === 'a' ? 'b' : 'c')] }));
    await store.transact([], lone.map((record, partition) => ({ kind: 'put', key: partitionKey('k', partition), value: encodePartitionRecord(record) })));
    await eventually('the view has them', () => nodesOf(1).length === 2);
    const waiting = [0, 1].map((partition) => ({ keyspace: view.keyspace('k')!, partition }));
    const ended = clients.countStream(addressOf('b'));
    expect(takeLeastBusy(waiting, { view, clients })?.partition).toBe(1);
    ended();
    expect([takeLeastBusy(waiting, { view, clients })?.partition, takeLeastBusy(waiting, { view, clients })]).toEqual([0, undefined]);
  });
});
