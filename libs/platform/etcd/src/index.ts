export { FORMAT_VERSION, ensureClusterId, readClusterIdentity } from './cluster-identity.ts';
export type { ClusterIdentity } from './cluster-identity.ts';
export {
  BACKUP_JOBS_PREFIX,
  BACKUP_REPOSITORY_KEY,
  CHANGE_KEY,
  CLUSTER_KEY,
  ELECTION_PREFIX,
  EVENTS_PREFIX,
  FILLER_KEY,
  KEYSPACES_PREFIX,
  LOCKS_PREFIX,
  MIGRATIONS_PREFIX,
  MIGRATIONS_TURN_KEY,
  NODES_PREFIX,
  NODE_SPECS_PREFIX,
  OPERATORS_PREFIX,
  PARTITIONS_PREFIX,
  RECOVERY_KEY,
  REGRESSED_KEY,
  RESULTS_PREFIX,
  BACKUP_SCHEDULES_PREFIX,
  backupJobKey,
  backupScheduleKey,
  keyspaceKey,
  COPIES_PREFIX,
  copyKey,
  migrationKey,
  nodeKey,
  nodeSpecKey,
  operatorKey,
  parsePartitionKey,
  partitionKey,
  partitionPrefix,
  resultKey,
  resultsPrefix,
} from './cluster-keys.ts';
export type { ClusterChange, ClusterView, CoordinatorRecord } from './cluster-view.ts';
export { campaign } from './election.ts';
export type { CampaignHandlers, CampaignOptions, Election, ElectionTerm } from './election.ts';
export { CHANGES_PER_TRANSACTION_MAX, EtcdMetadataStore, connectEtcd } from './etcd-metadata-store.ts';
export type { EtcdObserver } from './etcd-endpoints.ts';
export type { EtcdOptions } from './etcd-metadata-store.ts';
export { EVENTS_MAX, EVENT_BYTES_MAX, EVENT_PARTITIONS_MAX, appendEvent, listEvents } from './event-log.ts';
export type { ClusterEvent } from './event-log.ts';
export { RECORD_BYTES_MAX, encodeJson, parseJson } from './json-codec.ts';
export type { Parsed } from './json-codec.ts';
export { CLIENT_LOCK_TTL_MS_MAX, CLIENT_LOCK_TTL_MS_MIN, CLIENT_LOCK_WAIT_MS_MAX, ClientLocks } from './locks/client-locks.ts';
export type { GrantedLock, ListedRequest, LockAsk } from './locks/client-locks.ts';
export { holdLock } from './locks/held-lock.ts';
export type { HeldLock, HoldLockOptions } from './locks/held-lock.ts';
export type {
  Change,
  Comparison,
  Lease,
  MetadataStore,
  StoredValue,
  TransactionOutcome,
  Watch,
  WatchListener,
  WatchedChange,
} from './metadata-store.ts';
export { encodeCopyJob, encodeMigrationJob, encodeMigrationOperator, parseCopyJob, parseMigrationJob, parseMigrationOperator } from './migration-codecs.ts';
export { registerNode } from './node-registration.ts';
export type { NodeRegistration, RegisterNodeOptions } from './node-registration.ts';
export { GuardedMetadataStore } from './regression/guarded-metadata-store.ts';
export type { GuardOptions, HeardMark } from './regression/guarded-metadata-store.ts';
export { RECOVERY_COMMAND, metadataRegressed } from './regression/regression-errors.ts';
export { openClusterView } from './open-cluster-view.ts';
export type { ClusterViewOptions } from './open-cluster-view.ts';
export {
  encodeKeyspaceSpec,
  encodeNodeRecord,
  encodeNodeSpec,
  encodePartitionRecord,
  parseKeyspaceSpec,
  parseNodeRecord,
  parseNodeSpec,
  parsePartitionRecord,
} from './record-codecs.ts';
