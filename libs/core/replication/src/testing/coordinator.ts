import { hasReplica, membersOf, withoutReplica, type Member, type PartitionRecord, type VersionedRecord } from '@atoll/core-membership';
import { randomHex, toEpoch, type ReplicaId } from '@atoll/core-runtime';
import type { Dice } from './dice.ts';
import type { WorldProcess } from './world-process.ts';

/** What the coordinator sees of the world. */
export interface CoordinatorView {
  readonly dice: Dice;
  /** Processes that run, paused ones included. */
  readonly running: readonly WorldProcess[];
  /** Whether the data of this replica may come back. */
  isLost(replica: ReplicaId): boolean;
  /** A member that is to leave, as a rebalance would have it. */
  readonly asked: Member | undefined;
}

/**
 * The fields that R6 gives to the coordinator: it promotes out of the in-sync set when the leader's process is gone,
 * makes learners of replicas that no record names, and drops what is lost. Undefined when there is nothing to do.
 */
export function planRecord({ record }: VersionedRecord, view: CoordinatorView): PartitionRecord | undefined {
  const changeId = randomHex(view.dice.random, 8);
  const holder = (member: Member) => view.running.find((process) => process.member.replica === member.replica);
  const isLost = (member: Member) => view.isLost(member.replica);
  const strangers = view.running.map((process) => process.member).filter((member) => !hasReplica(membersOf(record), member.replica));
  const learners = [...record.learners.filter((member) => !isLost(member)), ...strangers];
  const leader = record.leader === undefined ? undefined : holder(record.leader);
  if (leader === undefined || leader.incarnation !== record.leaderIncarnation) {
    const candidates = record.inSync.filter((member) => holder(member) !== undefined);
    if (candidates.length === 0) return undefined;
    const successor = view.dice.pick(candidates);
    const inSync = record.inSync.filter((member) => !isLost(member) && (holder(member) !== undefined || view.dice.chance(0.5)));
    const dropped = record.inSync.filter((member) => !isLost(member) && !hasReplica(inSync, member.replica));
    return {
      ...record,
      changeId,
      epoch: toEpoch(record.epoch + 1),
      leader: successor,
      leaderIncarnation: holder(successor)!.incarnation,
      relinquished: false,
      inSync,
      eligible: record.eligible.filter((member) => !isLost(member)),
      learners: [...learners, ...dropped],
      leaving: record.leaving.filter((member) => !isLost(member) && member.replica !== successor.replica),
    };
  }
  const { asked } = view;
  const mayLeave = asked !== undefined && asked.replica !== record.leader!.replica && hasReplica(record.inSync, asked.replica) && !hasReplica(record.leaving, asked.replica);
  const leaving = record.leaving.filter((member) => hasReplica(record.inSync, member.replica));
  const next = { ...record, changeId, learners, leaving: mayLeave ? [...leaving, asked] : leaving };
  const eligible = record.eligible.filter((member) => !isLost(member));
  const isSame =
    next.learners.length === record.learners.length &&
    next.leaving.length === record.leaving.length &&
    eligible.length === record.eligible.length &&
    next.learners.every((member) => hasReplica(record.learners, member.replica));
  return isSame ? undefined : { ...next, eligible: eligible.filter((member) => !hasReplica(withoutReplica(next.inSync, member.replica), member.replica)) };
}
