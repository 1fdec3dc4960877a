export { AtollClient, createClient } from './client.ts';
export { LocksClient } from './locks/locks-client.ts';
export { Lock } from './locks/lock.ts';
export type { LocksClientOptions } from './locks/locks-client.ts';
export type { LockInfo, LockOptions, LockRequestId, LockTarget } from './locks/lock-options.ts';
export { Session } from './session.ts';
export { AtollError, WriteInDoubt, isAtollError } from './errors.ts';
export type { ErrorReason } from '@atoll/core-errors';
export { Watch } from './watch.ts';
export type { WatchChange, WatchGapReport } from './watch.ts';
export type { Bytes } from './bytes.ts';
export type { Entry, IncrementResult, ScannedEntry, TouchResult, WriteResult } from './entry.ts';
export type {
  CallOptions,
  ClientOptions,
  DeleteOptions,
  Expiry,
  IncrementOptions,
  NewEntry,
  Outcome,
  ReadOptions,
  ScanOptions,
  SetOptions,
  TouchOptions,
  WatchOptions,
  WriteOptions,
} from './options.ts';
