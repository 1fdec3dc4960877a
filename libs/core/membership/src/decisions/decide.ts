// The coordinator's judgement: what is written next, given all that is known. It is asked again after every
// change and after every write; each answer rests on the records as they are, so that a write that was lost,
// refused or applied late is simply decided anew (R7), and any coordinator can go on where another one died.
import type { PlacementNode } from '@atoll/core-placement';
import { toNodeId, toPartitionId, type PartitionId, type Random } from '@atoll/core-runtime';
import type { KeyspaceSpec } from '../keyspace-spec.ts';
import { poolOf } from '../pool.ts';
import { isStandbyFence, type PartitionRecord, type VersionedRecord } from '../partition-record.ts';
import type { Action } from './action.ts';
import { nameOf, type ClusterState } from './cluster-state.ts';
import { decideFirstPlacement } from './first-placement.ts';
import { LeaderCounts } from './leader-counts.ts';
import { decideSuccessor, isSuccessorDue } from './leadership.ts';
import { isUsable } from './member-status.ts';
import { decideNodeSpecs } from './node-specs.ts';
import { chooseSubstitute, countLoads } from './overdue.ts';
import type { MigratingPlacement, PlacementPlans } from './placement-plans.ts';
import { FillCounts, decideMoves } from './replica-moves.ts';

export interface DecideOptions {
  readonly random: Random;
  readonly plans: PlacementPlans;
  /** False while nodes that start together may still be joining: nothing gets its first placement. */
  readonly isSettled: boolean;
  /** Replicas that one node fills at a time, 1 or more: more end sooner and slow the node's clients down. */
  readonly learnersPerNodeMax: number;
  /** By `partitionName`: where migrations want partitions; they decide instead of the plan. Default: none. */
  readonly migrating?: ReadonlyMap<string, MigratingPlacement>;
}

/** In order of urgency: nodes, leaders, first placements, moves. */
export function decide(state: ClusterState, options: DecideOptions): readonly Action[] {
  const { random, plans } = options;
  plans.retain(state.keyspaces);
  const leaders = LeaderCounts.count(state.partitions.values());
  const fills = new FillCounts(options.learnersPerNodeMax);
  for (const records of state.partitions.values()) {
    for (const { record } of records) {
      for (const learner of record.learners) fills.add(learner.node);
    }
  }
  const urgent: Action[] = [...decideNodeSpecs(state)];
  const placements: Action[] = [];
  const moves: Action[] = [];
  for (const [name, records] of state.partitions) {
    urgent.push(...decideOrphans(records, state.keyspaces.get(name)));
  }
  for (const keyspace of state.keyspaces.values()) {
    if (isRetired(state, keyspace)) continue;
    const own = (state.partitions.get(keyspace.name) ?? []).filter(({ record }) => record.keyspaceId === keyspace.id);
    const healthy: VersionedRecord[] = [];
    const { minInSync, onDataLoss, replicationFactor } = keyspace;
    for (const versioned of own) {
      const successions = isSuccessorDue(state, versioned.record)
        ? decideSuccessor(versioned, { state, random, leaders, minInSync, onDataLoss, replicationFactor, pool: poolOf(keyspace) })
        : [];
      urgent.push(...successions);
      if (successions.length === 0 && !state.failover.handingOver.has(nameOf(versioned.record))) healthy.push(versioned);
    }
    if (own.length < keyspace.partitionCount) {
      if (options.isSettled) placements.push(...placeMissing(state, keyspace, own, options));
      continue;
    }
    const nodes = placementNodes(state, poolOf(keyspace));
    if (nodes.length === 0) continue;
    plans.targets(keyspace, nodes, byPartition(keyspace, own), migratingOf(own, options));
    substituteOverdue(state, keyspace, healthy, plans);
    for (const versioned of healthy) {
      const wanted = options.migrating?.get(nameOf(versioned.record));
      if (wanted !== undefined) plans.follow(keyspace, versioned.record, wanted);
      const target = wanted?.now ?? plans.pinned(keyspace, versioned.record, (id) => state.specs.get(id)?.state === 'UP');
      moves.push(...decideMoves(versioned, { state, target, fills, random }));
      const due = plans.due(keyspace).get(versioned.record.partition);
      if (due !== undefined) moves.push({ kind: 'migrate', record: versioned.record, move: due });
    }
  }
  return mergeEnsures([...urgent, ...placements, ...moves]);
}

