import type { EntryVersion } from './entry-version.ts';

/**
 * When a Set applies: always; only where the key is absent; only where it is present; only over exactly the write
 * `expectedVersion`, which one of another generation never is (R3).
 */
export type SetCondition = 'NONE' | 'IF_ABSENT' | 'IF_PRESENT' | 'IF_VERSION';

export interface SetCommand {
  readonly kind: 'set';
  readonly value: Uint8Array;
  /** Milliseconds since the epoch, computed by the caller from a ttl and the partition's time (R23); 0 for never. */
  readonly expiresAtMs: number;
  readonly condition: SetCondition;
  /** For IF_VERSION; without it that condition never holds. */
  readonly expectedVersion?: EntryVersion | undefined;
}

export interface DeleteCommand {
  readonly kind: 'delete';
  /** Delete only exactly this write. */
  readonly expectedVersion?: EntryVersion | undefined;
}

/** The value is an int64 as decimal ASCII text; a key that is absent becomes `initial + delta`. */
export interface IncrementCommand {
  readonly kind: 'increment';
  /** An int64, as `initial`. */
  readonly delta: bigint;
  readonly initial: bigint;
  /** Taken when the key is created; an entry that is there keeps its own expiry. */
  readonly expiresAtMs: number;
}

/** Gives the entry a new expiry and leaves its value. */
export interface TouchCommand {
  readonly kind: 'touch';
  readonly expiresAtMs: number;
}

/**
 * An entry out of an archive, into a keyspace that clients write to meanwhile: it is written where the key is absent, and where what
 * is there is older. Nothing is written that has expired (I7).
 */
export interface MergeCommand {
  readonly kind: 'merge';
  readonly value: Uint8Array;
  /** Milliseconds since the epoch; 0 for never. */
  readonly expiresAtMs: number;
  /** Of the write that made it, where that was a write to the data of this partition (R3). Undefined: any entry that is there stays. */
  readonly version?: EntryVersion | undefined;
}

/**
 * - written: the key was absent, or its entry older
 * - kept: its entry stays, since it is newer, or nothing tells which of the two is
 * - same: its entry has this value and this expiry
 * - expired: the one that came has expired
 */
export type MergeOutcome = 'written' | 'kept' | 'same' | 'expired';

/** A write as it was asked for. The log never holds one, only what came of it (R18). */
export type WriteCommand = SetCommand | DeleteCommand | IncrementCommand | TouchCommand | MergeCommand;

/** What the log holds of a write to one key (R18). */
export type EntryMutation =
  | { readonly kind: 'put'; readonly value: Uint8Array; readonly expiresAtMs: number }
  | { readonly kind: 'delete' };

/** What the caller is told, beside the version that the write gets. */
export type WriteAnswer =
  | { readonly kind: 'set'; readonly applied: boolean; readonly current: EntryVersion | undefined }
  | { readonly kind: 'delete'; readonly found: boolean; readonly applied: boolean; readonly current: EntryVersion | undefined }
  | { readonly kind: 'increment'; readonly value: bigint; readonly expiresAtMs: number }
  | { readonly kind: 'touch'; readonly applied: boolean; readonly expiresAtMs: number }
  | { readonly kind: 'merge'; readonly applied: boolean; readonly outcome: MergeOutcome };

/** Why a command cannot be evaluated at all. Reasons of core-errors. */
export type WriteRefusal = 'VALUE_NOT_INTEGER' | 'INTEGER_OVERFLOW';

export type Evaluation =
  | { readonly kind: 'mutation'; readonly mutation: EntryMutation; readonly answer: WriteAnswer }
  /** Nothing to log; the answer still rests on the state it was evaluated against. */
  | { readonly kind: 'noop'; readonly answer: WriteAnswer }
  | { readonly kind: 'refused'; readonly reason: WriteRefusal };
