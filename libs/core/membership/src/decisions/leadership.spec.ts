import { toEpoch } from '@atoll/core-runtime';
import type { KeyspaceRequest } from '../keyspace-spec.ts';
import { hasReplica, type Member, type PartitionRecord } from '../partition-record.ts';
import { ToyCluster } from '../testing/toy-cluster.ts';
import { nameOf } from './cluster-state.ts';
import { CALM } from './failover-state.ts';

type Step = (cluster: ToyCluster) => void;

/** One partition on nodes a, b, c, all in sync, led by a, with one write. */
function createCluster(request: Partial<KeyspaceRequest> = {}): ToyCluster {
  const cluster = new ToyCluster();
  for (const node of ['a', 'b', 'c']) cluster.start(node);
  cluster.keyspace({ name: 'k', partitionCount: 1, replicationFactor: 3, minInSync: 1, ...request });
  cluster.settle();
  const record = recordOf(cluster);
  const leader = record.inSync.find((member) => member.node === 'a')!;
  const inSync = record.inSync.toSorted((x, y) => (x.node < y.node ? -1 : 1));
  cluster.put({ ...record, inSync, leader, leaderIncarnation: cluster.nodes.get('a')!.incarnation });
  cluster.write(true);
  cluster.history.length = 0;
  return cluster;
}

const recordOf = (cluster: ToyCluster): PartitionRecord => cluster.record('k', 0);
const memberOn = (record: PartitionRecord, node: string): Member =>
  [...record.inSync, ...record.learners, ...record.eligible].find((member) => member.node === node)!;
const nodesOf = (members: readonly Member[]): string => members.map((member) => member.node).toSorted().join('');

/** What the spec's tables draw: state, leader, in sync, eligible, learners. */
function picture(record: PartitionRecord): string {
  const { state, leader, inSync, eligible, learners } = record;
  return `${state} ${leader?.node ?? '-'} [${nodesOf(inSync)}] eligible [${nodesOf(eligible)}] learners [${nodesOf(learners)}]`;
}

/** The in-sync set as a leader left it: everybody else learns, or is eligible where the set is below minInSync. */
function leave(cluster: ToyCluster, inSync: string, eligible = ''): void {
  const record = recordOf(cluster);
  const out = record.inSync.filter((member) => !inSync.includes(member.node));
  cluster.put({
    ...record,
    inSync: record.inSync.filter((member) => inSync.includes(member.node)),
    eligible: out.filter((member) => eligible.includes(member.node)),
    learners: out,
  });
}

function once(cluster: ToyCluster): void {
  for (const action of cluster.decide()) cluster.execute(action);
}

const fenceIsOver: Step = (cluster) => {
  cluster.failover = { ...CALM, fenced: new Map([[nameOf(recordOf(cluster)), recordOf(cluster).epoch]]) };
};

describe('a leader whose node is DOWN (R6, R9, R27)', () => {
  // in sync:  a b c, led by a
  it.each<{ title: string; request?: Partial<KeyspaceRequest>; steps: readonly Step[]; expected: string }>([
    { title: 'is succeeded in one write that drops it', steps: [(c) => c.judge('a', 'DOWN')], expected: 'ACTIVE b [bc] eligible [] learners [a]' },
    {
      title: 'goes together with another member that is DOWN',
      steps: [(c) => c.judge('a', 'DOWN'), (c) => c.judge('b', 'DOWN')],
      expected: 'ACTIVE c [c] eligible [] learners [ab]',
    },
    {
      title: 'stays eligible where fewer than minInSync are left: nothing commits without it',
      request: { minInSync: 2 },
      steps: [(c) => c.judge('a', 'DOWN'), (c) => c.judge('b', 'DOWN')],
      expected: 'ACTIVE c [c] eligible [ab] learners [ab]',
    },
    { title: 'is not followed by one that is only suspected while another answers', steps: [(c) => c.judge('a', 'DOWN'), (c) => c.judge('b', 'SUSPECT')], expected: 'ACTIVE c [abc] without a' },
    { title: 'is not followed by one that serves badly while another is well', steps: [(c) => c.judge('a', 'DOWN'), (c) => c.judge('b', 'UP', { degraded: ['slow'] })], expected: 'ACTIVE c [abc] without a' },
    { title: 'keeps its office where nobody could lead instead', steps: [(c) => leave(c, 'a'), (c) => c.judge('a', 'DOWN')], expected: 'ACTIVE a [a] eligible [] learners [bc]' },
    {
      title: 'keeps its office where everybody else in sync is DOWN, too',
      steps: ['a', 'b', 'c'].map((node): Step => (c) => c.judge(node, 'DOWN')),
      expected: 'ACTIVE a [abc] eligible [] learners []',
    },
    { title: 'that is only suspected keeps its office (R11, R30)', steps: [(c) => c.judge('a', 'SUSPECT')], expected: 'ACTIVE a [abc] eligible [] learners []' },
    { title: 'without a verdict keeps its office (R11)', steps: [(c) => c.verdicts.delete('a')], expected: 'ACTIVE a [abc] eligible [] learners []' },
  ])('$title', ({ request, steps, expected }) => {
    const cluster = createCluster(request);
    for (const step of steps) step(cluster);
    once(cluster);
    const wanted = expected.endsWith('without a') ? 'ACTIVE c [bc] eligible [] learners [a]' : expected;
    expect(picture(recordOf(cluster))).toBe(wanted);
  });

  it('comes back as a learner and is brought in sync again by its successor', () => {
    const cluster = createCluster();
    cluster.judge('a', 'DOWN');
    once(cluster);
    const replica = memberOn(recordOf(cluster), 'a').replica;
    cluster.judge('a', 'UP');
    cluster.settle();
    expect(recordOf(cluster)).toMatchObject({ state: 'ACTIVE', epoch: 2, generation: { counter: 1 }, learners: [] });
    expect(hasReplica(recordOf(cluster).inSync, replica)).toBe(true);
  });
});

