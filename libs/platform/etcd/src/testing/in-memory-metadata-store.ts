import { setTimeout as sleep } from 'node:timers/promises';

import type { Clock } from '@atoll/core-runtime';

import { CHANGES_PER_TRANSACTION_MAX } from '../etcd-metadata-store.ts';
import { KeptLease } from '../kept-lease.ts';
import { metadataUnavailable } from '../metadata-errors.ts';
import type { Change, Comparison, Lease, MetadataStore, StoredValue, TransactionOutcome, Watch, WatchListener } from '../metadata-store.ts';
import { systemClock } from '../system-clock.ts';
import { InMemoryEtcd } from './in-memory-etcd.ts';
import { InMemoryWatch } from './in-memory-watch.ts';

/**
 * One client of an InMemoryEtcd, with faults on demand. Each fault is this client's alone: the others go on.
 * Answers come in a later turn of the event loop, as they would from a network.
 */
export class InMemoryMetadataStore implements MetadataStore {
  readonly etcd: InMemoryEtcd;
  readonly #clock: Clock;
  readonly #leases = new Set<KeptLease>();
  readonly #watches = new Set<InMemoryWatch>();
  #away = false;
  #closed = false;
  #answersToLose = 0;
  #delaysMs: number[] = [];

  constructor(options: { etcd?: InMemoryEtcd; clock?: Clock } = {}) {
    this.etcd = options.etcd ?? new InMemoryEtcd();
    this.#clock = options.clock ?? systemClock;
  }

  /** etcd cannot be reached: reads throw, transactions are unknown and do not happen, watches are silent. */
  goAway(): void {
    this.#away = true;
    for (const watch of this.#watches) watch.disconnect();
  }

  /** Every watch tells its listener all that there is now. */
  comeBack(): void {
    this.#away = false;
    for (const watch of this.#watches) watch.connect();
  }

  /** The next transaction happens, and is answered as unknown (R7). */
  loseNextAnswer(): void {
    this.#answersToLose += 1;
  }

  /** The next call waits for so long before it reaches etcd. */
  delayNext(ms: number): void {
    this.#delaysMs.push(ms);
  }

  async get(key: string): Promise<StoredValue | undefined> {
    await this.#reach(`get ${key}`);
    return this.etcd.get(key);
  }

  async list(prefix: string): Promise<{ values: readonly StoredValue[]; revision: number }> {
    await this.#reach(`list ${prefix}`);
    return { values: this.etcd.list(prefix), revision: this.etcd.revision };
  }

  async transact(comparisons: readonly Comparison[], changes: readonly Change[]): Promise<TransactionOutcome> {
    if (changes.length > CHANGES_PER_TRANSACTION_MAX) {
      throw new Error(`etcd: ${changes.length} changes in one transaction, at most ${CHANGES_PER_TRANSACTION_MAX} are allowed`);
    }
    try {
      await this.#reach('transaction');
    } catch (cause) {
      return { kind: 'unknown', cause };
    }
    const revision = this.etcd.transact(comparisons, changes);
    if (this.#answersToLose > 0) {
      this.#answersToLose -= 1;
      return { kind: 'unknown', cause: new Error('the answer was lost') };
    }
    return revision === undefined ? { kind: 'refused' } : { kind: 'succeeded', revision };
  }

  async grantLease(ttlMs: number): Promise<Lease> {
    const grantedAtMs = this.#clock.monotonicMs();
    const granted = await this.createLease(ttlMs);
    const { id } = granted;
    const lease: KeptLease = new KeptLease({
      ...granted,
      clock: this.#clock,
      grantedAtMs,
      keepAlive: async () => {
        await this.#reach('keep a lease');
        return this.etcd.keepAlive(id);
      },
      revoke: () => this.revokeLease(id),
      onEnd: () => this.#leases.delete(lease),
    });
    this.#leases.add(lease);
    return lease;
  }

  async createLease(ttlMs: number): Promise<Pick<Lease, 'id' | 'ttlMs'>> {
    await this.#reach('grant a lease');
    const wholeTtlMs = Math.max(1, Math.ceil(ttlMs / 1000)) * 1000;
    return { id: this.etcd.grantLease(wholeTtlMs), ttlMs: wholeTtlMs };
  }

  async renewLease(id: string): Promise<boolean> {
    await this.#reach('renew a lease');
    return this.etcd.keepAlive(id);
  }

  async revokeLease(id: string): Promise<void> {
    await this.#reach('revoke a lease');
    this.etcd.revoke(id);
  }

  async watch(prefix: string, listener: WatchListener): Promise<Watch> {
    await this.#reach(`watch ${prefix}`);
    const watch = new InMemoryWatch(this.etcd, prefix, listener);
    this.#watches.add(watch);
    watch.connect();
    return {
      close: async () => {
        this.#watches.delete(watch);
        watch.close();
      },
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const lease of this.#leases) lease.abandon();
    for (const watch of this.#watches) watch.close();
    this.#watches.clear();
  }

  async #reach(what: string): Promise<void> {
    await sleep(this.#delaysMs.shift() ?? 0);
    if (this.#closed) throw metadataUnavailable(what, new Error('the client is closed'));
    if (this.#away) throw metadataUnavailable(what, new Error('it is away'));
  }
}
