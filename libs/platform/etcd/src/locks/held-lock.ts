import { AtollError } from '@atoll/core-errors';

import { HELD_LOCKS_PREFIX } from '../cluster-keys.ts';
import { QueuePlace } from '../lease-queue.ts';
import { cancelled } from '../metadata-errors.ts';
import type { Comparison, MetadataStore } from '../metadata-store.ts';

export interface HoldLockOptions {
  readonly store: MetadataStore;
  /** What is locked: parts of A-Z, a-z, 0-9, `_` and `-` between slashes. */
  readonly name: string;
  /** For whoever finds it held. */
  readonly owner: string;
  /** One that died holds it for at most so long; 1000 at least. */
  readonly ttlMs: number;
  /** How long to wait for it. 0: only when it is free now. */
  readonly waitMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** A lock that a process holds while it works, kept by a lease of its own: what it does then is one job at a time. */
export interface HeldLock {
  /** Create revision of its key: a later holder has a higher one (R38). */
  readonly fencingToken: number;
  /** For transactions of the holder: refused once the lock is gone. */
  readonly comparison: Comparison;
  /**
   * Whether it certainly stands at this moment, by the holder's own clock (R11). To be asked in the same turn of the event loop as
   * each act that no comparison guards.
   */
  isHeld(): boolean;
  /** Aborted when the lock is, or may be, gone; not by `release`. */
  readonly lost: AbortSignal;
  /** Never throws. */
  release(): Promise<void>;
}

const NAME = /^[A-Za-z0-9_-]+(?:\/[A-Za-z0-9_-]+)*$/;

/**
 * In the order of arrival.
 * @throws LOCK_HELD that names the holder, after `waitMs`; METADATA_UNAVAILABLE; CANCELLED
 */
export async function holdLock({ store, name, owner, ttlMs, waitMs, signal }: HoldLockOptions): Promise<HeldLock> {
  if (!NAME.test(name)) throw new RangeError(`${name} is no name of a lock`);
  const prefix = `${HELD_LOCKS_PREFIX}${name}/`;
  const lost = new AbortController();
  const outcome = Promise.withResolvers<'held' | 'gone' | 'late' | 'cancelled'>();
  const place = await QueuePlace.enter(store, {
    prefix,
    value: owner,
    ttlMs,
    onFirst: () => outcome.resolve('held'),
    onGone: () => {
      outcome.resolve('gone');
      lost.abort();
    },
  });
  const timer = setTimeout(() => outcome.resolve('late'), waitMs);
  const cancel = (): void => outcome.resolve('cancelled');
  signal?.addEventListener('abort', cancel);
  if (signal?.aborted === true) cancel();
  const result = await outcome.promise;
  clearTimeout(timer);
  signal?.removeEventListener('abort', cancel);
  if (result === 'held' && place.isFirst()) {
    return { fencingToken: place.createRevision, comparison: place.comparison, isHeld: () => place.isFirst(), lost: lost.signal, release: () => place.leave() };
  }
  // Who is before us, while our own place still tells who "us" is.
  const holder = result === 'late' ? await firstOf(store, prefix).catch(() => undefined) : undefined;
  await place.leave();
  if (result === 'cancelled') throw cancelled(`lock ${name}`);
  const why = result === 'late' ? `is held by ${holder ?? 'another process'}` : 'was lost while it was waited for';
  throw new AtollError('LOCK_HELD', `the lock ${name} ${why}`, { metadata: { lock: name, holder: holder ?? '' } });
}

async function firstOf(store: MetadataStore, prefix: string): Promise<string | undefined> {
  const { values } = await store.list(prefix);
  return [...values].sort((a, b) => a.createRevision - b.createRevision)[0]?.value;
}
