import type { ErrorReason } from '@atoll/core-errors';
import { judgeFailure, leavesDoubt, retryPauseMs, type Loss, type Verdict } from './retry-rules.ts';

describe('what follows a failed try', () => {
  // cause, at the leader, at a replica
  it.each<[ErrorReason | Loss, Verdict, Verdict]>([
    ['NOT_LEADER', 'refresh', 'leader'],
    ['PARTITION_UNAVAILABLE', 'refresh', 'leader'],
    ['REPLICA_NOT_READY', 'refresh', 'leader'],
    ['SHUTTING_DOWN', 'refresh', 'leader'],
    ['STALE_EPOCH', 'refresh', 'leader'],
    ['REPLICA_TOO_STALE', 'backoff', 'leader'],
    ['NOT_ENOUGH_REPLICAS', 'backoff', 'backoff'],
    ['OVERLOADED', 'backoff', 'backoff'],
    ['NOT_HANDED_OVER', 'refresh', 'refresh'],
    ['STREAM_LOST', 'refresh', 'refresh'],
    ['WRITE_IN_DOUBT', 'refresh', 'leader'],
    ['MEMORY_EXHAUSTED', 'fail', 'fail'],
    ['SESSION_LOST', 'fail', 'fail'],
    ['VALUE_NOT_INTEGER', 'fail', 'fail'],
    ['DEADLINE_EXCEEDED', 'fail', 'fail'],
    ['INTERNAL', 'fail', 'fail'],
  ])('(R20, R21) %s', (cause, atLeader, atReplica) => {
    expect(judgeFailure({ cause, wasAtLeader: true })).toBe(atLeader);
    expect(judgeFailure({ cause, wasAtLeader: false })).toBe(atReplica);
  });

  it.each<[ErrorReason | Loss, boolean]>([
    ['STREAM_LOST', true],
    ['WRITE_IN_DOUBT', true],
    ['NOT_HANDED_OVER', false],
    ['NOT_LEADER', false],
    ['NOT_ENOUGH_REPLICAS', false],
  ])('after %s a write may have got a seq: %s (R20)', (cause, expected) => {
    expect(leavesDoubt(cause)).toBe(expected);
  });

  it('pauses longer each time, up to a bound', () => {
    expect([1, 2, 3, 6, 60].map((attempts) => retryPauseMs(attempts, 1))).toEqual([10, 20, 40, 250, 250]);
    expect(retryPauseMs(1, 0)).toBe(5);
  });

  it('asks a leader that has not heard of its office yet again soon, and not for ever', () => {
    expect([1, 25, 26].map((attempts) => retryPauseMs(attempts, 1, true))).toEqual([4, 4, 250]);
  });
});
