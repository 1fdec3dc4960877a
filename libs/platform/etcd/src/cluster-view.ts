import type { KeyspaceSpec, NodeRecord, NodeSpec, VersionedRecord } from '@atoll/core-membership';

/** The coordinator that is elected at this moment: value of its election key. */
export interface CoordinatorRecord {
  readonly id: string;
  /** host:port of its gRPC server. */
  readonly address: string;
  /** Create revision of its election key: fencing token of its commands (R11). */
  readonly revision: number;
}

export type ClusterChange =
  | { readonly kind: 'node'; readonly id: string }
  | { readonly kind: 'nodeSpec'; readonly id: string }
  | { readonly kind: 'keyspace'; readonly name: string }
  | { readonly kind: 'partition'; readonly keyspace: string; readonly partition: number }
  | { readonly kind: 'coordinator' };

/**
 * What etcd says of the cluster, kept up to date by watches. Everything stays as last seen while etcd is away
 * (R12). Values that cannot be read are reported by `onProblem` and left as they were.
 */
export interface ClusterView {
  readonly clusterId: string;
  nodes(): ReadonlyMap<string, NodeRecord>;
  nodeSpecs(): ReadonlyMap<string, NodeSpec>;
  keyspaces(): ReadonlyMap<string, KeyspaceSpec>;
  keyspace(name: string): KeyspaceSpec | undefined;
  partition(keyspace: string, partition: number): VersionedRecord | undefined;
  /** In order of partition; empty for an unknown keyspace. */
  partitions(keyspace: string): readonly VersionedRecord[];
  coordinator(): CoordinatorRecord | undefined;
  /** Highest etcd revision seen. */
  readonly revision: number;
  readonly connected: boolean;
  /** Called after each batch of changes was taken in. Returns the unsubscriber. */
  subscribe(listener: (changes: readonly ClusterChange[]) => void): () => void;
  close(): Promise<void>;
}
