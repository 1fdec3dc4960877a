import { toPartitionId } from '@atoll/core-runtime';
import { admit } from './limits.ts';
import type { MigrationJob } from './migration-job.ts';
import type { MigrationOperator } from './operator.ts';
import { job, nodes, operator } from './testing/samples.ts';

const jobsOf = (...jobs: MigrationJob[]): Map<string, MigrationJob> => new Map(jobs.map((one) => [one.id, one]));
const waiting = (partition: number, fields: Partial<MigrationOperator> = {}): MigrationOperator => operator({ partition: toPartitionId(partition), ...fields });
const partitionsOf = (admitted: ReadonlySet<MigrationOperator>): number[] => [...admitted].map(({ partition }) => partition);
const anywhere = (): boolean => true;
const WIDE = { perTarget: 100, perCluster: 100 };

describe('operators that may begin', () => {
  it('come in order of urgency, then age of their job, then partition', () => {
    const jobs = jobsOf(job({ id: 'old', createdMs: 1 }), job({ id: 'young', createdMs: 2 }));
    const operators = [
      waiting(1, { job: 'young', reason: 'BALANCE' }),
      waiting(2, { job: 'young', reason: 'JOIN' }),
      waiting(3, { job: 'old', reason: 'ZONE' }),
      waiting(4, { job: 'young', reason: 'REQUESTED' }),
      waiting(9, { job: 'old', reason: 'REQUESTED' }),
      waiting(5, { job: 'old', reason: 'REQUESTED' }),
      waiting(6, { job: 'old', reason: 'DRAIN' }),
      waiting(7, { job: 'old', reason: 'LOST' }),
      waiting(8, { job: 'young', reason: 'MISSING' }),
    ];
    expect(partitionsOf(admit(operators, jobs, WIDE, anywhere))).toEqual([8, 7, 6, 5, 9, 4, 3, 2, 1]);
  });

  it('are as many as a target bears, those that fill it already counted, and those to other targets all the same', () => {
    const operators = [waiting(1, { step: 'CATCH_UP' }), waiting(2, { step: 'ADD' }), waiting(3), waiting(4), waiting(5, { after: nodes('eb') })];
    expect(partitionsOf(admit(operators, jobsOf(job()), { perTarget: 3, perCluster: 100 }, anywhere))).toEqual([3, 5]);
  });

  it('are as many as the cluster bears', () => {
    const operators = [waiting(1, { step: 'CATCH_UP' }), waiting(2), waiting(3, { after: nodes('eb') }), waiting(4, { after: nodes('fb') })];
    expect(partitionsOf(admit(operators, jobsOf(job()), { perTarget: 100, perCluster: 3 }, anywhere))).toEqual([2, 3]);
  });

  it('leave room for what a node fills beside migrations: a restarted node is not asked for more than it bears', () => {
    const operators = [waiting(1), waiting(2), waiting(3, { step: 'ADD' })];
    expect(partitionsOf(admit(operators, jobsOf(job()), { perTarget: 4, perCluster: 100 }, anywhere, () => 2))).toEqual([1]);
    expect(partitionsOf(admit(operators, jobsOf(job()), { perTarget: 4, perCluster: 100 }, anywhere, () => 4))).toEqual([]);
  });

  it('are as many as their job allows where that is more, and never more than the cluster bears', () => {
    const jobs = jobsOf(job({ id: 'plain', createdMs: 1 }), job({ id: 'sharded', createdMs: 2, method: 'SHARDED', shards: 4, partitionsAtOnce: 3 }), job({ id: 'few', createdMs: 3, method: 'SHARDED', shards: 16, partitionsAtOnce: 1 }));
    const of = (name: string, ...partitions: number[]): MigrationOperator[] => partitions.map((partition) => waiting(partition, { job: name }));
    expect(partitionsOf(admit([...of('sharded', 11, 12, 13, 14), ...of('plain', 1, 2, 3)], jobs, { perTarget: 2, perCluster: 100 }, anywhere))).toEqual([1, 2, 11]);
    expect(partitionsOf(admit(of('sharded', 11, 12, 13, 14), jobs, { perTarget: 1, perCluster: 2 }, anywhere))).toEqual([11, 12]);
    expect(partitionsOf(admit(of('few', 21, 22, 23), jobs, { perTarget: 2, perCluster: 100 }, anywhere))).toEqual([21, 22]);
  });

  it('are not those whose copy is over: others may use the room', () => {
    const steps = ['VERIFY', 'TRANSFER', 'REMOVE', 'ROLL_BACK'] as const;
    const operators = [...steps.map((step, index) => waiting(10 + index, { step })), waiting(1)];
    expect(partitionsOf(admit(operators, jobsOf(job()), { perTarget: 1, perCluster: 1 }, anywhere))).toEqual([1]);
  });

  it('are not those of jobs that do not run, nor those to nodes that can take nothing; both do not stand in the way', () => {
    const jobs = jobsOf(job(), job({ id: 'paused', state: 'PAUSED' }), job({ id: 'preparing', state: 'PREPARING' }), job({ id: 'cancelling', state: 'CANCELLING' }));
    const operators = [waiting(1, { job: 'paused' }), waiting(2, { job: 'preparing' }), waiting(3, { job: 'cancelling' }), waiting(4, { job: 'unknown' }), waiting(5, { after: nodes('xb') }), waiting(6)];
    expect(partitionsOf(admit(operators, jobs, { perTarget: 1, perCluster: 1 }, (node) => node !== 'x'))).toEqual([6]);
  });
});
