// What a migration does to one partition. Its key in etcd is the partition's, so that two jobs never have one partition
// at a time: that is the jobs' lock on the partition's range, and it is released in the transaction that ends the
// operator (R38).
import type { PartitionRecord } from '@atoll/core-membership';
import type { NodeId, PartitionId, ReplicaId } from '@atoll/core-runtime';
import type { MigrationReason } from './migration-job.ts';

/** In the order in which a partition comes to them; steps.ts says when each is over. */
export const OPERATOR_STEPS = ['WAITING', 'ADD', 'CATCH_UP', 'VERIFY', 'TRANSFER', 'REMOVE', 'DONE', 'ROLL_BACK', 'ROLLED_BACK'] as const;
export type OperatorStep = (typeof OPERATOR_STEPS)[number];

/** Target and leader, compared at one place of the log (R34). */
export interface MigrationProof {
  readonly epoch: number;
  readonly seq: number;
  /** Of the leader. */
  readonly entries: number;
  /** Sub-ranges, of 64, that were equal at once; and that were installed again and are equal since. */
  readonly equal: number;
  readonly repaired: number;
  /** Entries of the leader that were read, key and value, and found equal on the target; 0 where that was not asked for. */
  readonly comparedEntries: number;
  /** The targets' replicas that were compared: a node that came back without its data has another one. Undefined: an older coordinator compared. */
  readonly replicas?: readonly ReplicaId[] | undefined;
}

export interface MigrationOperator {
  readonly job: string;
  readonly keyspace: string;
  readonly keyspaceId: string;
  readonly partition: PartitionId;
  readonly reason: MigrationReason;
  /** Nodes that should hold the partition before and afterwards, the preferred leader first. */
  readonly before: readonly NodeId[];
  readonly after: readonly NodeId[];
  readonly step: OperatorStep;
  /** Wall clock in ms at which it came to this step: for people. */
  readonly stepSinceMs: number;
  readonly proof: MigrationProof | undefined;
  /** For how long writes waited for the change of leader, or for that back, the longer of them; undefined when none was needed so far. */
  readonly pauseMs: number | undefined;
  /** Keys and values that reached the targets. */
  readonly bytes: number;
  readonly entries: number;
  /** What a copy takes in memory, and its entries, as the leaders' nodes said when the job was made; 0 also when they did not say. */
  readonly bytesTotal: number;
  readonly entriesTotal: number;
  /** Why it goes back, or went back; empty otherwise. */
  readonly problem: string;
  /** W3C trace context of its span, which its steps hang under; empty before it began, and when it is not sampled. */
  readonly traceparent: string;
}

/** Nodes whose replicas go. */
export const sourcesOf = ({ before, after }: Pick<MigrationOperator, 'before' | 'after'>): NodeId[] => before.filter((node) => !after.includes(node));
/** Nodes that get one. */
export const targetsOf = ({ before, after }: Pick<MigrationOperator, 'before' | 'after'>): NodeId[] => after.filter((node) => !before.includes(node));

export const hasEnded = ({ step }: MigrationOperator): boolean => step === 'DONE' || step === 'ROLLED_BACK';
/** Its targets are being filled: it counts against the limits. */
export const isFilling = ({ step }: MigrationOperator): boolean => step === 'ADD' || step === 'CATCH_UP';

/**
 * Nodes that should hold the partition while the operator stands at its step. The source keeps its data until the
 * target was found equal to it and leads where the source did: that very replica, by the `record` as it is now.
 */
export function placementOf(operator: MigrationOperator, record?: PartitionRecord): readonly NodeId[] {
  const { step, before, after } = operator;
  const isSourceThere = record !== undefined && sourcesOf(operator).every((node) => record.inSync.some((member) => member.node === node));
  if (step === 'REMOVE' && isSourceThere && !isCompared(operator, record)) return [...before, ...targetsOf(operator)];
  if (step === 'REMOVE' || step === 'DONE') return after;
  if (step === 'WAITING' || step === 'ROLL_BACK' || step === 'ROLLED_BACK') return before;
  return [...before, ...targetsOf(operator)];
}

/** Whether no target has another replica in sync by now than the one that was compared. */
export function isCompared(operator: MigrationOperator, { inSync }: PartitionRecord): boolean {
  const { proof } = operator;
  const targets = targetsOf(operator);
  return proof?.replicas === undefined || inSync.every(({ node, replica }) => !targets.includes(node) || proof.replicas!.includes(replica));
}

/** Nodes that should hold the partition when the operator is over, as it looks now. */
export const destinationOf = ({ step, before, after }: MigrationOperator): readonly NodeId[] => (step === 'ROLL_BACK' || step === 'ROLLED_BACK' ? before : after);
