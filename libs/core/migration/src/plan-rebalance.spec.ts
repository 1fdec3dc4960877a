import { CALM, lastingFreeze, standbyFence, type ClusterState, type FailoverState, type KeyspaceSpec, type NodeRecord, type NodeSpec, type PartitionRecord } from '@atoll/core-membership';
import { SeededRandom, randomBelow } from '@atoll/core-runtime';
import { sourcesOf, targetsOf } from './operator.ts';
import { planRebalance } from './plan-rebalance.ts';
import { job, nodes, operator, record } from './testing/samples.ts';

const keyspace = (partitionCount: number, fields: Partial<KeyspaceSpec> = {}): KeyspaceSpec => ({ name: 'default', id: 'id-1', partitionCount, replicationFactor: 2, ...fields }) as KeyspaceSpec;

interface World {
  /** Nodes by their letters: all are registered and in one zone. */
  readonly letters: string;
  readonly draining?: string;
  readonly absent?: string;
  readonly down?: string;
  readonly unheard?: string;
  readonly failover?: Partial<FailoverState>;
}

function cluster(records: readonly PartitionRecord[], { letters, draining = '', absent = '', down = '', unheard = '', failover = {} }: World): ClusterState {
  const each = nodes(letters);
  return {
    nodes: new Map(each.filter((id) => !absent.includes(id)).map((id) => [id, { id, phase: 'SERVING', incarnation: `${id}-1` } as NodeRecord])),
    specs: new Map(each.map((id) => [id, { id, zone: 'z', weight: 1, state: draining.includes(id) ? 'DRAINING' : 'UP', incarnation: `${id}-1` } as NodeSpec])),
    inventories: new Map(each.filter((id) => !unheard.includes(id)).map((id) => [id, { incarnation: `${id}-1`, replicas: new Map() }])),
    verdicts: new Map(nodes(down).map((id) => [id, { state: 'DOWN' }])),
    writtenOff: new Set(),
    keyspaces: new Map(),
    partitions: new Map([['default', records.map((one) => ({ record: one, modRevision: 1 }))]]),
    failover: { ...CALM, ...failover },
  } as unknown as ClusterState;
}

const at = (partition: number, fields: Parameters<typeof record>[0] = {}): PartitionRecord => record({ ...fields, partition });

interface Told {
  readonly moves: readonly string[];
  readonly refused: readonly string[];
}

function plan(state: ClusterState, spec: KeyspaceSpec, busy: ReadonlyMap<number, string> = new Map()): Told {
  const { planned, refused } = planRebalance(state, spec, ({ partition }) => (busy.has(partition) ? operator({ job: busy.get(partition)!, partition }) : undefined));
  const text = (move: (typeof planned)[number]): string => `${move.record.partition}: ${sourcesOf(move).join('')} to ${targetsOf(move).join('')} ${move.reason}`;
  return { moves: planned.map(text), refused: refused.map((move) => `${text(move)}, ${move.obstacle.kind}: ${move.obstacle.text}`) };
}

// node:     a       b       c (joins)
// holds:    0 1 2   0 1 2   -             two of c's share come from a and b, each the nearest on the ring
const HELD = [at(0), at(1), at(2), at(3)];

