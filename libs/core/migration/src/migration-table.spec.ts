import { toPartitionId } from '@atoll/core-runtime';
import { MigrationTable, type MigrationWrite } from './migration-table.ts';
import { createMigration, settleMigrations, type MigrationTask } from './migration-tasks.ts';
import { job, operator } from './testing/samples.ts';

const on = (partition: number, fields = {}) => operator({ partition: toPartitionId(partition), ...fields });

function table(): MigrationTable {
  const made = new MigrationTable();
  made.load({ turn: 7, jobs: [{ job: job({ total: 2 }), modRevision: 10 }], operators: [{ operator: on(1), modRevision: 10 }, { operator: on(2), modRevision: 12 }], results: [] });
  return made;
}

describe('what a change of migrations compares (R11, R38)', () => {
  it('a step: the revision of its operator; the job stays as it is', () => {
    const step = { from: on(1), to: on(1, { step: 'ADD' }) };
    expect(table().change([step])).toEqual({ turn: 7, operators: [{ operator: step.to, modRevision: 10 }], jobs: [] });
  });

  it('the ends of two operators: their job once, which counts both', () => {
    const { jobs, operators } = table().change([1, 2].map((partition) => ({ from: on(partition), to: on(partition, { step: 'DONE', bytes: 5 }) })));
    expect(operators.map(({ modRevision }) => modRevision)).toEqual([10, 12]);
    expect(jobs).toEqual([{ job: job({ total: 2, done: 2, bytes: 10 }), modRevision: 10 }]);
  });

  it('an operator that is not known any more: a revision that nothing has', () => {
    expect(table().change([{ from: on(3), to: on(3, { step: 'ADD' }) }]).operators[0]!.modRevision).toBe(-1);
  });

  it('a job that begins: that neither it nor its operators are there', () => {
    const { jobs, operators } = table().begin([on(3, { job: 'other' })], job({ id: 'other' }));
    expect([...jobs, ...operators].map(({ modRevision }) => modRevision)).toEqual([0, 0]);
  });

  it('goes on from what was written; a job is over with its last operator', () => {
    const made = table();
    expect(made.settled(2000)).toEqual([]);
    made.note(made.change([{ from: on(1), to: on(1, { step: 'DONE' }) }]), 20);
    expect(made.operators()).toEqual([on(2)]);
    expect(made.resultsOf('job-1')).toEqual([on(1, { step: 'DONE' })]);
    made.note(made.change([{ from: on(2), to: on(2, { step: 'ROLLED_BACK', problem: 'why' }) }]), 21);
    expect(made.settled(2000)).toMatchObject([{ id: 'job-1', state: 'FAILED', done: 1, rolledBack: 1, endedMs: 2000 }]);
    expect(made.update(made.settled(2000)[0]!).jobs[0]!.modRevision).toBe(21);
  });
});

describe('a job that can be neither written as a whole nor taken back, since etcd is silent (R7)', () => {
  /** Carries a task out; `answer` says whether what it asks for came about. */
  const carryOut = <T>(task: MigrationTask<T>, answer: (asked: 'settle' | 'read' | MigrationWrite) => boolean): unknown => {
    try {
      let asked = task.next();
      while (asked.done !== true) asked = task.next(answer(asked.value));
      return asked.value;
    } catch (error) {
      return (error as Error).message;
    }
  };

  it('is taken back later by the same coordinator: it does not hold its partitions until another one is elected', () => {
    const made = new MigrationTable();
    made.load({ turn: 1, jobs: [], operators: [], results: [] });
    const operators = [1, 2, 3].map((partition) => on(partition, { job: 'big' }));
    let writes = 0;
    const problem = carryOut(createMigration(made, job({ id: 'big', total: 3 }), operators, 2), (asked) => {
      if (typeof asked !== 'object') return false;
      writes += 1;
      if (writes === 1) made.note(asked, 10);
      else made.onFailed(true);
      return writes === 1;
    });
    expect(problem).toContain('etcd does not say');
    expect(made.jobs().map(({ id, state }) => [id, state])).toEqual([['big', 'PREPARING']]);
    const asks: unknown[] = [];
    carryOut(settleMigrations(made, 1000), (asked) => {
      asks.push(typeof asked === 'object' ? asked.jobs.map(({ job: { id, state } }) => `${id} ${state}`).join() : asked);
      if (asked === 'settle') made.onSettled();
      if (asked === 'read') made.load({ turn: 2, jobs: [{ job: job({ id: 'big', total: 3, state: 'PREPARING' }), modRevision: 10 }], operators: operators.slice(0, 2).map((each) => ({ operator: each, modRevision: 10 })), results: [] });
      if (typeof asked === 'object') made.note(asked, 12);
      return true;
    });
    expect(asks).toEqual(['settle', 'read', 'big CANCELLING']);
    expect(made.job('big')!.state).toBe('CANCELLING');
  });
});
