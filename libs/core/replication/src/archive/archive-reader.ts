// What a replica has for an archive (R39): its log from where the reader is, as the leader encoded it, and, while the reader still lacks
// keys, sub-ranges of the store, each as it is at the end of the log that was read before it:
//
//   reader at 10, keys below C   log 11..14   keys [C, D) as they are at 14   reader at 14, keys below D
//
// All that a replica has applied is committed (R19) and the same on every replica at that seq (I6), so a reader may go on at
// another one from where it is; and any of them serves, a follower that is behind as well.
import type { Generation } from '@atoll/core-membership';
import { compareHash, type Hash64 } from '@atoll/core-runtime';
import type { SliceLimits, StoredEntry } from '@atoll/core-store';
import type { LogPosition } from '../messages.ts';
import type { ReplicaState } from '../replica-state.ts';

/** Where a reader is; `next` is the first key hash that it lacks, undefined when it has all. */
export interface ArchivePlace {
  readonly generation: Generation;
  readonly position: LogPosition;
  readonly next: Hash64 | undefined;
}

export interface ArchiveLimits {
  readonly logBytesMax: number;
  readonly slice: SliceLimits;
}

export type ArchiveReading =
  /** Log behind the place: whole entries, a view that is valid until the log is next changed. */
  | { readonly kind: 'log'; readonly bytes: Buffer; readonly count: number; readonly place: ArchivePlace }
  /** A sub-range in key-hash order. Values are valid until the store is next changed. */
  | { readonly kind: 'rows'; readonly entries: readonly StoredEntry[]; readonly place: ArchivePlace }
  /** Nothing more: the reader has all keys and the log up to where it wanted, or to the end of what is committed. */
  | { readonly kind: 'end'; readonly place: ArchivePlace }
  /** The log does not go back to the place, or is of other data: the reader has to begin anew, or to ask another replica. */
  | { readonly kind: 'gone'; readonly problem: string }
  /** This replica has not come so far. */
  | { readonly kind: 'ahead' };

/** Where a reader that has nothing begins. */
export const beginOfArchive = (state: ReplicaState, first: Hash64): ArchivePlace => ({ generation: state.generation, position: state.appliedPosition, next: first });

/** What follows `place`; with `upTo`, a marker, nothing behind that. The replica's store must be whole. */
export function readForArchive(state: ReplicaState, place: ArchivePlace, upTo: LogPosition | undefined, limits: ArchiveLimits): ArchiveReading {
  const { log, appliedSeq } = state;
  const { generation, position, next } = place;
  if (generation.counter !== state.generation.counter || generation.id !== state.generation.id) {
    return generation.counter > state.generation.counter ? { kind: 'ahead' } : { kind: 'gone', problem: `the data is of generation ${state.generation.counter}, not ${generation.counter}` };
  }
  if (position.seq > appliedSeq || (upTo !== undefined && upTo.seq > appliedSeq)) return { kind: 'ahead' };
  if (position.seq < log.base.seq) return { kind: 'gone', problem: `the log begins behind ${log.base.seq}, and what follows ${position.seq} is wanted` };
  for (const { epoch, seq } of upTo === undefined ? [position] : [position, upTo]) {
    // What was committed stays where it is; only in a log of other data does something else stand there.
    if (seq > log.base.seq && log.positionAt(seq).epoch !== epoch) return { kind: 'gone', problem: `the log has (${log.positionAt(seq).epoch},${seq}), not (${epoch},${seq})` };
  }
  const lastSeq = Math.min(appliedSeq, upTo?.seq ?? appliedSeq);
  if (position.seq < lastSeq) return readLog(state, place, lastSeq, limits.logBytesMax);
  if (next === undefined || upTo !== undefined) return { kind: 'end', place };
  const slice = state.store.readRange(next, undefined, limits.slice);
  if (slice.next !== undefined && compareHash(slice.next, next) <= 0) throw new Error('a sub-range of the store does not end');
  return { kind: 'rows', entries: slice.entries, place: { ...place, next: slice.next } };
}

function readLog({ log }: ReplicaState, place: ArchivePlace, lastSeq: number, bytesMax: number): ArchiveReading {
  const fromSeq = place.position.seq + 1;
  const run = log.run(fromSeq, bytesMax);
  let { count, bytes } = run;
  if (fromSeq + count - 1 > lastSeq) {
    count = lastSeq - fromSeq + 1;
    let length = 0;
    for (let seq = fromSeq; seq <= lastSeq; seq += 1) length += log.entryBytes(seq);
    bytes = bytes.subarray(0, length);
  }
  return { kind: 'log', bytes, count, place: { ...place, position: log.positionAt(fromSeq + count - 1) } };
}
