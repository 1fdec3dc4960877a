// Branded identifiers: two of them cannot be swapped by mistake, and at run time they are plain values.

declare const brand: unique symbol;
type Brand<T, Name extends string> = T & { readonly [brand]: Name };

/** Stable name of a storage node, chosen by its operator; 1 to 64 characters of `[a-z0-9-]`. */
export type NodeId = Brand<string, 'NodeId'>;

/** Random identity of one replica's data (R1), 16 lower-case hex digits. */
export type ReplicaId = Brand<string, 'ReplicaId'>;

/** Number of a partition inside its keyspace, 0 to partitionCount - 1. */
export type PartitionId = Brand<number, 'PartitionId'>;

/** Leadership term of one process life in one partition (R2); 0 means "none yet", the first leader has 1. */
export type Epoch = Brand<number, 'Epoch'>;

/** Position in a partition's log (R4); 0 means "before the first entry". */
export type Seq = Brand<number, 'Seq'>;

const NODE_ID = /^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$/;
const REPLICA_ID = /^[0-9a-f]{16}$/;

export function isNodeId(text: string): text is NodeId {
  return NODE_ID.test(text);
}

export function isReplicaId(text: string): text is ReplicaId {
  return REPLICA_ID.test(text);
}

export const toNodeId = (text: string): NodeId => text as NodeId;
export const toReplicaId = (text: string): ReplicaId => text as ReplicaId;
export const toPartitionId = (value: number): PartitionId => value as PartitionId;
export const toEpoch = (value: number): Epoch => value as Epoch;
export const toSeq = (value: number): Seq => value as Seq;
