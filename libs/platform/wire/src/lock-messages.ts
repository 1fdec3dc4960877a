// Locks and fences as contracts carry them, and as the core knows them. Every refusal names its field.
import type { Fence as FenceMessage, LockScope as LockScopeMessage } from '@atoll/contracts/atoll/v1/locks';
import { LockMode as LockModeNumber } from '@atoll/contracts/atoll/v1/locks';
import { invalidArgument } from '@atoll/core-errors';
import { FENCING_TOKEN_MAX, type Fence, type LockMode, type LockScope } from '@atoll/core-locks';
import { contains, tokenFromBigInt, tokenOfKey, tokenToBigInt, type TokenRange } from '@atoll/core-placement';
import { DEFAULT_KEYSPACE, KEYSPACE_NAME_MAX } from '@atoll/core-runtime';
import { fromTokenRange, toTokenRange } from './token-range-fields.ts';

export const LOCK_NAME_BYTES_MAX = 256;

/** Throws INVALID_ARGUMENT. */
export function toLockScope(message: LockScopeMessage | undefined): LockScope {
  const { name, keyspace, rangeStart, rangeEnd } = message ?? { name: '', keyspace: '', rangeStart: 0n, rangeEnd: 0n };
  if (name === '') {
    if (keyspace.length > KEYSPACE_NAME_MAX) throw invalidArgument('scope.keyspace', `must be at most ${KEYSPACE_NAME_MAX} characters`);
    return { kind: 'range', keyspace: keyspace === '' ? DEFAULT_KEYSPACE : keyspace, range: toTokenRange({ start: 'range_start', end: 'scope.range_end' }, rangeStart, rangeEnd) };
  }
  if (keyspace !== '' || rangeStart !== 0n || rangeEnd !== 0n) throw invalidArgument('scope', 'is either a name, or a range of a keyspace, not both');
  checkLockName('scope.name', name);
  return { kind: 'name', name };
}

export function fromLockScope(scope: LockScope): LockScopeMessage {
  if (scope.kind === 'name') return { name: scope.name, keyspace: '', rangeStart: 0n, rangeEnd: 0n };
  const [rangeStart, rangeEnd] = fromTokenRange(scope.range);
  return { name: '', keyspace: scope.keyspace, rangeStart, rangeEnd };
}

/** Throws INVALID_ARGUMENT. */
export function toLockMode(mode: number, field = 'mode'): LockMode {
  if (mode !== LockModeNumber.LOCK_MODE_UNSPECIFIED && mode !== LockModeNumber.LOCK_MODE_EXCLUSIVE && mode !== LockModeNumber.LOCK_MODE_SHARED) {
    throw invalidArgument(field, `the number ${mode} is unknown`);
  }
  return mode === LockModeNumber.LOCK_MODE_SHARED ? 'SHARED' : 'EXCLUSIVE';
}

export const fromLockMode = (mode: LockMode): LockModeNumber => (mode === 'SHARED' ? LockModeNumber.LOCK_MODE_SHARED : LockModeNumber.LOCK_MODE_EXCLUSIVE);

/** The fence of a request. Throws INVALID_ARGUMENT. */
export function toFence(message: FenceMessage): Fence {
  const { name, rangeStart, rangeEnd, fencingToken: token } = message;
  if (!(token >= 1 && token <= FENCING_TOKEN_MAX)) throw invalidArgument('fence.fencing_token', `must be 1 to 2^48 - 1, not ${token}`);
  const isShared = toLockMode(message.mode, 'fence.mode') === 'SHARED';
  if (name === '') return { lock: { kind: 'range', range: toTokenRange({ start: 'range_start', end: 'fence.range_end' }, rangeStart, rangeEnd) }, token, isShared };
  checkLockName('fence.name', name);
  if (rangeStart !== 0n || rangeEnd !== 0n) throw invalidArgument('fence', 'is either a name, or a range, not both');
  return { lock: { kind: 'name', name }, token, isShared };
}

/** The same for an operation on `key`, which the lock must cover: else it proves nothing. */
export function toFenceOf(message: FenceMessage, key: Uint8Array): Fence {
  const fence = toFence(message);
  if (fence.lock.kind === 'range' && !contains(fence.lock.range, pointRange(key))) throw invalidArgument('fence', 'the token of the key lies outside of the range of the lock');
  return fence;
}

/** The range that holds the token of this key and no other one. */
export function pointRange(key: Uint8Array): TokenRange {
  const start = tokenOfKey(key);
  const next = tokenToBigInt(start) + 1n;
  return { start, end: next === 1n << 64n ? undefined : tokenFromBigInt(next) };
}

function checkLockName(field: string, name: string): void {
  const bytes = Buffer.byteLength(name);
  if (bytes > LOCK_NAME_BYTES_MAX) throw invalidArgument(field, `must be 1 to ${LOCK_NAME_BYTES_MAX} bytes, not ${bytes}`);
}
