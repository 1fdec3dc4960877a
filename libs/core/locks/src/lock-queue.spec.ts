import { tokenFromBigInt } from '@atoll/core-placement';
import { blockerOf, conflict, type LockRequest } from './lock-queue.ts';
import type { LockMode, LockScope } from './lock-scope.ts';

const name = (text: string): LockScope => ({ kind: 'name', name: text });
const range = (start: number, end: number, keyspace = 'default'): LockScope => ({
  kind: 'range',
  keyspace,
  range: { start: tokenFromBigInt(BigInt(start)), end: tokenFromBigInt(BigInt(end)) },
});
const request = (createRevision: number, mode: LockMode, scope: LockScope = name('n')): LockRequest => ({ scope, mode, createRevision });

/** Revisions of those that hold, and of those that wait with whom they wait for. */
function picture(requests: readonly LockRequest[]): string {
  return requests
    .map((each) => {
      const blocker = blockerOf(each, requests);
      return blocker === undefined ? `${each.createRevision} holds` : `${each.createRevision} after ${blocker.createRevision}`;
    })
    .join(', ');
}

describe('who holds a lock (R38)', () => {
  it.each([
    ['of exclusive ones the first', [request(1, 'EXCLUSIVE'), request(2, 'EXCLUSIVE'), request(3, 'EXCLUSIVE')], '1 holds, 2 after 1, 3 after 1'],
    ['all shared ones', [request(1, 'SHARED'), request(2, 'SHARED')], '1 holds, 2 holds'],
    ['no reader that came behind a waiting writer', [request(1, 'SHARED'), request(2, 'EXCLUSIVE'), request(3, 'SHARED')], '1 holds, 2 after 1, 3 after 2'],
    ['whatever the order in which they are seen', [request(3, 'EXCLUSIVE'), request(1, 'SHARED'), request(2, 'SHARED')], '3 after 1, 1 holds, 2 holds'],
    [
      'ranges that overlap nobody before them',
      [request(1, 'EXCLUSIVE', range(0, 10)), request(2, 'EXCLUSIVE', range(10, 20)), request(3, 'EXCLUSIVE', range(5, 15)), request(4, 'EXCLUSIVE', range(15, 20))],
      '1 holds, 2 holds, 3 after 1, 4 after 2',
    ],
    ['a range that waits for one that waits', [request(1, 'EXCLUSIVE', range(0, 10)), request(2, 'EXCLUSIVE', range(5, 15)), request(3, 'EXCLUSIVE', range(12, 20))], '1 holds, 2 after 1, 3 after 2'],
  ])('%s', (_, requests, expected) => {
    expect(picture(requests)).toBe(expected);
  });

  it.each([
    ['different names', name('a'), name('b')],
    ['a name and a range', name('default'), range(0, 10)],
    ['ranges of different keyspaces', range(0, 10), range(0, 10, 'other')],
  ])('%s never conflict', (_, a, b) => {
    expect(conflict({ scope: a, mode: 'EXCLUSIVE' }, { scope: b, mode: 'EXCLUSIVE' })).toBe(false);
  });
});
