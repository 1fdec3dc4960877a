import type { Clock } from '@atoll/core-runtime';
import { EtcdLeaseInvalidError, GRPCInvalidArgumentError } from 'etcd3';

import { EtcdEndpoints, type EtcdObserver } from './etcd-endpoints.ts';
import { keepAliveOnce } from './etcd-keep-alive.ts';
import { EtcdWatch } from './etcd-watch.ts';
import { fromKeyValue, toCompare, toEtcdKey, toRangeEnd, toRequestOp } from './etcd-wire.ts';
import { KeptLease } from './kept-lease.ts';
import type { Change, Comparison, Lease, MetadataStore, StoredValue, TransactionOutcome, Watch, WatchListener } from './metadata-store.ts';
import { systemClock } from './system-clock.ts';

/** etcd's own default bound, --max-txn-ops. */
export const CHANGES_PER_TRANSACTION_MAX = 128;

const PAGE_VALUES = 1000;

export interface EtcdOptions {
  /** `http://host:port` or `host:port` of the servers of one etcd cluster; at least one. */
  readonly endpoints: readonly string[];
  /** Deadline of each call, all servers tried together. Default 3000. */
  readonly requestTimeoutMs?: number;
  readonly clock?: Clock;
  readonly observer?: EtcdObserver;
}

/** Does not wait for etcd: the first call that needs it says METADATA_UNAVAILABLE when it is away. */
export function connectEtcd(options: EtcdOptions): EtcdMetadataStore {
  return new EtcdMetadataStore(options);
}

/** The port on a real etcd (3.4 or newer), through the raw clients of the etcd3 library. */
export class EtcdMetadataStore implements MetadataStore {
  readonly #endpoints: EtcdEndpoints;
  readonly #clock: Clock;
  readonly #leases = new Set<KeptLease>();
  readonly #watches = new Set<EtcdWatch>();

  constructor(options: EtcdOptions) {
    this.#endpoints = new EtcdEndpoints(options.endpoints, options.requestTimeoutMs ?? 3000, options.observer);
    this.#clock = options.clock ?? systemClock;
  }

  async get(key: string): Promise<StoredValue | undefined> {
    const response = await this.#endpoints.repeatable(`get ${key}`, ({ endpoint, options }) =>
      endpoint.client.kv.range({ key: toEtcdKey(key) }, options),
    );
    const pair = response.kvs[0];
    return pair === undefined ? undefined : fromKeyValue(pair);
  }

  async list(prefix: string): Promise<{ values: readonly StoredValue[]; revision: number }> {
    const values: StoredValue[] = [];
    const rangeEnd = toRangeEnd(prefix);
    let from = toEtcdKey(prefix);
    let revision = 0; // 0 asks for the newest; the pages after the first are read at the revision of the first.
    for (;;) {
      const response = await this.#endpoints.repeatable(`list ${prefix}`, ({ endpoint, options }) =>
        endpoint.client.kv.range({ key: from, range_end: rangeEnd, limit: PAGE_VALUES, revision }, options),
      );
      if (revision === 0) revision = Number(response.header.revision);
      for (const pair of response.kvs) values.push(fromKeyValue(pair));
      const last = response.kvs.at(-1);
      if (!response.more || last === undefined) return { values, revision };
      from = Buffer.concat([last.key, Buffer.from([0])]);
    }
  }

  async transact(comparisons: readonly Comparison[], changes: readonly Change[]): Promise<TransactionOutcome> {
    if (changes.length > CHANGES_PER_TRANSACTION_MAX) {
      throw new Error(`etcd: ${changes.length} changes in one transaction, at most ${CHANGES_PER_TRANSACTION_MAX} are allowed`);
    }
    const request = { compare: comparisons.map(toCompare), success: changes.map(toRequestOp) };
    try {
      const response = await this.#endpoints.once(({ endpoint, options }) => endpoint.client.kv.txn(request, options));
      return response.succeeded ? { kind: 'succeeded', revision: Number(response.header.revision) } : { kind: 'refused' };
    } catch (error) {
      if (error instanceof EtcdLeaseInvalidError) return { kind: 'refused' }; // etcd answered: the lease of a put is gone.
      if (error instanceof GRPCInvalidArgumentError) throw error; // A bug of the caller, refused before it was proposed.
      return { kind: 'unknown', cause: error };
    }
  }

  async grantLease(ttlMs: number): Promise<Lease> {
    let grantedAtMs = 0;
    const granted = await this.#grant(ttlMs, () => (grantedAtMs = this.#clock.monotonicMs()));
    const { id } = granted;
    const lease: KeptLease = new KeptLease({
      ...granted,
      clock: this.#clock,
      grantedAtMs,
      keepAlive: (timeoutMs) =>
        this.#endpoints.repeatable('keep a lease', (to) => keepAliveOnce(to, id), Math.min(timeoutMs, this.#endpoints.requestTimeoutMs)),
      revoke: () => this.revokeLease(id),
      onEnd: () => this.#leases.delete(lease),
    });
    this.#leases.add(lease);
    return lease;
  }

  async createLease(ttlMs: number): Promise<Pick<Lease, 'id' | 'ttlMs'>> {
    return this.#grant(ttlMs, () => undefined);
  }

  async renewLease(id: string): Promise<boolean> {
    return this.#endpoints.repeatable('renew a lease', (to) => keepAliveOnce(to, id));
  }

  async revokeLease(id: string): Promise<void> {
    await this.#endpoints.repeatable('revoke a lease', async ({ endpoint, options }) => {
      await endpoint.client.leaseClient.leaseRevoke({ ID: id }, options).catch((error: unknown) => {
        if (!(error instanceof EtcdLeaseInvalidError)) throw error; // Gone already.
      });
    });
  }

  async watch(prefix: string, listener: WatchListener): Promise<Watch> {
    const watch = new EtcdWatch({ endpoints: this.#endpoints, prefix, listener, list: () => this.list(prefix) });
    await watch.open();
    this.#watches.add(watch);
    return {
      close: async () => {
        this.#watches.delete(watch);
        await watch.close();
      },
    };
  }

  async #grant(ttlMs: number, onSend: () => void): Promise<{ readonly id: string; readonly ttlMs: number }> {
    const seconds = Math.max(1, Math.ceil(ttlMs / 1000));
    const { ID: id } = await this.#endpoints.repeatable('grant a lease', ({ endpoint, options }) => {
      onSend();
      return endpoint.client.leaseClient.leaseGrant({ TTL: seconds }, options);
    });
    return { id, ttlMs: seconds * 1000 };
  }

  /** Ends all watches and stops keeping leases alive; does not revoke them. */
  async close(): Promise<void> {
    for (const lease of this.#leases) lease.abandon();
    const watches = [...this.#watches];
    this.#watches.clear();
    this.#endpoints.close();
    await Promise.all(watches.map((watch) => watch.close()));
  }
}
