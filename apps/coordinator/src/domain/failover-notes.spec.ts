import { createKeyspaceSpec, type Member, type NodeRecord, type NodeReport, type NodeVerdict, type PartitionRecord } from '@atoll/core-membership';
import { toEpoch, toNodeId, toPartitionId, toReplicaId } from '@atoll/core-runtime';
import { FailoverNotes, type FailoverSources } from './failover-notes.ts';

const member = (node: string): Member => ({ node: toNodeId(node), replica: toReplicaId(node.padEnd(16, '0')) });
const node = (id: string, phase: NodeRecord['phase'] = 'SERVING'): NodeRecord => ({ id: toNodeId(id), address: `${id}:1`, httpAddress: '', zone: 'z', weight: 1, incarnation: `${id}-1`, phase });
const verdict = (more: Partial<NodeVerdict> = {}): NodeVerdict => ({ state: 'UP', reason: '', sinceMs: 0, degraded: [], isEtcdLost: false, ...more });
const report = (more: Partial<NodeReport> = {}): NodeReport => ({
  incarnation: '',
  loopLagMs: 0,
  memoryUsed: 0,
  diskError: '',
  diskFlushMs: 0,
  etcdSilentMs: 0,
  peers: [],
  stuckOffices: [],
  questions: [],
  stopped: [],
  ...more,
});

/** Partition 0 of k in epoch 5, led by a, b in sync. */
const led: PartitionRecord = {
  keyspace: 'k',
  keyspaceId: 'id',
  partition: toPartitionId(0),
  state: 'ACTIVE',
  generation: { counter: 1, id: 'g' },
  epoch: toEpoch(5),
  leader: member('a'),
  leaderIncarnation: 'a-1',
  relinquished: false,
  inSync: [member('a'), member('b')],
  eligible: [],
  learners: [],
  leaving: [],
  changeId: 'c',
};
const fencing: PartitionRecord = { ...led, state: 'FENCING', leader: undefined, leaderIncarnation: '' };

function sources(options: {
  record?: PartitionRecord;
  nodes?: readonly NodeRecord[];
  verdicts?: Record<string, NodeVerdict>;
  reports?: Record<string, NodeReport>;
  more?: Partial<FailoverSources>;
}): FailoverSources {
  const nodes = options.nodes ?? [node('a'), node('b'), node('c')];
  return {
    state: {
      nodes: new Map(nodes.map((each) => [each.id, each])),
      keyspaces: new Map([['k', createKeyspaceSpec({ name: 'k', id: 'id', partitionCount: 1 })]]),
      partitions: new Map([['k', [{ record: options.record ?? led, modRevision: 1 }]]]),
      verdicts: new Map(Object.entries(options.verdicts ?? { a: verdict(), b: verdict(), c: verdict() })),
    },
    reports: new Map(Object.entries(options.reports ?? {})),
    active: 'on',
    handingOver: new Set(),
    problemOf: () => undefined,
    recoveries: new Map(),
    overdue: new Map(),
    nowMs: 0,
    ...options.more,
  };
}

const take = (options: Parameters<typeof sources>[0]) => new FailoverNotes({ fenceAfterMs: 1000 }).take(sources(options));
const stuck = (epoch: number) => report({ stuckOffices: [{ keyspace: 'k', partition: 0, epoch }] });

describe('leaders that are passed over', () => {
  it.each<{ title: string; options: Parameters<typeof sources>[0]; expected: number | undefined }>([
    { title: 'who does not take the office of its record up (R27)', options: { reports: { a: stuck(5) } }, expected: 5 },
    { title: 'not for an earlier office', options: { reports: { a: stuck(4) } }, expected: undefined },
    { title: 'not because of what another node says', options: { reports: { b: stuck(5) } }, expected: undefined },
    { title: 'not who stops and can still hand over', options: { nodes: [node('a', 'STOPPING'), node('b')] }, expected: undefined },
    { title: 'who stops and could not hand over', options: { nodes: [node('a', 'STOPPING'), node('b')], more: { problemOf: () => 'no answer' } }, expected: 5 },
    { title: 'who stops where handing over is not wanted', options: { nodes: [node('a', 'STOPPING'), node('b')], more: { active: 'off' } }, expected: 5 },
    { title: 'not who serves and failed to hand over', options: { more: { problemOf: () => 'no answer' } }, expected: undefined },
  ])('$title', ({ options, expected }) => {
    expect(take(options).failover.passedOver.get('k/0')).toBe(expected);
  });
});

describe('the removal of a last follower (R10)', () => {
  const asks = (epoch = 5) => report({ questions: [{ keyspace: 'k', partition: 0, epoch, replica: member('b').replica, node: 'b' }] });
  const slow = verdict({ degraded: ['its heartbeats are slow'] });
  it.each<{ title: string; verdicts: Record<string, NodeVerdict>; reports: Record<string, NodeReport>; expected: readonly boolean[] }>([
    { title: 'is allowed when the follower is down', verdicts: { a: verdict(), b: verdict({ state: 'DOWN' }) }, reports: { a: asks() }, expected: [true] },
    { title: 'is allowed when both are well: the link between them is cut (R30)', verdicts: { a: verdict(), b: verdict() }, reports: { a: asks() }, expected: [true] },
    { title: 'is refused when the leader is the one that is sick', verdicts: { a: slow, b: verdict() }, reports: { a: asks() }, expected: [false] },
    { title: 'is allowed when both are sick', verdicts: { a: slow, b: slow }, reports: { a: asks() }, expected: [true] },
    {
      title: 'is allowed when another node does not hear the follower either',
      verdicts: { a: slow, b: verdict() },
      reports: { a: asks(), c: report({ peers: [{ node: 'b', silentMs: 700, isRefused: false }] }) },
      expected: [true],
    },
    { title: 'is not answered for another epoch', verdicts: { a: slow, b: verdict() }, reports: { a: asks(4) }, expected: [] },
  ])('$title', ({ verdicts, reports, expected }) => {
    const { answers, failover } = take({ verdicts, reports });
    expect(answers.map(({ mayRemove }) => mayRemove)).toEqual(expected);
    expect(failover.passedOver.get('k/0')).toBe(expected[0] === false ? 5 : undefined);
  });
});

describe('the fence (R15)', () => {
  it('is over fenceAfterMs after this coordinator saw it, counted anew in another epoch', () => {
    const notes = new FailoverNotes({ fenceAfterMs: 1000 });
    const at = (nowMs: number, record = fencing) => notes.take(sources({ record, more: { nowMs } })).failover.fenced.get('k/0');
    expect(at(100)).toBeUndefined();
    expect(at(1099)).toBeUndefined();
    expect(at(1100)).toBe(5);
    const again = { ...fencing, epoch: toEpoch(7) };
    expect(at(1200, again)).toBeUndefined();
    expect(at(2200, again)).toBe(7);
    expect(at(2300, led)).toBeUndefined();
    expect(at(2400, again)).toBeUndefined();
  });

  it('knows who has stopped, by node and partition', () => {
    const { failover } = take({ record: fencing, reports: { a: report({ stopped: [{ keyspace: 'k', partition: 0, epoch: 5 }] }) } });
    expect(failover.stopped.get('a')?.get('k/0')).toBe(5);
  });
});
