import { commandCopy, type CopyJob, type CopyJobState } from './copy-job.ts';
import type { JobCommand } from './migration-job.ts';

const job = (state: CopyJobState): CopyJob => ({ id: 'c', state, source: 's', sourceId: '1', target: 't', targetId: '2', partitionCount: 4, createdMs: 1, endedMs: 0, bytesPerSecond: 0, traceparent: '', problem: '' });

describe('what operators of a cluster may ask of a copy (R37)', () => {
  it.each<[CopyJobState, JobCommand['kind'], CopyJobState | 'refused']>([
    ['RUNNING', 'pause', 'PAUSED'],
    ['PAUSED', 'pause', 'PAUSED'],
    ['PAUSED', 'resume', 'RUNNING'],
    ['RUNNING', 'resume', 'RUNNING'],
    ['RUNNING', 'cancel', 'CANCELLING'],
    ['PAUSED', 'cancel', 'CANCELLING'],
    ['CANCELLING', 'cancel', 'CANCELLING'],
    ['CANCELLED', 'cancel', 'CANCELLED'],
    ['CANCELLING', 'resume', 'refused'],
    ['CANCELLING', 'pause', 'refused'],
    ['CANCELLED', 'resume', 'refused'],
  ])('%s: %s makes it %s', (state, kind, expected) => {
    const next = commandCopy(job(state), { kind });
    expect('refusal' in next ? 'refused' : next.state).toBe(expected);
  });

  it.each<[CopyJobState, JobCommand['kind']]>([
    ['PAUSED', 'pause'],
    ['RUNNING', 'resume'],
    ['CANCELLING', 'cancel'],
    ['CANCELLED', 'cancel'],
  ])('%s: %s answers with the very same job, which is not written', (state, kind) => {
    const before = job(state);
    expect(commandCopy(before, { kind })).toBe(before);
  });

  it('is resumed with another bound, or with the one that it had', () => {
    const bound = (state: CopyJobState, bytesPerSecond?: number) => commandCopy({ ...job(state), bytesPerSecond: 5000 }, { kind: 'resume', bytesPerSecond });
    expect(bound('PAUSED')).toMatchObject({ state: 'RUNNING', bytesPerSecond: 5000 });
    expect(bound('PAUSED', 2000)).toMatchObject({ state: 'RUNNING', bytesPerSecond: 2000 });
    expect(bound('RUNNING', 0)).toMatchObject({ state: 'RUNNING', bytesPerSecond: 0 });
  });

  it('a refusal names the job and its state', () => {
    expect(commandCopy(job('CANCELLING'), { kind: 'pause' })).toEqual({ refusal: 'migration c is CANCELLING and cannot be paused now' });
    expect(commandCopy(job('CANCELLED'), { kind: 'resume' })).toEqual({ refusal: 'migration c has ended (CANCELLED) and cannot be resumed' });
  });
});
