import type { Clock } from '@atoll/core-runtime';

import type { Lease } from './metadata-store.ts';

export interface KeptLeaseOptions {
  readonly id: string;
  readonly ttlMs: number;
  readonly clock: Clock;
  /** When the request that granted the lease was sent, on the monotonic clock. */
  readonly grantedAtMs: number;
  /** One keep-alive. Resolves to whether etcd still knows the lease; rejects when there was no answer. */
  readonly keepAlive: (timeoutMs: number) => Promise<boolean>;
  readonly revoke: () => Promise<void>;
  /** Called when the lease ended, in whatever way. */
  readonly onEnd: () => void;
}

/**
 * A lease that keeps itself alive: a keep-alive every ttl / 3, and after one without an answer the next attempt
 * comes after ttl / 10. Its life is counted from when the last answered keep-alive was *sent* (R11): etcd began
 * to count later than that, so the owner always stops first.
 *
 *     sent 0 ---- answered 40 ---------------- aliveUntil = 0 + ttl
 *     etcd:  20 --------------------------------- gone at 20 + ttl
 */
export class KeptLease implements Lease {
  readonly id: string;
  readonly ttlMs: number;
  readonly #options: KeptLeaseOptions;
  #aliveUntilMs: number;
  #state: 'KEPT' | 'LOST' | 'REVOKED' = 'KEPT';
  #listeners: (() => void)[] = [];
  #keepTimer: NodeJS.Timeout | undefined;
  #lossTimer: NodeJS.Timeout | undefined;

  constructor(options: KeptLeaseOptions) {
    this.id = options.id;
    this.ttlMs = options.ttlMs;
    this.#options = options;
    this.#aliveUntilMs = options.grantedAtMs + options.ttlMs;
    this.#keepAliveIn(options.ttlMs / 3);
    this.#watchLoss();
  }

  isAlive(): boolean {
    return this.#state === 'KEPT' && this.#options.clock.monotonicMs() < this.#aliveUntilMs;
  }

  onLost(listener: () => void): void {
    if (this.#state === 'LOST') queueMicrotask(listener);
    else this.#listeners.push(listener);
  }

  async revoke(): Promise<void> {
    const wasRevoked = this.#state === 'REVOKED';
    this.abandon();
    if (!wasRevoked) await this.#options.revoke().catch(() => undefined);
  }

  /** Stops keeping the lease, without telling etcd or the listeners. */
  abandon(): void {
    if (this.#state === 'KEPT') this.#end('REVOKED');
  }

  #end(state: 'LOST' | 'REVOKED'): void {
    this.#state = state;
    clearTimeout(this.#keepTimer);
    clearTimeout(this.#lossTimer);
    const listeners = this.#listeners;
    this.#listeners = [];
    this.#options.onEnd();
    if (state === 'LOST') for (const listener of listeners) listener();
  }

  #keepAliveIn(delayMs: number): void {
    clearTimeout(this.#keepTimer);
    this.#keepTimer = setTimeout(() => void this.#keepAlive(), delayMs).unref();
  }

  #watchLoss(): void {
    clearTimeout(this.#lossTimer);
    const leftMs = this.#aliveUntilMs - this.#options.clock.monotonicMs();
    if (leftMs <= 0) {
      if (this.#state === 'KEPT') this.#end('LOST');
      return;
    }
    this.#lossTimer = setTimeout(() => this.#watchLoss(), Math.ceil(leftMs)).unref();
  }

  async #keepAlive(): Promise<void> {
    const sentAtMs = this.#options.clock.monotonicMs();
    let known: boolean | undefined;
    try {
      known = await this.#options.keepAlive(this.ttlMs / 3);
    } catch {
      known = undefined;
    }
    if (this.#state !== 'KEPT') return;
    if (known === false) {
      this.#end('LOST');
      return;
    }
    if (known === true) {
      this.#aliveUntilMs = sentAtMs + this.ttlMs;
      this.#watchLoss();
    }
    this.#keepAliveIn(known === true ? this.ttlMs / 3 : this.ttlMs / 10);
  }
}
