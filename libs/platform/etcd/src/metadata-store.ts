// The port to etcd: small, so that an in-memory implementation can stand beside the real one and both run
// the same contract suite. Keys are given without the prefix `/atoll/v1/`.

export interface StoredValue {
  readonly key: string;
  readonly value: string;
  readonly createRevision: number;
  readonly modRevision: number;
}

/** What must hold for a transaction to happen. */
export type Comparison =
  | { readonly kind: 'modRevision'; readonly key: string; readonly equals: number /* 0: the key does not exist */ }
  | { readonly kind: 'createRevision'; readonly key: string; readonly equals: number }
  | { readonly kind: 'modRevisionAtLeast'; readonly key: string; readonly revision: number };

export type Change =
  | { readonly kind: 'put'; readonly key: string; readonly value: string; readonly lease?: Pick<Lease, 'id'> }
  | { readonly kind: 'delete'; readonly key: string };

/**
 * `unknown`: no answer came back. The transaction may have happened, or may still happen later; only a further
 * compare-and-swap that succeeds settles it, never a read (R7).
 */
export type TransactionOutcome =
  | { readonly kind: 'succeeded'; readonly revision: number }
  | { readonly kind: 'refused' }
  | { readonly kind: 'unknown'; readonly cause: unknown };

/**
 * A lease, kept alive by its owner. The owner counts its life itself, on the monotonic clock, from the moment
 * the last keep-alive that was answered had been sent (R11).
 */
export interface Lease {
  readonly id: string;
  readonly ttlMs: number;
  /** Whether the lease certainly still stands at this moment. */
  isAlive(): boolean;
  /** Called once when the lease is certainly or possibly gone. */
  onLost(listener: () => void): void;
  /** Gives the lease back; its keys vanish. Never throws. */
  revoke(): Promise<void>;
}

export interface WatchListener {
  /** The whole content of the prefix: at the start, and again after any gap (compaction, lost connection) (R36). */
  onSnapshot(values: readonly StoredValue[], revision: number): void;
  /** Changes in order. A deleted key has `value` undefined. */
  onChanges(changes: readonly WatchedChange[], revision: number): void;
  /** The connection was lost or regained; values keep standing meanwhile. */
  onConnection?(connected: boolean): void;
}

export interface WatchedChange {
  readonly key: string;
  readonly value: StoredValue | undefined;
}

export interface Watch {
  close(): Promise<void>;
}

/** Reads are linearizable. Every call has a deadline; a failed read throws METADATA_UNAVAILABLE. */
export interface MetadataStore {
  get(key: string): Promise<StoredValue | undefined>;
  list(prefix: string): Promise<{ readonly values: readonly StoredValue[]; readonly revision: number }>;
  /** Sent once, never repeated by the library (R7). At most 128 changes. */
  transact(comparisons: readonly Comparison[], changes: readonly Change[]): Promise<TransactionOutcome>;
  /** `ttlMs` is at least 1000 and rounded up to whole seconds. */
  grantLease(ttlMs: number): Promise<Lease>;
  /** A lease that this process does not keep: it ends after `ttlMs` unless somebody calls `renewLease` (R38). As `grantLease` otherwise. */
  createLease(ttlMs: number): Promise<Pick<Lease, 'id' | 'ttlMs'>>;
  /** Whether the lease stood; then its ttl begins anew. */
  renewLease(id: string): Promise<boolean>;
  /** Takes the lease and its keys away; nothing happens when it is gone. */
  revokeLease(id: string): Promise<void>;
  /** Resolves after the first snapshot was delivered. */
  watch(prefix: string, listener: WatchListener): Promise<Watch>;
  close(): Promise<void>;
}