describe('an office that nobody takes up (R27)', () => {
  it('goes to the next member of the in-sync set, and only in the epoch that was reported', () => {
    const cluster = createCluster();
    cluster.failover = { ...CALM, passedOver: new Map([['k/0', 1]]) };
    once(cluster);
    expect(recordOf(cluster)).toMatchObject({ epoch: 2, leader: { node: 'b' } });
    once(cluster);
    expect(recordOf(cluster).epoch).toBe(2);
    cluster.failover = { ...CALM, passedOver: new Map([['k/0', 2]]) };
    once(cluster);
    expect(recordOf(cluster)).toMatchObject({ epoch: 3, leader: { node: 'c' } });
  });

  it('stays where nobody else is in sync', () => {
    const cluster = createCluster();
    leave(cluster, 'a');
    cluster.failover = { ...CALM, passedOver: new Map([['k/0', 1]]) };
    once(cluster);
    expect(recordOf(cluster)).toMatchObject({ epoch: 1, leader: { node: 'a' } });
  });
});

describe('a partition without an in-sync member that could lead (R9, R15, R31)', () => {
  const down: Step = (c) => c.judge('a', 'DOWN');
  const comesBackEmpty: Step = (c) => {
    c.held('a', recordOf(c))!.survivesRestart = false;
    c.start('a');
  };
  it.each<{ title: string; request?: Partial<KeyspaceRequest>; steps: readonly Step[]; expected: string; history: readonly string[] }>([
    {
      title: 'WAIT: an eligible member does not lead because of a verdict alone',
      request: { minInSync: 2 },
      steps: [(c) => leave(c, 'a', 'bc'), down, once, fenceIsOver, once],
      expected: 'ACTIVE a [a] eligible [bc] learners [bc]',
      history: [],
    },
    {
      title: 'WAIT: an eligible member leads when the last in-sync one is certainly lost',
      request: { minInSync: 2 },
      steps: [(c) => leave(c, 'a', 'bc'), comesBackEmpty, once, once],
      expected: 'ACTIVE b [b] eligible [c] learners [c]',
      history: ['spec a RESTARTED', 'PROMOTE_ELIGIBLE', 'ensure a'],
    },
    {
      title: 'an eligible member is not trusted where the set may commit without it',
      request: { minInSync: 1 },
      steps: [(c) => leave(c, 'a', 'b'), comesBackEmpty, once, once],
      expected: 'WAITING - [a] eligible [b] learners [bc]',
      history: ['spec a RESTARTED', 'WAIT'],
    },
    {
      title: 'RESET: an eligible member leads after the fence',
      request: { minInSync: 2, onDataLoss: 'RESET' },
      steps: [(c) => leave(c, 'a', 'bc'), down, once, once, fenceIsOver, once],
      expected: 'ACTIVE b [b] eligible [c] learners [ac]',
      history: ['FENCE', 'PROMOTE_ELIGIBLE'],
    },
    {
      title: 'RESET: without one it is fenced, and waits',
      request: { onDataLoss: 'RESET' },
      steps: [(c) => leave(c, 'a'), down, once, once],
      expected: 'FENCING - [a] eligible [] learners [bc]',
      history: ['FENCE'],
    },
    {
      title: 'RESET: after the fence it starts again empty, on nodes that dropped what they held',
      request: { onDataLoss: 'RESET' },
      steps: [(c) => leave(c, 'a'), down, once, fenceIsOver, once, (c) => c.nodesStep(), once, once],
      expected: 'ACTIVE b [bc] eligible [] learners [a]',
      history: ['FENCE', 'DROP_LEARNER', 'ensure b', 'ensure c', 'RESET'],
    },
    {
      title: 'RESET: a member that returns in time leads, and nothing is lost',
      request: { onDataLoss: 'RESET' },
      steps: [(c) => leave(c, 'a'), down, once, (c) => c.judge('a', 'UP'), once],
      expected: 'ACTIVE a [a] eligible [] learners [bc]',
      history: ['FENCE', 'PROMOTE'],
    },
    {
      title: 'RESET: nothing is fenced while a member is only suspected',
      request: { onDataLoss: 'RESET' },
      steps: [(c) => leave(c, 'ab'), down, (c) => c.judge('b', 'SUSPECT'), (c) => c.vanish('b'), once],
      expected: 'ACTIVE a [ab] eligible [] learners [c]',
      history: [],
    },
    {
      title: 'members that are removed by the operator are not waited for (R31)',
      steps: [
        (c) => leave(c, 'a'),
        (c) => c.vanish('a'),
        (c) => c.specs.set('a', { ...c.specs.get('a')!, state: 'REMOVED', stopped: true }),
        once,
        once,
      ],
      expected: 'WAITING - [a] eligible [] learners [bc]',
      history: ['WAIT'],
    },
  ])('$title', ({ request, steps, expected, history }) => {
    const cluster = createCluster(request);
    for (const step of steps) step(cluster);
    expect(picture(recordOf(cluster))).toBe(expected);
    expect(cluster.history).toEqual(history);
  });

  it('is complete at once when every former member has confirmed that it stopped', () => {
    const cluster = createCluster({ minInSync: 2, onDataLoss: 'RESET' });
    leave(cluster, 'a', 'bc');
    cluster.judge('a', 'DOWN');
    once(cluster);
    const stopped = (node: string, epoch: number): [string, Map<string, number>] => [node, new Map([['k/0', epoch]])];
    cluster.failover = { ...CALM, stopped: new Map([stopped('a', 1), stopped('b', 1)]) };
    once(cluster);
    expect(recordOf(cluster).state).toBe('FENCING');
    cluster.failover = { ...CALM, stopped: new Map([stopped('a', 1), stopped('b', 1), stopped('c', 2)]) };
    once(cluster);
    expect(picture(recordOf(cluster))).toBe('ACTIVE b [b] eligible [c] learners [ac]');
  });
});

