// Migrations in etcd as production's store has them: its tasks, carried out one after the other, among lost answers.
import { MigrationTable, hasEnded, type MigrationJob, type MigrationOperator, type MigrationTask, type MigrationWrite } from '@atoll/core-migration';
import type { Compare, Put, Stored } from '../base/sim-etcd.ts';
import { MIGRATIONS, OPERATORS, RESULTS, TURN_KEY, jobKey, operatorKey, resultKey, slotOf } from '../names.ts';
import type { MutantWrite } from '../mutant.ts';
import type { World } from '../world.ts';
import type { Term } from './term.ts';

export class MigrationRecords {
  readonly table = new MigrationTable();
  readonly #world: World;
  readonly #term: Term;
  readonly #waiting: (() => void)[] = [];
  #isBusy = false;

  constructor(options: { world: World; term: Term }) {
    this.#world = options.world;
    this.#term = options.term;
  }

  /** `done` gets undefined when the task threw. */
  run<T>(task: () => MigrationTask<T>, done: (result: { readonly value: T } | undefined) => void): void {
    this.#waiting.push(() => {
      this.#carryOut(task(), (result) => {
        this.#isBusy = false;
        done(result);
        this.#next();
      });
    });
    this.#next();
  }

  #next(): void {
    if (this.#isBusy) return;
    const work = this.#waiting.shift();
    if (work === undefined) return;
    this.#isBusy = true;
    work();
  }

  #carryOut<T>(task: MigrationTask<T>, done: (result: { readonly value: T } | undefined) => void): void {
    type Asked = ReturnType<MigrationTask<T>['next']>;
    const go = (step: () => Asked): void => {
      let asked: Asked;
      try {
        asked = step();
      } catch (error) {
        this.#world.trace(`${this.#term.coordinator.id} ${(error as Error).message}`);
        return done(undefined);
      }
      if (asked.done === true) return done({ value: asked.value });
      const { value } = asked;
      const onDone = (isDone: boolean): void => go(() => (isDone ? task.next(true) : task.throw(new Error('etcd does not answer'))));
      if (value === 'settle') this.#settle((isSettled) => go(() => task.next(isSettled)));
      else if (value === 'read') this.#read(onDone);
      else this.#write(value, (isWritten) => go(() => task.next(isWritten)));
    };
    go(() => task.next());
  }

  #settle(answer: (isSettled: boolean) => void): void {
    const put: Put = { key: TURN_KEY, value: '', term: this.#term.revision };
    this.#term.coordinator.etcd.transact(this.#term.compares, [put], ({ kind }) => {
      if (kind === 'succeeded') this.table.onSettled();
      answer(kind === 'succeeded');
    });
  }

  #read(answer: (isRead: boolean) => void): void {
    const { etcd } = this.#world;
    const look = () => [etcd.list(MIGRATIONS), etcd.list(OPERATORS), etcd.list(RESULTS), etcd.get(TURN_KEY)] as const;
    this.#term.coordinator.etcd.read<ReturnType<typeof look>>(look, (found) => {
      if (found === undefined) return answer(false);
      const [jobs, operators, results, turn] = found;
      this.table.load({
        turn: turn?.modRevision ?? 0,
        jobs: jobs.map(([, { value, modRevision }]) => ({ job: value as MigrationJob, modRevision })),
        operators: operators.map(([, { value, modRevision }]) => ({ operator: value as MigrationOperator, modRevision })),
        results: results.map(([, { value }]: readonly [string, Stored]) => value as MigrationOperator),
      });
      answer(true);
    });
  }

  #write(honest: MigrationWrite, answer: (isWritten: boolean) => void): void {
    const write: MutantWrite = this.#world.mutant?.migrationWrite?.(honest) ?? honest;
    const compares: Compare[] = [...this.#term.compares];
    if (write.turn !== undefined) compares.push({ key: TURN_KEY, modRevision: write.turn });
    const puts: Put[] = [];
    const term = this.#term.revision;
    for (const { operator, modRevision } of write.operators) {
      const key = operatorKey(slotOf(operator));
      if (modRevision !== undefined) compares.push({ key, modRevision });
      if (hasEnded(operator)) puts.push({ key: resultKey(operator.job, slotOf(operator)), value: operator, term }, { key, value: undefined, term });
      else puts.push({ key, value: operator, term });
    }
    for (const { job, modRevision } of write.jobs) {
      const key = jobKey(job.id);
      compares.push({ key, modRevision });
      puts.push({ key, value: job, term });
    }
    this.#term.coordinator.etcd.transact(compares, puts, (outcome) => {
      if (outcome.kind === 'succeeded') this.table.note(honest, outcome.revision);
      else this.table.onFailed(outcome.kind === 'unknown');
      answer(outcome.kind === 'succeeded');
    });
  }
}
