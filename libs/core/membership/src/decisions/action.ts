import type { NodeId, PartitionId } from '@atoll/core-runtime';
import type { NodeSpec } from '../node-record.ts';
import type { PartitionRecord } from '../partition-record.ts';
import type { DueMove } from './placement-plans.ts';

/** Why a record is written; label of the coordinator's decisions in metrics. */
export type DecisionKind =
  | 'PLACE' // first record of a partition
  | 'PROMOTE' // a new term, for another replica or for another process of the same one
  | 'TRANSFER' // a new term for a member to which its predecessor gave the office (R29)
  | 'PROMOTE_ELIGIBLE' // a new term for a replica that left the in-sync set when nothing could commit any more (R9)
  | 'FENCE' // nobody leads until the former leaders are certain to have stopped (R15)
  | 'RECOVER' // an operator has it go on from a replica that may miss writes
  | 'WAIT' // the leader is gone and its successor has not come back
  | 'RESET' // nothing that held the data can come back (R31)
  | 'ADD_LEARNER'
  | 'DROP_LEARNER'
  | 'MARK_LEAVING'
  | 'DROP_LEAVING'
  | 'FREEZE' // writes are held back, for a cut-over (R37)
  | 'THAW' // the cut-over was given up
  | 'MARK_STANDBY' // its keyspace has got a standby within its cluster, or has none any more (R15)
  | 'REMOVE'; // record of a keyspace that is no more

/**
 * What the shell must do, in this order. Every write compares the modification revision (0: the key must not
 * exist) and the coordinator's election key (R11). A write that was refused, or whose outcome is unknown, is
 * settled by deciding anew on the record as read then (R7).
 */
export type Action =
  /** Ask a node for replicas that it does not hold yet; the answer goes into its inventory. */
  | { readonly kind: 'ensure'; readonly node: NodeId; readonly keyspace: string; readonly keyspaceId: string; readonly partitions: readonly PartitionId[] }
  | {
      readonly kind: 'writeRecord';
      readonly decision: DecisionKind;
      readonly record: PartitionRecord;
      readonly modRevision: number;
    }
  | { readonly kind: 'removeRecord'; readonly decision: 'REMOVE'; readonly record: PartitionRecord; readonly modRevision: number }
  /** Replicas should change their nodes: a migration is to be begun, unless one has the partition already. */
  | { readonly kind: 'migrate'; readonly record: PartitionRecord; readonly move: DueMove }
  | { readonly kind: 'writeSpec'; readonly spec: NodeSpec; readonly previous: NodeSpec | undefined; readonly news: NodeNews };

/** What happened to a node. UPDATED is not worth an event. */
export type NodeNews = 'JOINED' | 'RESTARTED' | 'LEFT' | 'UPDATED';

export type WriteRecord = Extract<Action, { kind: 'writeRecord' }>;
