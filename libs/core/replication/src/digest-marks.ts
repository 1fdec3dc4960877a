import type { StoreDigest } from '@atoll/core-store';
import type { LogPosition } from './messages.ts';

/** What a replica held at the moment at which it applied a marker (R34). */
export interface MarkedDigest extends StoreDigest {
  readonly position: LogPosition;
}

/** Digests of the last so many markers are kept: a few hundred bytes each, and each is asked for within seconds. */
export const MARKS_MAX = 4;
/** Callers that may wait for a marker at one replica (I10). */
export const MARK_WAITERS_MAX = 16;

interface Waiter {
  readonly position: LogPosition;
  readonly onMark: (digest: MarkedDigest | undefined) => void;
}

/**
 * The leaf digests of one replica at the markers that it applied last. Two replicas of one lineage that applied the
 * marker of one (epoch, seq) had applied the same log (I6): their digests may be compared.
 */
export class DigestMarks {
  #kept: MarkedDigest[] = [];
  readonly #waiters = new Set<Waiter>();
  readonly #readers = new Set<(position: LogPosition | undefined) => void>();

  /** The marker at `position` was applied; `digest` is undefined when the store was not whole. */
  keep(position: LogPosition, digest: StoreDigest | undefined): void {
    const kept = digest && { ...digest, position };
    this.#call(kept?.position);
    if (kept !== undefined) this.#kept = [...this.#kept.slice(1 - MARKS_MAX), kept];
    for (const waiter of this.#waiters) {
      if (waiter.position.seq > position.seq) continue;
      this.#waiters.delete(waiter);
      waiter.onMark(isSame(waiter.position, position) ? kept : undefined);
    }
  }

  get(position: LogPosition): MarkedDigest | undefined {
    return this.#kept.find((kept) => isSame(kept.position, position));
  }

  /**
   * `onMark` is called once, when the marker is applied; with undefined when it was passed without a digest. Returns how
   * to call that off, or undefined when too many wait already. For a marker that is still to come: see `get`.
   */
  wait(position: LogPosition, onMark: Waiter['onMark']): (() => void) | undefined {
    if (this.#waiters.size >= MARK_WAITERS_MAX) return undefined;
    const waiter = { position, onMark };
    this.#waiters.add(waiter);
    return () => void this.#waiters.delete(waiter);
  }

  /**
   * `onMark` is called once, when the next marker is applied: the store is then as it is on every replica that applies
   * it, and may be read at once. With undefined when it was not whole. It must not throw. Returns as `wait`.
   */
  next(onMark: (position: LogPosition | undefined) => void): (() => void) | undefined {
    if (this.#readers.size >= MARK_WAITERS_MAX) return undefined;
    this.#readers.add(onMark);
    return () => void this.#readers.delete(onMark);
  }

  /** Another lineage, or an install: what was kept says nothing any more. */
  clear(): void {
    this.#kept = [];
    this.#call(undefined);
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const { onMark } of waiters) onMark(undefined);
  }

  #call(position: LogPosition | undefined): void {
    const readers = [...this.#readers];
    this.#readers.clear();
    for (const onMark of readers) onMark(position);
  }
}

function isSame(one: LogPosition, other: LogPosition): boolean {
  return one.seq === other.seq && one.epoch === other.epoch;
}
