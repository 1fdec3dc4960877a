import { spawn } from 'node:child_process';
import { once } from 'node:events';

import { campaign } from './election.ts';
import { connectEtcd } from './etcd-metadata-store.ts';
import type { EtcdMetadataStore } from './etcd-metadata-store.ts';
import { ensureClusterId } from './cluster-identity.ts';
import { nodeKey, partitionKey } from './cluster-keys.ts';
import { registerNode } from './node-registration.ts';
import { openClusterView } from './open-cluster-view.ts';
import { encodePartitionRecord } from './record-codecs.ts';
import { eventually, startEtcd } from './testing/index.ts';
import type { TestEtcd } from './testing/index.ts';
import { sampleNode, samplePartition } from './testing/sample-records.ts';

describe('on a real etcd', () => {
  let etcd: TestEtcd;
  let stores: EtcdMetadataStore[];
  const client = (): EtcdMetadataStore => {
    const store = connectEtcd({ endpoints: [etcd.client], requestTimeoutMs: 1000 });
    stores.push(store);
    return store;
  };

  beforeEach(async () => {
    etcd = await startEtcd();
    stores = [];
  });
  afterEach(async () => {
    await Promise.all(stores.map((store) => store.close()));
    await etcd.stop();
  });

  it('an elected coordinator stops by its own clock when etcd stops, and one is elected again afterwards (R11)', async () => {
    const stories: string[][] = [[], []];
    const elections = stories.map((story, index) =>
      campaign(
        { store: client(), id: `c${index}`, address: `c${index}:1`, ttlMs: 2000 },
        { onElected: () => story.push('elected'), onLost: () => story.push('lost') },
      ),
    );
    const holders = () => elections.filter((election) => election.term() !== undefined);
    await eventually('one is elected', () => holders().length === 1);
    etcd.pause();
    await eventually('nobody is', () => holders().length === 0);
    etcd.resume();
    await eventually('one is elected again', () => holders().length === 1, 20_000);
    expect(stories.flat().filter((event) => event === 'lost')).toHaveLength(1);
    await Promise.all(elections.map((election) => election.resign()));
  });

  it('a node stays registered through a restart of etcd, and is seen so', async () => {
    const store = client();
    await ensureClusterId(store, () => 'c');
    const options = { ttlMs: 1000, probe: async () => undefined, onTaken: () => undefined };
    const registration = await registerNode(store, sampleNode('a'), options);
    const view = await openClusterView(client(), { onProblem: () => undefined });
    expect(view.nodes().get('a')).toEqual(sampleNode('a'));
    await etcd.kill();
    await eventually('the node knows that its lease may be gone', () => !registration.isRegistered());
    await etcd.restart();
    await eventually('it is registered again', () => registration.isRegistered());
    expect((await store.get(nodeKey('a')))?.value).toContain('a-life-1');
    await registration.deregister();
    await eventually('the view sees it leave', () => view.connected && !view.nodes().has('a'), 10_000);
    await view.close();
  });

  it('a process that ends while etcd is away waits for at most one call and the 3 s of a resignation', async () => {
    const store = client();
    const registration = await registerNode(store, sampleNode('a'), { ttlMs: 2000, probe: async () => undefined, onTaken: () => undefined });
    const election = campaign({ store, id: 'c', address: 'c:1', ttlMs: 2000 }, { onElected: () => undefined, onLost: () => undefined });
    await eventually('elected', () => election.term());
    etcd.pause();
    const startedAtMs = performance.now();
    await Promise.all([registration.deregister(), election.resign()]);
    expect(performance.now() - startedAtMs).toBeLessThan(8000);
    expect([registration.isRegistered(), election.term()]).toEqual([false, undefined]);
    etcd.resume();
  });

  it('a view of 4096 partitions tells of one change as one change, and tells nothing again after a restart', async () => {
    const store = client();
    await ensureClusterId(store, () => 'c');
    for (let first = 0; first < 4096; first += 128) {
      const changes = Array.from({ length: 128 }, (_, index) => ({
        kind: 'put' as const,
        key: partitionKey('default', first + index),
        value: encodePartitionRecord(samplePartition('default', first + index)),
      }));
      await store.transact([], changes);
    }
    const view = await openClusterView(store, { onProblem: (problem) => expect(problem).toBe('') });
    expect(view.partitions('default')).toHaveLength(4096);
    let changesTold = 0;
    view.subscribe((changes) => (changesTold += changes.length));
    await etcd.kill();
    await eventually('the loss is seen', () => !view.connected);
    await etcd.restart();
    await eventually('the view is back', () => view.connected);
    const value = encodePartitionRecord(samplePartition('default', 77, { changeId: 'other' }));
    await store.transact([], [{ kind: 'put', key: partitionKey('default', 77), value }]);
    await eventually('the change is seen', () => view.partition('default', 77)?.record.changeId === 'other');
    expect(changesTold).toBe(1);
    await view.close();
  });

  it('a process ends at once after it gave everything back', async () => {
    const program = `
      const [, index, endpoint] = process.argv;
      const { connectEtcd } = await import(index);
      const store = connectEtcd({ endpoints: [endpoint] });
      const lease = await store.grantLease(30_000);
      const watch = await store.watch('w/', { onSnapshot: () => {}, onChanges: () => {} });
      await store.transact([], [{ kind: 'put', key: 'w/k', value: 'x', lease }]);
      await watch.close();
      await lease.revoke();
      await store.close();
      console.log('closed');
    `;
    const args = ['--input-type=module', '-e', program, new URL('index.ts', import.meta.url).href, etcd.client];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const exited = once(child, 'exit');
    await once(child.stdout, 'data');
    const closedAtMs = performance.now();
    const [code] = await exited;
    expect(code).toBe(0);
    // What was left behind would keep it for the 30 s of the lease.
    expect(performance.now() - closedAtMs).toBeLessThan(10_000);
  });
});
