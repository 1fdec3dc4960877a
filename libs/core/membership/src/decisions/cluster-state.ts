import type { PartitionId, ReplicaId } from '@atoll/core-runtime';
import type { NodeVerdict } from '../failure/verdict.ts';
import type { FailoverState } from './failover-state.ts';
import type { KeyspaceSpec } from '../keyspace-spec.ts';
import type { NodeRecord, NodeSpec } from '../node-record.ts';
import type { Generation, PartitionRecord, VersionedRecord } from '../partition-record.ts';

/** One replica that a process says it holds. A process holds at most one per partition. */
export interface HeldReplica {
  readonly replica: ReplicaId;
  readonly generation: Generation | undefined;
  /** True while nothing was ever written to it: no log, no entries. */
  readonly empty: boolean;
  /** Where its log ended when its node was asked; undefined when it did not say. */
  readonly end?: { readonly epoch: number; readonly seq: number };
  /** Entries that it held then. */
  readonly entries?: number;
  /** Whether it was complete then; undefined when its node did not say. */
  readonly installed?: boolean;
}

/** Everything that one process holds, as it said itself. */
export interface NodeInventory {
  /** Of the process that answered. Says nothing about any other process of the same node. */
  readonly incarnation: string;
  /** By `partitionName`. */
  readonly replicas: ReadonlyMap<string, HeldReplica>;
}

/** All that decisions rest on. Nothing here is changed by deciding. */
export interface ClusterState {
  /** Registered at this moment. */
  readonly nodes: ReadonlyMap<string, NodeRecord>;
  readonly specs: ReadonlyMap<string, NodeSpec>;
  /** Keyspaces to serve. Records of any other, one that is being deleted among them, are removed. */
  readonly keyspaces: ReadonlyMap<string, KeyspaceSpec>;
  /** Partition records by keyspace name, in order of partition; those not written yet are missing. */
  readonly partitions: ReadonlyMap<string, readonly VersionedRecord[]>;
  readonly inventories: ReadonlyMap<string, NodeInventory>;
  /** Nodes that have been away for so long that their replicas are placed elsewhere. */
  readonly writtenOff: ReadonlySet<string>;
  /** By node id. A node without one counts as SUSPECT: it fells nobody (R11). */
  readonly verdicts: ReadonlyMap<string, NodeVerdict>;
  readonly failover: FailoverState;
}

/** Key of a partition in the maps above. */
export function partitionName(keyspace: string, partition: PartitionId | number): string {
  return `${keyspace}/${partition}`;
}

export const nameOf = (record: PartitionRecord): string => partitionName(record.keyspace, record.partition);