/**
 * Nothing is decided in it any more. Its leaders are sealed, and nobody may lead it after them: the copy that has its place takes
 * writes (R37). Where records themselves seal whoever leads by them, it is kept to become a standby, and goes on with its replicas.
 */
export function isRetired(state: Pick<ClusterState, 'partitions'>, { name, movedTo }: KeyspaceSpec): boolean {
  return movedTo !== undefined && !(state.partitions.get(name) ?? []).every(({ record }) => isStandbyFence(record.frozen));
}

function migratingOf(own: readonly VersionedRecord[], { migrating }: DecideOptions): ReadonlyMap<number, MigratingPlacement> {
  const found = new Map<number, MigratingPlacement>();
  if (migrating === undefined || migrating.size === 0) return found;
  for (const { record } of own) {
    const placement = migrating.get(nameOf(record));
    if (placement !== undefined) found.set(record.partition, placement);
  }
  return found;
}

/**
 * Nodes of a pool that should hold replicas, whether or not they can be reached at this moment. One that is drained has weight 0:
 * it keeps what the others are too few for.
 */
export function placementNodes(state: ClusterState, pool: string): PlacementNode[] {
  return [...state.specs.values()].flatMap((spec) => {
    if (poolOf(spec) !== pool || spec.state === 'REMOVED' || state.writtenOff.has(spec.id)) return [];
    return [spec.state === 'UP' ? spec : { ...spec, weight: 0 }];
  });
}

/** Another node takes the place of one whose replica does not come in sync (R31). */
function substituteOverdue(state: ClusterState, keyspace: KeyspaceSpec, healthy: readonly VersionedRecord[], plans: PlacementPlans): void {
  if (state.failover.overdue.size === 0) return;
  const loads = countLoads(state.partitions.values());
  for (const { record } of healthy) {
    for (const id of state.failover.overdue.get(nameOf(record)) ?? []) {
      const from = toNodeId(id);
      const target = plans.pinned(keyspace, record, (node) => state.specs.get(node)?.state === 'UP');
      const to = target.includes(from) ? chooseSubstitute(state, record, { target, loads, pool: poolOf(keyspace) }) : undefined;
      if (to === undefined) continue;
      plans.substitute(keyspace, record, from, to);
      loads.set(to, (loads.get(to) ?? 0) + 1);
    }
  }
}

function placeMissing(
  state: ClusterState,
  keyspace: KeyspaceSpec,
  own: readonly VersionedRecord[],
  { plans, random }: DecideOptions,
): readonly Action[] {
  // A record of an older keyspace of that name goes first.
  if ((state.partitions.get(keyspace.name)?.length ?? 0) > own.length) return [];
  const nodes = placementNodes(state, poolOf(keyspace)).filter((node) => isUsable(state, node.id));
  if (nodes.length === 0) return [];
  const records = byPartition(keyspace, own);
  const missing = records.flatMap((record, partition): PartitionId[] => (record === undefined ? [toPartitionId(partition)] : []));
  return decideFirstPlacement({ state, keyspace, missing, targets: plans.targets(keyspace, nodes, records), random });
}

function byPartition(keyspace: KeyspaceSpec, own: readonly VersionedRecord[]): (PartitionRecord | undefined)[] {
  const records: (PartitionRecord | undefined)[] = Array.from({ length: keyspace.partitionCount }, () => undefined);
  for (const { record } of own) records[record.partition] = record;
  return records;
}

/** Records that no keyspace owns: of a deleted one, or of an older one of the same name. */
function decideOrphans(records: readonly VersionedRecord[], keyspace: KeyspaceSpec | undefined): Action[] {
  return records
    .filter(({ record }) => record.keyspaceId !== keyspace?.id)
    .map(({ record, modRevision }) => ({ kind: 'removeRecord', decision: 'REMOVE', record, modRevision }));
}

/** One question per node and keyspace, at the place of the first. */
function mergeEnsures(actions: readonly Action[]): readonly Action[] {
  const merged = new Map<string, { partitions: PartitionId[] }>();
  const result: Action[] = [];
  for (const action of actions) {
    if (action.kind !== 'ensure') {
      result.push(action);
      continue;
    }
    const name = `${action.node}/${action.keyspace}`;
    const known = merged.get(name);
    if (known !== undefined) {
      known.partitions.push(...action.partitions);
      continue;
    }
    const ensure = { ...action, partitions: [...action.partitions] };
    merged.set(name, ensure);
    result.push(ensure);
  }
  return result;
}
