import { CALM, createKeyspaceSpec, type ClusterState } from '@atoll/core-membership';
import type { KeyspaceSpec } from '@atoll/core-membership';
import { toNodeId } from '@atoll/core-runtime';
import type { MigrationJob } from './migration-job.ts';
import { MigrationRounds, type RoundPorts } from './rounds.ts';
import { job, operator, record } from './testing/samples.ts';

const ports: RoundPorts = {
  verdictOf: () => undefined,
  isInQueue: () => false,
  copiedBytes: () => 0,
  memoryOf: () => undefined,
  refusalOf: () => undefined,
  pauseMsOf: () => undefined,
};
const keyspace = (eviction: KeyspaceSpec['eviction']): KeyspaceSpec => createKeyspaceSpec({ name: 'default', id: 'id-1', partitionCount: 8, eviction });

function stateOf(fields: { overdue?: string; eviction?: KeyspaceSpec['eviction'] } = {}): ClusterState {
  const { overdue, eviction = 'LRU' } = fields;
  const specs = ['a', 'b', 'c', 'd'].map((id) => ({ id: toNodeId(id), state: 'UP' as const, zone: 'z', weight: 1, incarnation: `${id}-1`, address: `${id}:1`, stopped: false }));
  return {
    nodes: new Map(),
    specs: new Map(specs.map((spec) => [spec.id, spec])),
    keyspaces: new Map([['default', keyspace(eviction)]]),
    partitions: new Map([['default', [{ record: record(), modRevision: 1 }]]]),
    inventories: new Map(),
    writtenOff: new Set(),
    verdicts: new Map(),
    failover: { ...CALM, overdue: new Map(overdue === undefined ? [] : [['default/3', new Set([overdue])]]) },
  };
}

function stepOf(given: Parameters<typeof operator>[0], { state = stateOf(), from = job(), port = {} }: { state?: ClusterState; from?: MigrationJob; port?: Partial<RoundPorts> } = {}) {
  const rounds = new MigrationRounds({ ports: { ...ports, ...port }, limits: { perTarget: 8, perCluster: 8 } });
  return rounds.changes([operator(given)], new Map([[from.id, from]]), state, { nowMs: 0, wallMs: 5 })[0]?.to;
}

describe('the rounds of migrations', () => {
  it('a partition that waits for its turn, in a paused job too, gives way to the repair of a replica that was lost', () => {
    for (const state of ['RUNNING', 'PAUSED'] as const) {
      expect(stepOf({}, { state: stateOf({ overdue: 'b' }), from: job({ state }) })).toMatchObject({ step: 'ROLLED_BACK', problem: expect.stringContaining('lost a replica') });
    }
    expect(stepOf({ reason: 'LOST' }, { state: stateOf({ overdue: 'b' }) })).toBeUndefined();
    expect(stepOf({ step: 'CATCH_UP' }, { state: stateOf({ overdue: 'b' }) })).toBeUndefined();
    expect(stepOf({})).toBeUndefined();
  });

  it('a target without memory ends what was asked for; what nobody asked for goes on where entries make room', () => {
    const port = { memoryOf: () => ({ usedBytes: 990, limitBytes: 1000 }) };
    expect(stepOf({ step: 'CATCH_UP' }, { port })).toMatchObject({ step: 'ROLL_BACK', problem: expect.stringContaining('short of memory') });
    expect(stepOf({ step: 'CATCH_UP', reason: 'DRAIN' }, { port })).toBeUndefined();
    expect(stepOf({ step: 'CATCH_UP', reason: 'DRAIN' }, { port, state: stateOf({ eviction: 'NONE' }) })).toMatchObject({ step: 'ROLL_BACK' });
  });
});
