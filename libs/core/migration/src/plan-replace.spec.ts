import type { ClusterState, KeyspaceSpec, NodeSpec, PartitionRecord } from '@atoll/core-membership';
import { planReplace, wantedOfReplaced, type ReplaceAsk } from './plan-replace.ts';
import { job, nodes, operator, record } from './testing/samples.ts';

const [a, d] = nodes('ad') as [ReturnType<typeof nodes>[0], ReturnType<typeof nodes>[0]];
const keyspace = (partitionCount: number): KeyspaceSpec => ({ name: 'default', id: 'id-1', partitionCount, replicationFactor: 2 }) as KeyspaceSpec;

/** Nodes by their letters, each in its own zone unless told. */
function cluster(records: readonly PartitionRecord[], letters: string, zones: Readonly<Record<string, string>> = {}): ClusterState {
  const specs = new Map(nodes(letters).map((id) => [id, { id, zone: zones[id] ?? id, weight: 1, state: 'UP' } as NodeSpec]));
  return { specs, writtenOff: new Set(), partitions: new Map([['default', records.map((each) => ({ record: each, modRevision: 1 }))]]) } as unknown as ClusterState;
}

const ask = (fields: Partial<ReplaceAsk> = {}): ReplaceAsk => ({ from: a, to: d, isFromThere: true, ...fields });
const at = (partition: number, fields: Parameters<typeof record>[0] = {}): PartitionRecord => record({ ...fields, partition });
const plan = (state: ClusterState, asked = ask(), busy: ReadonlyMap<number, ReturnType<typeof operator>> = new Map()) => {
  const count = state.partitions.get('default')!.length;
  const { operators, refusals } = planReplace(state, keyspace(count), asked, ({ partition }) => busy.get(partition));
  return { moves: operators.map(({ record: { partition }, before, after }) => `${partition}: ${before.join('')} to ${after.join('')}`), refusals };
};

describe('the replacement of a node', () => {
  // node:     a     b       c       d (new)
  // holds:    0 1   0 2 3   1 2 3
  it('gives the new one exactly what the old one holds, and leaves the rest alone', () => {
    const state = cluster([at(0, { leader: 'a', inSync: 'ab' }), at(1, { leader: 'c', inSync: 'ca' }), at(2, { leader: 'b', inSync: 'bc' }), at(3, { leader: 'c', inSync: 'bc' })], 'abcd');
    expect(plan(state)).toEqual({ moves: ['0: ab to db', '1: ca to cd'], refusals: [] });
  });

  it('leaves what the new one holds already to the others', () => {
    const state = cluster([at(0, { leader: 'a', inSync: 'ad' }), at(1, { leader: 'c', inSync: 'ca' }), at(2, { leader: 'b', inSync: 'bc' }), at(3, { leader: 'c', inSync: 'bc' })], 'abcd');
    const { moves } = plan(state);
    expect(moves[0]).toMatch(/^0: ad to [bc]d$/);
    expect(moves[1]).toBe('1: ca to cd');
  });

  it('puts no two replicas of a partition into one zone where that can be helped', () => {
    const state = cluster([at(0, { leader: 'b', inSync: 'ba' }), at(1, { leader: 'c', inSync: 'ca' })], 'abcd', { a: 'z1', b: 'z2', c: 'z3', d: 'z2' });
    expect(plan(state).moves).toEqual(['0: ba to bc', '1: ca to cd']);
  });

  it('copies the replicas of one that is dead from the others, also where no record names it any more', () => {
    const state = cluster([at(0, { leader: 'b', inSync: 'b', learners: 'a' }), at(1, { leader: 'c', inSync: 'c' }), at(2, { leader: 'b', inSync: 'bc' }), at(3, { leader: 'c', inSync: 'bc' })], 'abcd');
    expect(plan(state, ask({ isFromThere: false }))).toEqual({ moves: ['0: ba to bd', '1: ca to cd'], refusals: [] });
    expect(plan(state).moves).toEqual(['0: ba to bd']);
  });

  it('says which partitions nobody else could give', () => {
    const state = cluster([at(0, { leader: '', inSync: 'a' }), at(1, { leader: 'c', inSync: 'ca' })], 'abcd');
    expect(plan(state, ask({ isFromThere: false }))).toEqual({ moves: ['1: ca to cd'], refusals: ['default/0 has no in-sync replica but the one on a'] });
  });

  it('leaves out what a migration takes from the old one anyway', () => {
    const state = cluster([at(0, { leader: 'a', inSync: 'ab' }), at(1, { leader: 'c', inSync: 'ca' })], 'abcd');
    const busy = new Map([[0, operator({ before: nodes('ab'), after: nodes('cb') })]]);
    expect(plan(state, ask(), busy).moves).toEqual(['1: ca to cd']);
  });
});

describe('what is wanted of a node that is being replaced', () => {
  const wanted = (reason: 'REPLACE' | 'REQUESTED', state: 'PREPARING' | 'RUNNING' | 'PAUSED' | 'CANCELLING'): string | undefined =>
    wantedOfReplaced([operator()], new Map([['job-1', job({ reason, state })]])).get(a);

  it.each([
    ['RUNNING', 'DRAINING'],
    ['PAUSED', 'DRAINING'],
    ['CANCELLING', 'UP'],
    ['PREPARING', undefined],
  ] as const)('while the job is %s: %s', (state, expected) => {
    expect(wanted('REPLACE', state)).toBe(expected);
    expect(wanted('REQUESTED', state)).toBeUndefined();
  });
});
