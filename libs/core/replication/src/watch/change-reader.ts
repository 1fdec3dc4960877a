// A partition's log as those see it who watch it (R36): committed entries only, in order, from a position on. A
// position is that of an entry, so it means the same on every replica that holds the entry, and watching goes on at
// the next leader where it stopped at the last one.
import type { EntryVersion } from '@atoll/core-store';
import type { LogEntry, OpId } from '../log-entry.ts';
import type { LogPosition } from '../messages.ts';
import type { ReplicaState } from '../replica-state.ts';

/** One change of one key. Views are valid until the log is next changed. */
export interface Change {
  readonly kind: 'put' | 'delete' | 'expire' | 'evict';
  readonly key: Uint8Array;
  /** Empty unless `put`. */
  readonly value: Uint8Array;
  readonly expiresAtMs: number;
  readonly version: EntryVersion;
  readonly stampMs: number;
  /** Of the write that made it, where that had one. */
  readonly opId?: OpId | undefined;
}

/**
 * - at: what follows the position is held
 * - gap: it is not, or it is of data that is no more; `oldest` is where watching can go on
 * - ahead: the replica has not come so far
 */
export type WatchPlace =
  | { readonly kind: 'at' }
  | { readonly kind: 'gap'; readonly reason: 'WATCH_COMPACTED' | 'WATCH_RESET'; readonly oldest: EntryVersion }
  | { readonly kind: 'ahead' };

/** Bounds of one reading. */
export interface ReadLimits {
  /** Entries looked at, at least 1. */
  readonly entriesMax: number;
  /** Ends behind the change that reaches it, as `take` counts bytes. */
  readonly bytesMax: number;
}

/** The oldest position from which on every change is held. */
export function oldestWatched(state: ReplicaState): EntryVersion {
  const { log, expiredKeys, appliedSeq } = state;
  const seq = Math.min(appliedSeq, Math.max(log.base.seq, expiredKeys.forgottenSeq));
  return state.version(log.positionAt(seq));
}

/** The newest position: nothing behind it is committed. */
export function newestWatched(state: ReplicaState): EntryVersion {
  return state.version(state.appliedPosition);
}

/** Whether a watch can go on behind `from` here. The replica's store must be whole. */
export function placeWatch(state: ReplicaState, from: EntryVersion): WatchPlace {
  const { counter } = state.generation;
  if (from.generation > counter) return { kind: 'ahead' };
  const oldest = oldestWatched(state);
  if (from.generation < counter) return { kind: 'gap', reason: 'WATCH_RESET', oldest };
  if (from.seq > state.appliedSeq) return { kind: 'ahead' };
  if (from.seq < oldest.seq) return { kind: 'gap', reason: 'WATCH_COMPACTED', oldest };
  // What was committed stays where it is; only in a log of other data does something else stand there.
  if (state.log.positionAt(from.seq).epoch !== from.epoch) return { kind: 'gap', reason: 'WATCH_RESET', oldest };
  return { kind: 'at' };
}

/**
 * Hands the changes behind `from` to `take`, which answers how many bytes it took, 0 for none, until there are no more
 * or a limit is reached. Answers how far that was; the changes of one entry are never parted. `from` must be a place
 * to go on from (see `placeWatch`).
 */
export function readChanges(state: ReplicaState, from: EntryVersion, limits: ReadLimits, take: (change: Change) => number): EntryVersion {
  const last = Math.min(state.appliedSeq, from.seq + limits.entriesMax);
  let bytes = 0;
  let seq = from.seq;
  let position: LogPosition = from;
  while (seq < last && bytes < limits.bytesMax) {
    seq += 1;
    const entry = state.log.entryAt(seq);
    position = entry;
    for (const change of changesOf(state, entry)) bytes += take(change);
  }
  return state.version(position);
}

function changesOf(state: ReplicaState, entry: LogEntry): Change[] {
  const { operation, stampMs, opId } = entry;
  const version = state.version(entry);
  const removal = (kind: 'delete' | 'expire' | 'evict', key: Uint8Array): Change => ({ kind, key, value: EMPTY, expiresAtMs: 0, version, stampMs });
  const changes = entry.evicted.map((key) => removal('evict', key));
  if (operation.kind === 'put') changes.push({ ...operation, version, stampMs, opId });
  else if (operation.kind === 'delete') changes.push({ ...removal('delete', operation.key), opId });
  else if (operation.kind === 'expire') for (const key of state.expiredKeys.keysOf(entry.seq)) changes.push(removal('expire', key));
  return changes;
}

const EMPTY = new Uint8Array();
