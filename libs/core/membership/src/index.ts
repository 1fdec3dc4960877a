export {
  UPDATABLE_FIELDS,
  checkKeyspaceName,
  createKeyspaceSpec,
  keyspaceNotFound,
  updateKeyspaceSpec,
} from './keyspace-spec.ts';
export type { AckLevel, Durability, Eviction, KeyspaceRequest, KeyspaceSpec, OnDataLoss, UpdatableField } from './keyspace-spec.ts';
export type { NodeRecord, NodeSpec } from './node-record.ts';
export { assertRecord, hasReplica, isSameMember, membersOf, withoutReplica } from './partition-record.ts';
export type { Generation, Member, PartitionRecord, PartitionState, VersionedRecord } from './partition-record.ts';
