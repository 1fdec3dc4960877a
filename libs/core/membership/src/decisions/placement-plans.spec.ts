import { toNodeId, type NodeId } from '@atoll/core-runtime';
import type { PlacementNode } from '@atoll/core-placement';
import { ToyCluster } from '../testing/toy-cluster.ts';
import type { PartitionRecord } from '../partition-record.ts';
import type { Action } from './action.ts';
import { nameOf } from './cluster-state.ts';
import { PlacementPlans, type DueMove, type MigratingPlacement } from './placement-plans.ts';

type Migrate = Extract<Action, { kind: 'migrate' }>;

/** A keyspace of 8 partitions with two replicas on nodes that are up, settled, whose replicas move by migrations. */
function createCluster(nodes: Readonly<Record<string, { weight?: number; zone?: string }>> = { a: {}, b: {}, c: {} }): ToyCluster {
  const cluster = new ToyCluster();
  cluster.plans = new PlacementPlans({ movesByMigration: true });
  for (const [node, options] of Object.entries(nodes)) cluster.start(node, options);
  cluster.keyspace({ name: 'default', partitionCount: 8, replicationFactor: 2 });
  rest(cluster);
  cluster.write();
  return cluster;
}

const isOrdinary = (action: Action): boolean => action.kind !== 'migrate';

/** Carries out everything but migrations, until nothing else is left to do. */
function rest(cluster: ToyCluster): Migrate[] {
  for (let round = 0; round < 100; round += 1) {
    const actions = cluster.decide();
    for (const action of actions.filter(isOrdinary)) cluster.execute(action);
    const isMoved = cluster.leadersStep();
    cluster.nodesStep();
    if (!isMoved && !actions.some(isOrdinary)) return actions.filter((action) => action.kind === 'migrate');
  }
  throw new Error('no rest');
}

const placements = (cluster: ToyCluster): string[] => [...cluster.records.values()].map(({ record }) => `${nameOf(record)} ${record.inSync.map(({ node }) => node).toSorted().join('')}`);
const reasonsOf = (due: readonly Migrate[]): string[] => [...new Set(due.map(({ move }) => move.reason))];

/** A migration of these, from its first step to its end: beside the old replicas, then without them. */
function migrate(cluster: ToyCluster, due: readonly Migrate[]): void {
  const placed = (now: (move: DueMove) => readonly NodeId[]): void => {
    cluster.migrating = new Map(due.map(({ record, move }): [string, MigratingPlacement] => [nameOf(record), { now: now(move), end: move.after }]));
    rest(cluster);
  };
  placed(({ before, after }) => [...new Set([...before, ...after])]);
  for (const { record, move } of due) {
    const { leader } = cluster.record(record.keyspace, record.partition);
    if (leader === undefined || move.after.includes(leader.node)) continue;
    cluster.requested.set(nameOf(record), move.after[0]!);
    for (const transfer of cluster.planHandOvers()) cluster.handOver(transfer);
  }
  placed(({ after }) => after);
  cluster.migrating = new Map();
}

describe('replicas that move by migrations', () => {
  it('stay where they are when nodes join, until a migration has them; then what is due is behind the plan', () => {
    const cluster = createCluster();
    const before = placements(cluster);
    cluster.start('d');
    const due = rest(cluster);
    expect(reasonsOf(due)).toEqual(['JOIN']);
    expect(due.every(({ move }) => move.after.includes(toNodeId('d')) && !move.before.includes(toNodeId('d')))).toBe(true);
    expect(placements(cluster)).toEqual(before);
    migrate(cluster, due);
    expect(rest(cluster)).toEqual([]);
    const loads = [...cluster.records.values()].flatMap(({ record }) => record.inSync.map(({ node }) => node as string));
    expect(loads.filter((node) => node === 'd')).toHaveLength(due.length);
  });

  it.each<{ title: string; reason: string; nodes?: Parameters<typeof createCluster>[0]; change: (cluster: ToyCluster) => void }>([
    { title: 'a node joins', reason: 'JOIN', change: (cluster) => cluster.start('d') },
    {
      title: 'a node is drained',
      reason: 'DRAIN',
      change: (cluster) => cluster.specs.set('a', { ...cluster.specs.get('a')!, state: 'DRAINING' }),
    },
    {
      title: 'a node is written off',
      reason: 'LOST',
      change: (cluster) => {
        cluster.vanish('a');
        cluster.judge('a', 'DOWN');
        cluster.writtenOff.add('a');
      },
    },
    { title: 'a node gets more weight', reason: 'BALANCE', nodes: { a: {}, b: {}, c: {}, d: {} }, change: (cluster) => cluster.start('d', { weight: 8 }) },
    { title: 'nodes change their zones', reason: 'ZONE', nodes: { a: { zone: 'x' }, b: { zone: 'y' }, c: { zone: 'x' }, d: { zone: 'y' } }, change: (cluster) => { cluster.start('b', { zone: 'x' }); cluster.start('c', { zone: 'y' }); } },
  ])('are due with the reason $reason when $title, and nowhere else in the end', ({ reason, nodes, change }) => {
    const cluster = createCluster(nodes);
    change(cluster);
    const due = rest(cluster);
    expect(due.length).toBeGreaterThan(0);
    expect(reasonsOf(due)).toContain(reason);
    migrate(cluster, due);
    const left = rest(cluster);
    migrate(cluster, left);
    expect(rest(cluster)).toEqual([]);
    for (const { record } of cluster.records.values()) expect(record).toMatchObject({ learners: [], leaving: [], inSync: { length: 2 } });
  });

  it('are told again in every round until a migration has them', () => {
    const cluster = createCluster();
    cluster.start('d');
    const first = rest(cluster);
    expect(rest(cluster)).toEqual(first);
  });
});

