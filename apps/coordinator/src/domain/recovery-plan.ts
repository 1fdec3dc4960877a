// What going on without the in-sync members of a partition would mean, for the operator who must decide (R15).
import { hasReplica, isReachable, membersOf, nameOf, statusOf, type ClusterState, type HeldReplica, type Member, type PartitionRecord } from '@atoll/core-membership';
import { lossBetween, lossText } from './loss.ts';
import type { SeenReplica } from './last-seen.ts';

export interface RecoveryPlan {
  readonly record: PartitionRecord;
  /** Members that had every committed write. */
  readonly missing: readonly Member[];
  /** The reachable replica of this lineage whose log ends last; undefined: none. */
  readonly source: Member | undefined;
  readonly held: HeldReplica | undefined;
  readonly lostWrites: number | undefined;
  /** For people. */
  readonly loss: string;
}

/** True when no in-sync member of the partition can lead. */
export function needsRecovery(state: ClusterState, record: PartitionRecord): boolean {
  return record.inSync.every((member) => !['PRESENT', 'STOPPING'].includes(statusOf(state, record, member)));
}

export function planRecovery(state: ClusterState, record: PartitionRecord, seen: (replica: string) => SeenReplica | undefined): RecoveryPlan {
  const heldBy = (member: Member): HeldReplica | undefined => state.inventories.get(member.node)?.replicas.get(nameOf(record));
  const isWhole = (member: Member): boolean => {
    const held = heldBy(member);
    return held !== undefined && !held.empty && held.installed !== false && held.generation?.id === record.generation.id;
  };
  const missing = [...record.inSync, ...record.eligible.filter((member) => !hasReplica(record.inSync, member.replica))];
  const endOf = (member: Member) => heldBy(member)?.end ?? { epoch: 0, seq: 0 };
  const source = membersOf(record)
    .filter((member) => statusOf(state, record, member) === 'PRESENT' && isReachable(state, member.node) && isWhole(member))
    .toSorted((a, b) => endOf(b).epoch - endOf(a).epoch || endOf(b).seq - endOf(a).seq)[0];
  const held = source && heldBy(source);
  const kept = held?.end === undefined ? undefined : { ...held.end, entries: held.entries ?? 0 };
  const loss = lossBetween(missing.flatMap(({ replica }) => seen(replica) ?? []), kept);
  const isEligible = source !== undefined && hasReplica(record.eligible, source.replica);
  return { record, missing, source, held, lostWrites: isEligible ? 0 : loss.writes, loss: isEligible ? 'nothing: this replica holds every committed write' : lossText([loss]) };
}
