// A requested MOVE: replicas of some partitions from one node to another.
import { hasReplica, isSameMember, nameOf, type PartitionRecord } from '@atoll/core-membership';
import type { NodeId } from '@atoll/core-runtime';

export interface MoveAsk {
  readonly from: NodeId;
  readonly to: NodeId;
  /** By record: named one by one, so that each must be movable; else those that are not are left out. */
  readonly isNamed: boolean;
}

export interface PlannedOperator {
  readonly record: PartitionRecord;
  readonly before: readonly NodeId[];
  readonly after: readonly NodeId[];
}

export interface PlannedMoves {
  readonly operators: readonly PlannedOperator[];
  /** Why some that were named cannot be moved. */
  readonly refusals: readonly string[];
}

/** The target takes the source's place: also as the preferred leader. */
export function planMove(records: readonly PartitionRecord[], { from, to, isNamed }: MoveAsk): PlannedMoves {
  const operators: PlannedOperator[] = [];
  const refusals: string[] = [];
  for (const record of records) {
    const before = placedOn(record);
    const name = nameOf(record);
    if (!before.includes(from)) {
      if (isNamed) refusals.push(`${name} has no replica on ${from}`);
    } else if (before.includes(to)) {
      if (isNamed) refusals.push(`${name} has a replica on ${to} already`);
    } else {
      operators.push({ record, before, after: before.map((node) => (node === from ? to : node)) });
    }
  }
  return { operators, refusals };
}

/** Nodes on which the partition is, or is on its way to; the leader's first. */
export function placedOn(record: PartitionRecord): NodeId[] {
  const members = [...record.inSync, ...record.learners].filter((member) => !hasReplica(record.leaving, member.replica));
  const leader = members.filter((member) => isSameMember(member, record.leader));
  return [...new Set([...leader, ...members].map(({ node }) => node))];
}
