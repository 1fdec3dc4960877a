// Copies in etcd as production's store has them: its tasks, one after the other, among lost answers.
import type { KeyspaceSpec } from '@atoll/core-membership';
import { CopyTable, type CopyAnswer, type CopyAsk, type CopyJob, type CopyTask } from '@atoll/core-migration';
import type { Compare, Put } from '../base/sim-etcd.ts';
import { COPIES, copyKey, keyspaceKey } from '../names.ts';
import type { World } from '../world.ts';
import type { Term } from '../control/term.ts';
import { wait, type Later } from './later.ts';

export class CopyRecords {
  readonly table = new CopyTable();
  readonly #world: World;
  readonly #term: Term;
  readonly #waiting: (() => void)[] = [];
  #isBusy = false;

  constructor(options: { world: World; term: Term }) {
    this.#world = options.world;
    this.#term = options.term;
  }

  /** Undefined when the task threw. */
  *run<T>(begin: () => CopyTask<T>): Later<{ readonly value: T } | undefined> {
    yield* wait<void>((resume) => {
      this.#waiting.push(() => resume());
      this.#next();
    });
    const result = yield* this.#carryOut(begin());
    this.#isBusy = false;
    this.#next();
    return result;
  }

  #next(): void {
    if (this.#isBusy) return;
    const turn = this.#waiting.shift();
    if (turn === undefined) return;
    this.#isBusy = true;
    turn();
  }

  *#carryOut<T>(task: CopyTask<T>): Later<{ readonly value: T } | undefined> {
    try {
      let asked = task.next();
      while (asked.done !== true) {
        const found = yield* this.#answer(asked.value);
        asked = found === undefined ? task.throw(new Error('etcd does not answer')) : task.next(found.answer);
      }
      return { value: asked.value };
    } catch (error) {
      this.#world.trace(`${this.#term.coordinator.id} ${(error as Error).message}`);
      return undefined;
    }
  }

  *#answer(asked: CopyAsk): Later<{ readonly answer: CopyAnswer } | undefined> {
    const { etcd } = this.#term.coordinator;
    const truth = this.#world.etcd;
    if (asked.kind === 'spec') {
      return yield* wait((resume) =>
        etcd.read(
          () => ({ stored: truth.get(keyspaceKey(asked.name)) }),
          (found) => resume(found && { answer: found.stored && { spec: found.stored.value as KeyspaceSpec, modRevision: found.stored.modRevision } }),
        ),
      );
    }
    if (asked.kind === 'read') {
      return yield* wait((resume) =>
        etcd.read(
          () => ({ jobs: truth.list(COPIES), revision: truth.sight().revision }),
          (found) => {
            if (found === undefined) return resume(undefined);
            this.table.load(found.jobs.map(([, { value, modRevision }]) => ({ job: value as CopyJob, modRevision })));
            resume({ answer: found.revision });
          },
        ),
      );
    }
    const term = this.#term.revision;
    const key = copyKey(asked.job.job.id);
    const compares: Compare[] = [...this.#term.compares, { key, modRevision: asked.job.modRevision }, ...asked.specs.map(({ spec, modRevision }) => ({ key: keyspaceKey(spec.name), modRevision }))];
    const puts: Put[] = [{ key, value: asked.job.job, term }, ...asked.specs.map(({ spec }) => ({ key: keyspaceKey(spec.name), value: spec, term }))];
    return yield* wait((resume) => etcd.transact(compares, puts, ({ kind }) => resume({ answer: kind })));
  }
}
