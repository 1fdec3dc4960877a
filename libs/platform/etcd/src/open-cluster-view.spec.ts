import { ensureClusterId, readClusterIdentity } from './cluster-identity.ts';
import { keyspaceKey, nodeKey, nodeSpecKey, parsePartitionKey, partitionKey } from './cluster-keys.ts';
import type { ClusterChange, ClusterView } from './cluster-view.ts';
import { openClusterView } from './open-cluster-view.ts';
import { encodeKeyspaceSpec, encodeNodeRecord, encodeNodeSpec, encodePartitionRecord } from './record-codecs.ts';
import { InMemoryMetadataStore, eventually } from './testing/index.ts';
import { sampleKeyspace, sampleNode, sampleNodeSpec, samplePartition } from './testing/sample-records.ts';

const CLUSTER = 'cluster-1';

describe('ClusterView', () => {
  let store: InMemoryMetadataStore;
  let view: ClusterView;
  let problems: string[];
  let told: ClusterChange[][];

  const put = (key: string, value: string) => store.transact([], [{ kind: 'put', key, value }]);
  const remove = (key: string) => store.transact([], [{ kind: 'delete', key }]);
  const batches = (count: number) => eventually(`${count} batches were told`, () => told.length >= count);

  beforeEach(async () => {
    store = new InMemoryMetadataStore();
    await ensureClusterId(store, () => CLUSTER);
    await put(nodeKey('a'), encodeNodeRecord(sampleNode('a')));
    await put(keyspaceKey('default'), encodeKeyspaceSpec(sampleKeyspace('default')));
    await put(partitionKey('default', 10), encodePartitionRecord(samplePartition('default', 10)));
    await put(partitionKey('default', 9), encodePartitionRecord(samplePartition('default', 9)));
    problems = [];
    told = [];
    view = await openClusterView(store, { onProblem: (problem) => problems.push(problem) });
    view.subscribe((changes) => told.push([...changes]));
  });
  afterEach(async () => {
    await view.close();
    await store.close();
  });

  it('shows all that stood in etcd when it was opened', () => {
    expect(view.clusterId).toBe(CLUSTER);
    expect([...view.nodes().keys()]).toEqual(['a']);
    expect(view.keyspace('default')).toEqual(sampleKeyspace('default'));
    expect(view.partitions('default').map(({ record }) => record.partition)).toEqual([9, 10]);
    expect(view.partitions('unknown')).toEqual([]);
    expect(view.partition('default', 9)?.modRevision).toBeGreaterThan(0);
    expect(view.coordinator()).toBeUndefined();
    expect(view.connected).toBe(true);
    expect(view.revision).toBe(store.etcd.revision);
  });

  it('tells of each change and shows it', async () => {
    await put(nodeKey('b'), encodeNodeRecord(sampleNode('b')));
    await put(nodeSpecKey('b'), encodeNodeSpec(sampleNodeSpec('b', { state: 'DRAINING' })));
    await put(partitionKey('default', 9), encodePartitionRecord(samplePartition('default', 9, { changeId: 'd' })));
    await remove(keyspaceKey('default'));
    await batches(4);
    expect(told).toEqual([
      [{ kind: 'node', id: 'b' }],
      [{ kind: 'nodeSpec', id: 'b' }],
      [{ kind: 'partition', keyspace: 'default', partition: 9 }],
      [{ kind: 'keyspace', name: 'default' }],
    ]);
    expect(view.nodeSpecs().get('b')?.state).toBe('DRAINING');
    expect(view.partition('default', 9)?.record.changeId).toBe('d');
    expect(view.keyspace('default')).toBeUndefined();
  });

  it('tells of all changes of one transaction together', async () => {
    const changes = [1, 2].map((partition) => ({
      kind: 'put' as const,
      key: partitionKey('default', partition),
      value: encodePartitionRecord(samplePartition('default', partition)),
    }));
    await store.transact([], changes);
    await batches(1);
    expect(told[0]).toHaveLength(2);
  });

  it('keeps what it saw while etcd is away, and afterwards tells only of what changed meanwhile (R12)', async () => {
    const other = new InMemoryMetadataStore({ etcd: store.etcd });
    store.goAway();
    expect(view.connected).toBe(false);
    expect(view.partitions('default')).toHaveLength(2);
    await other.transact([], [{ kind: 'delete', key: partitionKey('default', 10) }]);
    await other.transact([], [{ kind: 'put', key: nodeKey('c'), value: encodeNodeRecord(sampleNode('c')) }]);
    expect(view.partitions('default')).toHaveLength(2);
    store.comeBack();
    await batches(2);
    expect(told.flat()).toEqual([
      { kind: 'node', id: 'c' },
      { kind: 'partition', keyspace: 'default', partition: 10 },
    ]);
    expect(view.connected).toBe(true);
    await other.close();
  });

  it('reports a value that cannot be read and leaves what stood there', async () => {
    await put(partitionKey('default', 9), '{"broken":');
    await put(partitionKey('default', 11), encodePartitionRecord(samplePartition('default', 12)));
    await put('partitions/strange', '{}');
    await eventually('all three are reported', () => problems.length === 3);
    expect(problems[0]).toContain('partitions/default/0009: is not JSON');
    expect(problems[1]).toContain('names partition default/12');
    expect(view.partition('default', 9)?.record.changeId).toBe('c');
    expect(view.partition('default', 11)).toBeUndefined();
    expect(told).toEqual([]);
  });

  it('shows the candidate of the lowest create revision as the coordinator', async () => {
    await put('coordinator/x', JSON.stringify({ id: 'c1', address: '127.0.0.1:1' }));
    await put('coordinator/a', JSON.stringify({ id: 'c2', address: '127.0.0.1:2' }));
    await batches(2);
    expect(view.coordinator()?.id).toBe('c1');
    await remove('coordinator/x');
    await batches(3);
    expect(view.coordinator()).toMatchObject({ id: 'c2', address: '127.0.0.1:2' });
  });

  it('lets one listener throw without keeping it from the others', async () => {
    const heard: string[] = [];
    view.subscribe(() => {
      throw new Error('listener at fault');
    });
    const unsubscribe = view.subscribe(() => heard.push('last'));
    await put(nodeKey('b'), encodeNodeRecord(sampleNode('b')));
    await eventually('the last listener heard it', () => heard.length === 1);
    expect(problems.join()).toContain('listener at fault');
    unsubscribe();
    await put(nodeKey('b'), encodeNodeRecord(sampleNode('b', { zone: 'z2' })));
    await batches(2);
    expect(heard).toHaveLength(1);
  });

  it('waits for a cluster: without an id it says METADATA_UNAVAILABLE', async () => {
    const empty = new InMemoryMetadataStore();
    await expect(openClusterView(empty, { onProblem: () => undefined })).rejects.toMatchObject({ reason: 'METADATA_UNAVAILABLE' });
  });
});

