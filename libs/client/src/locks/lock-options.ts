import type { Bytes } from '../bytes.ts';

/** What to lock: exactly one of `name`, `key`, `range`; none of them: all of the keyspace. */
export interface LockTarget {
  /** A name of your choice, 1 to 256 bytes. */
  readonly name?: string;
  /** Of a range. Default: the client's. */
  readonly keyspace?: string;
  /** The range that holds the token of this key alone (and of the keys that share its hash tag). */
  readonly key?: Bytes;
  /** Tokens from `start` up to, and without, `end`; without an end up to the last one. */
  readonly range?: { readonly start: bigint; readonly end?: bigint };
}

export interface LockOptions extends LockTarget {
  /** SHARED ones are held side by side. Default EXCLUSIVE. */
  readonly mode?: 'EXCLUSIVE' | 'SHARED';
  /** A holder that falls silent loses the lock after so long, 2000 to 3,600,000. Default 10,000. It is renewed every third of it. */
  readonly ttlMs?: number;
  /** How long to wait until it is free, up to 3,600,000. Default 0. */
  readonly waitMs?: number;
  /** For people who look at the list, at most 256 bytes. */
  readonly owner?: string;
  /** Ends the wait. */
  readonly signal?: AbortSignal;
}

/** A lock, whoever holds it: what `renew` and `release` of LocksClient need. */
export interface LockRequestId extends LockTarget {
  readonly requestId: string;
}

export interface LockInfo {
  readonly name?: string;
  readonly keyspace?: string;
  readonly range?: { readonly start: bigint; readonly end?: bigint };
  readonly mode: 'EXCLUSIVE' | 'SHARED';
  readonly requestId: string;
  readonly owner: string;
  /** False: it waits, for `waitsFor`. */
  readonly held: boolean;
  readonly fencingToken: number;
  readonly ttlMs: number;
  readonly waitsFor: string;
}
