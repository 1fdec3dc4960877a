import type { Fence } from '@atoll/contracts/atoll/v1/locks';
import type { Bytes } from './bytes.ts';
import type { Session } from './session.ts';

export interface ClientOptions {
  /** host:port of one or more routers. The client stays with one and moves on when it fails. */
  readonly routers: readonly string[];
  /** host:port of coordinators; needed for `AtollClient.locks`. */
  readonly coordinators?: readonly string[];
  /** Keyspace of calls that name none. Default: `default`. */
  readonly keyspace?: string;
  /** Time for each call, in milliseconds. Default 5000. */
  readonly deadlineMs?: number;
  /** Operations under way at a time; further calls wait for their turn. Default 1024. */
  readonly maxInFlight?: number;
  /** Calls that wait for their turn; further ones fail with OVERLOADED. Default 100,000. */
  readonly maxQueued?: number;
  /** W3C traceparent of the caller's sampled span; asked once per operation. Default: none. */
  readonly traceparent?: () => string | undefined;
}

/** What every call takes. */
export interface CallOptions {
  readonly keyspace?: string;
  /** Default: the client's. */
  readonly deadlineMs?: number;
  /** Ends the wait. A write that was sent already then fails with WriteInDoubt. */
  readonly signal?: AbortSignal;
  /** See `Client.session`. */
  readonly session?: Session;
  /** `Lock.fence`: the call fails with STALE_FENCING_TOKEN once a later holder of the lock was seen. Of reads only for STRONG ones. */
  readonly fence?: Fence;
}

export interface ReadOptions extends CallOptions {
  /** STRONG: from the leader. BOUNDED: any replica at most `maxStalenessMs` behind. EVENTUAL: any replica. Default STRONG. */
  readonly consistency?: 'STRONG' | 'BOUNDED' | 'EVENTUAL';
  /** 1 to 3,600,000; required with BOUNDED. */
  readonly maxStalenessMs?: number;
}

export interface WriteOptions extends CallOptions {
  /** IN_SYNC: answered when every in-sync replica has it. LEADER: when the leader has it. Default: the keyspace's. */
  readonly ack?: 'IN_SYNC' | 'LEADER';
}

/** How long an entry lives. Neither: the keyspace's default. */
export interface Expiry {
  /** Milliseconds from now, 1 to ten years. */
  readonly ttlMs?: number;
  /** True: for ever. */
  readonly noExpiry?: boolean;
}

export interface SetOptions extends WriteOptions, Expiry {
  /** ABSENT: only when the key has no entry. PRESENT: only when it has one. */
  readonly only?: 'IF_ABSENT' | 'IF_PRESENT';
  /** Only when the entry has this version. */
  readonly ifVersion?: Uint8Array;
}

export interface DeleteOptions extends WriteOptions {
  /** Only when the entry has this version. */
  readonly ifVersion?: Uint8Array;
}

export interface IncrementOptions extends WriteOptions {
  /** Value of a missing key before the delta is added. Default 0. */
  readonly initial?: bigint | number;
  /** Life of the entry when this call creates it. */
  readonly ttlMs?: number;
}

export interface TouchOptions extends WriteOptions, Expiry {}

/** One entry of `setMany`. */
export interface NewEntry extends Expiry {
  readonly key: Bytes;
  readonly value: Bytes;
}

export interface ScanOptions extends ReadOptions {
  /** Only keys that begin with it. */
  readonly prefix?: Bytes;
  /** Leave the values out. */
  readonly keysOnly?: boolean;
  /** Entries per message, 1 to 10,000. Default 1000. */
  readonly batchEntries?: number;
}

export interface WatchOptions {
  readonly keyspace?: string;
  /** Only these partitions. Default: all. */
  readonly partitions?: readonly number[];
  /** Go on behind this `Watch.position`. Partitions that it does not name begin with what commits from now on. */
  readonly position?: Uint8Array;
  /** Only keys that begin with it. */
  readonly prefix?: Bytes;
  /** Leave the values out. */
  readonly keysOnly?: boolean;
  /** Partitions without a position begin with the oldest change that is still held. */
  readonly fromOldest?: boolean;
  /** Begin behind the write that has this version; needs `partitions` with exactly one. */
  readonly afterVersion?: Uint8Array;
  /**
   * What follows when changes were missed, because the log is not kept that far back or the data began anew. FAIL: the
   * loop throws WATCH_COMPACTED or WATCH_RESET. REPORT: it gets a GAP and goes on. Default FAIL.
   */
  readonly onGap?: 'FAIL' | 'REPORT';
  /** Called once, when every partition has its place in the log: a scan from now on misses no change that the watch does not tell. */
  readonly onReady?: () => void;
  /** How often a router says at least that it lives, 100 to 60,000. Default 1000. */
  readonly progressMs?: number;
  /** How long no router may be reached before the loop throws, in milliseconds. Default 60,000. */
  readonly patienceMs?: number;
  /** Ends the loop: it throws the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Outcome of one key of `getMany`, `setMany` or `deleteMany`. */
export type Outcome<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: Error & { readonly reason: string } };