describe('ensureClusterId', () => {
  it('gives every process the id of whoever came first', async () => {
    const store = new InMemoryMetadataStore();
    const ids = await Promise.all(['x', 'y', 'z'].map((id) => ensureClusterId(store, () => id)));
    expect(new Set(ids.map(({ id }) => id)).size).toBe(1);
    expect(ids[0]?.formatVersion).toBe(1);
  });

  it('settles a lost answer by reading: the key is written once (R7)', async () => {
    const store = new InMemoryMetadataStore();
    store.loseNextAnswer();
    expect((await ensureClusterId(store, () => 'x')).id).toBe('x');
  });

  it('refuses a cluster of a newer format', async () => {
    const store = new InMemoryMetadataStore();
    await store.transact([], [{ kind: 'put', key: 'cluster', value: '{"id":"x","formatVersion":2}' }]);
    await expect(readClusterIdentity(store)).rejects.toThrow('format version 2');
  });
});

describe('partition keys', () => {
  it.each([
    [partitionKey('default', 7), { keyspace: 'default', partition: 7 }],
    ['partitions/default/4095', { keyspace: 'default', partition: 4095 }],
    ['partitions/default/7', undefined],
    ['partitions/default', undefined],
    ['nodes/a', undefined],
  ])('%s', (key, expected) => expect(parsePartitionKey(key)).toEqual(expected));
});
