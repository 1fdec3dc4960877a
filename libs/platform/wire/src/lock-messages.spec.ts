import { DeleteManyRequest, GetRequest, SetRequest } from '@atoll/contracts/atoll/v1/cache';
import { Fence, LockMode, LockScope } from '@atoll/contracts/atoll/v1/locks';
import { isAtollError } from '@atoll/core-errors';
import { tokenOfKey, tokenToBigInt } from '@atoll/core-placement';
import { fromLockMode, fromLockScope, pointRange, toFence, toLockMode, toLockScope } from './lock-messages.ts';
import { checkDeleteMany, checkGet, checkSet } from './request-checks.ts';

const key = Buffer.from('k');
const point = tokenToBigInt(tokenOfKey(key));
const fence = (fields: Partial<Fence>): Fence => Fence.create({ fencingToken: 7, ...fields });

/** Reason and field, or "passes". */
function verdict(check: () => unknown): string {
  try {
    check();
    return 'passes';
  } catch (error) {
    if (!isAtollError(error)) throw error;
    return `${error.reason} ${error.metadata['field']}`;
  }
}

describe('locks and fences on the wire', () => {
  it.each<[string, Partial<LockScope> | undefined, string]>([
    ['a name', { name: 'n' }, 'passes'],
    ['a name of 257 bytes', { name: `${'ä'.repeat(128)}x` }, 'INVALID_ARGUMENT scope.name'],
    ['a name with a keyspace', { name: 'n', keyspace: 'k' }, 'INVALID_ARGUMENT scope'],
    ['a name with a range', { name: 'n', rangeEnd: 1n }, 'INVALID_ARGUMENT scope'],
    ['nothing: all of default', undefined, 'passes'],
    ['a range to the end', { rangeStart: 2n ** 64n - 1n }, 'passes'],
    ['an empty range', { rangeStart: 5n, rangeEnd: 5n }, 'INVALID_ARGUMENT scope.range_end'],
    ['a keyspace name of 65', { keyspace: 'k'.repeat(65) }, 'INVALID_ARGUMENT scope.keyspace'],
  ])('a scope: %s', (_, fields, expected) => {
    expect(verdict(() => toLockScope(fields && LockScope.create(fields)))).toBe(expected);
  });

  it('a scope comes back as it went, and nothing means all of default', () => {
    for (const scope of [{ name: 'n' }, { keyspace: 'k', rangeStart: 3n, rangeEnd: 2n ** 63n }, { keyspace: 'k', rangeStart: 3n }]) {
      expect(fromLockScope(toLockScope(LockScope.create(scope)))).toEqual(LockScope.create(scope));
    }
    expect(fromLockScope(toLockScope(undefined))).toEqual(LockScope.create({ keyspace: 'default' }));
  });

  it('a mode comes back as it went; an unknown one is refused', () => {
    for (const mode of ['EXCLUSIVE', 'SHARED'] as const) expect(toLockMode(fromLockMode(mode))).toBe(mode);
    expect(toLockMode(LockMode.LOCK_MODE_UNSPECIFIED)).toBe('EXCLUSIVE');
    expect(verdict(() => toLockMode(3))).toBe('INVALID_ARGUMENT mode');
  });

  it.each<[string, Partial<Fence>, string]>([
    ['by name', { name: 'n' }, 'passes'],
    ['without a token', { name: 'n', fencingToken: 0 }, 'INVALID_ARGUMENT fence.fencing_token'],
    ['with a token that no etcd gives', { name: 'n', fencingToken: 2 ** 48 }, 'INVALID_ARGUMENT fence.fencing_token'],
    ['with an unknown mode', { name: 'n', mode: 9 as never }, 'INVALID_ARGUMENT fence.mode'],
    ['by name and range', { name: 'n', rangeStart: 1n }, 'INVALID_ARGUMENT fence'],
    ['on all of the keyspace', {}, 'passes'],
    ['on the token of the key alone', { rangeStart: point, rangeEnd: point + 1n }, 'passes'],
    ['on a range that ends before the key', { rangeEnd: point }, 'INVALID_ARGUMENT fence'],
    ['on a range that begins behind the key', { rangeStart: point + 1n }, 'INVALID_ARGUMENT fence'],
  ])('a fence of an operation: %s', (_, fields, expected) => {
    expect(verdict(() => checkSet(SetRequest.create({ key, fence: fence(fields) }), 100))).toBe(expected);
    expect(verdict(() => checkGet(GetRequest.create({ key, fence: fence(fields) })))).toBe(expected);
  });

  it('a fence is only for STRONG reads', () => {
    expect(verdict(() => checkGet(GetRequest.create({ key, consistency: 3, fence: fence({}) })))).toBe('INVALID_ARGUMENT fence');
  });

  it('a fence of many keys is checked for itself; each key has an outcome of its own', () => {
    expect(verdict(() => checkDeleteMany(DeleteManyRequest.create({ keys: [key], fence: fence({ rangeEnd: point }) })))).toBe('passes');
    expect(verdict(() => checkDeleteMany(DeleteManyRequest.create({ keys: [key], fence: fence({ fencingToken: 0 }) })))).toBe('INVALID_ARGUMENT fence.fencing_token');
  });

  it('the range of one key holds its token and is half-open', () => {
    expect(fromLockScope({ kind: 'range', keyspace: 'default', range: pointRange(key) })).toMatchObject({ rangeStart: point, rangeEnd: point + 1n });
    expect(toFence(fence({ rangeStart: 1n, rangeEnd: 2n, mode: LockMode.LOCK_MODE_SHARED }))).toEqual({
      lock: { kind: 'range', range: { start: { high: 0, low: 1 }, end: { high: 0, low: 2 } } },
      token: 7,
      isShared: true,
    });
  });
});
