import type { NodeVerdict } from '../failure/verdict.ts';
import type { PartitionRecord } from '../partition-record.ts';
import { ToyCluster } from '../testing/toy-cluster.ts';
import { CALM } from './failover-state.ts';
import type { ActiveFailover } from './hand-overs.ts';

/** Sixteen partitions with two replicas on a, b, c, five or six led by each. */
function createCluster(nodes: readonly string[] = ['a', 'b', 'c'], partitionCount = 16): ToyCluster {
  const cluster = new ToyCluster();
  for (const node of nodes) cluster.start(node);
  cluster.keyspace({ name: 'k', partitionCount, replicationFactor: 2 });
  cluster.active = 'on';
  cluster.settle();
  cluster.write(true);
  cluster.history.length = 0;
  return cluster;
}

const all = (cluster: ToyCluster): PartitionRecord[] => [...cluster.records.values()].map(({ record }) => record);
const leads = (cluster: ToyCluster): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const { leader } of all(cluster)) counts[leader!.node] = (counts[leader!.node] ?? 0) + 1;
  return counts;
};
const ledBy = (node: string, cluster: ToyCluster): PartitionRecord[] => all(cluster).filter(({ leader }) => leader?.node === node);
const reasons = (cluster: ToyCluster): string[] => [...new Set(cluster.planHandOvers().map(({ reason }) => reason))];
const drain = (cluster: ToyCluster, node: string): void => void cluster.specs.set(node, { ...cluster.specs.get(node)!, state: 'DRAINING' });

describe('planned transfers (R29)', () => {
  it.each<{ title: string; active: ActiveFailover; verdict?: Partial<NodeVerdict>; isDraining?: boolean; isStopping?: boolean; expected: readonly string[] }>([
    { title: 'of a healthy cluster', active: 'on', expected: [] },
    { title: 'from a node whose health degrades', active: 'on', verdict: { degraded: ['its disk fails'] }, expected: ['DEGRADED'] },
    { title: 'from such a node, when only drains are wanted', active: 'drain-only', verdict: { degraded: ['its disk fails'] }, expected: [] },
    { title: 'from a node that etcd does not answer (R30)', active: 'on', verdict: { isEtcdLost: true }, expected: ['ETCD_LOST'] },
    { title: 'from a node that is drained', active: 'drain-only', isDraining: true, expected: ['DRAINING'] },
    { title: 'from a node that stops', active: 'drain-only', isStopping: true, expected: ['STOPPING'] },
    { title: 'from a node that stops, when nothing is wanted but what is asked for', active: 'off', isStopping: true, expected: [] },
  ])('$title, active $active: $expected', ({ active, verdict, isDraining, isStopping, expected }) => {
    const cluster = createCluster();
    cluster.active = active;
    if (verdict !== undefined) cluster.judge('a', 'UP', verdict);
    if (isDraining === true) drain(cluster, 'a');
    if (isStopping === true) cluster.stopping('a');
    const planned = cluster.planHandOvers();
    expect(reasons(cluster)).toEqual(expected);
    expect(planned).toHaveLength(expected.length * leads(cluster).a!);
    for (const { record, target } of planned) {
      expect(record.leader!.node).toBe('a');
      expect(record.inSync).toContainEqual(target);
    }
  });

  it('go to members that are well, or nowhere', () => {
    const cluster = createCluster();
    for (const node of ['a', 'b', 'c']) cluster.judge(node, 'UP', { degraded: ['slow'] });
    expect(cluster.planHandOvers()).toEqual([]);
    cluster.judge('c', 'UP');
    expect(new Set(cluster.planHandOvers().map(({ target }) => target.node))).toEqual(new Set(['c']));
  });

  it('go from a node that stops to whoever works, when nobody is well', () => {
    const cluster = createCluster();
    for (const node of ['a', 'b', 'c']) cluster.judge(node, 'UP', { degraded: ['slow'] });
    cluster.stopping('a');
    expect(cluster.planHandOvers().map(({ reason }) => reason)).toEqual(ledBy('a', cluster).map(() => 'STOPPING'));
  });

  it('leave partitions alone whose leader is DOWN: those are succeeded, and nothing is balanced meanwhile', () => {
    const cluster = createCluster();
    cluster.judge('a', 'DOWN');
    expect(cluster.planHandOvers()).toEqual([]);
  });

  it('leave partitions alone that are in a transfer already', () => {
    const cluster = createCluster();
    drain(cluster, 'a');
    const names = cluster.planHandOvers().map(({ record }) => `k/${record.partition}`);
    cluster.failover = { ...CALM, handingOver: new Set(names) };
    expect(cluster.planHandOvers()).toEqual([]);
    expect(cluster.decide().filter((action) => action.kind === 'writeRecord' && names.includes(`k/${action.record.partition}`))).toEqual([]);
  });

  it('are done where an operator asks for them, whatever is wanted otherwise, if the node named is in sync', () => {
    const cluster = createCluster();
    cluster.active = 'off';
    const [record] = all(cluster);
    const other = record!.inSync.find((member) => member.node !== record!.leader!.node)!;
    const outside = ['a', 'b', 'c'].find((node) => record!.inSync.every((member) => member.node !== node))!;
    cluster.requested.set('k/0', outside);
    expect(cluster.planHandOvers()).toEqual([]);
    cluster.requested.set('k/0', other.node);
    expect(cluster.planHandOvers()).toMatchObject([{ reason: 'REQUESTED', target: other }]);
  });
});

describe('the balance of leaders', () => {
  it('gives a node that joins its share of leaderships, and comes to rest', () => {
    const cluster = createCluster(['a', 'b', 'c'], 64);
    cluster.start('d');
    cluster.settle();
    const counts = leads(cluster);
    expect(Object.values(counts).reduce((sum, count) => sum + count, 0)).toBe(64);
    // 64 leaderships on 4 nodes: 16 each, as far as the replicas that the nodes hold allow
    for (const count of Object.values(counts)) expect(count).toBeGreaterThanOrEqual(14);
    expect(all(cluster).every(({ inSync }) => inSync.length === 2)).toBe(true);
    expect(cluster.planHandOvers()).toEqual([]);
  });

  it('comes back after a node was away', () => {
    const cluster = createCluster(['a', 'b', 'c'], 32);
    cluster.judge('a', 'DOWN');
    cluster.settle();
    expect(leads(cluster).a).toBeUndefined();
    cluster.start('a');
    cluster.settle();
    for (const count of Object.values(leads(cluster))) expect([10, 11]).toContain(count);
  });
});

describe('a node that is drained', () => {
  it.each([1, 2])('with %i replicas of each partition ends without any, and nothing is lost', (replicationFactor) => {
    const cluster = new ToyCluster();
    for (const node of ['a', 'b', 'c']) cluster.start(node);
    cluster.keyspace({ name: 'k', partitionCount: 16, replicationFactor });
    cluster.settle();
    cluster.write(true);
    drain(cluster, 'a');
    cluster.settle();
    for (const record of all(cluster)) {
      expect(record).toMatchObject({ state: 'ACTIVE', generation: { counter: 1 }, learners: [], leaving: [] });
      expect(record.inSync.map(({ node }) => node)).not.toContain('a');
      expect(record.inSync).toHaveLength(replicationFactor);
      expect(cluster.held(record.leader!.node, record)!.writes).toBe(1);
    }
  });
});
