import { randomBytes } from 'node:crypto';
import { LockMode, type LockScope } from '@atoll/contracts/atoll/v1/locks';
import { invalidArgument, isAtollError } from '@atoll/core-errors';
import { callUnary } from '@atoll/platform-grpc';
import { fromLockScope, pointRange, toLockScope } from '@atoll/platform-wire';
import { toBuffer } from '../bytes.ts';
import { LockCalls } from './lock-calls.ts';
import type { LockInfo, LockOptions, LockRequestId, LockTarget } from './lock-options.ts';
import { Lock } from './lock.ts';

export interface LocksClientOptions {
  /** host:port of one or more coordinators; any of them serves locks. */
  readonly coordinators: readonly string[];
  /** Keyspace of ranges that name none. Default: `default`. */
  readonly keyspace?: string;
  /** Time for each call beside its wait, in milliseconds. Default 5000. */
  readonly deadlineMs?: number;
}

const TTL_MS_DEFAULT = 10_000;
/** Failures after which the request may stand, and even hold, though nobody knows of it. */
const UNCERTAIN: ReadonlySet<string> = new Set(['CANCELLED', 'DEADLINE_EXCEEDED', 'WRITE_IN_DOUBT', 'SHUTTING_DOWN', 'METADATA_UNAVAILABLE', 'PEER_UNAVAILABLE']);
const nowMs = (): number => performance.now();

/** Locks by name and on ranges of tokens (see `AtollClient.locks`). */
export class LocksClient {
  readonly #options: Required<LocksClientOptions>;
  readonly #calls: LockCalls;
  readonly #locks = new Set<Lock>();

  constructor(options: LocksClientOptions) {
    this.#options = { coordinators: options.coordinators, keyspace: options.keyspace ?? '', deadlineMs: options.deadlineMs ?? 5000 };
    this.#calls = new LockCalls(options.coordinators);
  }

  /**
   * Waits for a lock and keeps it renewed until `release`. Throws LOCK_HELD after `waitMs`, LOCK_NOT_FOUND when the
   * request was lost while it waited, CANCELLED on the signal, KEYSPACE_NOT_FOUND, OVERLOADED.
   */
  async acquire(options: LockOptions): Promise<Lock> {
    const { ttlMs = TTL_MS_DEFAULT, waitMs = 0, owner = '', signal } = options;
    const scope = this.#scopeOf(options);
    const mode = options.mode === 'SHARED' ? LockMode.LOCK_MODE_SHARED : LockMode.LOCK_MODE_EXCLUSIVE;
    const requestId = randomBytes(16).toString('hex');
    const endsAtMs = nowMs() + waitMs;
    let renewedAtMs = nowMs();
    // The request leaves the queue with its ttl unless it is renewed while it waits, too.
    const keeper = setInterval(() => {
      const sentAtMs = nowMs();
      this.#renew(scope, requestId, ttlMs / 3).then(
        () => (renewedAtMs = Math.max(renewedAtMs, sentAtMs)),
        () => undefined,
      );
    }, ttlMs / 3);
    try {
      const granted = await this.#calls.call(waitMs + this.#options.deadlineMs, signal, (stub, settings) =>
        callUnary(stub, 'acquire', { scope, mode, ttlMs, waitMs: Math.max(0, Math.ceil(endsAtMs - nowMs())), requestId, owner }, settings),
      );
      return this.#hold({ ...granted, scope, mode, renewedAtMs });
    } catch (error) {
      if (isAtollError(error) && UNCERTAIN.has(error.reason)) void this.release({ ...named(scope), requestId }).catch(() => undefined);
      throw error;
    } finally {
      clearInterval(keeper);
    }
  }

  /** Prolongs a request that another process made; resolves to its ttl. Throws LOCK_NOT_FOUND. */
  renew(request: LockRequestId): Promise<number> {
    return this.#renew(this.#scopeOf(request), request.requestId, this.#options.deadlineMs);
  }

  /** Ends a request, waiting or holding; resolves to whether it stood. */
  async release(request: LockRequestId): Promise<boolean> {
    const scope = this.#scopeOf(request);
    const { released } = await this.#calls.call(this.#options.deadlineMs, undefined, (stub, settings) =>
      callUnary(stub, 'release', { scope, requestId: request.requestId }, settings),
    );
    return released;
  }

  /** All requests, holding and waiting, in the order of their arrival. */
  async list(only: { readonly name?: string; readonly keyspace?: string } = {}): Promise<LockInfo[]> {
    const { requests } = await this.#calls.call(this.#options.deadlineMs, undefined, (stub, settings) =>
      callUnary(stub, 'listLocks', { name: only.name ?? '', keyspace: only.keyspace ?? '' }, settings),
    );
    return requests.map(({ scope, mode, ...rest }) => ({ ...named(scope!), mode: mode === LockMode.LOCK_MODE_SHARED ? 'SHARED' : 'EXCLUSIVE', ...rest }));
  }

  /** Renews nothing any more; locks that are held end with their ttl. */
  close(): void {
    for (const lock of this.#locks) lock.abandon();
    this.#locks.clear();
    this.#calls.close();
  }

  #hold(options: { requestId: string; fencingToken: number; ttlMs: number; scope: LockScope; mode: LockMode; renewedAtMs: number }): Lock {
    const { scope, requestId, ttlMs } = options;
    const lock: Lock = new Lock({
      ...options,
      hooks: {
        nowMs,
        renew: () =>
          this.#renew(scope, requestId, ttlMs / 3).then(
            () => true,
            (error: unknown) => (isAtollError(error) && error.reason === 'LOCK_NOT_FOUND' ? false : Promise.reject(error)),
          ),
        release: async () => {
          this.#locks.delete(lock);
          await this.release({ ...named(scope), requestId });
        },
      },
    });
    this.#locks.add(lock);
    lock.signal.addEventListener('abort', () => this.#locks.delete(lock), { once: true });
    return lock;
  }

  async #renew(scope: LockScope, requestId: string, deadlineMs: number): Promise<number> {
    const { ttlMs } = await this.#calls.call(deadlineMs, undefined, (stub, settings) => callUnary(stub, 'renew', { scope, requestId }, settings));
    return ttlMs;
  }

  #scopeOf({ name, keyspace = this.#options.keyspace, key, range }: LockTarget): LockScope {
    if ([name, key, range].filter((each) => each !== undefined).length > 1) throw invalidArgument('name', 'excludes key and range, and they each other');
    if (name === '') throw invalidArgument('name', 'must not be empty');
    if (name !== undefined) return { name, keyspace: '', rangeStart: 0n, rangeEnd: 0n };
    const scope = { name: '', keyspace, rangeStart: range?.start ?? 0n, rangeEnd: range?.end ?? 0n };
    if (key === undefined) return fromLockScope(toLockScope(scope));
    return fromLockScope({ kind: 'range', keyspace: keyspace === '' ? 'default' : keyspace, range: pointRange(toBuffer(key)) });
  }
}

function named({ name, keyspace, rangeStart, rangeEnd }: LockScope): Pick<LockInfo, 'name' | 'keyspace' | 'range'> {
  if (name !== '') return { name };
  return { keyspace, range: rangeEnd === 0n ? { start: rangeStart } : { start: rangeStart, end: rangeEnd } };
}
