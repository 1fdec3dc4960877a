import type { Epoch, NodeId, PartitionId, ReplicaId } from '@atoll/core-runtime';

/** A replica by its data's identity, and the node that holds it (R1). */
export interface Member {
  readonly node: NodeId;
  readonly replica: ReplicaId;
}

/** Lineage of a partition's data (R3). */
export interface Generation {
  /** Orders the lineages; the first is 1. */
  readonly counter: number;
  /** Random: two lineages with one counter can be told apart. */
  readonly id: string;
}

/**
 * ACTIVE: led by `leader`. WAITING: nobody leads; no in-sync member is reachable and the partition waits for
 * one. FENCING: nobody leads; a successor from outside the in-sync set is due, and whoever led before must be
 * certain to have stopped (R15). `leader` is undefined in the last two.
 */
export type PartitionState = 'ACTIVE' | 'WAITING' | 'FENCING';

/**
 * The record of one partition in etcd. Who may write which field is R6: the coordinator writes leader, epoch,
 * learners, leaving, generation and state, and drops members that it holds DOWN from inSync in the write that
 * promotes another; otherwise inSync and eligible are written by the leader alone, which moves a member between
 * inSync and learners in the same write (docs/adr/0002-in-sync-moves.md).
 */
export interface PartitionRecord {
  readonly keyspace: string;
  readonly keyspaceId: string;
  readonly partition: PartitionId;
  readonly state: PartitionState;
  readonly generation: Generation;
  /**
   * The lineage that this one goes on from, after an unclean recovery: the leader named in it takes its data over
   * into the new one. Undefined where a generation began empty.
   */
  readonly continues?: Generation | undefined;
  readonly epoch: Epoch;
  readonly leader: Member | undefined;
  /**
   * Incarnation of the process that `epoch` was given to: a process takes office only under its own, so that a
   * restarted one leads nothing until the coordinator gives it a new epoch (R2). Empty without a leader.
   */
  readonly leaderIncarnation: string;
  /**
   * The office before this one was given up by its holder at the very revision that this write compared (R29): the
   * leader need not wait until the lease that it granted has run out.
   */
  readonly relinquished: boolean;
  /**
   * The cut-over for whose sake no leader of this partition takes writes (R37), or the freeze of its keyspace: the next one
   * reads it here before it takes office. Undefined: writes are taken.
   */
  readonly frozen?: string | undefined;
  /**
   * A keyspace on another pool stands by, and may take the place of this one by waiting alone: a leader that could not read this
   * record for a while stops (R15). Kept by whoever writes the record, as `frozen` is.
   */
  readonly hasStandby?: boolean | undefined;
  /** Replicas that hold every committed write. The leader is one of them. */
  readonly inSync: readonly Member[];
  /** Left the in-sync set while it was below minInSync: hold every committed write all the same (R9, KIP-966). */
  readonly eligible: readonly Member[];
  /** Catching up; count for nothing. */
  readonly learners: readonly Member[];
  /** To be dropped once the others suffice. */
  readonly leaving: readonly Member[];
  /** Trace context of the decision that gave `epoch` out after a failure, for spans alone. Undefined: it is not traced. */
  readonly traceparent?: string | undefined;
  /** Random, another one with each write (R6, R7). */
  readonly changeId: string;
}

/** A record as read from etcd. */
export interface VersionedRecord {
  readonly record: PartitionRecord;
  /** etcd's modification revision: what a compare-and-swap compares. */
  readonly modRevision: number;
}

export function isSameMember(a: Member | undefined, b: Member | undefined): boolean {
  return a?.replica === b?.replica && a?.node === b?.node;
}

export function hasReplica(members: readonly Member[], replica: ReplicaId): boolean {
  return members.some((member) => member.replica === replica);
}

export function withoutReplica(members: readonly Member[], replica: ReplicaId): readonly Member[] {
  return members.filter((member) => member.replica !== replica);
}

/** What begins so lasts until an operator ends it; a cut-over is a matter of moments. */
const LASTING = 'keyspace-';

/** What records say while their keyspace is frozen; `random`: another one each time. */
export const lastingFreeze = (random: string): string => `${LASTING}${random}`;

/** Whether a record is frozen until an operator says otherwise: writes are refused then, not waited for. */
export const isLastingFreeze = (frozen: string | undefined): boolean => frozen?.startsWith(LASTING) === true;

const FENCED = `${LASTING}fence-`;

/** What records of a keyspace say whose place a standby takes without it: a lasting freeze under which nothing is read from leaders, either. */
export const standbyFence = (random: string): string => `${FENCED}${random}`;

export const isStandbyFence = (frozen: string | undefined): boolean => frozen?.startsWith(FENCED) === true;

/** Every replica that the record names, each once. */
export function membersOf(record: PartitionRecord): readonly Member[] {
  const seen = new Set<ReplicaId>();
  const members: Member[] = [];
  for (const member of [...record.inSync, ...record.learners, ...record.eligible, ...record.leaving]) {
    if (seen.has(member.replica)) continue;
    seen.add(member.replica);
    members.push(member);
  }
  return members;
}

/** Throws when the record contradicts itself: a bug of its writer, never an ordinary outcome. */
export function assertRecord(record: PartitionRecord): void {
  const problems: string[] = [];
  if (record.state === 'ACTIVE' && record.leader === undefined) problems.push('ACTIVE without a leader');
  if (record.state !== 'ACTIVE' && record.leader !== undefined) problems.push(`${record.state} with a leader`);
  if (record.leader !== undefined && !hasReplica(record.inSync, record.leader.replica)) problems.push('leader outside the in-sync set (I3)');
  if (record.learners.some((member) => hasReplica(record.inSync, member.replica))) problems.push('a replica both in sync and learner');
  const nodes = membersOf(record).map((member) => member.node);
  if (new Set(record.inSync.map((member) => member.node)).size !== record.inSync.length) problems.push(`two in-sync replicas on one node: ${nodes.join(', ')}`);
  if (problems.length > 0) {
    throw new Error(`partition ${record.keyspace}/${record.partition} epoch ${record.epoch}: ${problems.join('; ')}`);
  }
}
