import type { Change, Comparison, StoredValue, WatchedChange } from '../metadata-store.ts';

interface StoredKey extends StoredValue {
  readonly leaseId: string | undefined;
}

/** See InMemoryEtcd.backup. */
export interface InMemoryBackup {
  readonly revision: number;
  readonly keys: readonly StoredKey[];
}

type Subscriber = (changes: readonly WatchedChange[], revision: number) => void;

/**
 * The state of an etcd, in memory: revisions, transactions, leases that expire by real time, and one feed of all
 * changes. Several InMemoryMetadataStore may share one, as processes share an etcd.
 */
export class InMemoryEtcd {
  readonly #keys = new Map<string, StoredKey>();
  readonly #leases = new Map<string, { readonly ttlMs: number; timer: NodeJS.Timeout | undefined }>();
  readonly #subscribers = new Set<Subscriber>();
  #revision = 1;
  #leaseCount = 0;

  get revision(): number {
    return this.#revision;
  }

  get(key: string): StoredValue | undefined {
    const stored = this.#keys.get(key);
    return stored === undefined ? undefined : toStoredValue(stored);
  }

  list(prefix: string): readonly StoredValue[] {
    return [...this.#keys.values()]
      .filter((stored) => stored.key.startsWith(prefix))
      .map(toStoredValue)
      .sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  /** Resolves to the new revision, or undefined when a comparison does not hold or the lease of a put is gone. */
  transact(comparisons: readonly Comparison[], changes: readonly Change[]): number | undefined {
    const holds = comparisons.every((comparison) => this.#holds(comparison));
    const leasesStand = changes.every((change) => change.kind === 'delete' || change.lease === undefined || this.#leases.has(change.lease.id));
    if (!holds || !leasesStand) return undefined;
    const effective = changes.filter((change) => change.kind === 'put' || this.#keys.has(change.key));
    if (effective.length === 0) return this.#revision;
    this.#revision += 1;
    this.#tell(effective.map((change) => this.#apply(change)));
    return this.#revision;
  }

  grantLease(ttlMs: number): string {
    this.#leaseCount += 1;
    const id = String(this.#leaseCount);
    this.#leases.set(id, { ttlMs, timer: undefined });
    this.keepAlive(id);
    return id;
  }

  /** Whether the lease stood. */
  keepAlive(id: string): boolean {
    const lease = this.#leases.get(id);
    if (lease === undefined) return false;
    clearTimeout(lease.timer);
    lease.timer = setTimeout(() => this.revoke(id), lease.ttlMs).unref();
    return true;
  }

  revoke(id: string): void {
    const lease = this.#leases.get(id);
    if (lease === undefined) return;
    clearTimeout(lease.timer);
    this.#leases.delete(id);
    const keys = [...this.#keys.values()].filter((stored) => stored.leaseId === id);
    this.transact([], keys.map((stored) => ({ kind: 'delete', key: stored.key })));
  }

  /** Returns the unsubscriber. */
  subscribe(subscriber: Subscriber): () => void {
    this.#subscribers.add(subscriber);
    return () => this.#subscribers.delete(subscriber);
  }

  /** What stands now, as a backup would have it; without what hangs on leases, which are over when it is restored. */
  backup(): InMemoryBackup {
    return { revision: this.#revision, keys: [...this.#keys.values()].filter(({ leaseId }) => leaseId === undefined) };
  }

  /** Goes back to a backup, or with none to nothing. To be called while its clients are away: their streams end then. */
  restore(backup: InMemoryBackup = { revision: 1, keys: [] }): void {
    this.#revision = backup.revision;
    this.#keys.clear();
    for (const stored of backup.keys) this.#keys.set(stored.key, stored);
    for (const { timer } of this.#leases.values()) clearTimeout(timer);
    this.#leases.clear();
  }

  #holds(comparison: Comparison): boolean {
    const stored = this.#keys.get(comparison.key);
    if (comparison.kind === 'modRevisionAtLeast') return (stored?.modRevision ?? 0) >= comparison.revision;
    return (stored?.[comparison.kind] ?? 0) === comparison.equals;
  }

  #apply(change: Change): WatchedChange {
    if (change.kind === 'delete') {
      this.#keys.delete(change.key);
      return { key: change.key, value: undefined };
    }
    const stored: StoredKey = {
      key: change.key,
      value: change.value,
      createRevision: this.#keys.get(change.key)?.createRevision ?? this.#revision,
      modRevision: this.#revision,
      leaseId: change.lease?.id,
    };
    this.#keys.set(change.key, stored);
    return { key: change.key, value: toStoredValue(stored) };
  }

  #tell(changes: readonly WatchedChange[]): void {
    for (const subscriber of this.#subscribers) subscriber(changes, this.#revision);
  }
}

function toStoredValue({ key, value, createRevision, modRevision }: StoredKey): StoredValue {
  return { key, value, createRevision, modRevision };
}
