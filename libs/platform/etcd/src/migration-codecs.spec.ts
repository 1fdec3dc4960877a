import { MOVE_PLAN, shardedPlan, type MigrationJob } from '@atoll/core-migration';
import { encodeMigrationJob, parseMigrationJob } from './migration-codecs.ts';

const JOB: MigrationJob = {
  id: 'job-1',
  ...shardedPlan(8),
  methodReason: 'SHARDED: it is large',
  reason: 'REQUESTED',
  state: 'RUNNING',
  createdMs: 1000,
  endedMs: 0,
  description: '',
  problem: '',
  bytesPerSecond: 0,
  fullVerify: false,
  traceparent: '',
  total: 1,
  done: 0,
  rolledBack: 0,
  bytes: 0,
  entries: 0,
  pauseMsMax: 0,
};

describe('the record of a migration', () => {
  it('keeps the method, and why it was chosen', () => {
    expect(parseMigrationJob(encodeMigrationJob(JOB))).toEqual({ kind: 'parsed', value: JOB });
  });

  it('of an older coordinator, which knew one method alone, is one of one stream each', () => {
    const { shards: _shards, partitionsAtOnce: _atOnce, methodReason: _reason, ...older } = JOB;
    expect(parseMigrationJob(JSON.stringify({ ...older, method: 'MOVE' }))).toEqual({ kind: 'parsed', value: { ...JOB, ...MOVE_PLAN } });
  });

  it('with a method that is not known is none', () => {
    expect(parseMigrationJob(JSON.stringify({ ...JOB, method: 'COPY' })).kind).not.toBe('parsed');
  });
});