describe('what a rebalance refuses, by partition', () => {
  const world = { letters: 'abc' };
  const free = plan(cluster(HELD, world), keyspace(4)).moves;
  const moving = Number(free[0]!.split(':')[0]);
  /** The partition that moves first, as another record. */
  const changed = (fields: Partial<PartitionRecord>): readonly PartitionRecord[] => HELD.map((one) => (one.partition === moving ? { ...one, ...fields } : one));

  it('nothing where nothing stands in the way', () => {
    expect(free.length).toBeGreaterThan(1);
    expect(free.every((move) => move.endsWith('to c JOIN'))).toBe(true);
    expect(plan(cluster(HELD, world), keyspace(4)).refused).toEqual([]);
  });

  it.each([
    { title: 'that another migration has', busy: new Map([[moving, 'job-7']]), refusal: 'RANGE_LOCKED: migration job-7 has the partition' },
    { title: 'that nobody leads', records: changed({ leader: undefined, state: 'FENCING' }), refusal: 'NO_LEADER: nobody leads it: it is FENCING' },
    { title: 'that is being cut over', records: changed({ frozen: 'cut-1' }), refusal: 'CUT_OVER: its keyspace is being cut over' },
    { title: 'of which a replica is overdue', failover: { overdue: new Map([[`default/${moving}`, new Set(['b'])]]) }, refusal: 'UNDER_REPAIR: its replica on b has been out of sync for too long, which is made good first' },
  ])('one $title, and not the others', ({ records = HELD, busy, failover, refusal }) => {
    const told = plan(cluster(records, { ...world, ...(failover !== undefined && { failover }) }), keyspace(4), busy);
    expect(told).toEqual({ moves: free.slice(1), refused: [`${free[0]}, ${refusal}`] });
  });

  it.each([
    { title: 'is not registered', world: { absent: 'c' }, why: 'is not registered' },
    { title: 'is down', world: { down: 'c' }, why: 'is DOWN' },
    { title: 'has just come', world: { unheard: 'c' }, why: 'has not said yet what it holds' },
  ])('all to a node that $title', ({ world: fields, why }) => {
    const told = plan(cluster(HELD, { ...world, ...fields }), keyspace(4));
    expect(told).toEqual({ moves: [], refused: free.map((move) => `${move}, TARGET_AWAY: c cannot get replicas now: it ${why}`) });
  });

  it('all of a keyspace whose place another one has; a primary that becomes a standby goes on', () => {
    const moved = keyspace(4, { movedTo: 'orders-2' });
    expect(plan(cluster(HELD, world), moved)).toEqual({ moves: [], refused: free.map((move) => `${move}, KEYSPACE_MOVED: orders-2 has the place of the keyspace`) });
    expect(plan(cluster(HELD.map((one) => ({ ...one, frozen: standbyFence('x') })), world), moved)).toEqual({ moves: free, refused: [] });
  });

  it('none of a keyspace that an operator froze: its replicas move all the same', () => {
    expect(plan(cluster(HELD.map((one) => ({ ...one, frozen: lastingFreeze('x') })), world), keyspace(4))).toEqual({ moves: free, refused: [] });
  });

  it('what a drained node keeps because the others are too few, and moves nothing', () => {
    const refused = (partition: number): string => `${partition}: b to  DRAIN, NO_TARGET: there should be 2 replicas, and pool main has 1 node to hold them`;
    expect(plan(cluster(HELD, { letters: 'ab', draining: 'b' }), keyspace(4))).toEqual({ moves: [], refused: [0, 1, 2, 3].map(refused) });
  });

  it('what a node that was given up held, where no other can have it: the replica is not dropped, since it may come back', () => {
    const state = cluster(HELD, { letters: 'a' });
    expect(plan(state, keyspace(4)).refused[0]).toBe('0: b to  LOST, NO_TARGET: there should be 2 replicas, and pool main has 1 node to hold them');
    expect(plan(state, keyspace(4)).moves).toEqual([]);
  });

  it('replicas that are missing where there is no node for them', () => {
    const alone = [at(0, { inSync: 'a' }), at(1, { inSync: 'a' })];
    expect(plan(cluster(alone, { letters: 'a' }), keyspace(2)).refused).toEqual([0, 1].map((partition) => `${partition}:  to  MISSING, NO_TARGET: there should be 2 replicas, and pool main has 1 node to hold them`));
  });

  it('one replica where there is a node for another one', () => {
    const told = plan(cluster([at(0, { inSync: 'ab' })], { letters: 'abc', draining: 'b' }), keyspace(1, { replicationFactor: 3 }));
    expect(told).toEqual({ moves: ['0:  to c MISSING'], refused: ['0: b to  DRAIN, NO_TARGET: there should be 3 replicas, and pool main has 2 nodes to hold them'] });
  });
});

const SEED = Number(process.env['REBALANCE_SEED'] ?? 4711);

it(`each move that is due is planned or refused, never both, and nothing else is (seed ${SEED})`, () => {
  const random = new SeededRandom(SEED);
  for (let round = 0; round < 200; round += 1) {
    const letters = 'abcdef'.slice(0, 2 + randomBelow(random, 5));
    const some = (percent: number): string => Array.from(letters).filter(() => randomBelow(random, 100) < percent).join('');
    const pick = (from: string): string => from[randomBelow(random, from.length)]!;
    const records = Array.from({ length: 8 }, (_, partition) => {
      // The last node has just joined, or all hold something.
      const holders = letters.slice(0, Math.max(2, letters.length - randomBelow(random, 2)));
      const leader = pick(holders);
      const inSync = leader + pick(holders.replace(leader, ''));
      return at(partition, { leader: randomBelow(random, 10) === 0 ? '' : leader, inSync });
    });
    const draining = some(15);
    const spec = keyspace(8);
    const calm = planRebalance(cluster(records, { letters, draining }), spec, () => undefined);
    const due = [...calm.planned, ...calm.refused.filter(({ obstacle }) => obstacle.kind !== 'NO_TARGET')];
    const busy = new Set(records.filter(() => randomBelow(random, 4) === 0).map(({ partition }) => partition));
    const troubled = planRebalance(cluster(records, { letters, draining, absent: some(20), down: some(10), unheard: some(10) }), spec, ({ partition }) => (busy.has(partition) ? operator({ job: job().id }) : undefined));
    const told = [...troubled.planned, ...troubled.refused.filter(({ obstacle }) => obstacle.kind !== 'NO_TARGET')];
    const name = ({ record: { partition }, before, after }: (typeof told)[number]): string => `${partition}: ${before.join('')} to ${after.join('')}`;
    expect({ round, told: told.map(name).toSorted() }).toEqual({ round, told: due.map(name).toSorted() });
    const locked = troubled.refused.filter(({ obstacle }) => obstacle.kind === 'RANGE_LOCKED').map(({ record: { partition } }) => partition);
    expect({ round, locked }).toEqual({ round, locked: due.map(({ record: { partition } }) => partition).filter((partition) => busy.has(partition)).toSorted((x, y) => x - y) });
    for (const move of troubled.planned) expect({ round, busy: busy.has(move.record.partition), leader: move.record.leader !== undefined }).toEqual({ round, busy: false, leader: true });
  }
});
