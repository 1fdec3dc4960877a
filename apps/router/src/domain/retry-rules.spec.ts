import type { ErrorReason } from '@atoll/core-errors';
import { judgeFailure, retryPauseMs, type Loss, type Verdict } from './retry-rules.ts';

describe('what follows a failed try', () => {
  // cause, a read at the leader, a read at a replica, a write
  it.each<[ErrorReason | Loss, Verdict, Verdict, Verdict]>([
    ['NOT_LEADER', 'refresh', 'leader', 'refresh'],
    ['PARTITION_UNAVAILABLE', 'refresh', 'leader', 'refresh'],
    ['REPLICA_NOT_READY', 'refresh', 'leader', 'refresh'],
    ['SHUTTING_DOWN', 'refresh', 'leader', 'refresh'],
    ['STALE_EPOCH', 'refresh', 'leader', 'refresh'],
    ['REPLICA_TOO_STALE', 'backoff', 'leader', 'backoff'],
    ['NOT_ENOUGH_REPLICAS', 'backoff', 'backoff', 'backoff'],
    ['OVERLOADED', 'backoff', 'backoff', 'backoff'],
    ['NOT_HANDED_OVER', 'refresh', 'refresh', 'refresh'],
    ['STREAM_LOST', 'refresh', 'refresh', 'inDoubt'],
    ['WRITE_IN_DOUBT', 'fail', 'fail', 'fail'],
    ['MEMORY_EXHAUSTED', 'fail', 'fail', 'fail'],
    ['SESSION_LOST', 'fail', 'fail', 'fail'],
    ['VALUE_NOT_INTEGER', 'fail', 'fail', 'fail'],
    ['DEADLINE_EXCEEDED', 'fail', 'fail', 'fail'],
    ['INTERNAL', 'fail', 'fail', 'fail'],
  ])('(R20, R21) %s', (cause, read, replicaRead, write) => {
    expect(judgeFailure({ cause, isWrite: false, wasAtLeader: true })).toBe(read);
    expect(judgeFailure({ cause, isWrite: false, wasAtLeader: false })).toBe(replicaRead);
    expect(judgeFailure({ cause, isWrite: true, wasAtLeader: true })).toBe(write);
  });

  it('pauses longer each time, up to a bound', () => {
    expect([1, 2, 3, 6, 60].map((attempts) => retryPauseMs(attempts, 1))).toEqual([10, 20, 40, 250, 250]);
    expect(retryPauseMs(1, 0)).toBe(5);
  });
});