describe('an unclean recovery by the operator (R3, R15)', () => {
  it('goes on from the replica named, behind a fence, in a new generation that continues the old one', () => {
    const cluster = createCluster();
    leave(cluster, 'a');
    cluster.judge('a', 'DOWN');
    const former = recordOf(cluster);
    cluster.failover = { ...CALM, recoveries: new Map([['k/0', { source: memberOn(former, 'c'), epoch: 1 }]]) };
    once(cluster);
    expect(recordOf(cluster)).toMatchObject({ state: 'FENCING', epoch: 2 });
    once(cluster);
    expect(picture(recordOf(cluster))).toBe('ACTIVE c [c] eligible [] learners [ab]');
    expect(recordOf(cluster)).toMatchObject({ epoch: 3, generation: { counter: 2 }, continues: former.generation });
    once(cluster);
    expect(recordOf(cluster).epoch).toBe(3);
  });

  it('without a replica starts the partition again, empty', () => {
    const cluster = createCluster();
    leave(cluster, 'a');
    cluster.judge('a', 'DOWN');
    cluster.failover = { ...CALM, recoveries: new Map([['k/0', { source: undefined, epoch: 1 }]]) };
    for (let round = 0; round < 4; round += 1) {
      once(cluster);
      cluster.nodesStep();
    }
    expect(picture(recordOf(cluster))).toBe('ACTIVE b [bc] eligible [] learners [a]');
    expect(recordOf(cluster)).toMatchObject({ generation: { counter: 2 }, continues: undefined });
  });

  it('loses nothing when an in-sync member turns up meanwhile', () => {
    const cluster = createCluster();
    leave(cluster, 'a');
    cluster.failover = { ...CALM, recoveries: new Map([['k/0', { source: memberOn(recordOf(cluster), 'c'), epoch: 1 }]]) };
    once(cluster);
    cluster.judge('a', 'UP');
    once(cluster);
    expect(picture(recordOf(cluster))).toBe('ACTIVE a [a] eligible [] learners [bc]');
    expect(recordOf(cluster).generation.counter).toBe(1);
  });

  it('is void when the record is another one than the operator saw', () => {
    const cluster = createCluster();
    const record = recordOf(cluster);
    cluster.put({ ...record, epoch: toEpoch(7) });
    cluster.failover = { ...CALM, recoveries: new Map([['k/0', { source: memberOn(record, 'c'), epoch: 1 }]]) };
    once(cluster);
    expect(recordOf(cluster)).toMatchObject({ epoch: 7, leader: { node: 'a' } });
  });
});
