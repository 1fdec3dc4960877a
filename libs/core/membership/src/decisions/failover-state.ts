import type { Member } from '../partition-record.ts';

/** What an operator asked for a partition that has no in-sync member left, having stated that the old members are stopped (R15). */
export interface Recovery {
  /** The replica to go on from; undefined: the partition starts again, empty. */
  readonly source: Member | undefined;
  /** Of the record that the operator was shown: another one makes the request void. */
  readonly epoch: number;
}

/** What the coordinator knows beyond records and registrations when it decides on leaders. Partitions go by `partitionName`. */
export interface FailoverState {
  /**
   * Epoch whose leader is to be succeeded although its process may run: it does not take the office up (R27), its
   * follower is to lead instead of being removed (R10), or it stops and cannot hand over.
   */
  readonly passedOver: ReadonlyMap<string, number>;
  /** Epoch of a FENCING record that has stood for `fenceAfterMs` (R15). */
  readonly fenced: ReadonlyMap<string, number>;
  /** By node id: partitions that its registered process leads in no epoch up to the named one, as it said itself (R15). */
  readonly stopped: ReadonlyMap<string, ReadonlyMap<string, number>>;
  readonly recoveries: ReadonlyMap<string, Recovery>;
  /** Nodes whose replica has been out of sync for `reReplicateAfterMs`: another node gets one (R31). */
  readonly overdue: ReadonlyMap<string, ReadonlySet<string>>;
  /** Partitions in a planned transfer: their records are left alone, so that the promotion finds the revision named (R29). */
  readonly handingOver: ReadonlySet<string>;
}

export const CALM: FailoverState = {
  passedOver: new Map(),
  fenced: new Map(),
  stopped: new Map(),
  recoveries: new Map(),
  overdue: new Map(),
  handingOver: new Set(),
};
