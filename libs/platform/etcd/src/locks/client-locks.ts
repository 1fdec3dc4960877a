import { AtollError, invalidArgument } from '@atoll/core-errors';
import { blockerOf, type LockMode, type LockScope } from '@atoll/core-locks';

import { LOCKS_PREFIX } from '../cluster-keys.ts';
import { cancelled, metadataUnavailable } from '../metadata-errors.ts';
import type { Comparison, MetadataStore } from '../metadata-store.ts';
import { encodeLockRequest, lockGroup, parseLockRequest, type StandingRequest } from './lock-record.ts';
import { LockWatch, type LockWait } from './lock-watch.ts';

/** etcd does not grant shorter leases: one and a half of its election time-outs. */
export const CLIENT_LOCK_TTL_MS_MIN = 2000;
export const CLIENT_LOCK_TTL_MS_MAX = 3_600_000;
export const CLIENT_LOCK_WAIT_MS_MAX = 3_600_000;
export const LOCK_OWNER_BYTES_MAX = 256;
/** Requests for one name, or for ranges of one keyspace, waiting ones included (I10). */
export const LOCK_REQUESTS_PER_GROUP_MAX = 1024;
/** Requests in the whole cluster (I10). */
export const LOCK_REQUESTS_MAX = 10_000;
/** Requests that wait through one coordinator (I10). */
export const LOCK_WAITERS_MAX = 1024;

const REQUEST_ID = /^[A-Za-z0-9_-]{8,64}$/;

export interface LockAsk {
  readonly scope: LockScope;
  readonly mode: LockMode;
  /** 2000 to 3,600,000; rounded up to whole seconds. */
  readonly ttlMs: number;
  /** 0: only when it is free now. */
  readonly waitMs: number;
  /** 8 to 64 characters of A-Z a-z 0-9 _ -. The same one again goes on with the request that stands. */
  readonly requestId: string;
  /** Whether `requestId` is the caller's own: then nobody but the caller, or time, ends the request when the signal aborts. */
  readonly isRepeatable: boolean;
  /** For people. */
  readonly owner: string;
  readonly signal?: AbortSignal | undefined;
}

export interface GrantedLock {
  readonly requestId: string;
  readonly fencingToken: number;
  readonly ttlMs: number;
}

/** A request as it is shown to people. */
export interface ListedRequest extends StandingRequest {
  /** The first one that it waits for; undefined when it holds its lock. */
  readonly blocker: StandingRequest | undefined;
}

/**
 * Locks of clients (R38). A request is a key under a lease that only `renew` prolongs; who holds what follows from the
 * keys alone, so any process may serve any call, and one that dies leaves nothing behind that time does not remove.
 */
export class ClientLocks {
  readonly #store: MetadataStore;
  readonly #watch: LockWatch;

  constructor(store: MetadataStore) {
    this.#store = store;
    this.#watch = new LockWatch(store);
  }

  /** Requests that wait through this process. */
  get waiterCount(): number {
    return this.#watch.waiterCount;
  }

  /**
   * Throws LOCK_HELD after `waitMs`, LOCK_NOT_FOUND when the request ended while it waited, OVERLOADED,
   * METADATA_UNAVAILABLE, CANCELLED, INVALID_ARGUMENT.
   */
  async acquire(ask: LockAsk): Promise<GrantedLock> {
    check(ask);
    await this.#watch.open();
    const request = await this.#enter(ask);
    const wait = await this.#outcomeOf(request, ask);
    if (wait === 'held') return { requestId: request.requestId, fencingToken: request.createRevision, ttlMs: request.ttlMs };
    if (wait === 'gone') throw notFound(request.requestId, 'it ended while it waited: it was released, or not renewed in time');
    const holder = this.#watch.book.blockerOf(request);
    await this.#store.revokeLease(request.leaseId);
    const metadata = { holder: holder?.owner ?? '', holder_request: holder?.requestId ?? '' };
    throw new AtollError('LOCK_HELD', `the lock was not free for ${ask.waitMs} ms`, { metadata });
  }

