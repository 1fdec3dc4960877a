// Who of the in-sync set leads next, and the record that says so (I3, R2, R6, R9).
import { randomHex, toEpoch, type Random } from '@atoll/core-runtime';
import { assertRecord, hasReplica, isSameMember, withoutReplica, type Member, type PartitionRecord } from '../partition-record.ts';
import type { WriteRecord } from './action.ts';
import type { ClusterState } from './cluster-state.ts';
import type { LeaderCounts } from './leader-counts.ts';
import { isReachable, statusOf } from './member-status.ts';

export interface SuccessionOptions {
  readonly state: ClusterState;
  readonly random: Random;
  readonly leaders: LeaderCounts;
  /** Below it nothing commits (R9). */
  readonly minInSync: number;
}

/**
 * Best first: a process other than the former leader's (that one has just restarted), one whose node answers and is
 * well, one that is not about to leave, one whose node leads least; or, where it goes in turn, the first of them.
 */
export function chooseSuccessor(
  record: PartitionRecord,
  candidates: readonly Member[],
  { state, leaders, isInTurn = false }: SuccessionOptions & { readonly isInTurn?: boolean },
): Member | undefined {
  return candidates
    .filter((member) => statusOf(state, record, member) === 'PRESENT' && isReachable(state, member.node))
    .map((member) => ({ member, demerit: demeritOf(record, member, state) }))
    .toSorted((a, b) => a.demerit - b.demerit || (isInTurn ? 0 : leaders.of(a.member.node) - leaders.of(b.member.node)))[0]?.member;
}

function demeritOf(record: PartitionRecord, member: Member, state: ClusterState): number {
  const verdict = state.verdicts.get(member.node);
  const isSick = verdict !== undefined && (verdict.degraded.length > 0 || verdict.isEtcdLost);
  return (
    (member.node === record.leader?.node ? 16 : 0) +
    (verdict?.state === 'SUSPECT' ? 8 : 0) +
    (isSick ? 4 : 0) +
    (state.specs.get(member.node)?.state === 'UP' ? 0 : 2) +
    (hasReplica(record.leaving, member.replica) ? 1 : 0)
  );
}

/**
 * The successor's record. It drops what is lost and who is DOWN in the very write that promotes (R6); a node that
 * stops goes where minInSync others are left. Who goes becomes a learner, so that its data stays named; and, when
 * fewer than minInSync stay, eligible: nothing commits without it (R9).
 */
export function promote(record: PartitionRecord, successor: Member, options: SuccessionOptions & { readonly isRelinquished?: boolean }): PartitionRecord {
  const { state, random, minInSync, leaders } = options;
  const statusIn = (member: Member) => statusOf(state, record, member);
  const isKept = (member: Member): boolean => statusIn(member) !== 'LOST';
  const kept = record.inSync.filter(isKept);
  const working = kept.filter((member) => statusIn(member) !== 'DOWN' || isSameMember(member, successor));
  const staying = working.filter((member) => statusIn(member) !== 'STOPPING');
  const inSync = staying.length >= minInSync ? staying : working;
  const retired = kept.filter((member) => !hasReplica(inSync, member.replica));
  leaders.move(record.leader?.node, successor.node);
  return {
    ...record,
    state: 'ACTIVE',
    leader: successor,
    leaderIncarnation: state.nodes.get(successor.node)!.incarnation,
    relinquished: options.isRelinquished ?? false,
    epoch: toEpoch(record.epoch + 1),
    inSync,
    eligible: inSync.length < minInSync ? union(record.eligible.filter(isKept), retired) : [],
    learners: union(record.learners, retired.filter((member) => !hasReplica(record.leaving, member.replica))),
    leaving: record.leaving.filter((member) => !isSameMember(member, successor) && isKept(member)),
    changeId: randomHex(random, 8),
  };
}

/** An eligible member holds every committed write, so the generation goes on (R9). The caller has seen to the fence (R15). */
export function promoteEligible(record: PartitionRecord, successor: Member, { state, random, leaders }: SuccessionOptions): PartitionRecord {
  leaders.move(record.leader?.node, successor.node);
  const others = union(record.learners, record.inSync).filter((member) => member.node !== successor.node && statusOf(state, record, member) !== 'LOST');
  return {
    ...record,
    state: 'ACTIVE',
    leader: successor,
    leaderIncarnation: state.nodes.get(successor.node)!.incarnation,
    relinquished: false,
    epoch: toEpoch(record.epoch + 1),
    inSync: [successor],
    eligible: withoutReplica(record.eligible, successor.replica).filter((member) => statusOf(state, record, member) !== 'LOST'),
    learners: others,
    leaving: [],
    changeId: randomHex(random, 8),
  };
}

export function toWrite(decision: WriteRecord['decision'], record: PartitionRecord, modRevision: number): WriteRecord {
  assertRecord(record);
  return { kind: 'writeRecord', decision, record, modRevision };
}

function union(members: readonly Member[], more: readonly Member[]): readonly Member[] {
  return [...members, ...more.filter((member) => !hasReplica(members, member.replica))];
}
