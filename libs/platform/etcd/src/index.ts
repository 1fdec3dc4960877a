export { FORMAT_VERSION, ensureClusterId, readClusterIdentity } from './cluster-identity.ts';
export type { ClusterIdentity } from './cluster-identity.ts';
export {
  CLUSTER_KEY,
  ELECTION_PREFIX,
  EVENTS_PREFIX,
  KEYSPACES_PREFIX,
  LOCKS_PREFIX,
  NODES_PREFIX,
  NODE_SPECS_PREFIX,
  PARTITIONS_PREFIX,
  keyspaceKey,
  nodeKey,
  nodeSpecKey,
  parsePartitionKey,
  partitionKey,
  partitionPrefix,
} from './cluster-keys.ts';
export type { ClusterChange, ClusterView, CoordinatorRecord } from './cluster-view.ts';
export { CHANGES_PER_TRANSACTION_MAX, EtcdMetadataStore, connectEtcd } from './etcd-metadata-store.ts';
export type { EtcdOptions } from './etcd-metadata-store.ts';
export { RECORD_BYTES_MAX } from './json-codec.ts';
export type { Parsed } from './json-codec.ts';
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
