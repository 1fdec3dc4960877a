import type { ReplicaSettings } from '@atoll/core-replication';
import type { HostedKeyspace } from './hosted-keyspace.ts';
import type { HostedReplica } from './hosted-replica.ts';

/** The settings of this node that its replicas share. */
export type NodeSettings = Pick<ReplicaSettings, 'leaseMs' | 'followerAckTimeoutMs' | 'rejoinAfterMs' | 'uncommittedBytesMax'>;

const CHANGE_RETRY_MS = 200;
const EXPIRY_SWEEP = { removedMax: 1000, scannedMax: 20_000 };

/**
 * What one replica is told. Getters, so that a change of the keyspace takes effect at once; in a class, since each
 * object literal with getters is of a shape of its own to V8, and with many partitions every look at a setting on the
 * path of a write would be a search (docs/benchmarks.md).
 */
export class HostedSettings implements ReplicaSettings {
  readonly leaseMs: number;
  readonly followerAckTimeoutMs: number;
  readonly rejoinAfterMs: number;
  readonly uncommittedBytesMax: number;
  readonly changeRetryMs = CHANGE_RETRY_MS;
  readonly expirySweep = EXPIRY_SWEEP;
  readonly #keyspace: HostedKeyspace;
  readonly #hosted: () => HostedReplica;

  constructor(node: NodeSettings, keyspace: HostedKeyspace, hosted: () => HostedReplica) {
    this.leaseMs = node.leaseMs;
    this.followerAckTimeoutMs = node.followerAckTimeoutMs;
    this.rejoinAfterMs = node.rejoinAfterMs;
    this.uncommittedBytesMax = node.uncommittedBytesMax;
    this.#keyspace = keyspace;
    this.#hosted = hosted;
  }

  get minInSync(): number {
    return this.#keyspace.spec.minInSync;
  }

  get eviction(): ReplicaSettings['eviction'] {
    return this.#keyspace.spec.eviction;
  }

  get logBytesMax(): number {
    return this.#hosted().logBytesMax;
  }

  freeBytes(): number {
    return this.#keyspace.account.freeBytes;
  }
}
