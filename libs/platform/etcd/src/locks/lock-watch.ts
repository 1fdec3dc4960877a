import { LockBook } from '@atoll/core-locks';

import { LOCKS_PREFIX } from '../cluster-keys.ts';
import { metadataUnavailable } from '../metadata-errors.ts';
import type { MetadataStore, Watch } from '../metadata-store.ts';
import { parseLockRequest, type StandingRequest } from './lock-record.ts';

/** What came of a request: `timeout` while it still waits. */
export type LockWait = 'held' | 'gone' | 'timeout';

interface Waiter {
  readonly request: StandingRequest;
  /** Its time is over: it ends as soon as it was seen to wait. */
  isDue: boolean;
  settle(wait: LockWait): void;
  fail(reason: unknown): void;
}

/** A request that was entered must show within so long, or the watch is of no use at this moment. */
const UNSEEN_MS_MAX = 5000;

/** All lock requests of the cluster as one watch shows them, and those of this process that wait for their turn. */
export class LockWatch {
  readonly book = new LockBook<StandingRequest>();
  readonly #store: MetadataStore;
  readonly #waiters = new Set<Waiter>();
  #opening: Promise<Watch> | undefined;
  #closed: unknown;

  constructor(store: MetadataStore) {
    this.#store = store;
  }

  get waiterCount(): number {
    return this.#waiters.size;
  }

  /** Resolves when the book was filled. Throws METADATA_UNAVAILABLE; the next call tries again. */
  async open(): Promise<void> {
    if (this.#closed !== undefined) throw this.#closed;
    this.#opening ??= this.#watch().catch((error: unknown) => {
      this.#opening = undefined;
      throw error;
    });
    await this.#opening;
  }

  /** Resolves when the request holds its lock, is gone, or has waited so long. Throws the signal's reason, and that of `close`. */
  async outcomeOf(request: StandingRequest, waitMs: number, signal: AbortSignal | undefined): Promise<LockWait> {
    const { promise, resolve, reject } = Promise.withResolvers<LockWait>();
    const waiter: Waiter = { request, isDue: false, settle: resolve, fail: reject };
    const onAbort = (): void => reject(signal?.reason);
    const onTime = (): void => {
      waiter.isDue = true;
      this.#judge(waiter);
    };
    const timers = [
      setTimeout(onTime, waitMs),
      setTimeout(() => reject(metadataUnavailable('the watch on locks is behind')), waitMs + UNSEEN_MS_MAX),
    ];
    this.#waiters.add(waiter);
    signal?.addEventListener('abort', onAbort, { once: true });
    if (signal?.aborted === true) onAbort();
    this.#judge(waiter);
    try {
      return await promise;
    } finally {
      this.#waiters.delete(waiter);
      for (const timer of timers) clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /** Whoever waits is told this reason. */
  async close(reason: unknown): Promise<void> {
    this.#closed = reason;
    for (const waiter of this.#waiters) waiter.fail(reason);
    const watch = await this.#opening?.catch(() => undefined);
    await watch?.close();
  }

  #watch(): Promise<Watch> {
    return this.#store.watch(LOCKS_PREFIX, {
      onSnapshot: (values, revision) => {
        this.book.replace(values.flatMap((stored) => parseLockRequest(stored) ?? []), revision);
        for (const waiter of this.#waiters) this.#judge(waiter);
      },
      onChanges: (changes, revision) => {
        const groups = new Set<string>();
        for (const { key, value } of changes) {
          const group = key.slice(0, key.lastIndexOf('/') + 1);
          groups.add(group);
          const request = value && parseLockRequest(value);
          if (request === undefined) this.book.remove(group, key, revision);
          else this.book.put(request, revision);
        }
        for (const waiter of this.#waiters) if (groups.has(waiter.request.group)) this.#judge(waiter);
      },
    });
  }

  #judge(waiter: Waiter): void {
    const state = this.book.stateOf(waiter.request);
    if (state === 'held' || state === 'gone') waiter.settle(state);
    else if (state === 'waiting' && waiter.isDue) waiter.settle('timeout');
  }
}
