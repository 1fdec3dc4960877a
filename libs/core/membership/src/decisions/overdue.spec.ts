import { ToyCluster } from '../testing/toy-cluster.ts';
import { CALM } from './failover-state.ts';
import { RedundancyClock } from './overdue.ts';

/** One partition in sync on a and b; b's replica has fallen out of sync and its node cannot bring it back. */
function createCluster(): ToyCluster {
  const cluster = new ToyCluster();
  for (const node of ['a', 'b']) cluster.start(node);
  cluster.keyspace({ name: 'k', partitionCount: 1, replicationFactor: 2 });
  cluster.settle();
  cluster.write(true);
  const record = cluster.record('k', 0);
  cluster.put({ ...record, inSync: record.inSync.filter(({ node }) => node === record.leader!.node), learners: record.inSync.filter(({ node }) => node !== record.leader!.node) });
  return cluster;
}

const take = (clock: RedundancyClock, cluster: ToyCluster, nowMs: number) => [...clock.take(cluster.keyspaces, cluster.state().partitions, nowMs)].map(([name, nodes]) => [name, [...nodes]]);

describe('a replica that is out of sync (R31)', () => {
  it('is overdue after reReplicateAfterMs, counted anew when it was in sync meanwhile', () => {
    const cluster = createCluster();
    const clock = new RedundancyClock({ reReplicateAfterMs: 1000 });
    const learner = cluster.record('k', 0).learners[0]!.node;
    expect(take(clock, cluster, 0)).toEqual([]);
    expect(take(clock, cluster, 1000)).toEqual([]);
    expect(take(clock, cluster, 1001)).toEqual([['k/0', [learner]]]);
    const out = cluster.record('k', 0);
    cluster.put({ ...out, inSync: [...out.inSync, ...out.learners], learners: [] });
    expect(take(clock, cluster, 1002)).toEqual([]);
    cluster.put(out);
    expect(take(clock, cluster, 1500)).toEqual([]);
    expect(take(clock, cluster, 2501)).toEqual([['k/0', [learner]]]);
  });

  it('while there are enough others, as during a rebalance, is not', () => {
    const cluster = createCluster();
    const clock = new RedundancyClock({ reReplicateAfterMs: 1000 });
    cluster.keyspaces.set('k', { ...cluster.keyspaces.get('k')!, replicationFactor: 1 });
    take(clock, cluster, 0);
    expect(take(clock, cluster, 5000)).toEqual([]);
  });

  it('is placed on another node although its own is up, and stays there', () => {
    const cluster = createCluster();
    const learner = cluster.record('k', 0).learners[0]!.node;
    const leader = cluster.record('k', 0).leader!.node;
    for (const action of cluster.decide()) cluster.execute(action); // the plan is made
    cluster.start('c');
    cluster.failover = { ...CALM, overdue: new Map([['k/0', new Set([learner])]]) };
    for (let round = 0; round < 4; round += 1) for (const action of cluster.decide()) cluster.execute(action);
    const record = cluster.record('k', 0);
    expect(record.learners.map(({ node }) => node)).toEqual(['c']);
    cluster.failover = CALM;
    cluster.settle();
    expect(cluster.record('k', 0).inSync.map(({ node }) => node).toSorted()).toEqual([leader, 'c'].toSorted());
  });

  it('stays where no other node can take it', () => {
    const cluster = createCluster();
    const learner = cluster.record('k', 0).learners[0]!.node;
    cluster.failover = { ...CALM, overdue: new Map([['k/0', new Set([learner])]]) };
    for (const action of cluster.decide()) cluster.execute(action);
    expect(cluster.record('k', 0).learners.map(({ node }) => node)).toEqual([learner]);
  });
});
