// Successors from outside the in-sync set. Leases do not protect against them: whoever led before must be certain to
// have stopped (R15).
//
//   ACTIVE or WAITING -> FENCING    epoch + 1, nobody leads: an old leader that reads it stops
//   FENCING -> ACTIVE               once every former member has confirmed that it stopped, once `fenceAfterMs` have
//                                   passed in a keyspace whose leaders fence themselves (RESET), or at once by the
//                                   word of an operator
//
// Meanwhile an in-sync member that comes back leads as ever.
import { randomHex, toEpoch, type NodeId } from '@atoll/core-runtime';
import type { OnDataLoss } from '../keyspace-spec.ts';
import { hasReplica, membersOf, type Member, type PartitionRecord, type VersionedRecord } from '../partition-record.ts';
import { poolOf } from '../pool.ts';
import type { Action } from './action.ts';
import { nameOf, type ClusterState } from './cluster-state.ts';
import type { Recovery } from './failover-state.ts';
import { inventoryOf, isReachable, isUsable, statusOf } from './member-status.ts';
import { chooseSuccessor, promoteEligible, toWrite, type SuccessionOptions } from './succession.ts';

export interface FencingOptions extends SuccessionOptions {
  readonly onDataLoss: OnDataLoss;
  readonly replicationFactor: number;
  /** Of the keyspace. */
  readonly pool: string;
}

/** For a record whose in-sync members cannot lead. Empty when there is nothing to do but wait. */
export function decideFencing(versioned: VersionedRecord, options: FencingOptions): readonly Action[] {
  const { record, modRevision } = versioned;
  const { state, onDataLoss } = options;
  const recovery = recoveryOf(state, record);
  const isOver = recovery !== undefined || isFenced(versioned.record, options);
  if (recovery === undefined && areAll(state, record, [...record.inSync, ...record.eligible], ['LOST'])) return decideReset(versioned, options);
  if (recovery?.source !== undefined) {
    if (record.state !== 'FENCING') return [toWrite('FENCE', fence(record, options), modRevision)];
    return recover(versioned, recovery.source, options);
  }
  const eligible = recovery === undefined ? eligibleSuccessor(record, options) : undefined;
  if (eligible !== undefined && (isOver || areAll(state, record, record.inSync, ['LOST']))) {
    return [toWrite('PROMOTE_ELIGIBLE', promoteEligible(record, eligible, options), modRevision)];
  }
  if (record.state === 'FENCING') return isOver && (recovery !== undefined || onDataLoss === 'RESET') ? decideReset(versioned, options) : [];
  const isHopeless = areAll(state, record, record.inSync, ['LOST', 'DOWN', 'SILENT']) && !record.inSync.some((member) => isSuspect(state, member.node));
  if (recovery !== undefined || (onDataLoss === 'RESET' && isHopeless)) return [toWrite('FENCE', fence(record, options), modRevision)];
  return [];
}

/** The request of the operator, as long as the record is the one shown, or its FENCING successor. */
export function recoveryOf(state: ClusterState, record: PartitionRecord): Recovery | undefined {
  const recovery = state.failover.recoveries.get(nameOf(record));
  if (recovery === undefined) return undefined;
  return record.epoch === recovery.epoch || (record.state === 'FENCING' && record.epoch === recovery.epoch + 1) ? recovery : undefined;
}

function isFenced(record: PartitionRecord, { state, onDataLoss }: FencingOptions): boolean {
  if (record.state !== 'FENCING') return false;
  const name = nameOf(record);
  if (onDataLoss === 'RESET' && state.failover.fenced.get(name) === record.epoch) return true;
  return [...record.inSync, ...record.eligible].every((member) => {
    if (statusOf(state, record, member) === 'LOST') return true;
    return (state.failover.stopped.get(member.node)?.get(name) ?? 0) >= record.epoch - 1;
  });
}

function fence(record: PartitionRecord, { random }: FencingOptions): PartitionRecord {
  return {
    ...record,
    state: 'FENCING',
    leader: undefined,
    leaderIncarnation: '',
    relinquished: false,
    epoch: toEpoch(record.epoch + 1),
    changeId: randomHex(random, 8),
  };
}

/** Nobody, once the in-sync set has enough members to commit: then what left it earlier may miss something (R9). */
function eligibleSuccessor(record: PartitionRecord, options: FencingOptions): Member | undefined {
  return record.inSync.length < options.minInSync ? chooseSuccessor(record, record.eligible, options) : undefined;
}

