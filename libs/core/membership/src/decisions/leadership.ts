// Who leads next. Only ever a replica of the recorded in-sync set (I3), only when the last leader is
// certainly gone, and always in a new epoch (R2). Where no such replica is there, the partition waits, and
// where none can come back, it starts anew without its data (R31).
import { randomHex, toEpoch, type NodeId, type Random } from '@atoll/core-runtime';
import { assertRecord, hasReplica, isSameMember, membersOf, type Member, type PartitionRecord, type VersionedRecord } from '../partition-record.ts';
import type { Action, WriteRecord } from './action.ts';
import { nameOf, type ClusterState } from './cluster-state.ts';
import type { LeaderCounts } from './leader-counts.ts';
import { inventoryOf, isReachable, statusOf } from './member-status.ts';

export interface LeadershipOptions {
  readonly state: ClusterState;
  readonly random: Random;
  readonly leaders: LeaderCounts;
  /** Below it nothing commits (R9). */
  readonly minInSync: number;
}

/** For a record whose leader is gone. Empty when there is nothing to do but wait. */
export function decideSuccessor({ record, modRevision }: VersionedRecord, options: LeadershipOptions): readonly Action[] {
  const { state, random } = options;
  const successor = chooseSuccessor(record, options);
  if (successor !== undefined) return [toWrite('PROMOTE', promote(record, successor, options), modRevision)];
  const sources = [...record.inSync, ...record.eligible];
  if (sources.every((member) => statusOf(state, record, member) === 'LOST')) return decideReset({ record, modRevision }, options);
  const isAnswerDue = record.inSync.some((member) => isUnsettled(state, member.node));
  if (record.state === 'WAITING' || isAnswerDue) return [];
  const waiting: PartitionRecord = {
    ...record,
    state: 'WAITING',
    leader: undefined,
    leaderIncarnation: '',
    relinquished: false,
    epoch: toEpoch(record.epoch + 1),
    changeId: randomHex(random, 8),
  };
  return [toWrite('WAIT', waiting, modRevision)];
}

/** It serves, and soon it will be known what it holds. */
function isUnsettled(state: ClusterState, node: NodeId): boolean {
  return state.nodes.get(node)?.phase === 'SERVING' && !isReachable(state, node);
}

/**
 * Best first: a process other than the former leader's (that one has just restarted), one that is not about to
 * leave, one whose node leads least.
 */
function chooseSuccessor(record: PartitionRecord, { state, leaders }: LeadershipOptions): Member | undefined {
  const candidates = record.inSync.filter(
    (member) => statusOf(state, record, member) === 'PRESENT' && isReachable(state, member.node),
  );
  const demerit = (member: Member): number =>
    (member.node === record.leader?.node ? 2 : 0) + (hasReplica(record.leaving, member.replica) ? 1 : 0);
  return candidates.toSorted((a, b) => demerit(a) - demerit(b) || leaders.of(a.node) - leaders.of(b.node))[0];
}

/** Drops what is lost in the very write that promotes (R6); a node that stops becomes a learner, so that its data stays named. */
function promote(record: PartitionRecord, successor: Member, { state, random, minInSync, leaders }: LeadershipOptions): PartitionRecord {
  const kept = record.inSync.filter((member) => statusOf(state, record, member) !== 'LOST');
  const staying = kept.filter((member) => statusOf(state, record, member) !== 'STOPPING');
  const inSync = staying.length >= minInSync ? staying : kept;
  const retired = kept.filter((member) => !hasReplica(inSync, member.replica));
  leaders.move(record.leader?.node, successor.node);
  return {
    ...record,
    state: 'ACTIVE',
    leader: successor,
    leaderIncarnation: state.nodes.get(successor.node)!.incarnation,
    relinquished: false,
    epoch: toEpoch(record.epoch + 1),
    inSync,
    learners: [...record.learners, ...retired],
    leaving: record.leaving.filter((member) => !isSameMember(member, successor) && statusOf(state, record, member) !== 'LOST'),
    changeId: randomHex(random, 8),
  };
}

/**
 * Every replica with the data is certainly lost: the nodes that had them start again with empty ones, in a new
 * generation (R3, R31). Only replicas that are really empty start in sync; others have to learn.
 */
function decideReset({ record, modRevision }: VersionedRecord, { state, random, leaders }: LeadershipOptions): readonly Action[] {
  const formerNodes = new Set([...record.inSync, ...record.eligible].map((member) => member.node));
  const nodes = [...formerNodes].filter((node) => isReachable(state, node));
  const missing = nodes.filter((node) => heldOn(state, record, node) === undefined);
  if (missing.length > 0) {
    return missing.map((node) => ({ kind: 'ensure', node, keyspace: record.keyspace, keyspaceId: record.keyspaceId, partitions: [record.partition] }));
  }
  const inSync = nodes.flatMap((node): Member[] => {
    const held = heldOn(state, record, node)!;
    return held.empty ? [{ node, replica: held.replica }] : [];
  });
  const leader = inSync.toSorted((a, b) => leaders.of(a.node) - leaders.of(b.node))[0];
  if (leader === undefined) return [];
  leaders.move(record.leader?.node, leader.node);
  const next: PartitionRecord = {
    ...record,
    state: 'ACTIVE',
    generation: { counter: record.generation.counter + 1, id: randomHex(random, 8) },
    epoch: toEpoch(record.epoch + 1),
    leader,
    leaderIncarnation: state.nodes.get(leader.node)!.incarnation,
    relinquished: false,
    inSync,
    eligible: [],
    learners: membersOf(record).filter(
      (member) => !hasReplica(inSync, member.replica) && statusOf(state, record, member) !== 'LOST',
    ),
    leaving: [],
    changeId: randomHex(random, 8),
  };
  return [toWrite('RESET', next, modRevision)];
}

function heldOn(state: ClusterState, record: PartitionRecord, id: NodeId) {
  const node = state.nodes.get(id);
  return node && inventoryOf(state, node)?.replicas.get(nameOf(record));
}

function toWrite(decision: WriteRecord['decision'], record: PartitionRecord, modRevision: number): WriteRecord {
  assertRecord(record);
  return { kind: 'writeRecord', decision, record, modRevision };
}