  /** Begins the ttl of a request anew and answers it. Throws LOCK_NOT_FOUND, METADATA_UNAVAILABLE. */
  async renew(scope: LockScope, requestId: string): Promise<number> {
    const request = await this.#find(scope, requestId);
    if (request === undefined || !(await this.#store.renewLease(request.leaseId))) throw notFound(requestId, 'it has ended');
    return request.ttlMs;
  }

  /** Whether the request stood. Throws METADATA_UNAVAILABLE. */
  async release(scope: LockScope, requestId: string): Promise<boolean> {
    const request = await this.#find(scope, requestId);
    if (request === undefined) return false;
    await this.#store.revokeLease(request.leaseId);
    return true;
  }

  /** All requests in the order of their arrival; linearizable. Throws METADATA_UNAVAILABLE. */
  async list(): Promise<readonly ListedRequest[]> {
    const { values } = await this.#store.list(LOCKS_PREFIX);
    const requests = values.flatMap((stored) => parseLockRequest(stored) ?? []).sort((a, b) => a.createRevision - b.createRevision);
    const groups = Map.groupBy(requests, ({ group }) => group);
    return requests.map((request) => ({ ...request, blocker: blockerOf(request, groups.get(request.group) ?? []) }));
  }

  /** Whoever waits is told SHUTTING_DOWN; their requests keep their places for another process. */
  close(): Promise<void> {
    return this.#watch.close(new AtollError('SHUTTING_DOWN', 'this coordinator is stopping: ask another one with the same request id'));
  }

  async #outcomeOf(request: StandingRequest, { waitMs, signal, isRepeatable }: LockAsk): Promise<LockWait> {
    try {
      if (this.#watch.waiterCount >= LOCK_WAITERS_MAX) throw new AtollError('OVERLOADED', `${LOCK_WAITERS_MAX} requests wait through this coordinator`);
      return await this.#watch.outcomeOf(request, waitMs, signal);
    } catch (error) {
      if (!isRepeatable) await this.#store.revokeLease(request.leaseId).catch(() => undefined);
      throw signal?.aborted === true ? cancelled(`lock request ${request.requestId}`) : error;
    }
  }

  /** The request that stands under this id, or a new one behind all that stand. */
  async #enter(ask: LockAsk): Promise<StandingRequest> {
    const present = await this.#present(ask);
    if (present !== undefined) return present;
    const { book } = this.#watch;
    const group = lockGroup(ask.scope);
    if (book.size >= LOCK_REQUESTS_MAX || book.countIn(group) >= LOCK_REQUESTS_PER_GROUP_MAX) throw new AtollError('OVERLOADED', 'too many requests stand for locks');
    const lease = await this.#store.createLease(ask.ttlMs);
    try {
      return await this.#put(ask, { group, leaseId: lease.id, ttlMs: lease.ttlMs });
    } catch (error) {
      await this.#store.revokeLease(lease.id).catch(() => undefined); // Or it ends by itself.
      throw error;
    }
  }

  async #put(ask: LockAsk, { group, leaseId, ttlMs }: { group: string; leaseId: string; ttlMs: number }): Promise<StandingRequest> {
    const { scope, mode, owner, requestId } = ask;
    const key = group + requestId;
    const absent: Comparison = { kind: 'modRevision', key, equals: 0 };
    const put = { kind: 'put', key, value: encodeLockRequest({ scope, mode, owner, ttlMs, leaseId }), lease: { id: leaseId } } as const;
    let outcome = await this.#store.transact([absent], [put]);
    // Only a further compare-and-swap settles it: refused means that the key stands (R7).
    if (outcome.kind === 'unknown') outcome = await this.#store.transact([absent], [put]);
    if (outcome.kind === 'succeeded') return { scope, mode, owner, requestId, key, group, ttlMs, leaseId, createRevision: outcome.revision };
    if (outcome.kind === 'unknown') throw metadataUnavailable('enter a lock request', outcome.cause);
    const present = await this.#present(ask);
    if (present === undefined) throw notFound(requestId, 'it ended at once');
    if (present.leaseId !== leaseId) await this.#store.revokeLease(leaseId); // A repeat of the call was faster.
    return present;
  }

  async #present(ask: LockAsk): Promise<StandingRequest | undefined> {
    const present = await this.#find(ask.scope, ask.requestId);
    if (present === undefined) return undefined;
    const isSame = present.mode === ask.mode && JSON.stringify(present.scope) === JSON.stringify(ask.scope);
    if (!isSame) throw invalidArgument('request_id', 'stands for another range or mode');
    return present;
  }

  async #find(scope: LockScope, requestId: string): Promise<StandingRequest | undefined> {
    checkRequestId(requestId);
    const stored = await this.#store.get(lockGroup(scope) + requestId);
    return stored && parseLockRequest(stored);
  }
}

function check({ ttlMs, waitMs, requestId, owner, isRepeatable }: LockAsk): void {
  if (!(ttlMs >= CLIENT_LOCK_TTL_MS_MIN && ttlMs <= CLIENT_LOCK_TTL_MS_MAX)) {
    throw invalidArgument('ttl_ms', `must be ${CLIENT_LOCK_TTL_MS_MIN} to ${CLIENT_LOCK_TTL_MS_MAX}, not ${ttlMs}`);
  }
  if (!(waitMs >= 0 && waitMs <= CLIENT_LOCK_WAIT_MS_MAX)) throw invalidArgument('wait_ms', `must be 0 to ${CLIENT_LOCK_WAIT_MS_MAX}, not ${waitMs}`);
  if (!isRepeatable && waitMs > ttlMs) throw invalidArgument('wait_ms', 'must not be above ttl_ms without a request_id: nobody could renew the request while it waits');
  checkRequestId(requestId);
  const ownerBytes = Buffer.byteLength(owner);
  if (ownerBytes > LOCK_OWNER_BYTES_MAX) throw invalidArgument('owner', `must be at most ${LOCK_OWNER_BYTES_MAX} bytes, not ${ownerBytes}`);
}

function checkRequestId(requestId: string): void {
  if (!REQUEST_ID.test(requestId)) throw invalidArgument('request_id', 'must be 8 to 64 characters of A-Z a-z 0-9 _ -');
}

const notFound = (requestId: string, why: string): AtollError => new AtollError('LOCK_NOT_FOUND', `lock request ${requestId}: ${why}`, { metadata: { request: requestId } });
