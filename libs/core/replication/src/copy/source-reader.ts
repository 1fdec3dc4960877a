// What a partition of a source has for a reader that copies it (R37): the log from where the reader is, and, while it still
// lacks keys, sub-ranges of the store. A sub-range is read only in a turn in which the log was read to its end, so what the
// reader gets is one history in order:
//
//   reader at 10, keys below C   changes 11..14 of all keys   keys [C, D) as they are at 14   reader at 14, keys below D
//
// Deletes need no tombstones then: one that came before the sub-range is not in it, one that comes later is told later.
import { compareHash, type Hash64 } from '@atoll/core-runtime';
import type { EntryVersion, SliceLimits } from '@atoll/core-store';
import type { ReplicaState } from '../replica-state.ts';
import type { OpId } from '../log-entry.ts';
import { newestWatched, placeWatch, readChanges, type ReadLimits } from '../watch/change-reader.ts';

/** A key as it is from then on; `value` undefined: it is gone. Views are valid until the log or the store is next changed. */
export interface CopiedChange {
  readonly key: Uint8Array;
  readonly value: Uint8Array | undefined;
  readonly expiresAtMs: number;
  /** Of the write that changed it, where it comes from the log: the copy answers repeats of it (R21). */
  readonly opId?: OpId | undefined;
}

/** Where a reader is; `next` is the first key hash that it lacks, undefined when it has all. */
export interface SourcePlace {
  readonly origin: EntryVersion;
  readonly next: Hash64 | undefined;
}

export interface SourceLimits {
  readonly log: ReadLimits;
  readonly slice: SliceLimits;
}

export type SourceReading =
  | {
      readonly kind: 'read';
      /** In order. */
      readonly changes: readonly CopiedChange[];
      readonly place: SourcePlace;
      /** The sub-range: keys and values that the reader gets of it, and entries that were looked at; 0 when none was read. */
      readonly sliceBytes: number;
      readonly sliceEntries: number;
      /** The reader has all that is committed. */
      readonly isAtHead: boolean;
    }
  /** The log does not go back to the place, or is of other data: the reader has to begin anew with nothing. */
  | { readonly kind: 'restart'; readonly reason: 'WATCH_COMPACTED' | 'WATCH_RESET' }
  /** This replica has not come so far: to be asked again. */
  | { readonly kind: 'ahead' };

/** Where a reader that has nothing begins. */
export const beginOfCopy = (state: ReplicaState, first: Hash64): SourcePlace => ({ origin: newestWatched(state), next: first });

/** What follows `place`, of the keys that `belongs` says yes to. The replica's store must be whole. */
export function readSource(state: ReplicaState, place: SourcePlace, belongs: (key: Uint8Array) => boolean, limits: SourceLimits): SourceReading {
  const standing = placeWatch(state, place.origin);
  if (standing.kind === 'gap') return { kind: 'restart', reason: standing.reason };
  if (standing.kind === 'ahead') return { kind: 'ahead' };
  const changes: CopiedChange[] = [];
  const origin = readChanges(state, place.origin, limits.log, ({ kind, key, value, expiresAtMs, opId }) => {
    if (!belongs(key)) return 0;
    changes.push(kind === 'put' ? { key, value, expiresAtMs, opId } : { key, value: undefined, expiresAtMs: 0, opId });
    return key.length + value.length;
  });
  const isAtHead = origin.seq === state.appliedSeq;
  if (!isAtHead || place.next === undefined) return { kind: 'read', changes, place: { origin, next: place.next }, sliceBytes: 0, sliceEntries: 0, isAtHead };
  const slice = state.store.readRange(place.next, undefined, limits.slice);
  let sliceBytes = 0;
  for (const { key, value, expiresAtMs } of slice.entries) {
    if (!belongs(key)) continue;
    changes.push({ key, value, expiresAtMs });
    sliceBytes += key.length + value.length;
  }
  if (slice.next !== undefined && compareHash(slice.next, place.next) <= 0) throw new Error('a sub-range of the source does not end');
  return { kind: 'read', changes, place: { origin, next: slice.next }, sliceBytes, sliceEntries: slice.entries.length, isAtHead };
}
