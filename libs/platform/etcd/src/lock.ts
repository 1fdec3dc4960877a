import { AtollError, invalidArgument } from '@atoll/core-errors';

import { LOCKS_PREFIX } from './cluster-keys.ts';
import { encodeJson } from './json-codec.ts';
import { QueuePlace } from './lease-queue.ts';
import { cancelled, metadataUnavailable } from './metadata-errors.ts';
import type { Comparison, MetadataStore } from './metadata-store.ts';

export const LOCK_NAME_BYTES_MAX = 256;
export const LOCK_TTL_MS_MIN = 1000;
export const LOCK_TTL_MS_MAX = 3_600_000;

export interface LockOptions {
  /** 1 to 256 bytes of UTF-8. */
  readonly name: string;
  /** The lock of a holder that died is free after at most so long; 1000 to 3,600,000, rounded up to whole seconds. */
  readonly ttlMs: number;
  /** 0 means: only if the lock is free now. */
  readonly waitMs: number;
  readonly signal?: AbortSignal;
}

export interface HeldLock {
  readonly name: string;
  /** Create revision of the lock's key: grows from holder to holder; receivers refuse a lower one (I9). */
  readonly fencingToken: number;
  /** For transactions in etcd: refused once the lock is lost. */
  readonly comparison: Comparison;
  /** Whether the lock is certainly held at this moment, by the holder's own clock (R11). */
  isHeld(): boolean;
  /** Called once when the lock is or may be lost; not after release(). */
  onLost(listener: () => void): void;
  /** Never throws. */
  release(): Promise<void>;
}

/**
 * A mutex by name, fair by arrival: each request is a key under its own lease, and the lowest create revision
 * holds the lock (R38). A client that dies while it waits leaves the queue with its lease.
 *
 * Throws LOCK_HELD after `waitMs`, CANCELLED on the signal, METADATA_UNAVAILABLE when etcd does not answer or
 * the request lost its lease while it waited, INVALID_ARGUMENT.
 */
export async function acquireLock(store: MetadataStore, options: LockOptions): Promise<HeldLock> {
  const prefix = lockPrefix(options);
  const what = `lock ${JSON.stringify(options.name)}`;
  if (options.signal?.aborted) throw cancelled(what);

  const lostListeners: (() => void)[] = [];
  const turn = Promise.withResolvers<void>();
  let lost = false;
  turn.promise.catch(() => undefined); // It may be rejected while the place is still being entered.
  const place = await QueuePlace.enter(store, {
    prefix,
    value: encodeJson(what, { name: options.name }),
    ttlMs: options.ttlMs,
    onFirst: () => turn.resolve(),
    onGone: () => {
      lost = true;
      turn.reject(metadataUnavailable(`${what}: the request lost its lease`));
      for (const listener of lostListeners.splice(0)) listener();
    },
  });

  const abort = (): void => turn.reject(cancelled(what));
  const timer = setTimeout(() => {
    turn.reject(new AtollError('LOCK_HELD', `${what}: held by another for ${options.waitMs} ms`, { metadata: { lock: options.name } }));
  }, options.waitMs);
  options.signal?.addEventListener('abort', abort);
  if (options.signal?.aborted) abort();
  try {
    await turn.promise;
  } catch (error) {
    await place.leave();
    throw error;
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener('abort', abort);
  }
  return {
    name: options.name,
    fencingToken: place.createRevision,
    comparison: place.comparison,
    isHeld: () => place.isFirst(),
    onLost: (listener) => {
      if (lost) queueMicrotask(listener);
      else lostListeners.push(listener);
    },
    release: () => place.leave(),
  };
}

function lockPrefix(options: LockOptions): string {
  const bytes = Buffer.byteLength(options.name);
  if (bytes === 0 || bytes > LOCK_NAME_BYTES_MAX) throw invalidArgument('name', `must be 1 to ${LOCK_NAME_BYTES_MAX} bytes, not ${bytes}`);
  if (!(options.ttlMs >= LOCK_TTL_MS_MIN && options.ttlMs <= LOCK_TTL_MS_MAX)) {
    throw invalidArgument('ttl_ms', `must be ${LOCK_TTL_MS_MIN} to ${LOCK_TTL_MS_MAX}, not ${options.ttlMs}`);
  }
  if (!(options.waitMs >= 0 && options.waitMs <= LOCK_TTL_MS_MAX)) throw invalidArgument('wait_ms', `must be 0 to ${LOCK_TTL_MS_MAX}, not ${options.waitMs}`);
  // A name may hold slashes; its queue must not reach into that of another name.
  return `${LOCKS_PREFIX}${Buffer.from(options.name).toString('base64url')}/`;
}