function areAll(state: ClusterState, record: PartitionRecord, members: readonly Member[], statuses: readonly string[]): boolean {
  return members.every((member) => statuses.includes(statusOf(state, record, member)));
}

/** Neither DOWN nor LEFT: it may be serving. */
function isSuspect(state: ClusterState, node: NodeId): boolean {
  const verdict = state.verdicts.get(node)?.state ?? 'SUSPECT';
  return verdict === 'SUSPECT' || verdict === 'UP';
}

/** Goes on from what one replica holds: its data becomes a new generation (R3); all others learn from it. */
function recover({ record, modRevision }: VersionedRecord, source: Member, { state, random, leaders }: FencingOptions): readonly Action[] {
  if (statusOf(state, record, source) !== 'PRESENT' || !isReachable(state, source.node)) return [];
  leaders.move(record.leader?.node, source.node);
  const next: PartitionRecord = {
    ...record,
    state: 'ACTIVE',
    generation: { counter: record.generation.counter + 1, id: randomHex(random, 8) },
    continues: record.generation,
    epoch: toEpoch(record.epoch + 1),
    leader: source,
    leaderIncarnation: state.nodes.get(source.node)!.incarnation,
    relinquished: false,
    inSync: [source],
    eligible: [],
    learners: membersOf(record).filter((member) => member.node !== source.node && statusOf(state, record, member) !== 'LOST'),
    leaving: [],
    changeId: randomHex(random, 8),
  };
  return [toWrite('RECOVER', next, modRevision)];
}

/**
 * Nothing that held the data can come back, or nobody waits for it: nodes start again with empty replicas, in a new
 * generation (R3, R31). Only replicas that are really empty start in sync; others have to learn.
 */
function decideReset(versioned: VersionedRecord, options: FencingOptions): readonly Action[] {
  const { record, modRevision } = versioned;
  const { state, random, leaders } = options;
  const nodes = resetNodes(record, options);
  const missing = nodes.filter((node) => heldOn(state, record, node) === undefined);
  if (missing.length > 0) {
    return missing.map((node) => ({ kind: 'ensure', node, keyspace: record.keyspace, keyspaceId: record.keyspaceId, partitions: [record.partition] }));
  }
  const inSync = nodes.flatMap((node): Member[] => {
    const held = heldOn(state, record, node)!;
    return held.empty ? [{ node, replica: held.replica }] : [];
  });
  const leader = inSync.toSorted((a, b) => leaders.of(a.node) - leaders.of(b.node))[0];
  if (leader === undefined) return clearLearners(versioned, options);
  leaders.move(record.leader?.node, leader.node);
  const next: PartitionRecord = {
    ...record,
    state: 'ACTIVE',
    generation: { counter: record.generation.counter + 1, id: randomHex(random, 8) },
    continues: undefined,
    epoch: toEpoch(record.epoch + 1),
    leader,
    leaderIncarnation: state.nodes.get(leader.node)!.incarnation,
    relinquished: false,
    inSync,
    eligible: [],
    learners: membersOf(record).filter((member) => !hasReplica(inSync, member.replica) && statusOf(state, record, member) !== 'LOST'),
    leaving: [],
    changeId: randomHex(random, 8),
  };
  return [toWrite('RESET', next, modRevision)];
}

/** Former nodes that are there; without any, others of the pool. */
function resetNodes(record: PartitionRecord, { state, leaders, replicationFactor, pool }: FencingOptions): NodeId[] {
  const former = new Set([...record.inSync, ...record.eligible].map((member) => member.node));
  const returned = [...former].filter((node) => isReachable(state, node));
  if (returned.length > 0) return returned;
  const others = [...state.specs.values()].filter((spec) => poolOf(spec) === pool).map((spec) => spec.id).filter((id) => isUsable(state, id));
  return others.toSorted((a, b) => leaders.of(a) - leaders.of(b)).slice(0, replicationFactor);
}

/** What a learner holds is in the way: unnamed, its node drops it and can be asked for an empty replica. */
function clearLearners({ record, modRevision }: VersionedRecord, { random }: FencingOptions): readonly Action[] {
  if (record.state !== 'FENCING' || record.learners.length === 0) return [];
  return [toWrite('DROP_LEARNER', { ...record, learners: [], changeId: randomHex(random, 8) }, modRevision)];
}

function heldOn(state: ClusterState, record: PartitionRecord, id: NodeId) {
  const node = state.nodes.get(id);
  return node && inventoryOf(state, node)?.replicas.get(nameOf(record));
}