const NODES: PlacementNode[] = ['a', 'b', 'c', 'd'].map((id) => ({ id: toNodeId(id), zone: 'z', weight: 1 }));

const ab = [toNodeId('a'), toNodeId('b')];

/** Led by the first of the nodes. */
function placedOn(record: PartitionRecord, nodes: readonly NodeId[]): PartitionRecord {
  const leader = { ...record.leader!, node: nodes[0]! };
  return { ...record, inSync: nodes.map((node) => ({ ...leader, node })), leader };
}

const crowd = (record: PartitionRecord): PartitionRecord => placedOn(record, ab);

describe('the plan of a keyspace', () => {
  function joined() {
    const cluster = createCluster();
    const keyspace = cluster.keyspaces.get('default')!;
    const records = [...cluster.records.values()].map(({ record }) => record).toSorted((a, b) => a.partition - b.partition);
    const plans = new PlacementPlans({ movesByMigration: true });
    plans.targets(keyspace, NODES.slice(0, 3), records);
    plans.targets(keyspace, NODES, records);
    const due = new Map(plans.due(keyspace));
    return { plans, keyspace, records, due };
  }

  it('a migration that goes where the plan wants it takes what is due, and leaves the plan as it is', () => {
    const { plans, keyspace, records, due } = joined();
    const [partition, move] = [...due][0]!;
    plans.follow(keyspace, records[partition]!, { now: move.before, end: move.after });
    expect(plans.due(keyspace).has(partition)).toBe(false);
    plans.targets(keyspace, NODES, records);
    expect([...plans.due(keyspace).keys()]).toEqual([...due.keys()].filter((other) => other !== partition));
  });

  it('a migration that goes elsewhere has the plan made anew when none is left', () => {
    const { plans, keyspace, records, due } = joined();
    const [partition, move] = [...due][0]!;
    const elsewhere: MigratingPlacement = { now: move.before, end: move.before };
    plans.follow(keyspace, records[partition]!, elsewhere);
    plans.targets(keyspace, NODES, records, new Map([[partition, elsewhere]]));
    expect(plans.due(keyspace).has(partition)).toBe(false);
    plans.targets(keyspace, NODES, records);
    expect(plans.due(keyspace).has(partition)).toBe(true);
  });

  it('made while migrations run counts on where they go, and is made anew once when none is left', () => {
    const { plans, keyspace, records, due } = joined();
    const migrating = new Map([...due].map(([partition, { before, after }]): [number, MigratingPlacement] => [partition, { now: before, end: after }]));
    for (const [partition, placement] of migrating) plans.follow(keyspace, records[partition]!, placement);
    const fewer = NODES.slice(1);
    plans.targets(keyspace, fewer, records, migrating);
    const counted = [...plans.due(keyspace)];
    expect(counted.length).toBeGreaterThan(0);
    for (const [partition, { before }] of counted.filter(([each]) => migrating.has(each))) expect(before).toEqual(migrating.get(partition)!.end);
    // They were cancelled: nothing came to d.
    plans.targets(keyspace, fewer, records);
    const lost = records.filter(({ inSync }) => inSync.some(({ node }) => node === 'a')).map(({ partition }) => partition);
    const anew = plans.due(keyspace);
    expect(lost.every((partition) => anew.get(partition)?.reason === 'LOST')).toBe(true);
    const targets = plans.targets(keyspace, fewer, records);
    expect(plans.targets(keyspace, fewer, records)).toBe(targets);
  });

  it('a move that failed is not due again by itself, and is after it was planned anew', () => {
    const { plans, keyspace, records, due } = joined();
    const [partition, move] = [...due][0]!;
    plans.follow(keyspace, records[partition]!, { now: move.before, end: move.after });
    plans.follow(keyspace, records[partition]!, { now: move.before, end: move.before });
    plans.targets(keyspace, NODES, records);
    expect(plans.due(keyspace).has(partition)).toBe(false);
    plans.replan(keyspace, { balances: true });
    plans.targets(keyspace, NODES, records);
    expect(plans.due(keyspace).get(partition)?.reason).toBe('JOIN');
  });

  it('a substitute for a replica that is overdue is a move of a migration, too', () => {
    const { plans, keyspace, records } = joined();
    const still = records.find(({ partition }) => !plans.due(keyspace).has(partition))!;
    const [from, kept] = [still.inSync[1]!.node, still.inSync[0]!.node];
    plans.substitute(keyspace, still, from, toNodeId('d'));
    expect(plans.due(keyspace).get(still.partition)).toEqual({ before: expect.arrayContaining([from, kept]), after: expect.arrayContaining([toNodeId('d'), kept]), reason: 'LOST' });
    expect(plans.pinned(keyspace, still, () => true)).toEqual(expect.arrayContaining([from, kept]));
  });

  it('an operator\'s own imbalance is not taken back by a coordinator that is elected, and what is lost is made good', () => {
    const { keyspace, records } = joined();
    const plans = new PlacementPlans({ movesByMigration: true });
    const crowded = records.map(crowd);
    plans.targets(keyspace, NODES.slice(0, 3), crowded);
    expect([...plans.due(keyspace).values()].filter(({ reason }) => reason === 'BALANCE')).toEqual([]);
    plans.targets(keyspace, NODES.slice(1), crowded);
    expect(plans.due(keyspace).size).toBe(8);
  });

  /** As an operator's migration leaves them: nearly all of them on a and b. */
  function crowdedFrom(records: readonly PartitionRecord[], others: readonly NodeId[][]): PartitionRecord[] {
    return records.map((record, index) => placedOn(record, others[index] ?? ab));
  }

  it('an operator\'s own imbalance is not taken back when the migration ends of which a coordinator learned when it was elected', () => {
    const { keyspace, records } = joined();
    const crowded = crowdedFrom(records, [[toNodeId('c'), toNodeId('a')]]);
    const plans = new PlacementPlans({ movesByMigration: true });
    const moved: MigratingPlacement = { now: ab, end: ab };
    const migrating = new Map(records.slice(1).map(({ partition }): [number, MigratingPlacement] => [partition, moved]));
    plans.targets(keyspace, NODES.slice(0, 3), records, migrating);
    for (const record of records.slice(1)) plans.follow(keyspace, record, moved);
    plans.targets(keyspace, NODES.slice(0, 3), crowded);
    expect([...plans.due(keyspace)]).toEqual([]);
  });

  it('an operator\'s own imbalance is not taken back once the nodes that changed before it had got their share', () => {
    const { plans, keyspace, records, due } = joined();
    const shared = records.map((record) => placedOn(record, due.get(record.partition)?.after ?? record.inSync.map(({ node }) => node)));
    for (const [partition, { before, after }] of due) plans.follow(keyspace, records[partition]!, { now: before, end: after });
    plans.targets(keyspace, NODES, shared);
    plans.targets(keyspace, NODES, shared);
    const moved: MigratingPlacement = { now: ab, end: ab };
    plans.targets(keyspace, NODES, shared, new Map(shared.slice(1).map(({ partition }) => [partition, moved])));
    for (const record of shared.slice(1)) plans.follow(keyspace, record, moved);
    const crowded = crowdedFrom(shared, [[toNodeId('c'), toNodeId('d')]]);
    // One of them has a third replica still when no operator has it any more, so the plan is made anew.
    plans.targets(keyspace, NODES, crowded.with(1, placedOn(crowded[1]!, [...ab, toNodeId('c')])));
    expect(plans.due(keyspace).size).toBeLessThanOrEqual(1);
    plans.targets(keyspace, NODES, crowded);
    expect(plans.due(keyspace).size).toBeLessThanOrEqual(1);
  });

  it('balances again after a migration for the sake of balance failed', () => {
    const { plans, keyspace, records, due } = joined();
    for (const [partition, { before, after }] of due) plans.follow(keyspace, records[partition]!, { now: before, end: after });
    plans.targets(keyspace, NODES, records);
    plans.targets(keyspace, NODES, records);
    expect([...plans.due(keyspace)]).toEqual([]);
    const [first, ...others] = [...due];
    const begun = records.map((record) => (record.partition === first![0] ? placedOn(record, first![1].after) : record));
    plans.replan(keyspace, { balances: true });
    plans.targets(keyspace, NODES, begun);
    expect(others.length).toBeGreaterThan(0);
    expect(new Set([...plans.due(keyspace).values()].map(({ reason }) => reason))).toEqual(new Set(['BALANCE']));
  });
});
